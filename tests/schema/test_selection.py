"""Look-ahead, on documents written to fool it."""

import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from graphql import FieldNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from resolvers.context import Info
from resolvers.selection import selects


def info_of(document: str, **variables: Any) -> Info:
    """The info of the root field of the first operation."""
    definitions = parse(document).definitions
    operation = next(item for item in definitions if isinstance(item, OperationDefinitionNode))
    fragments = {item.name.value: item for item in definitions if isinstance(item, FragmentDefinitionNode)}
    nodes = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
    raw = SimpleNamespace(field_nodes=nodes, fragments=fragments)
    return cast("Info", SimpleNamespace(_raw_info=raw, variable_values=variables))


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("{ logs { nodes { payload } } }", True),
        ("{ logs { nodes { id } } }", False),
        ("{ logs { edges { payload } } }", False),
        ("{ logs { n: nodes { p: payload } } }", True),
        ("{ logs { payload: nodes { id } } }", False),
        (
            "{ logs { ...A } } fragment A on X { ...B } fragment B on X { nodes { ...C } } fragment C on X { payload }",
            True,
        ),
        ("{ logs { ... on X { ... { nodes { ... on Y { payload } } } } } }", True),
        ("{ logs { ...A } } fragment A on X { ...A nodes { ...A } }", False),
        ("{ logs { ...Unknown } }", False),
        ("{ logs { nodes @skip(if: true) { payload } } }", False),
        ("{ logs { nodes @skip(if: $yes) { payload } nodes { id } } }", False),
        ("{ logs { nodes { payload @include(if: $no) } } }", False),
        ("{ logs { nodes { payload @include(if: $yes) @skip(if: $no) } } }", True),
        ("{ logs { nodes { payload @include(if: $unknown) } } }", False),
        ("{ logs { ...A @skip(if: $yes) ...A } } fragment A on X { nodes { payload } }", True),
        ("{ logs { nodes { id } } logs { nodes { payload } } }", True),
    ],
)
def test_a_path_is_found_where_it_is_selected(document: str, expected: bool) -> None:
    assert selects(info_of(document, yes=True, no=False), "nodes", "payload") is expected


def test_doubling_fragments_take_no_time() -> None:
    doubled = "".join(f"fragment F{n} on X {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    document = f"{{ logs {{ ...F0 }} }} {doubled} fragment F60 on X {{ nodes {{ id }} }}"

    started = time.perf_counter()

    assert not selects(info_of(document), "nodes", "payload")
    assert time.perf_counter() - started < 0.5

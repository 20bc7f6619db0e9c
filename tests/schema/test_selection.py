"""Look-ahead, on documents written to fool it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from graphql import DocumentNode, FieldNode, FragmentDefinitionNode, OperationDefinitionNode, parse

from resolvers.context import Info
from resolvers.selection import fields, selected
from tests.calls import Calls


def info_of(document: str, **variables: Any) -> Info:
    """The info of the root field of the first operation."""
    return info_in(parse(document), **variables)


def info_in(document: DocumentNode, **variables: Any) -> Info:
    definitions = document.definitions
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
    assert ("payload" in selected(info_of(document, yes=True, no=False), ("nodes",))) is expected


def test_what_is_selected_by_several_paths_is_found_together() -> None:
    info = info_of("{ logs { total nodes { id i: id __typename } edges { cursor node { kind } } more { size } } }")

    assert selected(info, ("nodes",), ("edges", "node")) == {"id", "__typename", "kind"}
    assert selected(info, ()) == {"total", "nodes", "edges", "more"}
    assert selected(info, ("nodes", "id"), ("unknown",)) == frozenset()


def test_what_is_skipped_is_asked_anew_for_other_variables() -> None:
    document = parse("{ logs { id @skip(if: $a) kind @include(if: $b) size @skip(if: $a) @include(if: $b) } }")

    def found(**variables: object) -> frozenset[str]:
        return selected(info_in(document, **variables), ())

    for _ in range(2):
        assert found(a=False, b=True) == {"id", "kind", "size"}
        assert found(a=True, b=True) == {"kind"}
        assert found(a=False, b=False) == found(a=False) == {"id"}
        assert found(a=1, b="true", c=[True]) == {"id"}


def test_a_document_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    document, looks = parse("{ logs { nodes { id } } }"), 0

    def counted(*arguments: Any) -> Iterator[FieldNode]:
        nonlocal looks
        looks += 1
        return fields(*arguments)

    monkeypatch.setattr("resolvers.selection.fields", counted)
    found = [selected(info_in(document, number=number), ("nodes",)) for number in range(5)]

    assert (set(found), looks) == ({frozenset({"id"})}, 2)


def test_what_is_remembered_of_documents_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[Any, Any] = {}
    monkeypatch.setattr("resolvers.selection._kept", kept)
    monkeypatch.setattr("resolvers.selection._LARGEST_KEPT", 10)
    documents = [parse("{ logs { nodes { id } } }") for _ in range(30)]

    for document in documents:
        for shown in (documents[0], document):
            assert selected(info_in(shown), ("nodes",)) == {"id"}

    assert len(kept) == 10
    (first,) = info_in(documents[0])._raw_info.field_nodes  # noqa: SLF001
    assert any(first in nodes for nodes, _ in kept.values())


def test_doubling_fragments_are_expanded_once_each() -> None:
    doubled = "".join(f"fragment F{n} on X {{ ...F{n + 1} ...F{n + 1} }} " for n in range(60))
    document = f"{{ logs {{ ...F0 }} }} {doubled} fragment F60 on X {{ nodes {{ id }} }}"

    info = info_of(document)
    with Calls() as calls:
        assert selected(info, ("nodes",)) == {"id"}
    assert calls.counted < 10_000  # 2 ** 60, were each expanded where it is spread

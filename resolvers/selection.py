"""Look-ahead: what of a field's selection is asked for.

Strawberry's `info.selected_fields` expands every fragment at each spread, which a small document of doubling
fragments turns into minutes. Here each fragment is looked into once for each step of the path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    InlineFragmentNode,
    SelectionSetNode,
    VariableNode,
)

if TYPE_CHECKING:
    from resolvers.context import Info


def selects(info: Info, *path: str) -> bool:
    """Whether the present field's selection has this path of field names, by whatever aliases and fragments.

    Type conditions are not looked at: the answer may be yes for a type that the value turns out not to have.
    """
    # The only way to the fragments.
    raw = cast("GraphQLResolveInfo[Any]", cast("Any", info)._raw_info)  # noqa: SLF001
    nodes: list[FieldNode] = list(raw.field_nodes)
    for name in path:
        sets = [node.selection_set for node in nodes if node.selection_set is not None]
        nodes = [node for node in fields(sets, raw.fragments, info.variable_values) if node.name.value == name]
        if not nodes:
            return False
    return True


def fields(
    sets: Iterable[SelectionSetNode],
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any] | None,
) -> Iterator[FieldNode]:
    """The fields of selection sets, each fragment expanded once, without those skipped (None: with them)."""
    seen: set[str] = set()
    waiting = list(sets)
    while waiting:
        for node in waiting.pop().selections:
            if variables is not None and _skipped(node.directives or (), variables):
                continue
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                seen.add(node.name.value)
                fragment = fragments.get(node.name.value)
                if fragment is not None:
                    waiting.append(fragment.selection_set)


def _skipped(directives: Iterable[DirectiveNode], variables: Mapping[str, Any]) -> bool:
    for directive in directives:
        wanted = {"skip": False, "include": True}.get(directive.name.value)
        if wanted is None:
            continue
        for argument in directive.arguments or ():
            value = argument.value
            if isinstance(value, BooleanValueNode):
                condition = value.value
            else:
                condition = isinstance(value, VariableNode) and bool(variables.get(value.name.value))
            if condition is not wanted:
                return True
    return False

"""Look-ahead: what of a field's selection is asked for.

Strawberry's `info.selected_fields` expands every fragment at each spread, which a small document of doubling
fragments turns into minutes. Here each fragment is looked into once for each step of the path.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

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


Path: TypeAlias = tuple[str, ...]

# As many as documents are kept; of each field, what is selected under each set of conditions that it was asked with.
_LARGEST_KEPT = 500
_kept: dict[Hashable, tuple[Sequence[FieldNode], frozenset[str]]] = {}
"""Those that were asked for last come last."""


def selected(info: Info, *paths: Path) -> frozenset[str]:
    """The names of the fields that are selected at any of these paths below the present field.

    Paths are of names, by whatever aliases and fragments. Type conditions are not looked at: some of the fields may be
    of types that the value turns out not to have. Looked for once for a document.
    """
    # The only way to the fragments.
    raw = cast("GraphQLResolveInfo[Any]", cast("Any", info)._raw_info)  # noqa: SLF001
    nodes, variables = raw.field_nodes, info.variable_values
    # What is skipped depends on which variables are true, and on nothing else of them.
    true = frozenset([name for name, value in variables.items() if value is True])
    key = (paths, true, *map(id, nodes))
    known = _kept.pop(key, None)
    if known is None:
        names = frozenset(node.name.value for path in paths for node in _below(nodes, path, raw.fragments, variables))
        # The nodes are kept beside them, so that their identity stays their own.
        known = nodes, names
    _kept[key] = known
    if len(_kept) > _LARGEST_KEPT:
        del _kept[next(iter(_kept))]
    return known[1]


def _below(
    nodes: Sequence[FieldNode],
    path: Path,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> list[FieldNode]:
    """The fields that are selected at a path below the fields of these nodes."""
    sets = [node.selection_set for node in nodes if node.selection_set is not None]
    found = list(fields(sets, fragments, variables))
    if not path:
        return found
    return _below([node for node in found if node.name.value == path[0]], path[1:], fragments, variables)


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

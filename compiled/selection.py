"""Writes the function of a selection set.

For the selection `{ id kind node { at total } logs { … } }` it is, but for the names, this:

    def run(flight, source, path, index, bound):
        waiting = None
        try:
            v0 = source.id
            if v0.__class__ is not str:
                v0 = later(flight, F0, v0, path, index)
                if v0.__class__ is Pending:
                    waiting, v0 = (waiting, v0, 0), None
        except Exception as error:
            v0 = failed(flight, F0, error, path, index)
        ...
        d0 = {"id": v0, "kind": v1, "node": d1}
        F4.run(flight, source, d0, path, index, bound)
        if waiting is not None:
            place(waiting, ...)
        return d0

Attributes are read and compared here; a value of another class than expected, an error and an awaitable are turned
over to `fields.later` and `fields.failed`. `try` costs nothing until something is raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from graphql import GraphQLEnumType, GraphQLField, GraphQLObjectType
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Undefined

from compiled.fields import (
    PLAIN,
    CoreField,
    FieldPlan,
    KeyedField,
    Leaf,
    Run,
    RunField,
    RunItems,
    Suffix,
    failed,
    is_float,
    is_int,
    is_leaf,
    is_plain,
    later,
    plain_class,
)
from compiled.flight import Pending

if TYPE_CHECKING:
    from graphql.pyutils import Path

    from compiled.flight import Bound
    from compiled.plan import Variant

# Objects within objects are written into the function of the outermost, this deep: Python nests 20 blocks at most.
_LARGEST_NESTING = 4
_LEAST_INT, _LARGEST_INT = -(2**31), 2**31 - 1


class _Place(NamedTuple):
    """A dict that the function builds: its variable, and where a null from within goes."""

    variable: str
    bound: tuple[int, str, FieldPlan] | None
    """Number of the dict that holds it, under which key, and the field; None: the function's own bound."""


@dataclass
class _Writer:
    variant: Variant
    suffix: Suffix
    names: dict[str, Any] = field(default_factory=dict[str, Any])
    lines: list[str] = field(default_factory=list[str])
    places: list[_Place] = field(default_factory=list[_Place])
    values: int = 0

    def write(self, depth: int, *lines: str) -> None:
        self.lines.extend("    " * depth + line for line in lines)

    def name(self, prefix: str, value: object) -> str:
        """Give a constant a name in the function's globals."""
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def value(self) -> str:
        self.values += 1
        return f"v{self.values}"

    # -------------------------------------------------------------------------------------------- a selection set

    def function(self, type_: GraphQLObjectType, grouped: Mapping[str, list[FieldDetails]]) -> Run:
        """Write and compile the function of a selection set."""
        self.write(0, "def run(flight, source, path, index, bound):")
        self.body(1, type_, grouped)
        self.write(1, "return d0")
        run: Run = self.compiled(type_)
        return run

    def loop(self, type_: GraphQLObjectType, grouped: Mapping[str, list[FieldDetails]]) -> RunItems:
        """Write and compile the function that does it for each item of a list."""
        record = self.variant.record(type_)
        if type_.is_type_of is None:
            other = "source.__class__ not in PLAIN and not is_plain(source)"
        else:
            other = f"source.__class__ is not {self.name('R', record)}"
        self.write(0, "def run(flight, sources, path, bound, done, slowly):")
        self.write(1, "for index, source in enumerate(sources):")
        self.write(2, f"if {other}:")
        self.write(3, "slowly(flight, source, path, index, done, bound)", "continue")
        self.body(2, type_, grouped)
        self.write(2, "done.append(d0)")
        run: RunItems = self.compiled(type_)
        return run

    def body(self, depth: int, type_: GraphQLObjectType, grouped: Mapping[str, list[FieldDetails]]) -> None:
        """Write what makes the dict of a source."""
        self.write(depth, "waiting = None")
        header = len(self.lines)
        self.places.append(_Place("d0", None))
        parts: list[str] = []
        begun = False
        for key, details in grouped.items():
            definition = self.variant.schema.get_field(type_, details[0].node.name.value)
            if definition is None:
                continue
            expression = self.inline(depth, 0, "source", self.plan(type_, key, details, definition, self.suffix))
            if expression is None:
                if not begun:
                    self.write(depth, f"d0 = {{{', '.join(parts)}}}")
                    begun = True
                self.run(depth, self.runs(type_, key, details, definition))
            elif begun:
                self.write(depth, f"d0[{key!r}] = {expression}")
            else:
                parts.append(f"{key!r}: {expression}")
        if not begun:
            self.write(depth, f"d0 = {{{', '.join(parts)}}}")
        # An error on the way to an inner object leaves its dict unmade.
        self.lines[header:header] = ["    " * depth + f"{place.variable} = None" for place in self.places[1:]]
        self.write(depth, "if waiting is not None:")
        containers = ", ".join(place.variable for place in self.places)
        self.write(depth + 1, f"place(waiting, ({containers},), PLACES, path, index, bound)")

    def run(self, depth: int, plan: FieldPlan) -> None:
        """Write a field that is not written inline."""
        name = self.name("F", plan)
        run = f"{name}.run(flight, source, d0, path, index, bound)"
        if not isinstance(plan, KeyedField):
            self.write(depth, run)
            return
        key = self.value()
        self.write(depth, "try:")
        self.write(depth + 1, f"{key} = source.{plan.source_key}")
        self.write(depth, "except Exception:")
        self.write(depth + 1, f"{key} = None")
        self.write(depth, f"if {key}.__class__ is str and {name} in flight.readable:")
        self.write(depth + 1, f"d0[{plan.key!r}] = None")
        self.write(depth + 1, f"flight.new.append(({name}, {key}, d0, path, index, bound))")
        self.write(depth, "else:")
        self.write(depth + 1, run)

    def compiled(self, type_: GraphQLObjectType) -> Any:
        known: dict[str, Any] = {
            "PLAIN": PLAIN,
            "PLACES": self.places,
            "Pending": Pending,
            "UNDEFINED": Undefined,
            "failed": failed,
            "is_plain": is_plain,
            "later": later,
            "place": _place,
            **self.names,
        }
        source = "\n".join(self.lines)
        exec(compile(source, f"<selection on {type_.name}>", "exec"), known)  # noqa: S102  (names and keys are literals)
        return known["run"]

    def runs(
        self, type_: GraphQLObjectType, key: str, details: list[FieldDetails], definition: GraphQLField
    ) -> FieldPlan:
        """Return a field that is not written inline."""
        if details[0].node.name.value.startswith("__"):
            return CoreField(self.variant, type_, key, details, definition, self.suffix)
        bindings = self.variant.bindings
        source_key = bindings.key(definition)
        if source_key is not None:
            return KeyedField(self.variant, type_, key, details, definition, self.suffix, source_key=source_key)
        attribute = bindings.attribute(definition)
        return RunField(self.variant, type_, key, details, definition, self.suffix, attribute=attribute)

    # ------------------------------------------------------------------------------------------------- one field

    def plan(
        self,
        type_: GraphQLObjectType,
        key: str,
        details: list[FieldDetails],
        definition: GraphQLField,
        suffix: Suffix,
    ) -> Leaf:
        attribute = self.variant.bindings.attribute(definition)
        return Leaf(self.variant, type_, key, details, definition, suffix, attribute=attribute)

    def inline(self, depth: int, place: int, source: str, plan: Leaf) -> str | None:
        """Write a field that is an attribute, and return its value's expression; None where it is not as simple."""
        if plan.nodes[0].name.value == "__typename":
            return repr(plan.parent.name)
        if plan.attribute is None:
            return None
        if is_leaf(plan.inner):
            return self.leaf(depth, place, source, plan)
        fields = self.simple(plan)
        return None if fields is None else self.object(depth, place, source, plan, fields)

    def simple(self, plan: Leaf) -> list[Leaf] | None:
        """The fields of an object that is made of attributes all the way down; None where it is not."""
        type_ = plan.inner
        if not isinstance(type_, GraphQLObjectType) or len(plan.suffix) - len(self.suffix) > _LARGEST_NESTING:
            return None
        if type_.is_type_of is not None and self.variant.record(type_) is None:
            return None
        found: list[Leaf] = []
        for key, details in self.variant.collect(type_, plan.details).items():
            definition = self.variant.schema.get_field(type_, details[0].node.name.value)
            if definition is None:
                return None
            inner = self.plan(type_, key, details, definition, plan.suffix)
            named = details[0].node.name.value == "__typename"
            if not named and (inner.attribute is None or not (is_leaf(inner.inner) or self.simple(inner) is not None)):
                return None
            found.append(inner)
        return found

    def leaf(self, depth: int, place: int, source: str, leaf: Leaf) -> str:
        value, plan = self.value(), self.name("F", leaf)
        self.write(depth, "try:")
        self.write(depth + 1, f"{value} = {source}.{leaf.attribute}")
        slowly = [
            f"{value} = later(flight, {plan}, {value}, path, index)",
            f"if {value}.__class__ is Pending:",
            f"    waiting, {value} = (waiting, {value}, {place}), None",
        ]
        class_ = plain_class(leaf.inner)
        if class_ is not None:
            other = f"{value}.__class__ is not {class_.__name__}"
        elif is_int(leaf.inner):
            other = f"{value}.__class__ is not int or not {_LEAST_INT} <= {value} <= {_LARGEST_INT}"
        elif is_float(leaf.inner):
            # Neither an infinity nor NaN less itself is nothing.
            other = f"{value}.__class__ is not float or {value} - {value} != 0.0"
        elif isinstance(leaf.inner, GraphQLEnumType):
            self.write(depth + 1, "try:")
            self.write(depth + 2, f"{value} = {self.name('N', leaf.names)}[{value}]")
            self.write(depth + 1, "except (KeyError, TypeError):")
            self.write(depth + 2, *slowly)
            other = ""
        else:
            coerce = self.name("C", leaf.inner.coerce_output_value)
            coerced = self.value()
            self.write(depth + 1, f"if {value}.__class__ in PLAIN:")
            self.write(depth + 2, f"{coerced} = {coerce}({value})")
            self.write(depth + 2, f"if {coerced}.__class__ in PLAIN or is_plain({coerced}):")
            self.write(depth + 3, f"{value} = {coerced}")
            self.write(depth + 2, "else:")
            self.write(depth + 3, *slowly)
            unless = f"elif {value} is not None:" if leaf.nullable else "else:"
            self.write(depth + 1, unless)
            self.write(depth + 2, f"is_plain({value})")
            self.write(depth + 2, *slowly)
            other = ""
        if other:
            self.write(depth + 1, f"if {other}:")
            if leaf.nullable:
                self.write(depth + 2, f"if {value} is not None:")
            self.write(depth + 2 + leaf.nullable, *slowly)
        self.write(depth, "except Exception as error:")
        self.write(depth + 1, f"{value} = failed(flight, {plan}, error, path, index)")
        return value

    def object(self, depth: int, place: int, source: str, plan: Leaf, fields: list[Leaf]) -> str:
        """Write an object whose selection is simple into the function of the one that holds it."""
        type_: GraphQLObjectType = plan.inner
        number = len(self.places)
        value, name, variable = self.value(), self.name("F", plan), f"d{number}"
        bound = (place, plan.key, plan) if plan.nullable else self.places[place].bound
        self.places.append(_Place(variable, bound))
        record = self.variant.record(type_)
        if type_.is_type_of is None:
            known = f"{value}.__class__ in PLAIN or is_plain({value})"
        else:
            known = f"{value}.__class__ is {self.name('R', record)}"
        if plan.nullable:
            self.write(depth, f"mark{number} = len(flight.new)")
        self.write(depth, "try:")
        self.write(depth + 1, f"{value} = {source}.{plan.attribute}", f"if {known}:")
        parts = [f"{item.key!r}: {self.inline(depth + 2, number, value, item)}" for item in fields]
        self.write(depth + 2, f"{variable} = {{{', '.join(parts)}}}")
        self.write(depth + 1, f"elif {value} is not None:" if plan.nullable else "else:")
        self.write(
            depth + 2,
            f"{variable} = later(flight, {name}, {value}, path, index)",
            f"if {variable}.__class__ is Pending:",
            f"    waiting, {variable} = (waiting, {variable}, {place}), None",
        )
        self.write(depth, "except Exception as error:")
        if plan.nullable:
            self.write(depth + 1, f"flight.drop(mark{number})")
        self.write(depth + 1, f"{variable} = failed(flight, {name}, error, path, index)")
        return variable


def _place(
    waiting: Any,
    containers: tuple[Any, ...],
    places: list[_Place],
    path: Path | None,
    index: int | None,
    bound: Bound | None,
) -> None:
    """Tell the gaps of a function, which were found before the dicts that they are in, where they are."""
    while waiting is not None:
        found: tuple[Any, Pending, int] = waiting
        waiting, pending, number = found
        pending.container = containers[number]
        place = places[number]
        if place.bound is None:
            pending.bound = bound
        else:
            holder, key, field_plan = place.bound
            pending.bound = (containers[holder], key, field_plan, path, index)


def compile_selection(
    variant: Variant, type_: GraphQLObjectType, grouped: Mapping[str, list[FieldDetails]], suffix: Suffix
) -> Run:
    """Compile a selection set on a type, see `Variant.selection`."""
    return _Writer(variant, suffix).function(type_, grouped)


def compile_loop(variant: Variant, type_: GraphQLObjectType, grouped: Mapping[str, list[FieldDetails]]) -> RunItems:
    """Compile a selection set on a type for the items of lists."""
    return _Writer(variant, ()).loop(type_, grouped)

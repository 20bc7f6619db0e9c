"""The fields of a selection set: what is known of each before any value is, and how its values are completed."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLString,
)
from graphql.execution.collect_fields import FieldDetails
from graphql.pyutils import Path, Undefined

from compiled.bindings import OfSource, Reading
from compiled.flight import Bound, Flight, Gap, Pending
from compiled.tuples import new_tuple

if TYPE_CHECKING:
    from compiled.plan import Variant

Run: TypeAlias = "Callable[[Flight, Any, Path | None, int | None, Bound | None], dict[str, Any]]"
"""A selection set: flight, source, path, index at that path where the source is an item of a list, bound.

Where the selection set is that of an object's field, path and index are those of the object, see `FieldPlan.suffix`.
"""

Suffix: TypeAlias = tuple[tuple[str, str], ...]
"""Steps of a path: for each the field's key in the answer and the name of the type that it is of."""

RunItems: TypeAlias = "Callable[[Flight, Sequence[Any], Path, Bound | None, list[Any], PutItem], None]"
"""A selection set for the items of a list: flight, sources, path of the list, bound, what has been made, and what
completes an item of an unexpected class."""

PutItem: TypeAlias = "Callable[[Flight, Any, Path, int, list[Any], Bound | None], None]"
"""Completes an item and puts it into its place: flight, value, path and index, list, bound."""


# Classes whose instances are values: neither awaitable nor errors. Learned as they are met, so that the next one is
# a look into a set; no more than there are in any honest program.
PLAIN: set[type] = {bool, int, float, str, list, tuple, dict}
_LARGEST_PLAIN = 10_000


def is_plain(value: Any) -> bool:
    """Whether a value's class says that it is neither awaitable nor an error."""
    class_ = value.__class__
    if class_ in PLAIN:
        return True
    if issubclass(class_, BaseException) or hasattr(class_, "__await__") or hasattr(class_, "__getattr__"):
        return False
    # Generators may be coroutines of an older kind, which their class does not say.
    if hasattr(class_, "gi_code") or value is None or value is Undefined:
        return False
    if len(PLAIN) < _LARGEST_PLAIN:
        PLAIN.add(class_)
    return True


class FieldPlan:
    """One field of a selection set, merged from all the places where the document selects it."""

    __slots__ = (
        "constants",
        "definition",
        "details",
        "inner",
        "key",
        "nodes",
        "nullable",
        "parent",
        "suffix",
        "type",
        "variables",
        "variant",
    )

    def __init__(
        self,
        variant: Variant,
        parent: GraphQLObjectType,
        key: str,
        details: list[FieldDetails],
        definition: GraphQLField,
        suffix: Suffix,
    ) -> None:
        self.variant = variant
        self.parent = parent
        self.key = key
        self.details = details
        self.nodes = [item.node for item in details]
        self.definition = definition
        self.constants: Mapping[str, Any] | None = None
        """The coerced arguments that are the same in each execution, once they are known."""
        self.variables: list[tuple[str, str]] = []
        """Beside those: an argument and the variable that it has the value of."""
        type_ = cast("Any", definition).type
        self.type = type_
        self.nullable = not isinstance(type_, GraphQLNonNull)
        self.inner = without_non_null(type_)
        # From the path that a generated function is given down to here: more than one step within objects.
        self.suffix = (*suffix, (key, parent.name))

    def path(self, path: Path | None, index: int | None) -> Path:
        """Return the field's place in the answer."""
        at: Any = path if index is None else new_tuple(Path, (path, index, None))
        for step in self.suffix:
            at = new_tuple(Path, (at, *step))
        found: Path = at
        return found

    def info(self, executor: Any, at: Path) -> GraphQLResolveInfo[Any]:
        """Return what graphql-core tells a resolver."""
        found: GraphQLResolveInfo[Any] = executor.build_resolve_info(self.definition, self.nodes, self.parent, at)
        return found

    def failed(self, executor: Any, error: Exception, path: Path) -> None:
        """Tell of an error. Raises it, located, where the field may not be null."""
        executor.handle_field_error(error, self.type, self.details, path)

    # ------------------------------------------------------------------------------------------- the unusual turns

    def complete_slowly(self, executor: Any, value: Any, at: Path) -> Any:
        """Complete a value as graphql-core does: the completed value, or an awaitable of it that tells of errors."""
        info = self.info(executor, at)
        if executor.is_awaitable(value):
            return executor.complete_awaitable_value(self.type, self.details, info, at, value, None)
        completed = executor.complete_value(self.type, self.details, info, at, value, None)
        if executor.is_awaitable(completed):
            return self._guarded(executor, completed, at)
        return completed

    async def _guarded(self, executor: Any, completed: Awaitable[Any], at: Path) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
            self.failed(executor, error, at)
            return None

    def run_slowly(
        self,
        flight: Flight,
        source: Any,
        out: dict[str, Any],
        path: Path | None,
        index: int | None,
        bound: Bound | None,
    ) -> None:
        """Resolve and complete the field as graphql-core does."""
        at = self.path(path, index)
        value = flight.executor.execute_field(self.parent, source, self.details, at, None)
        if flight.executor.is_awaitable(value):
            out[self.key] = None
            flight.new.append(Pending(value, out, self.key, None, at, None, bound))
        elif value is not Undefined:
            out[self.key] = value

    def put_slowly(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        """Complete a value as graphql-core does and put it, or what will come of it, into its gap."""
        at = self.path(path, index)
        completed = self.complete_slowly(flight.executor, value, at)
        if flight.executor.is_awaitable(completed):
            container[self.key] = None
            flight.new.append(Pending(completed, container, self.key, None, at, None, bound))
        else:
            container[self.key] = completed


# ------------------------------------------------------------------------------------- fields that generated code reads


class Leaf(FieldPlan):
    """A scalar or an enum, or an object of such, that is an attribute of the source."""

    __slots__ = ("attribute", "names")

    def __init__(self, *arguments: Any, attribute: str | None) -> None:
        super().__init__(*arguments)
        self.attribute = attribute
        # Of an enum: its members as they were met, and what they are called.
        self.names: dict[Any, str | None] = {None: None} if self.nullable else {}

    def learn(self, value: Any, completed: Any) -> None:
        """Remember an enum member's name. Only members: other values may equal each other across classes."""
        if isinstance(value, enum.Enum) and not isinstance(value, int | float) and isinstance(completed, str):
            self.names[value] = completed


def later(flight: Flight, field: FieldPlan, value: Any, path: Path | None, index: int | None) -> Any:
    """Complete what generated code has no short way for. Returns the value, or a Pending without container."""
    at = field.path(path, index)
    completed = field.complete_slowly(flight.executor, value, at)
    if flight.executor.is_awaitable(completed):
        pending = Pending(completed, None, field.key, None, at, None, None)
        flight.new.append(pending)
        return pending
    if isinstance(field, Leaf):
        field.learn(value, completed)
    return completed


def failed(flight: Flight, field: FieldPlan, error: Exception, path: Path | None, index: int | None) -> None:
    """Tell of an error that generated code met. Raises it, located, where the field may not be null."""
    field.failed(flight.executor, error, field.path(path, index))


# --------------------------------------------------------------------------------------- fields that run by themselves


class CoreField(FieldPlan):
    """A field that is graphql-core's from beginning to end."""

    __slots__ = ()

    run = FieldPlan.run_slowly


Put: TypeAlias = "Callable[[Flight, Any, Path | None, int | None, Any, Bound | None], None]"
"""Completes a value and puts it into its gap: flight, value, place, container, bound."""


class RunField(FieldPlan):
    """A field that has more to it than an attribute to read: a resolver to call, or objects below."""

    __slots__ = ("attribute", "leaf_class", "objects", "put")

    def __init__(self, *arguments: Any, attribute: str | None) -> None:
        super().__init__(*arguments)
        self.attribute = attribute
        self.put = self._way_of(self.inner)

    def run(
        self,
        flight: Flight,
        source: Any,
        out: dict[str, Any],
        path: Path | None,
        index: int | None,
        bound: Bound | None,
    ) -> None:
        """Resolve and complete the field; what has to be awaited joins the flight."""
        executor = flight.executor
        try:
            value: Any
            if self.attribute is not None:
                value = getattr(source, self.attribute)
            else:
                call: Any = executor.calls.get(self)
                if call is None:
                    info = self.info(executor, self.path(path, index))
                    call = executor.calls[self] = self.variant.call(executor, self, info)
                if call is False:
                    self.run_slowly(flight, source, out, path, index, bound)
                    return
                if call.__class__ is OfSource:
                    value = call.call(source)
                else:
                    value = call(source, self.info(executor, self.path(path, index)))
            if value.__class__ not in PLAIN and executor.is_awaitable(value):
                out[self.key] = None
                flight.new.append(Pending(value, out, self.key, self, path, index, bound))
                return
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
            self.failed(executor, error, self.path(path, index))
            out[self.key] = None
            return
        self.land(flight, value, path, index, out, bound)

    def land(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        """Complete a value and put it into its gap. Raises where that leaves null in a place that may not be."""
        mark = len(flight.new)
        try:
            if value is None and self.nullable:
                container[self.key] = None
            else:
                self.put(flight, value, path, index, container, bound)
        except Exception as error:  # noqa: BLE001
            flight.drop(mark)
            self.failed(flight.executor, error, self.path(path, index))
            container[self.key] = None

    # ---------------------------------------------------------------------------------------- by the kind of type

    def _way_of(self, type_: Any) -> Put:
        if isinstance(type_, GraphQLObjectType):
            self.objects = Objects(self, type_, self.suffix)
            return self._put_object
        if isinstance(type_, GraphQLList):
            named = without_non_null(item_type_of(type_))
            if isinstance(named, GraphQLObjectType):
                self.objects = Objects(self, named, ())
                return self._put_objects
            self.leaf_class = plain_class(named)
            if self.leaf_class is not None:
                return self._put_leaves
        self.leaf_class = plain_class(type_)
        return self.put_slowly if self.leaf_class is None else self._put_leaf

    def _put_leaf(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        if value.__class__ is self.leaf_class:
            container[self.key] = value
        else:
            self.put_slowly(flight, value, path, index, container, bound)

    def _put_leaves(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        class_ = self.leaf_class
        if value.__class__ in {list, tuple} and all(item.__class__ is class_ for item in value):
            container[self.key] = list(value)
        else:
            self.put_slowly(flight, value, path, index, container, bound)

    def _put_object(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        objects = self.objects
        if value.__class__ is objects.record or (objects.takes_any and is_plain(value)):
            run = objects.run or objects.make()
            inner_bound = (container, self.key, self, path, index) if self.nullable else bound
            container[self.key] = run(flight, value, path, index, inner_bound)
        else:
            self.put_slowly(flight, value, path, index, container, bound)

    def _put_objects(
        self, flight: Flight, value: Any, path: Path | None, index: int | None, container: Any, bound: Bound | None
    ) -> None:
        if value.__class__ is not list and value.__class__ is not tuple:
            self.put_slowly(flight, value, path, index, container, bound)
            return
        inner_bound = (container, self.key, self, path, index) if self.nullable else bound
        objects = self.objects
        done: list[Any] = []
        if value:
            at = self.path(path, index)
            if objects.nullable:
                for position, item in enumerate(value):
                    objects.put_nullable(flight, item, at, position, done, inner_bound)
            else:
                loop = objects.loop or objects.make_loop()
                loop(flight, value, at, inner_bound, done, objects.put_slowly)
        container[self.key] = done


class KeyedField(RunField):
    """A field whose value is read by a key of its source, together with those of all other sources.

    Of each source only the key is noted, and the gap that its value will fill.
    """

    __slots__ = ("source_key",)

    def __init__(self, *arguments: Any, source_key: str) -> None:
        super().__init__(*arguments, attribute=None)
        self.source_key = source_key

    def run(
        self,
        flight: Flight,
        source: Any,
        out: dict[str, Any],
        path: Path | None,
        index: int | None,
        bound: Bound | None,
    ) -> None:
        """Note what is to be read. Generated code does so itself once it is known how, see `Flight.readable`."""
        calls = flight.executor.calls
        reading = calls.get(self)
        if reading is None:
            info = self.info(flight.executor, self.path(path, index))
            reading = calls[self] = self.variant.reading(flight.executor, self, info)
        try:
            key = getattr(source, self.source_key) if reading is not False else self
        except Exception:  # noqa: BLE001  (its resolver reads it again, and tells of it)
            key = self
        if reading is not False:
            flight.readable.add(self)
        if key.__class__ is str or key.__class__ is int:
            out[self.key] = None
            flight.new.append((self, key, out, path, index, bound))
        elif key is None and self.nullable:
            out[self.key] = None
        else:
            self.run_slowly(flight, source, out, path, index, bound)

    def fill(self, flight: Flight, found: Mapping[Any, Any], gaps: list[Gap]) -> None:
        """Complete what was read and put it into the gaps, until there are none."""
        reading: Reading = flight.executor.calls[self]
        then, name, nullable, put = reading.then, self.key, self.nullable, self.put
        record, run = self._known()
        gaps.reverse()
        while gaps:
            _, key, container, path, index, bound = gaps.pop()
            mark = len(flight.new)
            try:
                value = found[key] if then is None else then(key, found[key])
                if value.__class__ is record:
                    inner_bound = (container, name, self, path, index) if nullable else bound
                    container[name] = run(flight, value, path, index, inner_bound)
                elif value is not None or not nullable:
                    put(flight, value, path, index, container, bound)
            except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
                flight.drop(mark)
                container[name] = None
                flight.failed(self, error, path, index, bound)

    def _known(self) -> tuple[type | None, Any]:
        """A class of which every instance is an object of the field's type, and the function of its selection set."""
        if isinstance(self.inner, GraphQLObjectType) and self.objects.record is not None:
            return self.objects.record, self.objects.run or self.objects.make()
        return None, None

    def fail(self, flight: Flight, error: Exception, gaps: list[Gap]) -> None:
        """Tell of an error in the place of each gap, until there are none."""
        gaps.reverse()
        while gaps:
            _, _, _, path, index, bound = gaps.pop()
            flight.failed(self, error, path, index, bound)


class Objects:
    """What a field has of an object type: one object, or a list of them."""

    __slots__ = ("field", "item_type", "loop", "nullable", "record", "run", "suffix", "takes_any", "type")

    def __init__(self, field: RunField, type_: GraphQLObjectType, suffix: Suffix) -> None:
        self.field = field
        self.type = type_
        # How far an object is below the path that is handed on to its selection set.
        self.suffix = suffix
        self.item_type = item_type_of(field.inner)
        self.nullable = not isinstance(self.item_type, GraphQLNonNull)
        self.record = field.variant.record(type_)
        self.takes_any = type_.is_type_of is None
        self.run: Run | None = None
        self.loop: RunItems | None = None

    def make(self) -> Run:
        """Compile the selection set below, once there is something to execute it on."""
        self.run = self.field.variant.selection(self.type, self.field.details, self.suffix)
        return self.run

    def make_loop(self) -> RunItems:
        """Compile it for the items of lists."""
        self.loop = self.field.variant.loop(self.type, self.field.details)
        return self.loop

    def put_slowly(self, flight: Flight, item: Any, at: Path, index: int, done: list[Any], bound: Bound | None) -> None:
        """Complete an item as graphql-core does."""
        executor, field, place = flight.executor, self.field, Path(at, index, None)
        info = field.info(executor, at)
        if executor.is_awaitable(item):
            done.append(
                executor.complete_awaitable_list_item_value(item, self.item_type, field.details, info, place, None)
            )
        elif not executor.complete_list_item_value(item, done, self.item_type, field.details, info, place, None):
            return
        awaitable, done[index] = done[index], None
        flight.new.append(Pending(awaitable, done, index, None, at, index, bound))

    def put_nullable(
        self, flight: Flight, item: Any, at: Path, index: int, done: list[Any], bound: Bound | None
    ) -> None:
        """Complete an item that may be null: errors below it go no further."""
        if item.__class__ is not self.record and not (self.takes_any and is_plain(item)):
            self.put_slowly(flight, item, at, index, done, bound)
            return
        mark = len(flight.new)
        done.append(None)
        try:
            run = self.run or self.make()
            done[index] = run(flight, item, at, index, (done, index, None, at, index))
        except Exception as error:  # noqa: BLE001
            flight.drop(mark)
            flight.executor.handle_field_error(error, self.item_type, self.field.details, Path(at, index, None))


def without_non_null(type_: Any) -> Any:
    """Return what a type is besides being non-null."""
    return cast("Any", type_).of_type if isinstance(type_, GraphQLNonNull) else type_


def item_type_of(type_: Any) -> Any:
    """Return the type of a list's items; of what is no list, itself."""
    return cast("Any", type_).of_type if isinstance(type_, GraphQLList) else type_


def plain_class(type_: Any) -> type | None:
    """Return the class whose instances a leaf type answers as they are; None where it depends on the value."""
    if isinstance(type_, GraphQLScalarType):
        for scalar, class_ in ((GraphQLString, str), (GraphQLID, str), (GraphQLBoolean, bool)):
            if type_.coerce_output_value is scalar.coerce_output_value:
                return class_
    return None


def is_int(type_: Any) -> bool:
    """Whether a type is GraphQL's own Int."""
    return isinstance(type_, GraphQLScalarType) and type_.coerce_output_value is GraphQLInt.coerce_output_value


def is_float(type_: Any) -> bool:
    """Whether a type is GraphQL's own Float."""
    return isinstance(type_, GraphQLScalarType) and type_.coerce_output_value is GraphQLFloat.coerce_output_value


def is_leaf(type_: Any) -> bool:
    """Whether a type has no selection set."""
    return isinstance(type_, GraphQLScalarType | GraphQLEnumType)

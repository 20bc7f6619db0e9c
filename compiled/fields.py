"""The fields of a selection set: what is known of each before any value is, and how its values are completed."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
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

from compiled.bindings import OfSource
from compiled.flight import Bound, Flight, Pending

if TYPE_CHECKING:
    from compiled.plan import Variant

Run: TypeAlias = Callable[[Flight, Any, Path | None, int | None, Bound | None], dict[str, Any]]
"""A selection set: flight, source, path, index at that path where the source is an item of a list, bound."""

# Makes a named tuple in half the time that calling its class takes.
_new = cast("Any", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]  (typeshed leaves it open)

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
        "variant",
    )

    def __init__(
        self,
        variant: Variant,
        parent: GraphQLObjectType,
        key: str,
        details: list[FieldDetails],
        definition: GraphQLField,
        suffix: tuple[tuple[str, str], ...],
    ) -> None:
        self.variant = variant
        self.parent = parent
        self.key = key
        self.details = details
        self.nodes = [item.node for item in details]
        self.definition = definition
        self.constants: Mapping[str, Any] | None = None
        """The coerced arguments, where they are the same in each execution."""
        type_ = cast("Any", definition).type
        self.type = type_
        self.nullable = not isinstance(type_, GraphQLNonNull)
        self.inner = without_non_null(type_)
        # From the generated function's source down to here: more than one step where objects are written inline.
        self.suffix = (*suffix, (key, parent.name))

    def path(self, path: Path | None, index: int | None) -> Path:
        """Return the field's place in the answer."""
        at: Any = path if index is None else _new(Path, (path, index, None))
        for step in self.suffix:
            at = _new(Path, (at, *step))
        found: Path = at
        return found

    def info(self, executor: Any, at: Path) -> GraphQLResolveInfo[Any]:
        """Return what graphql-core tells a resolver."""
        found: GraphQLResolveInfo[Any] = executor.build_resolve_info(self.definition, self.nodes, self.parent, at)
        return found

    def failed(self, executor: Any, error: Exception, path: Path) -> None:
        """Tell of an error. Raises it, located, where the field may not be null."""
        executor.handle_field_error(error, self.type, self.details, path)

    def inner_bound(self, container: Any, at: Path, bound: Bound | None) -> Bound | None:
        """Return where a null from below stops."""
        return _new(Bound, (container, self.key, at)) if self.nullable else bound

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

    def put_slowly(self, flight: Flight, value: Any, at: Path, container: Any, bound: Bound | None) -> None:
        """Complete a value as graphql-core does and put it, or what will come of it, into its gap."""
        completed = self.complete_slowly(flight.executor, value, at)
        if flight.executor.is_awaitable(completed):
            container[self.key] = None
            flight.new.append(Pending(completed, container, self.key, None, at, bound))
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
        pending = Pending(completed, None, field.key, None, at, None)
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

    def run(
        self,
        flight: Flight,
        source: Any,
        out: dict[str, Any],
        path: Path | None,
        index: int | None,
        bound: Bound | None,
    ) -> None:
        """Resolve and complete the field."""
        at = self.path(path, index)
        value = flight.executor.execute_field(self.parent, source, self.details, at, None)
        if flight.executor.is_awaitable(value):
            out[self.key] = None
            flight.new.append(Pending(value, out, self.key, None, at, bound))
        elif value is not Undefined:
            out[self.key] = value


class RunField(FieldPlan):
    """A field that has more to it than an attribute to read: a resolver to call, or objects below."""

    __slots__ = ("attribute", "items", "leaf_class", "put")

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
        at = self.path(path, index)
        executor = flight.executor
        try:
            value: Any
            if self.attribute is not None:
                value = getattr(source, self.attribute)
            else:
                call: Any = executor.calls.get(self)
                if call is None:
                    call = executor.calls[self] = self.variant.call(executor, self, self.info(executor, at))
                if call is False:
                    CoreField.run(self, flight, source, out, path, index, bound)  # type: ignore[arg-type]
                    return
                value = call.call(source) if call.__class__ is OfSource else call(source, self.info(executor, at))
            if value.__class__ not in PLAIN and executor.is_awaitable(value):
                out[self.key] = None
                flight.new.append(Pending(value, out, self.key, self, at, bound))
                return
        except Exception as error:  # noqa: BLE001  (whatever it is, it is the field's)
            self.failed(executor, error, at)
            out[self.key] = None
            return
        self.land(flight, value, at, out, bound)

    def land(self, flight: Flight, value: Any, path: Path, container: Any, bound: Bound | None) -> None:
        """Complete a value and put it into its gap."""
        mark = len(flight.new)
        try:
            if value is None and self.nullable:
                container[self.key] = None
            else:
                self.put(flight, value, path, container, bound)
        except Exception as error:  # noqa: BLE001
            flight.drop(mark)
            self.failed(flight.executor, error, path)
            container[self.key] = None

    # ---------------------------------------------------------------------------------------- by the kind of type

    def _way_of(self, type_: Any) -> Callable[[Flight, Any, Path, Any, Bound | None], None]:
        if isinstance(type_, GraphQLObjectType):
            self.items = Objects(self, type_)
            return self._put_object
        if isinstance(type_, GraphQLList):
            named = without_non_null(item_type_of(type_))
            if isinstance(named, GraphQLObjectType):
                self.items = Objects(self, named)
                return self._put_objects
            self.leaf_class = plain_class(named)
            if self.leaf_class is not None:
                return self._put_leaves
        self.leaf_class = plain_class(type_)
        return self.put_slowly if self.leaf_class is None else self._put_leaf

    def _put_leaf(self, flight: Flight, value: Any, at: Path, container: Any, bound: Bound | None) -> None:
        if value.__class__ is self.leaf_class:
            container[self.key] = value
        else:
            self.put_slowly(flight, value, at, container, bound)

    def _put_leaves(self, flight: Flight, value: Any, at: Path, container: Any, bound: Bound | None) -> None:
        class_ = self.leaf_class
        if value.__class__ in {list, tuple} and all(item.__class__ is class_ for item in value):
            container[self.key] = list(value)
        else:
            self.put_slowly(flight, value, at, container, bound)

    def _put_object(self, flight: Flight, value: Any, at: Path, container: Any, bound: Bound | None) -> None:
        objects = self.items
        if value.__class__ is objects.record or (objects.takes_any and is_plain(value)):
            run = objects.run or objects.make()
            container[self.key] = run(flight, value, at, None, self.inner_bound(container, at, bound))
        else:
            self.put_slowly(flight, value, at, container, bound)

    def _put_objects(self, flight: Flight, value: Any, at: Path, container: Any, bound: Bound | None) -> None:
        if value.__class__ is not list and value.__class__ is not tuple:
            self.put_slowly(flight, value, at, container, bound)
            return
        inner_bound = self.inner_bound(container, at, bound)
        objects = self.items
        done: list[Any] = []
        record = objects.record
        if objects.nullable:
            for index, item in enumerate(value):
                objects.put_nullable(flight, item, at, index, done, inner_bound)
        elif value:
            run = objects.run or objects.make()
            for index, item in enumerate(value):
                if item.__class__ is record or (objects.takes_any and is_plain(item)):
                    done.append(run(flight, item, at, index, inner_bound))
                else:
                    objects.put_slowly(flight, item, at, index, done, inner_bound)
        container[self.key] = done


class Objects:
    """What a field has of an object type: one object, or a list of them."""

    __slots__ = ("field", "item_type", "nullable", "record", "run", "takes_any", "type")

    def __init__(self, field: RunField, type_: GraphQLObjectType) -> None:
        self.field = field
        self.type = type_
        self.item_type = item_type_of(field.inner)
        self.nullable = not isinstance(self.item_type, GraphQLNonNull)
        self.record = field.variant.record(type_)
        self.takes_any = type_.is_type_of is None
        self.run: Run | None = None

    def make(self) -> Run:
        """Compile the selection set below, once there is something to execute it on."""
        self.run = self.field.variant.selection(self.type, self.field.details)
        return self.run

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
        flight.new.append(Pending(awaitable, done, index, None, place, bound))

    def put_nullable(
        self, flight: Flight, item: Any, at: Path, index: int, done: list[Any], bound: Bound | None
    ) -> None:
        """Complete an item that may be null: errors below it go no further."""
        if item.__class__ is not self.record and not (self.takes_any and is_plain(item)):
            self.put_slowly(flight, item, at, index, done, bound)
            return
        place = Path(at, index, None)
        mark = len(flight.new)
        done.append(None)
        try:
            run = self.run or self.make()
            done[index] = run(flight, item, at, index, Bound(done, index, place))
        except Exception as error:  # noqa: BLE001
            flight.drop(mark)
            flight.executor.handle_field_error(error, self.item_type, self.field.details, place)


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

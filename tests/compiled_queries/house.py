"""A schema whose resolvers do everything that resolvers may, as a seed says."""

from __future__ import annotations

import asyncio
import enum
import random
import zlib
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
)

from compiled import Bindings, Call, OfSource, Reading
from resolvers.loaders import Loaders, Read

SDL = """
interface Node { id: ID! name: String }
interface Holder { item: Node items: [Node!] }
union Thing = Cat | Dog | Box
scalar Any
scalar Picky
enum Colour { RED GREEN BLUE }

type Cat implements Node & Holder {
  id: ID! name: String lives: Int! weight: Float colour: Colour! tame: Boolean any: Any picky: Picky
  item: Node items: [Node!] friend: Cat mother: Cat! nap: Nap rest: Nap!
  kittens: [Cat!]! strays: [Cat] words: [String!]! odd: [String] grid: [[Int]] colours: [Colour!]
  keeper(loud: Boolean = true): Cat twin: Cat! brood(unit: Int): [Cat!] tag: String! spot: Node
}
type Nap { long: Int! deep: Boolean! note: String within: Nap }
type Dog implements Node {
  id: ID! name: String! bark: String! owner(loud: Boolean = true, colour: Colour): Box things: [Thing!]
  keeper(loud: Boolean = true): Cat tag: String! tags: [String!]!
}
type Box implements Holder { item: Node items: [Node!] size(unit: Int!, more: [Int!], at: Where): Int! cat: Cat! thing: Thing }
input Where { x: Int! y: String = "here" }
type Query { cat(id: ID!): Cat! maybe: Cat cats(first: Int): [Cat!]! node(id: ID): Node thing: Thing dog: Dog things: [Thing] }
"""  # noqa: E501


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


class Trouble(Exception):  # noqa: N818
    pass


class Words(str):
    __slots__ = ()


@dataclass
class Record:
    """An object of some type; what its fields have depends on its number and the seed alone."""

    kind: str
    number: int
    house: House

    def __getattribute__(self, name: str) -> Any:
        if name in {"kind", "number", "house", "__class__", "__dict__", "__await__"}:
            return object.__getattribute__(self, name)
        return self.house.value(self, name)


class CatRecord(Record):
    pass


class DogRecord(Record):
    pass


class BoxRecord(Record):
    pass


class NapRecord(Record):
    pass


RECORDS = {"Cat": CatRecord, "Dog": DogRecord, "Box": BoxRecord, "Nap": NapRecord}


KINDS = ("coroutine", "coroutine", "future", "promise")


def raised_or(value: Any) -> Any:
    if isinstance(value, Trouble):
        raise value
    return value


@dataclass(eq=False)
class Promise:
    """An awaitable of a class of its own."""

    waiting: Coroutine[Any, Any, Any]

    def __await__(self) -> Generator[Any, None, Any]:
        return self.waiting.__await__()


class House:
    """Makes values. `calm` makes fewer of those that go wrong."""

    def __init__(self, seed: int, trouble: float, awaited: float) -> None:
        self.seed, self.trouble, self.awaited = seed, trouble, awaited
        self.loaders = Loaders()
        self.reads: list[tuple[str, list[Any]]] = []

    def value(self, record: Record | None, name: str, arguments: object = "") -> Any:
        place = f"{self.seed}/{record.kind if record else 'Query'}/{record.number if record else 0}/{name}/{arguments}"
        rolls = random.Random(zlib.crc32(place.encode()))
        value = self.plain(record, name, rolls)
        if rolls.random() < self.trouble:
            value = rolls.choice(
                [None, Trouble(f"{name} is broken"), GraphQLError(f"{name} is shown"), 2**40, object()]
            )
            if value.__class__ is object:
                raise Trouble(f"{name} was raised")
        if rolls.random() < self.awaited:
            return self.later(value, rolls.randint(0, 3), rolls.choice(KINDS))
        return value

    def later(self, value: Any, passes: int, kind: str) -> Awaitable[Any]:
        async def wait() -> Any:
            for _ in range(passes):
                await asyncio.sleep(0)
            return raised_or(value)

        if kind == "promise":
            return Promise(wait())
        return asyncio.ensure_future(wait()) if kind == "future" else wait()

    def reading(self, name: str, arguments: str) -> tuple[Read[Any], Callable[[Any, Any], Any]]:
        """How a field is read by keys, and what is made of each value. Raises in some houses."""
        rolls = self.rolls(f"{name}{arguments}/reading")
        if rolls.random() < self.trouble:
            raise Trouble(f"{name} cannot be read like that")

        def then(key: Any, value: Any) -> Any:
            if self.rolls(f"{name}/{known(key)}/then").random() < self.trouble:
                raise Trouble(f"nothing is made of {name}")
            return value

        return partial(self.read, name, arguments), then

    async def read(self, name: str, arguments: str, keys: Sequence[Any]) -> list[Any]:
        self.reads.append((name, list(keys)))
        rolls = self.rolls(f"{name}{arguments}/read")
        for _ in range(rolls.randint(0, 2)):
            await asyncio.sleep(0)
        if rolls.random() < self.trouble:
            raise Trouble(f"{name} could not be read")
        return [self.by_key(name, self.rolls(f"{name}{arguments}/{known(key)}")) for key in keys]

    def by_key(self, name: str, rolls: random.Random) -> Any:
        value = self.plain(None, name, rolls)
        if rolls.random() < self.trouble:
            return rolls.choice([None, Trouble(f"{name} is broken"), GraphQLError(f"{name} is shown"), 7, object()])
        return value

    def rolls(self, place: str) -> random.Random:
        return random.Random(zlib.crc32(f"{self.seed}/{place}".encode()))

    def make(self, kind: str, rolls: random.Random) -> Record:
        return RECORDS[kind](kind, rolls.randint(0, 50), self)

    def some(self, rolls: random.Random, make: Callable[[], Any]) -> Any:
        found: list[Any] = []
        for _ in range(rolls.randint(0, 3)):
            roll = rolls.random()
            if roll < self.trouble:
                found.append(rolls.choice([None, Trouble("an item is broken"), 7]))
            elif roll < self.trouble + self.awaited / 4:
                found.append(self.later(make(), rolls.randint(0, 2), rolls.choice(KINDS)))
            else:
                found.append(make())
        return tuple(found) if rolls.random() < 0.3 else found

    def plain(self, record: Record | None, name: str, rolls: random.Random) -> Any:  # noqa: C901, PLR0912
        match name:
            case "id":
                return rolls.choice(["cat:1", 17, Words("w")])
            case "name" | "bark" | "note":
                return rolls.choice(["Tom", "Ünï", Words("words"), 3, 2.5, True])
            case "lives" | "long":
                return rolls.choice([9, 0, -(2**31), True, 7.0, "12"])
            case "weight":
                return rolls.choice([3.5, 4, 0.0, -0.0])
            case "tame" | "deep":
                return rolls.choice([True, False, 1])
            case "colour":
                return rolls.choice(list(Colour))
            case "any":
                return rolls.choice([{"a": [1, None]}, [], "text", 0, False, 1.5])
            case "picky":
                return rolls.choice([5, 4])
            case "friend" | "mother" | "cat" | "maybe":
                return self.make("Cat", rolls)
            case "dog":
                return self.make("Dog", rolls)
            case "nap" | "rest" | "within":
                return self.make("Nap", rolls)
            case "owner":
                return self.make("Box", rolls)
            case "item" | "node":
                return self.make(rolls.choice(["Cat", "Dog"]), rolls)
            case "thing":
                return self.make(rolls.choice(["Cat", "Dog", "Box"]), rolls)
            case "kittens" | "strays" | "cats":
                return self.some(rolls, lambda: self.make("Cat", rolls))
            case "items":
                return self.some(rolls, lambda: self.make(rolls.choice(["Cat", "Dog"]), rolls))
            case "things":
                return self.some(rolls, lambda: self.make(rolls.choice(["Cat", "Dog", "Box"]), rolls))
            case "words" | "odd":
                return self.some(rolls, lambda: rolls.choice(["a", "b", Words("c")]))
            case "grid":
                return self.some(rolls, lambda: self.some(rolls, lambda: rolls.randint(0, 9)))
            case "colours":
                return self.some(rolls, lambda: rolls.choice(list(Colour)))
            case "size":
                return 1
            case "keeper" | "twin":
                return self.make("Cat", rolls)
            case "brood":
                return self.some(rolls, lambda: self.make("Cat", rolls))
            case "tag":
                return rolls.choice(["a", "b", Words("c"), 3])
            case "tags":
                return self.some(rolls, lambda: rolls.choice(["a", "b", Words("c")]))
            case "spot":
                return self.make(rolls.choice(["Cat", "Dog"]), rolls)
            case "keeper_id" | "twin_id" | "brood_id" | "tag_id" | "spot_id" | "tags_id":
                return rolls.choice(["key:1", "key:2", 3, None if rolls.random() < self.trouble else "key:4"])
            case _:
                raise AssertionError(name)


def picky(value: Any) -> Any:
    if value == 4:
        return None
    if not isinstance(value, int):
        raise Trouble("not picked")
    return value


# What is an attribute to the bindings; the others have resolvers.
ATTRIBUTES = {
    "id", "name", "bark", "lives", "weight", "tame", "colour", "any", "picky", "friend", "nap", "rest", "within",
    "long", "deep", "note", "kittens", "strays", "words", "odd", "grid", "colours", "item", "thing",
}  # fmt: skip


# What is read by keys of the sources.
KEYED = {"keeper", "twin", "brood", "tag", "tags", "spot"}


def known(key: object) -> str:
    """A key that is the same each time: others may be awaitables, which are not."""
    return str(key) if isinstance(key, str | int) else type(key).__name__


def keyed(name: str) -> Callable[..., Any]:
    def resolve(source: Any, _info: Any, **arguments: Any) -> Any:
        key = getattr(source, f"{name}_id")
        if key is None:
            return None
        read, then = source.house.reading(name, str(sorted(arguments.items())))
        return source.house.loaders.load(read, key, then)

    resolve.keyed = name  # type: ignore[attr-defined]
    return resolve


def attribute_of(name: str) -> Callable[..., Any]:
    def read(source: Any, _info: Any) -> Any:
        return getattr(source, name)

    read.attribute = name  # type: ignore[attr-defined]
    return read


def resolver_of(name: str) -> Callable[..., Any]:
    def resolve(source: Any, info: Any, **arguments: Any) -> Any:
        house = info.context if source is None else source.house
        return house.value(source, name, (sorted(map(repr, arguments.items())), info.path.as_list()[0]))

    return resolve


def house_schema() -> GraphQLSchema:
    """The schema, without any house."""
    schema = build_schema(SDL)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                own = name in ATTRIBUTES and type_.name != "Query"
                made = keyed if name in KEYED else attribute_of if own else resolver_of
                field.resolve = made(name)
            if type_.name != "Query":
                kind = type_.name
                if kind in {"Cat", "Dog"}:
                    type_.is_type_of = lambda value, _info, kind=kind: getattr(value, "kind", "") == kind
    for name in ("Node", "Thing"):
        schema.type_map[name].resolve_type = lambda value, _info, _type: getattr(value, "kind", None)  # type: ignore[attr-defined]
    scalar = schema.type_map["Picky"]
    assert isinstance(scalar, GraphQLScalarType)
    scalar.coerce_output_value = picky
    colours: Any = schema.type_map["Colour"]
    for member in Colour:
        colours.values[member.name].value = member
    return schema


class HouseBindings(Bindings):
    """Knows the attributes, and cats by their class."""

    def attribute(self, field: GraphQLField) -> str | None:
        return getattr(field.resolve, "attribute", None)

    def call(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Call | OfSource | None:
        resolve: Any = field.resolve
        # What these resolvers ask of an info is the same for all sources. The others stay as they are.
        if info.field_name in {"mother", "rest", "items", "owner", "cat"}:
            return OfSource(lambda source: resolve(source, info, **arguments))
        return None

    def key(self, field: GraphQLField) -> str | None:
        name = getattr(field.resolve, "keyed", None)
        return None if name is None else f"{name}_id"

    def reading(
        self, field: GraphQLField, arguments: Mapping[str, Any], info: GraphQLResolveInfo[Any]
    ) -> Reading | None:
        name = getattr(field.resolve, "keyed", "")
        if name == "tags":
            return None
        read, then = info.context.reading(name, str(sorted(arguments.items())))
        return Reading(read, partial(info.context.loaders.join, read), then)

    def record(self, type_: GraphQLObjectType) -> type | None:
        return CatRecord if type_.name == "Cat" else None

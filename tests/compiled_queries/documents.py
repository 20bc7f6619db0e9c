"""Documents made up from a schema: fragments, aliases, directives, variables, and fields that are merged."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
)


@dataclass
class Asked:
    """A document with the variables to execute it with."""

    text: str
    variables: Mapping[str, Any]


@dataclass
class DocumentMaker:
    """Makes documents. `values` are what may be written for a scalar argument, by the scalar's name."""

    schema: GraphQLSchema
    random: random.Random
    values: Mapping[str, list[str]]
    depth: int = 4
    fields: int = 5
    left_out: frozenset[str] = frozenset()
    variables: dict[str, tuple[str, Any]] = field(default_factory=dict[str, "tuple[str, Any]"])
    fragments: dict[str, str] = field(default_factory=dict[str, str])

    def make(self) -> Asked:
        """Make the next document: a query."""
        self.variables, self.fragments = {}, {}
        assert self.schema.query_type is not None
        selection = self.selection(self.schema.query_type, self.depth)
        declared = ", ".join(f"${name}: {type_}" for name, (type_, _) in self.variables.items())
        head = f"query Q({declared}) " if declared else "query Q "
        given = {name: value for name, (_, value) in self.variables.items() if value is not ...}
        return Asked("\n".join([head + selection, *self.fragments.values()]), given)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # ------------------------------------------------------------------------------------------------- selections

    def selection(self, type_: Any, depth: int) -> str:
        parts: list[str] = []
        for _ in range(self.random.randint(1, self.fields)):
            roll = self.random.random()
            if roll < 0.08:
                parts.append("__typename" if self.chance(0.5) else f"{self.alias()}: __typename")
            elif roll < 0.2 and depth > 0:
                condition = self.condition_on(type_)
                on = f" on {condition}" if self.chance(0.8) or condition != type_ else ""
                inner = self.selection(condition, depth - 1)
                parts.append(f"...{on}{self.directive()} {inner}")
            elif roll < 0.3 and depth > 0:
                parts.append(f"...{self.fragment(self.condition_on(type_), depth - 1)}{self.directive()}")
            else:
                parts.append(self.field_of(type_, depth))
        chosen = [part for part in parts if part]
        return "{ " + " ".join(chosen or ["__typename"]) + " }"

    def condition_on(self, type_: Any) -> Any:
        if isinstance(type_, GraphQLObjectType):
            return self.random.choice([type_, *type_.interfaces])
        possible = list(self.schema.get_possible_types(type_))
        return self.random.choice([type_, *possible] if isinstance(type_, GraphQLInterfaceType) else possible)

    def fragment(self, type_: Any, depth: int) -> str:
        name = f"F{len(self.fragments)}"
        self.fragments[name] = ""  # its number is taken, whatever is made within
        self.fragments[name] = f"fragment {name} on {type_} {self.selection(type_, depth)}"
        return name

    def alias(self) -> str:
        # Few names, so that fields meet; what cannot be merged is found by validation, and not executed.
        return self.random.choice("abcd")

    def directive(self) -> str:
        if not self.chance(0.15):
            return ""
        kind = self.random.choice(["skip", "include"])
        if self.chance(0.4):
            return f" @{kind}(if: {self.random.choice(['true', 'false'])})"
        name = self.random.choice(["yes", "no"])
        type_ = self.random.choice(["Boolean!", "Boolean = true"])
        self.variables.setdefault(name, (type_, name == "yes"))
        return f" @{kind}(if: ${name})"

    def field_of(self, type_: Any, depth: int) -> str:
        if isinstance(type_, GraphQLUnionType):
            return "__typename"
        choices = [item for item in type_.fields.items() if item[0] not in self.left_out]
        name, definition = self.random.choice(choices)
        named = get_named_type(definition.type)
        leaf = isinstance(named, GraphQLScalarType | GraphQLEnumType)
        if not leaf and depth <= 0:
            return ""
        arguments = self.arguments(definition.args)
        alias = f"{self.alias()}: " if self.chance(0.15) else ""
        below = "" if leaf else " " + self.selection(named, depth - 1)
        return f"{alias}{name}{arguments}{self.directive()}{below}"

    # -------------------------------------------------------------------------------------------------- arguments

    def arguments(self, arguments: Mapping[str, Any]) -> str:
        parts = [
            f"{name}: {self.literal(argument.type)}"
            for name, argument in arguments.items()
            if isinstance(argument.type, GraphQLNonNull) or self.chance(0.4)
        ]
        return f"({', '.join(parts)})" if parts else ""

    def literal(self, type_: Any) -> str:
        if isinstance(type_, GraphQLNonNull):
            return self.literal(type_.of_type)
        if isinstance(type_, GraphQLScalarType) and type_.name in {"Int", "ID", "String", "Boolean"}:
            value = self.random.choice(self.values[type_.name])
            if self.chance(0.3):
                name = f"v{len(self.variables)}"
                plain: Any = {"true": True, "false": False}.get(value, value.strip('"'))
                self.variables[name] = (f"{type_.name}!", int(value) if type_.name == "Int" else plain)
                return f"${name}"
            return value
        if isinstance(type_, GraphQLScalarType):
            return self.random.choice(self.values[type_.name])
        if isinstance(type_, GraphQLEnumType):
            return str(self.random.choice(list(type_.values)))
        if isinstance(type_, GraphQLList):
            return "[" + ", ".join(self.literal(type_.of_type) for _ in range(self.random.randint(0, 2))) + "]"
        assert isinstance(type_, GraphQLInputObjectType)
        parts = [
            f"{name}: {self.literal(item.type)}"
            for name, item in type_.fields.items()
            if isinstance(item.type, GraphQLNonNull) or self.chance(0.3)
        ]
        return "{" + ", ".join(parts) + "}"

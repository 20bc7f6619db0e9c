"""Documents that ask for too much: each kind is refused through fragments too, quickly, and says what is too much."""

import re
import time
from typing import Any, cast

import pytest
from graphql import GraphQLError, get_introspection_query

from resolvers.context import Context, Services
from schema.build import Schema, build_schema
from schema.errors import shown
from schema.limits import Limits


@pytest.fixture(scope="module")
def schema() -> Schema:
    return build_schema()


def problems(schema: Schema, document: str, **variables: Any) -> list[tuple[Any, str]]:
    """Codes and messages of what is wrong with a document, without executing it."""
    try:
        read = schema.document(document)
        error = None if read.errors else schema.nodes_error(read.operations[None], variables)
        errors = read.errors or ([error] if error else [])
    except GraphQLError as error:
        errors = [error]
    return [((item.extensions or {}).get("code"), item.message) for item in map(shown, errors)]


def nested(levels: int) -> str:
    """As many levels of fields, the root's and the leaf's included."""
    return (
        "{ jobs { nodes "
        + "{ latestExecution { job " * ((levels - 3) // 2)
        + "{ id }"
        + " } }" * ((levels - 3) // 2)
        + " } }"
    )


def doubling(name: str, inner: str, count: int = 30) -> str:
    """Fragments each of which spreads the next twice."""
    chain = [f"fragment {name}{n} on Query {{ ...{name}{n + 1} ...{name}{n + 1} }}" for n in range(count)]
    return " ".join([*chain, f"fragment {name}{count} on Query {{ {inner} }}"])


# Each edge and page on the way to the innermost thing there is: 12 levels.
DEEPEST = (
    "{ jobs { edges { node { executions { edges { node { validations { edges { node { ...A } } } } } } } } } }"
    "fragment A on Validation { criteria { criterion { id } } }"
)
FRAGMENTED = (
    "{ jobs { nodes { ...A } } } fragment A on Job { latestExecution { job { ...B } } }"
    " fragment B on Job { latestExecution { job { ...C } } } fragment C on Job { latestExecution { job { ... {"
    " latestExecution { job { latestExecution { job { id } } } } } } } }"
)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (nested(13), "is 13 levels deep; at most 12"),
        (FRAGMENTED, "is 13 levels deep; at most 12"),
        ("{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(16)) + " }", "has 16 aliases; at most 15"),
        (
            "{ ...A ...A ... { ...A ...A } } fragment A on Query { a: viewer { b: id c: id d: id } }",
            "has 16 aliases; at most 15",
        ),
        ("{ ...A0 } " + doubling("A", "a: viewer { id }"), "has more than 10⁹ aliases"),
        ("{ ...A0 } " + doubling("A", "viewer { id }"), "has one field more than 10⁹ times side by side"),
        ("{ viewer {" + " id" * 51 + " } }", "has one field 51 times side by side; at most 50"),
        ("{ " + "viewer { id } " * 480 + "}", "has one field 480 times"),
        ("{ viewer {" + " id" * 2_000 + " } }", "more than 2000 tokens"),
        ("{a" * 900, "nested too deeply"),
        ("{ node(id: " + "[" * 900, "nested too deeply"),
        ("{ __schema { types " + "{ fields { type " * 9 + "{ name }" + "}}" * 9 + "} }", "levels of introspection"),
        ("{ jobs(first: 100) { nodes { logs(first: 100) { nodes { id } } } } }", "may bring 10100 rows"),
        ("{ jobs(last: 100) { edges { node { logs(last: 100) { totalCount } } } } }", "may bring 10100 rows"),
        ("{ jobs(first: 100) { nodes { ...A } } } fragment A on Job { logs(first: 100) { totalCount } }", "10100 rows"),
        (
            "{ jobs(first: 100) { nodes { ... on Node { ... on Job { logs(first: 100) { totalCount } } } } } }",
            "may bring 10100 rows",
        ),
        (
            "{ jobs { nodes { executions { nodes { logs { totalCount } } logs { totalCount } } } } }",
            "Cannot query field 'logs'",
        ),
        (
            "{ jobs { nodes { executions { nodes { logs { totalCount } validations { totalCount } } } } } }",
            "may bring 16420 rows",
        ),
        ("query Q($n: Int = 100) { jobs(first: $n) { nodes { logs(first: $n) { totalCount } } } }", "10100 rows"),
    ],
)
def test_too_much_is_refused(schema: Schema, document: str, message: str) -> None:
    started = time.process_time()

    found = problems(schema, document)

    assert time.process_time() - started < 1
    assert any(message in text for _, text in found), found
    if "Cannot query" not in message:
        assert "TOO_COMPLEX" in {code for code, _ in found}


@pytest.mark.parametrize(
    "document",
    [
        nested(11),
        "{ " + " ".join(f"a{n}: viewer {{ id }}" for n in range(15)) + " }",
        "{ viewer {" + " id" * 50 + " } }",
        get_introspection_query(specified_by_url=True, input_value_deprecation=True, one_of=True),
        "{ jobs { nodes { executions { nodes { logs { totalCount } } } } } }",
        "{ jobs(first: 99) { nodes { logs(first: 100) { totalCount } } } }",
        DEEPEST,
    ],
)
def test_what_clients_need_is_answered(schema: Schema, document: str) -> None:
    assert problems(schema, document) == []


def test_rows_are_counted_with_the_variables_given(schema: Schema) -> None:
    query = "query Q($n: Int, $m: Int) { jobs(first: $n) { nodes { logs(first: $m) { totalCount } } } }"

    assert problems(schema, query, n=100, m=99) == []
    assert problems(schema, query, n=100) == []
    assert "10100 rows" in problems(schema, query, n=100, m=100)[0][1]
    # More than a page has is refused anyway, and counts as the largest.
    assert "10100 rows" in problems(schema, query, n=2**31, m=2**31)[0][1]
    assert problems(schema, query, n=-5, m=None) == []
    assert problems(schema, query, n="x", m={}) == []  # said when the variable is coerced


def test_a_size_that_came_as_a_float_counts_like_the_int_that_it_is_taken_for(schema: Schema) -> None:
    query = "query Q($n: Int) { jobs(first: $n) { nodes { logs(first: $n) { totalCount } } } }"

    assert "10100 rows" in problems(schema, query, n=100.0)[0][1]
    assert "10100 rows" in problems(schema, query, n=1e300)[0][1]
    assert problems(schema, query, n=5.0) == []


def test_what_is_given_for_variables_of_other_operations_lets_nothing_through(schema: Schema) -> None:
    small, large = (
        "query A($m: Int) { jobs(first: $m) { totalCount } }",
        "query B($n: Int) { jobs(first: $n) { nodes { logs(first: $n) { totalCount } } } }",
    )
    operations = schema.document(f"{small} {large}").operations

    assert schema.nodes_error(operations["B"], {"n": 100, "m": "of another one"}) is not None
    assert schema.nodes_error(operations["A"], {"n": 100, "m": 100}) is None


def test_each_operation_is_measured_for_itself(schema: Schema) -> None:
    small, large = (
        "query A { viewer { id } }",
        "query B { jobs(first: 100) { nodes { logs(first: 100) { nodes { id } } } } }",
    )
    document = schema.document(f"{small} {large}")

    def error(name: str) -> object:
        return schema.nodes_error(document.operations[name], {})

    assert error("A") is None
    assert error("B") is not None


def test_limits_are_settings() -> None:
    strict = build_schema(Limits(depth=1, introspection_depth=2, aliases=0, repeats=1, tokens=20, nodes=1))

    assert "is 2 levels deep; at most 1" in problems(strict, "{ viewer { id } }")[0][1]
    assert "is 3 levels of introspection deep; at most 2" in problems(strict, "{ __schema { types { name } } }")[0][1]
    assert "has one field 2 times side by side; at most 1" in problems(strict, "{ __typename __typename }")[0][1]
    assert "has 1 aliases; at most 0" in problems(strict, "{ a: __typename }")[0][1]
    assert "more than 20 tokens" in problems(strict, "{" + " a" * 30 + "}")[0][1]
    assert "may bring 20 rows" in problems(build_schema(Limits(nodes=1)), "{ jobs { totalCount } }")[0][1]


def test_introspection_can_be_turned_off_but_not_the_names_of_types() -> None:
    closed = build_schema(introspection=False)

    for document in (
        "{ __schema { queryType { name } } }",
        '{ ...A } fragment A on Query { __type(name: "Job") { name } }',
    ):
        assert all("introspection has been disabled" in message for _, message in problems(closed, document))
        assert problems(closed, document)
    assert problems(closed, "{ __typename viewer { __typename } }") == []


GUESSED = [
    ("{ viewr { id } }", {}),
    ("{ jobs(frst: 1) { totalCount } }", {}),
    ("{ jobs(filter: {statuss: [PENDING]}) { totalCount } }", {}),
    ("{ jobs(filter: {statuses: [PENDIN]}) { totalCount } }", {}),
    ("query Q($f: JobFilte) { jobs(filter: $f) { totalCount } }", {}),
    ("query Q($f: JobFilter) { jobs(filter: $f) { totalCount } }", {"f": {"status": []}}),
    ("query Q($f: JobFilter) { jobs(filter: $f) { totalCount } }", {"f": {"statuses": ["PENDIN"]}}),
]


@pytest.mark.parametrize(("document", "variables"), GUESSED)
@pytest.mark.parametrize("way", [{"suggestions": False}, {"introspection": False}], ids=str)
async def test_guesses_at_what_was_meant_can_be_turned_off(
    schema: Schema, document: str, variables: dict[str, Any], way: dict[str, Any]
) -> None:
    async def said(by: Schema) -> str:
        result = await by.execute(document, variables, Context(cast("Services", None), None))
        return "\n".join(error.message for error in result.errors or ())

    guessing, silent = await said(schema), await said(build_schema(**way))

    assert "Did you mean" in guessing
    assert silent == re.sub(r" Did you mean [^?]*\?", "", guessing)


def test_documents_are_kept_but_not_without_end(schema: Schema) -> None:
    query = "{ viewer { id } }"
    kept = schema.document(query)

    for number in range(600):
        schema.document(f"{{ viewer {{ id }} }} # {number}")
        if number % 100 == 0:
            assert schema.document(query) is kept
    large = query + " " * 20_000

    assert len(schema.documents.kept) == 500
    assert schema.document(large) is not schema.document(large)

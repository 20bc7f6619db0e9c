"""JSON and DateTime, on the way in and on the way out."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

import pytest

from schema.scalars import datetime_text, parse_datetime, serialize_datetime, written
from tests.schema.conftest import Api
from tests.schema.test_jobs_api import CREATE, IS_OK

TOO_DEEP = "[" * 70 + "1" + "]" * 70


def create(literal: str) -> str:
    return (
        f'mutation M($x: JSON, $y: JSON) {{ createJob(input: {{title: "t", input: {literal},'
        ' acceptanceCriteria: [{text: "x", check: {expression: "true"}}]})'
        " { job { input } userErrors { message } } a: __typename @skip(if: true) }"
    )


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [1, 2.5, True, None, "ä\n\u2028🦉", {"ä": {}}],
        0,
        -1,
        2**63 - 1,
        1.5,
        False,
        "",
        {"__typename": 1, "a b": [[]]},
    ],
)
async def test_json_given_as_a_variable_comes_back_as_it_was(api: Api, value: Any) -> None:
    query = "mutation M($input: CreateJobInput!) { createJob(input: $input) { job { input } } }"

    data = await api.data(query, input={"title": "t", "acceptanceCriteria": [IS_OK], "input": value})

    assert data["createJob"]["job"]["input"] == value


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ('{a: [1, 2.5e1, -3, true, null, "s"], b: {c: {}}}', {"a": [1, 25.0, -3, True, None, "s"], "b": {"c": {}}}),
        ('"\\u00e4"', "ä"),
        ("7", 7),
        ("false", False),
        ("[]", []),
        ("null", {}),
    ],
)
async def test_json_may_be_written_into_the_document(api: Api, literal: str, value: Any) -> None:
    mutation = create(literal).replace("M($x: JSON, $y: JSON)", "M")

    assert (await api.data(mutation))["createJob"] == {"job": {"input": value}, "userErrors": []}


async def test_variables_may_stand_within_written_json(api: Api) -> None:
    data = await api.data(create("{a: $x, b: [$y]}"), x={"k": [1]}, y=None)

    assert data["createJob"]["job"]["input"] == {"a": {"k": [1]}, "b": [None]}


@pytest.mark.parametrize(
    ("literal", "why"),
    [
        ("{a: WORD}", "enum value"),
        ("99999999999999999999", "64 bits"),
        ("1e999", "too large"),
        ("{a: 1, a: 2}", "only one input field named 'a'"),
        ('"\\u0000"', "U+0000"),
        (TOO_DEEP, "deeper than 64"),
    ],
)
async def test_written_json_that_cannot_be_kept_is_refused(api: Api, literal: str, why: str) -> None:
    answer = await api.ask(create(literal).replace("M($x: JSON, $y: JSON)", "M"))

    assert any(why in error["message"] for error in answer["errors"]), answer
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"GRAPHQL_VALIDATION_FAILED"}


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-13-31T12:00:00Z",
        "2026-W05-6T12:00:00Z",
        "20260131T120000Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "\uff12026-01-31T12:00:00Z",
        "",
        5,
        True,
    ],
)
async def test_a_time_that_is_no_moment_is_refused(api: Api, text: object) -> None:
    query = "query Q($t: DateTime) { jobs(filter: {createdAfter: $t}) { totalCount } }"

    code, message = await api.error(query, t=text)

    assert code == "GRAPHQL_VALIDATION_FAILED"
    assert "RFC 3339" in message


def test_a_time_is_written_in_utc_whatever_its_zone() -> None:
    noon_in_lima = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=-5)))

    assert datetime_text(noon_in_lima) == "2026-01-31T17:00:00.000000Z"
    assert parse_datetime("2026-01-31T12:00:00.1234567-05:00") == noon_in_lima + timedelta(microseconds=123_456)


@pytest.mark.parametrize("microsecond", [0, 1, 100_000, 999_999])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))], ids=str)
def test_a_time_in_an_answer_is_written_like_any_other(microsecond: int, zone: tzinfo) -> None:
    time = datetime(2026, 1, 31, 12, 0, 0, microsecond, tzinfo=zone)

    assert written([serialize_datetime(time)]).decode() == f'["{datetime_text(time)}"]'
    assert len(datetime_text(time)) == len("2026-01-31T17:00:00.000000Z")


async def test_times_are_told_in_utc_and_taken_in_any_offset(api: Api) -> None:
    query = "query Q($t: DateTime!) { jobs(filter: {createdBefore: $t}) { totalCount } }"
    await api.data(CREATE, input={"title": "t", "acceptanceCriteria": [IS_OK]})
    created_at = (await api.data("{ jobs { nodes { createdAt } } }"))["jobs"]["nodes"][0]["createdAt"]
    assert created_at.endswith("Z")

    same = f"{created_at.removesuffix('Z')}+00:00"

    assert (await api.data(query, t=same))["jobs"]["totalCount"] == 0
    assert (await api.data(query, t=same.replace("+00:00", "-01:00")))["jobs"]["totalCount"] == 1
    assert (await api.data(query, t=created_at.lower()))["jobs"]["totalCount"] == 0

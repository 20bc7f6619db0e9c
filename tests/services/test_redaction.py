import base64
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import JsonValue
from services.redaction import REDACTED, Credentials, Redaction, blank_in_use
from services.strict_json import canonical

SECRET = 'pa$$/w0rd-"\\with-marks'
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "dbPassword",
        "Authorization",
        "set-cookie",
        "api_key",
        "apiKey",
        "X-Api-Key",
        "access_token",
        "token",
    ],
)
def test_members_with_telling_names_are_blanked(name: str) -> None:
    assert Redaction()({"a": [{name: "x"}, {name: {"deep": 1}}]}) == {"a": [{name: REDACTED}, {name: REDACTED}]}


@pytest.mark.parametrize("name", ["prompt_tokens", "tokens", "title", "ssn"])
def test_other_members_are_not(name: str) -> None:
    value: JsonValue = {name: "x", "password": None}

    assert Redaction()(value) == value


def test_an_operators_names_come_on_top_of_those() -> None:
    redact = Redaction(more_keys=re.compile("(?i)^ssn$"))

    assert redact({"SSN": 1, "password": "x", "b": "y"}) == {"SSN": REDACTED, "password": REDACTED, "b": "y"}


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        f"Bearer {SECRET}",
        json.dumps({"got": SECRET}),
        json.dumps({"got": json.dumps({"auth": SECRET})}),
        f"https://agent.example/?key={quote(SECRET, safe='')}",
        quote(SECRET, safe="").lower().replace("pa$$", SECRET[:4]),
        SECRET.replace("/", r"\/"),
        "pa$$/w0rd-&quot;\\with-marks",
        base64.b64encode(SECRET.encode()).decode(),
    ],
    ids=range(9),
)
def test_a_credential_is_blanked_however_it_is_echoed(echo: str) -> None:
    credentials = Credentials.of(SECRET, None)

    assert "with-marks" not in (text := credentials.blank_text(echo))
    assert REDACTED in text
    blanked = canonical(credentials.blank([{"a": echo}, {echo: 1}]))
    assert "with-marks" not in blanked
    assert blanked.count(REDACTED) == 2


def test_the_part_of_a_standard_webhooks_secret_that_counts_is_blanked_by_itself() -> None:
    key = base64.b64encode(b"k" * 24).decode()

    assert Credentials.of(f"whsec_{key}").blank({"key": key, "all": f"whsec_{key}"}) == {
        "key": REDACTED,
        "all": REDACTED,
    }


def test_a_short_credential_is_blanked_only_where_it_stands_by_itself() -> None:
    blank = Credentials.of("ok").blank

    assert blank({"took": "a token, ok?", "n": ["ok", "okay"]}) == {
        "took": f"a token, {REDACTED}?",
        "n": [REDACTED, "okay"],
    }


def test_a_credential_of_digits_is_blanked_where_it_comes_back_as_a_number() -> None:
    assert Credentials.of("1234567890").blank([1234567890, 5, True, None]) == [REDACTED, 5, True, None]


@given(st.recursive(st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)))
def test_what_holds_no_credential_is_returned_as_it_is(value: JsonValue) -> None:
    assert Credentials.of("a-canary-in-the-mine").blank(value) is value
    assert Credentials.of(None, "").blank(value) is value


@given(TEXTS.filter(lambda text: len(text) >= 8), TEXTS, TEXTS)
def test_no_text_around_a_credential_hides_it(secret: str, before: str, after: str) -> None:
    credentials = Credentials.of(secret)
    blanked = canonical(credentials.blank({"a": before + secret + after}))

    # What is left of its neighbourhood may spell it anew ("aab" around "ab"), but the echo itself is gone.
    assert REDACTED in blanked


def test_credentials_in_use_are_blanked_in_what_is_logged_meanwhile() -> None:
    with Credentials.of(SECRET).in_use(), Credentials.of("another-one").in_use():
        assert blank_in_use(f"{SECRET} another-one") == f"{REDACTED} {REDACTED}"
    assert blank_in_use(SECRET) == SECRET

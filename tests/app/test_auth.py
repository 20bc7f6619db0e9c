"""Tokens are believed exactly when this service signed them and their time is not over."""

import base64
import itertools
import json
import time
import warnings
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from app.auth import SESSION_COOKIE, Authentication, Tokens
from app.secrets import AGENT_SECRETS, TOKENS, StoredSecrets, derived
from db.records import Role
from resolvers.errors import UnauthenticatedError
from services.viewer import Viewer

KEY, OTHER = SecretStr("k" * 40), SecretStr("o" * 40)
OURS = Tokens.of([KEY])


def signed(key: bytes | None = None, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"sub": "ines", "name": "Inês", "role": "client", "exp": time.time() + 60, **changes}
    kept = {name: value for name, value in claims.items() if value is not None}
    with warnings.catch_warnings(action="ignore"):  # the key is shorter than other algorithms want
        return jwt.encode(kept, key or OURS.keys[OURS.current], algorithm=algorithm)


async def test_what_is_issued_is_believed() -> None:
    token = OURS.issue("ines", Role.CLIENT, name="Inês Duarte")

    assert await OURS.read(token) == Viewer("ines", "Inês Duarte", Role.CLIENT)


async def test_a_name_is_the_subject_where_none_is_given() -> None:
    assert await OURS.read(OURS.issue("ada", Role.ADMIN)) == Viewer("ada", "ada", Role.ADMIN)


async def test_a_key_of_before_still_counts_and_a_foreign_one_never() -> None:
    before = Tokens.of([OTHER]).issue("ines", Role.CLIENT)

    assert (await Tokens.of([KEY, OTHER]).read(before)).id == "ines"
    with pytest.raises(UnauthenticatedError, match="not known here"):
        await OURS.read(before)


async def test_time_is_up_after_a_small_leeway() -> None:
    assert (await OURS.read(signed(exp=time.time() - 2))).id == "ines"
    with pytest.raises(UnauthenticatedError, match="expired"):
        await OURS.read(signed(exp=time.time() - 30))


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': 'ines', 'role': 'admin', 'exp': time.time() + 60})}."


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "é.é.é",
        "." * 5000,
        "x" * 10_000,
        unsigned(),
        signed(b"f" * 32),
        signed(derived(KEY, AGENT_SECRETS)),
        signed(exp=None),
        signed(exp="tomorrow"),
        signed(sub=None),
        signed(sub=""),
        signed(sub="line\nbreak"),
        signed(sub="s" * 201),
        signed(role=None),
        signed(role="root"),
        signed(role=["admin"]),
        signed(nbf=time.time() + 600),
        signed(OURS.keys[OURS.current], algorithm="HS384"),
    ],
    # Tokens hold the time: as names they would differ from process to process.
    ids=map("token {}".format, itertools.count()),
)
async def test_anything_else_is_refused(token: str) -> None:
    with pytest.raises(UnauthenticatedError):
        await OURS.read(token)


@pytest.mark.parametrize("subject", ["", " ", "a\nb", "x" * 201, "\ud800"])
def test_a_subject_that_no_token_can_carry_is_told(subject: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        OURS.issue(subject, Role.CLIENT)


async def test_the_header_counts_before_the_cookie() -> None:
    authentication = Authentication(OURS)
    ines, ada = OURS.issue("ines", Role.CLIENT), OURS.issue("ada", Role.ADMIN)

    async def asking(authorization: str | None, cookie: str | None) -> str | None:
        viewer = await authentication.authenticate(authorization, {SESSION_COOKIE: cookie} if cookie else {})
        return None if viewer is None else viewer.id

    assert await asking(f"Bearer {ines}", ada) == "ines"
    assert await asking(f"bearer  {ines} ", None) == "ines"
    assert await asking(None, ada) == "ada"
    assert await asking(None, None) is None


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic aW5lczppbmVz", OURS.issue("a", Role.ADMIN)],
    ids=["nothing", "no token", "a blank token", "basic", "a bare token"],
)
async def test_a_header_that_is_no_bearer_token_is_refused(authorization: str) -> None:
    with pytest.raises(UnauthenticatedError, match="Bearer <token>"):
        await Authentication(OURS).authenticate(authorization, {})


def test_stored_secrets_are_read_back_with_any_known_key() -> None:
    before, now = StoredSecrets.of([OTHER]), StoredSecrets.of([KEY, OTHER])
    stored = before.encrypt("a credential ✓")

    assert now.decrypt(stored) == "a credential ✓"
    assert now.decrypt(now.encrypt("new")) == "new"
    assert "credential" not in stored
    assert stored.partition(":")[0] == before.current != now.current
    with pytest.raises(ValueError, match=before.current):
        StoredSecrets.of([KEY]).decrypt(stored)


@pytest.mark.parametrize("stored", ["", ":", "no colon", "0:é", "12345678:gAAAAA"])
def test_what_was_never_stored_is_unreadable(stored: str) -> None:
    with pytest.raises(ValueError, match="no known key"):
        StoredSecrets.of([KEY]).decrypt(stored)


def test_each_purpose_has_a_key_of_its_own() -> None:
    assert derived(KEY, TOKENS) != derived(KEY, AGENT_SECRETS)
    assert repr(OURS).find(OURS.keys[OURS.current].hex()) == -1
    assert "keys" not in repr(OURS)

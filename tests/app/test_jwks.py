"""An identity provider's tokens are believed exactly when one of its published keys signed them, for us, in time."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import algorithms, utils
from pydantic import SecretStr

from app.auth import SESSION_COOKIE, Tokens
from app.jwks import LARGEST_SET_BYTES, ProviderKeys, ProviderTokens, keys_in
from db.records import Role
from resolvers.errors import UnauthenticatedError
from services.viewer import Viewer
from tests.agents import Response, ScriptedAgent
from tests.app.conftest import OpenApi
from tests.app.test_login import session, viewer

ISSUER, AUDIENCE, ROLE = "https://id.example", "signoff", "https://signoff.example/role"
OURS = Tokens.of([SecretStr("k" * 40)])
RSA, SMALL_RSA = (rsa.generate_private_key(65537, bits) for bits in (2048, 1024))
P256, OTHER_P256, P384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP256R1(), ec.SECP384R1()))
ED = ed25519.Ed25519PrivateKey.generate()


def published(key: Any, kid: str | None = None, **more: Any) -> dict[str, Any]:
    """A public key as its provider publishes it."""
    of_kind = {
        rsa.RSAPrivateKey: algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: algorithms.OKPAlgorithm,
    }
    (algorithm,) = (algorithm for kind, algorithm in of_kind.items() if isinstance(key, kind))
    jwk: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))  # type: ignore[attr-defined]
    jwk.pop("key_ops", None)
    return {**jwk, **({} if kid is None else {"kid": kid}), **more}


def signed(key: Any, algorithm: str, kid: str | None = "a", **changes: Any) -> str:
    claims = {"sub": "ines", "name": "Inês", ROLE: "client", "iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60}
    kept = {name: value for name, value in {**claims, **changes}.items() if value is not None}
    return jwt.encode(kept, key, algorithm=algorithm, headers={} if kid is None else {"kid": kid})


def answering(*keys: dict[str, Any]) -> Response:
    return Response({"keys": keys})


@pytest.fixture
async def provider() -> AsyncGenerator[ScriptedAgent]:
    async with ScriptedAgent(answering(published(P256, "a"))) as scripted:
        yield scripted


def reading(provider: ScriptedAgent) -> ProviderTokens:
    return ProviderTokens(OURS, ProviderKeys(provider.url), ISSUER, AUDIENCE, ROLE)


async def refusal(tokens: ProviderTokens, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as error:
        await tokens.read(token)
    return error.value.message


async def test_both_kinds_of_token_are_believed_side_by_side(provider: ScriptedAgent) -> None:
    tokens = reading(provider)

    assert await tokens.read(OURS.issue("ada", Role.ADMIN)) == Viewer("ada", "ada", Role.ADMIN)
    assert provider.requests == []  # for our own, nobody is asked
    found = await asyncio.gather(*(tokens.read(signed(P256, "ES256")) for _ in range(20)))
    assert set(found) == {Viewer("ines", "Inês", Role.CLIENT)}
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS512"), (P256, "ES256"), (P384, "ES384"), (ED, "EdDSA")]
)
async def test_every_asymmetric_kind_of_key_is_understood(provider: ScriptedAgent, key: Any, algorithm: str) -> None:
    provider.responses = [answering(published(key))]

    assert (await reading(provider).read(signed(key, algorithm, kid=None))).id == "ines"


@pytest.mark.parametrize(
    "unusable",
    [
        published(P256, "a", use="enc"),
        published(P256, "a", key_ops=["sign"]),
        published(P256, "a", alg="ES384"),
        published(P256, "a", d="AAAA"),
        published(P256, "a", crv="P-384"),
        published(P256, "a", x="!"),
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0"},
        {"kty": "lattice", "kid": "a"},
        {"kid": "a"},
        published(SMALL_RSA, "a"),
    ],
    ids=lambda jwk: "-".join(f"{name}={str(value)[:8]}" for name, value in jwk.items() if name not in {"x", "y", "n"}),
)
async def test_a_key_that_is_not_for_this_is_left_out(unusable: dict[str, Any]) -> None:
    assert keys_in({"keys": [unusable, "nonsense", published(RSA, "b")]})[0].kid == "b"
    assert len(keys_in({"keys": [unusable]})) == 0


def confused() -> str:
    """A token under HS256, with the public key that everybody knows as its secret."""
    pem = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body = (
        utils.base64url_encode(json.dumps(part).encode())
        for part in (
            {"alg": "HS256", "kid": "a"},
            {"sub": "x", ROLE: "admin", "iss": ISSUER, "aud": AUDIENCE, "exp": 9e9},
        )
    )
    algorithm = algorithms.HMACAlgorithm(algorithms.HMACAlgorithm.SHA256)
    return b".".join([head, body, utils.base64url_encode(algorithm.sign(head + b"." + body, pem))]).decode()


@pytest.mark.parametrize(
    ("token", "why"),
    [
        (lambda: signed(P256, "ES256", exp=time.time() - 60), "expired"),
        (lambda: signed(P256, "ES256", exp=None), "not valid"),
        (lambda: signed(P256, "ES256", exp=float("inf")), "not valid"),
        (lambda: signed(P256, "ES256", nbf=time.time() + 600), "not valid"),
        (lambda: signed(P256, "ES256", iss="https://evil.example"), "not valid"),
        (lambda: signed(P256, "ES256", iss=None), "not valid"),
        (lambda: signed(P256, "ES256", aud="another service"), "not valid"),
        (lambda: signed(P256, "ES256", aud=None), "not valid"),
        (lambda: signed(P256, "ES256", sub=None), "not valid"),
        (lambda: signed(P256, "ES256", **{ROLE: None, "role": "admin"}), "neither client nor admin"),
        (lambda: signed(P256, "ES256", **{ROLE: "root"}), "neither client nor admin"),
        (lambda: signed(OTHER_P256, "ES256"), "not valid"),
        (lambda: signed(RSA, "RS256"), "not known here"),
        (lambda: signed(P256, "ES256", kid="b"), "not known here"),
        (confused, "not known here"),
        (lambda: "a.b.c", "not valid"),
        (lambda: "x" * 10_000, "too long"),
    ],
    ids=range(17),
)
async def test_anything_else_is_refused(provider: ScriptedAgent, token: Any, why: str) -> None:
    assert why in await refusal(reading(provider), token())


async def test_clocks_may_differ_by_half_a_minute(provider: ScriptedAgent) -> None:
    read = await reading(provider).read(signed(P256, "ES256", exp=time.time() - 20, iat=int(time.time()) + 20))

    assert read.expires_at is not None
    assert 0 < read.expires_at - time.time() <= 10


async def test_a_new_key_is_asked_for_and_nonsense_not_again_and_again(
    provider: ScriptedAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = reading(provider)
    await tokens.read(signed(P256, "ES256"))
    provider.responses = [answering(published(OTHER_P256, "b"))]

    # Just asked: whoever invents names of keys makes us ask nobody.
    for kid in ("b", "c", "d"):
        assert "not known here" in await refusal(tokens, signed(OTHER_P256, "ES256", kid=kid))
    assert len(provider.requests) == 1
    monkeypatch.setattr("app.jwks.ASK_AGAIN_SECONDS", -1)
    assert (await tokens.read(signed(OTHER_P256, "ES256", kid="b"))).id == "ines"
    assert len(provider.requests) == 2
    # The key of before is not published any more.
    assert "not known here" in await refusal(tokens, signed(P256, "ES256"))


@pytest.mark.parametrize(
    "trouble",
    [
        Response(status=500),
        Response(b"<html>"),
        Response({"keys": "none"}),
        Response([]),
        Response(b" " * (LARGEST_SET_BYTES + 1)),
        Response(status=302, headers={"location": "http://127.0.0.1:9/"}),
        Response(cut_after=10),
        Response(hangs=True),
    ],
    ids=range(8),
)
async def test_a_provider_that_is_down_changes_nothing_for_known_keys(
    provider: ScriptedAgent, trouble: Response, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = reading(provider)
    await tokens.read(signed(P256, "ES256"))
    provider.responses = [trouble]
    monkeypatch.setattr("app.jwks.ASK_SECONDS", 0.3)
    monkeypatch.setattr("app.jwks.ASK_AGAIN_SECONDS", -1)
    monkeypatch.setattr("app.jwks.FRESH_SECONDS", -1)

    assert (await tokens.read(signed(P256, "ES256"))).id == "ines"  # which asks, and waits for nobody
    assert "not known here" in await refusal(tokens, signed(RSA, "RS256", kid="b"))
    assert (await tokens.read(signed(P256, "ES256"))).id == "ines"

    assert "SIGNOFF_JWKS_URL brought no keys: " in caplog.text
    assert "1 keys of before are kept" in caplog.text


async def test_before_any_key_is_known_it_is_said_that_nobody_answers(provider: ScriptedAgent) -> None:
    provider.responses = [Response(status=503)]

    assert "does not answer" in await refusal(reading(provider), signed(P256, "ES256"))


# ----------------------------------------------------------------------------------------------- in the application


async def test_a_providers_token_opens_every_way_in(provider: ScriptedAgent, open_api: OpenApi) -> None:
    settings = {"jwks_url": provider.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_role_claim": ROLE}
    async with open_api(**settings) as api:
        token = signed(P256, "ES256")
        bearer = {"authorization": f"Bearer {token}"}

        assert (await api.http.get("/api/jobs/job_1", headers=bearer)).status_code == 404
        assert (await api.http.get("/api/jobs/job_1", headers=api.bearer())).status_code == 404
        assert (await api.http.get("/api/jobs/job_1", headers={"authorization": "Bearer x.y.z"})).status_code == 401
        answer = await api.http.post("/login", json={"token": token})
        assert session(answer)["value"] == token
        assert await viewer(api.http) == "ines"


async def test_a_token_that_no_cookie_holds_is_exchanged_for_one_of_ours(
    provider: ScriptedAgent, open_api: OpenApi
) -> None:
    settings = {"jwks_url": provider.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_role_claim": ROLE}
    async with open_api(**settings) as api:
        token = signed(P256, "ES256", groups="x" * 4_000)

        answer = await api.http.post("/login", json={"token": token})

        assert answer.status_code == 204
        assert len(answer.headers["set-cookie"]) < 1_000
        assert int(session(answer)["max-age"]) <= 85
        assert await viewer(api.http) == "ines"
        assert (await api.tokens.read(api.http.cookies[SESSION_COOKIE])).name == "Inês"

"""Tokens of an identity provider, believed by the keys that it publishes (JWKS, RFC 7517)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from app.auth import TOKEN_CHARACTERS, decoded, header_of, viewer_of
from resolvers.errors import UnauthenticatedError
from services.strict_json import InvalidJsonError, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.auth import TokenReader
    from services.viewer import Viewer

log = logging.getLogger(__name__)

# Asymmetric ones only: with HS256 a public key would be a secret that everybody knows (RFC 8725, 3.1).
ALGORITHMS: Mapping[tuple[str, str | None], frozenset[str]] = {
    ("RSA", None): frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
    ("EC", "P-256"): frozenset({"ES256"}),
    ("EC", "P-384"): frozenset({"ES384"}),
    ("EC", "P-521"): frozenset({"ES512"}),
    ("OKP", "Ed25519"): frozenset({"EdDSA"}),
}
ASYMMETRIC = frozenset[str]().union(*ALGORITHMS.values())
SMALLEST_RSA_BITS = 2048

# A key that its provider withdraws is believed no longer than this, while the provider answers.
FRESH_SECONDS = 600.0
# Anybody can name a key that is not there: they share one question in this time.
ASK_AGAIN_SECONDS = 10.0
ASK_SECONDS = 5.0
LARGEST_SET_BYTES = 256 * 1024
# Another machine's clock, which nobody here keeps in time.
LEEWAY_SECONDS = 30


@dataclass(frozen=True)
class Key:
    """A published key, and the algorithms of signatures that it may check."""

    kid: str | None
    algorithms: frozenset[str]
    public: Any = field(repr=False)


def keys_in(published: object) -> tuple[Key, ...]:
    """The keys of a set that can check signatures here. Raises ValueError for what is no set."""
    members = cast("dict[str, object]", published) if isinstance(published, dict) else {}
    listed = members.get("keys")
    if not isinstance(listed, list):
        raise ValueError("this is no JSON Web Key Set")  # noqa: TRY004 (of what was received, not of an argument)
    found = (_key(cast("dict[str, Any]", item)) for item in cast("list[object]", listed) if isinstance(item, dict))
    return tuple(key for key in found if key is not None)


def _key(jwk: dict[str, Any]) -> Key | None:
    """A key that can be used, else None: sets hold keys for encryption too, and of kinds that come later."""
    kty, crv, kid, operations = (jwk.get(name) for name in ("kty", "crv", "kid", "key_ops"))
    if jwk.get("use", "sig") != "sig" or (isinstance(operations, list) and "verify" not in operations):
        return None
    if not isinstance(kid, str | None) or not isinstance(kty, str) or not isinstance(crv, str | None):
        return None
    algorithms = ALGORITHMS.get((kty, None if kty == "RSA" else crv), frozenset())
    if "alg" in jwk:
        algorithms &= {jwk["alg"]} if isinstance(jwk["alg"], str) else set()
    if not algorithms or "d" in jwk:  # one whose private half is published is nobody's any more
        return None
    try:
        public = jwt.PyJWK(jwk, min(algorithms)).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < SMALLEST_RSA_BITS:
        return None
    return Key(kid, algorithms, public)


@dataclass
class ProviderKeys:
    """The keys at a URL: fetched when first needed, kept, and kept on while the provider is down."""

    url: str
    keys: tuple[Key, ...] = ()
    _fetched_at: float | None = None
    _asked_at: float | None = None
    _asking: asyncio.Task[None] | None = None
    # Once, not for each question: it takes 20 ms.
    _tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context, repr=False)

    async def find(self, kid: str | None, algorithm: str) -> Key:
        """The key that a token names. Raises UnauthenticatedError."""
        found = self._known(kid, algorithm)
        if found is None:
            await asyncio.shield(self._ask())
            found = self._known(kid, algorithm)
        elif self._fetched_at is None or time.monotonic() - self._fetched_at > FRESH_SECONDS:
            self._ask()  # nobody waits for it
        if found is not None:
            return found
        if self._fetched_at is None:
            raise UnauthenticatedError("The token cannot be checked now: the identity provider does not answer.")
        raise UnauthenticatedError("The token was signed with a key that is not known here.")

    def _known(self, kid: str | None, algorithm: str) -> Key | None:
        fitting = [key for key in self.keys if algorithm in key.algorithms and kid in {None, key.kid}]
        return fitting[0] if len(fitting) == 1 else None

    def _ask(self) -> asyncio.Task[None]:
        """Ask for the keys, unless somebody does or did a moment ago."""
        now = time.monotonic()
        if self._asking is None or (
            self._asking.done() and self._asked_at is not None and now - self._asked_at > ASK_AGAIN_SECONDS
        ):
            self._asked_at = now
            self._asking = asyncio.create_task(self._fetch())
        return self._asking

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                self.keys = keys_in(parse(await self._download()))
            self._fetched_at = time.monotonic()
        except (httpx.HTTPError, InvalidJsonError, ValueError, TimeoutError, OSError) as error:
            kept = f"; {len(self.keys)} keys of before are kept" if self.keys else ""
            log.warning("SIGNOFF_JWKS_URL brought no keys: %s%s", str(error) or type(error).__name__, kept)

    async def _download(self) -> bytes:
        async with httpx.AsyncClient(verify=self._tls) as http, http.stream("GET", self.url) as response:
            if response.status_code != HTTPStatus.OK:
                raise ValueError(f"it answers {response.status_code}")
            received = bytearray()
            async for part in response.aiter_bytes():
                received += part
                if len(received) > LARGEST_SET_BYTES:
                    raise ValueError(f"it has more than {LARGEST_SET_BYTES} bytes")
            return bytes(received)


@dataclass(frozen=True)
class ProviderTokens:
    """Reads an identity provider's tokens, and hands every other to `own`.

    The algorithm only says who is to check a token: each side has keys of its own, and algorithms to use them with.
    """

    own: TokenReader
    keys: ProviderKeys
    issuer: str
    audience: str
    role_claim: str

    async def read(self, token: str) -> Viewer:
        """Say who the token's bearer is. Raises UnauthenticatedError."""
        if len(token) > TOKEN_CHARACTERS:
            raise UnauthenticatedError("The token is too long.")
        header = header_of(token)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ASYMMETRIC:
            return await self.own.read(token)
        key = await self.keys.find(kid if isinstance(kid, str) else None, algorithm)
        claims = decoded(
            token,
            key.public,
            algorithm,
            leeway_seconds=LEEWAY_SECONDS,
            issuer=self.issuer,
            audience=self.audience,
            requires=("exp", "sub", "iss", "aud"),
        )
        return viewer_of(claims, role_claim=self.role_claim, leeway_seconds=LEEWAY_SECONDS)

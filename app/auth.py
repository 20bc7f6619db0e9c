"""Who is asking: signed bearer tokens, in a header or in the session cookie."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, Self

import jwt

from app.secrets import TOKENS, derived, key_id
from db.records import Role
from resolvers.errors import UnauthenticatedError
from services.viewer import Viewer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import SecretStr

SESSION_COOKIE = "signoff_session"
ALGORITHM = "HS256"
# Clocks of two machines that are kept in time differ by less.
LEEWAY_SECONDS = 5
TOKEN_CHARACTERS = 8_192
KNOWN_TOKENS = 1_000
CLAIM_CHARACTERS = 200
# Beside the library's own: parts that are JSON, but not what they should be.
_MALFORMED = (jwt.PyJWTError, ValueError, OverflowError, RecursionError)


class TokenReader(Protocol):
    """One way to believe a token: our own signature, or an identity provider's."""

    async def read(self, token: str) -> Viewer:
        """Say who the token's bearer is. Raises UnauthenticatedError."""
        ...


@dataclass(frozen=True)
class Tokens:
    """Issues and reads our own tokens: HS256 under keys derived for nothing else, named by `kid`."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)
    known: dict[str, Viewer] = field(default_factory=dict[str, Viewer], repr=False, compare=False)
    """Whose the tokens read last are: a signature that held holds until its token expires."""

    @classmethod
    def of(cls, keys: Sequence[SecretStr]) -> Self:
        """Make it for secret keys, the present one first."""
        own = {key_id(key): key for key in (derived(key, TOKENS) for key in keys)}
        return cls(next(iter(own)), own)

    def issue(self, subject: str, role: Role, *, name: str | None = None, ttl_seconds: float = 3600) -> str:
        """Sign a token. Raises ValueError for a subject or name that no token can carry."""
        for claim in (subject, name):
            if claim is not None and not _is_claim(claim):
                raise ValueError(f"a subject or name has 1 to {CLAIM_CHARACTERS} printable characters")
        now = int(time.time())
        claims = {
            "sub": subject,
            "name": name or subject,
            "role": role.value,
            "iat": now,
            "exp": now + max(1, round(ttl_seconds)),
        }
        return jwt.encode(claims, self.keys[self.current], algorithm=ALGORITHM, headers={"kid": self.current})

    async def read(self, token: str) -> Viewer:
        """Say who the token's bearer is. Raises UnauthenticatedError."""
        kept = self.known.get(token)
        if kept is not None and (kept.expires_at is None or time.time() < kept.expires_at):
            return kept
        if len(token) > TOKEN_CHARACTERS:
            raise UnauthenticatedError("The token is too long to be one of ours.")
        kid = header_of(token).get("kid")
        key = self.keys.get(kid if isinstance(kid, str) else self.current)
        if key is None:
            raise UnauthenticatedError("The token was signed with a key that is not known here.")
        viewer = viewer_of(decoded(token, key, ALGORITHM, requires=("exp", "sub", "role")))
        if len(self.known) >= KNOWN_TOKENS:
            del self.known[next(iter(self.known))]
        self.known[token] = viewer
        return viewer


def header_of(token: str) -> Mapping[str, Any]:
    """What a token says of its signature; nothing of it is believed yet. Raises UnauthenticatedError."""
    try:
        return jwt.get_unverified_header(token)
    except _MALFORMED:
        raise UnauthenticatedError("The token is not valid.") from None


def decoded(
    token: str,
    key: Any,
    algorithm: str,
    *,
    requires: Sequence[str],
    leeway_seconds: float = LEEWAY_SECONDS,
    issuer: str | None = None,
    audience: str | None = None,
) -> Mapping[str, Any]:
    """The claims of a token that this key signed with this algorithm. Raises UnauthenticatedError."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            leeway=leeway_seconds,
            issuer=issuer,
            audience=audience,
            options={"require": list(requires)},
        )
    except jwt.ExpiredSignatureError:
        raise UnauthenticatedError("The token has expired.") from None
    except _MALFORMED:
        # What is wrong helps only a forger.
        raise UnauthenticatedError("The token is not valid.") from None
    return claims


def viewer_of(claims: Mapping[str, Any], *, role_claim: str = "role", leeway_seconds: float = LEEWAY_SECONDS) -> Viewer:
    """Read the claims of a token whose signature holds. Raises UnauthenticatedError."""
    subject, name, role = claims.get("sub"), claims.get("name"), claims.get(role_claim)
    try:
        known = Role(str(role))
    except ValueError:
        raise UnauthenticatedError("The token's role is neither client nor admin.") from None
    if not isinstance(subject, str) or not _is_claim(subject):
        raise UnauthenticatedError("The token's subject cannot be used.")
    shown = name if isinstance(name, str) and _is_claim(name) else subject
    return Viewer(subject, shown, known, expires_at=float(claims["exp"]) + leeway_seconds)


def _is_claim(text: str) -> bool:
    # Printable characters only: no database refuses them, and no log line can be forged with them.
    return 0 < len(text) <= CLAIM_CHARACTERS and text.isprintable() and bool(text.strip())


@dataclass(frozen=True)
class Authentication:
    """Decides who is asking. The header counts before the cookie: whoever sends one means it."""

    reader: TokenReader

    async def authenticate(self, authorization: str | None, cookies: Mapping[str, str]) -> Viewer | None:
        """Say who is asking; None where nobody says so. Raises UnauthenticatedError."""
        if authorization is not None:
            token = authorization[7:].strip() if authorization[:7] == "Bearer " else _bearer_token(authorization)
            if not token:
                raise UnauthenticatedError("The Authorization header must be: Bearer <token>.")
            return await self.reader.read(token)
        session = cookies.get(SESSION_COOKIE)
        return await self.reader.read(session) if session else None


def _bearer_token(authorization: str) -> str:
    """The token of a header that is not quite as everybody writes it; "" where there is none."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""

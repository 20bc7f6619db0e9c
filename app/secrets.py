"""Keys for each purpose, derived from the secret key, and the encryption of agents' credentials."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.redaction import SHORT_CREDENTIAL_CHARACTERS, Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from app.settings import Settings

TOKENS = "signoff tokens v1"
AGENT_SECRETS = "signoff agent secrets v1"


def secret_keys(settings: Settings) -> list[SecretStr]:
    """The present key, then those of before. Raises ValueError where settings were loaded without one."""
    if settings.secret_key is None:
        raise ValueError("there is no secret key")
    return [settings.secret_key, *settings.old_secret_keys]


def credentials_in(settings: Settings) -> Credentials:
    """All that the settings hold and that must be seen nowhere; a placeholder such as "none" is no credential."""
    held = (
        *secret_keys(settings),
        settings.openai_api_key,
        settings.metrics_token,
        settings.validator_secret,
        settings.validator_old_secret,
    )
    texts = (key.get_secret_value() for key in held if key is not None)
    return Credentials.of(*(text for text in texts if len(text) >= SHORT_CREDENTIAL_CHARACTERS))


def derived(secret_key: SecretStr, purpose: str) -> bytes:
    """Derive 32 bytes for one purpose; those of different purposes tell nothing of each other (RFC 5869)."""
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose.encode())
    return kdf.derive(secret_key.get_secret_value().encode())


def key_id(key: bytes) -> str:
    """Name a derived key, without telling anything of it."""
    return hashlib.sha256(b"key id\0" + key).hexdigest()[:8]


@dataclass(frozen=True)
class StoredSecrets:
    """Encrypts with the first key and reads what any of them encrypted (services.agents.Secrets).

    Stored as `<key id>:<Fernet token>`: the id tells an operator which credentials still need an old key.
    """

    current: str
    fernet: MultiFernet = field(repr=False)

    @classmethod
    def of(cls, keys: Sequence[SecretStr]) -> Self:
        """Make it for secret keys, the present one first."""
        own = [derived(key, AGENT_SECRETS) for key in keys]
        return cls(key_id(own[0]), MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in own]))

    def key_of(self, stored: str) -> str:
        """Name the key that encrypted this (services.key_rotation.KeyedSecrets)."""
        return stored.partition(":")[0][:8]

    def encrypt(self, credential: str) -> str:
        """Return the credential as it is stored."""
        return f"{self.current}:{self.fernet.encrypt(credential.encode()).decode()}"

    def decrypt(self, stored: str) -> str:
        """Return the credential. Raises ValueError where no known key fits."""
        try:
            return self.fernet.decrypt(stored.partition(":")[2].encode()).decode()
        except InvalidToken:
            raise ValueError(f"no known key reads what the key {self.key_of(stored)!r} encrypted") from None

"""Signing what is sent, as Standard Webhooks says, so that the receiver knows from whom it is and that it is whole."""

from __future__ import annotations

import base64
import binascii
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Sequence


class UnusableSecretError(Exception):
    """A secret holds characters that an HTTP header cannot carry."""


def signed(message_id: str, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """Make the headers of one try to send a message: signed with each secret, the present one first.

    The first secret is the bearer token too. While a receiver still knows only the one before, the second
    signature is the one that it can check. Without a secret only the id and the time are told.
    """
    now = datetime.now(UTC)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(now.timestamp()))}
    if secrets:
        if not all(secret.isascii() and secret.isprintable() for secret in secrets[:1]):
            raise UnusableSecretError
        headers["webhook-signature"] = " ".join(
            Webhook(_key(secret)).sign(message_id, now, body) for secret in dict.fromkeys(secrets)
        )
        headers["authorization"] = f"Bearer {secrets[0]}"
    return headers


def _key(secret: str) -> bytes:
    """Return the signing key: a `whsec_` secret's own, else the secret's characters in UTF-8."""
    if secret.startswith("whsec_"):
        with contextlib.suppress(binascii.Error):
            if key := base64.b64decode(secret.removeprefix("whsec_"), validate=True):
                return key
    return secret.encode()

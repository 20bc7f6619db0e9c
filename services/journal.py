"""The one way into the log: every payload is redacted and bounded here before it is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from db import logs
from db.chains import chained
from db.records import PayloadState
from services import ids
from services.large_values import beside_the_loop, is_large
from services.strict_json import canonical

if TYPE_CHECKING:
    from db.chains import Link
    from db.records import Job, LogEntry
    from db.session import Transaction
    from services.redaction import Redaction

# How much of a payload that is too large stays readable.
HEAD_CHARACTERS = 4096
MESSAGE_CHARACTERS = 1000


@dataclass(frozen=True)
class Journal:
    """Appends to jobs' logs. `payload_limit` is in bytes of canonical JSON."""

    redact: Redaction
    payload_limit: int = 256 * 1024

    async def append(self, tx: Transaction, job: Job, entry: LogEntry) -> str:
        """Append an entry to the log of a locked (or just created) job and return its id."""
        log_id, appending = await self.appending(job.id, entry)
        await chained(tx, appending)
        return log_id

    async def appending(self, job_id: str, entry: LogEntry) -> tuple[str, Link]:
        """The entry's id, and what appends it: a link of a chain that begins with the job's lock, or comes after it."""
        log_id = ids.new_id(ids.LOG)
        large = is_large(entry.payload)
        bounded = await beside_the_loop(self._bounded, entry) if large else self._bounded(entry)
        return log_id, logs.appending(log_id, job_id, entry, **bounded)

    def _bounded(self, entry: LogEntry) -> dict[str, Any]:
        """What is stored in place of what the entry says."""
        # A plug-in's error may say anything; what no database would keep must not lose the entry.
        message = entry.message.encode(errors="replace").decode().replace("\x00", "\ufffd")
        if len(message) > MESSAGE_CHARACTERS:
            message = message[: MESSAGE_CHARACTERS - 1] + "…"
        if entry.payload is None:
            return {"message": message}
        payload = self.redact(entry.payload)
        text = canonical(payload)
        size = len(text.encode())
        if size <= self.payload_limit:
            return {"message": message, "payload": payload, "payload_bytes": size}
        rest = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "head": text[:HEAD_CHARACTERS]}
        return {
            "message": message,
            "payload": rest,
            "payload_bytes": size,
            "payload_state": PayloadState.TRUNCATED,
        }

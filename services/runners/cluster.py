"""Where Temporal is: apart from its runner, so that whoever only says so need not load Temporal's library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """Where Temporal is."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    task_queue: str = "signoff"
    identity: str | None = None
    """How Temporal's lists call this process; else by process and machine."""

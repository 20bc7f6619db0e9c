"""What resolvers are handed: the services, who is asking, and loaders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

import strawberry

from resolvers.errors import UnauthenticatedError
from resolvers.loaders import Loaded, Loaders, Read

if TYPE_CHECKING:
    import asyncio

    from services.agents import Agents
    from services.executions.requests import Executions
    from services.feed import Feed
    from services.jobs import Jobs
    from services.logs import Logs
    from services.rates import MutationRates
    from services.redaction import Redaction
    from services.tail import Offer
    from services.viewer import Viewer

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Services:
    """The use cases, and what is installed.

    `executors` and `validators` are names; `can_judge` says whether the validator can decide criteria that no
    code checks.
    """

    agents: Agents
    jobs: Jobs
    executions: Executions
    logs: Logs
    feed: Feed
    rates: MutationRates
    redact: Redaction
    executors: Sequence[str]
    validators: Sequence[str]
    can_judge: bool


@dataclass
class Context:
    """The context of one operation; a WebSocket makes a fresh one for each."""

    services: Services
    viewer: Viewer | None
    loaders: Loaders = field(default_factory=Loaders)
    feed_cursor: asyncio.Future[str] | None = None
    """Where the feed stood before anything else was read, where the operation asks for it."""
    offer: Offer | None = None
    """What events of a subscription are offered before they are yielded."""

    def require_viewer(self) -> Viewer:
        """Return who is asking. Raises UnauthenticatedError."""
        if self.viewer is None:
            raise UnauthenticatedError("Sign in first: send a bearer token.")
        return self.viewer

    @overload
    def load(self, read: Read[T], key: str) -> Loaded[T]: ...
    @overload
    def load(self, read: Read[T], key: str, then: Callable[[str, T], R]) -> Loaded[R]: ...
    def load(self, read: Read[T], key: str, then: Callable[[str, T], Any] | None = None) -> Loaded[Any]:
        """Read through a loader, see Loaders.load."""
        return self.loaders.load(read, key, then)

    def for_operation(self, offer: Offer | None = None) -> Context:
        """Return the context of one more operation of the same person."""
        return Context(self.services, self.viewer, offer=offer)


Info: TypeAlias = strawberry.Info[Context, None]

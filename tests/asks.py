"""An `ask` (services.ports.Ask) that keeps its journal in memory, for tests of validators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from services.ports import Reply, ValidatorError, ValidatorTroubleKind
from services.strict_json import check, digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.ports import JsonValue

T = TypeVar("T")

_ASKED_AGAIN_LATER = {
    ValidatorTroubleKind.UNAVAILABLE,
    ValidatorTroubleKind.TIMEOUT,
    ValidatorTroubleKind.CONFIG,
}


@dataclass
class Call:
    """One call as the journal has it; `was_sent` is False where the reply was known from an earlier run."""

    request: JsonValue
    was_sent: bool
    reply: Reply | None = None
    error: ValidatorError | None = None


@dataclass
class RecordingAsk:
    """Journals each request before it is sent and each reply once it is read, as the service does.

    `resumed()` gives the ask of the validation's next run, which answers equal requests from this journal.
    `kept`: number of a call -> (digest of its request, reply).
    """

    kept: dict[int, tuple[str, Reply]] = field(default_factory=dict[int, "tuple[str, Reply]"])
    calls: list[Call] = field(default_factory=list[Call])
    largest_cost_usd: float | None = None
    spent_usd: float = 0.0

    @property
    def requests(self) -> list[JsonValue]:
        return [call.request for call in self.calls]

    def resumed(self) -> RecordingAsk:
        return RecordingAsk(dict(self.kept), largest_cost_usd=self.largest_cost_usd, spent_usd=self.spent_usd)

    async def __call__(
        self,
        request: JsonValue,
        send: Callable[[], Awaitable[Reply]],
        read: Callable[[Reply], T],
        *,
        at_most_usd: float | None = None,
    ) -> T:
        number = len(self.calls) + 1
        request_digest = digest(request)
        known = self.kept.get(number)
        if known is not None and known[0] == request_digest:
            self.calls.append(Call(request, was_sent=False, reply=known[1]))
            return read(known[1])
        if self.largest_cost_usd is not None and self.spent_usd + (at_most_usd or 0.0) > self.largest_cost_usd:
            raise ValidatorError(ValidatorTroubleKind.BUDGET, "It would cost too much.", code="over_budget")
        # A copy, and one that a database could store: changing the request later does not change the journal.
        call = Call(check(request), was_sent=True)
        self.calls.append(call)
        try:
            call.reply = await send()
            check(call.reply.payload)
            self.spent_usd += call.reply.cost_usd or 0.0
            value = read(call.reply)
        except ValidatorError as error:
            call.error = error
            call.reply = error.reply or call.reply
            if call.reply is not None and error.kind not in _ASKED_AGAIN_LATER:
                self.kept[number] = (request_digest, call.reply)
            raise
        self.kept[number] = (request_digest, call.reply)
        return value

"""Registering agents and keeping them up to date: admins only."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from db import agents as agent_rows
from services import cursors, ids, inputs
from services.inputs import InputLimits
from services.refusals import Refusal, invalid, not_found
from services.viewer import admins_only

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from db.records import Agent, AgentChange, JsonValue, Page, PageOf
    from db.session import Database
    from services.sandbox import Sandbox
    from services.viewer import Viewer

LARGEST_CONCURRENCY = 1_000
SECRET_OVERLAP_SECONDS = 24 * 3600.0
URL_CHARACTERS = 2_000
MAPPED_PROPERTIES = 100


class Secrets(Protocol):
    """Encrypts agents' credentials."""

    def encrypt(self, credential: str) -> str:
        """Return the credential as it is stored."""
        ...

    def decrypt(self, stored: str) -> str:
        """Return the credential. Raises ValueError where no known key fits."""
        ...


class EndpointCheck(Protocol):
    """Says why an agent may not live at a URL, or None where it may."""

    async def __call__(self, url: str, /) -> str | None: ...


@dataclass(frozen=True)
class AgentDraft:
    """An agent as an admin wrote it."""

    name: str
    endpoint_url: str
    executor: str = "http_json"
    input_schema: JsonValue = None
    output_schema: JsonValue = None
    input_mapping: JsonValue = None
    timeout_seconds: float = 60
    max_concurrent_executions: int = 16
    idempotent: bool = False
    enabled: bool = True
    validator: str | None = None
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AgentResult:
    """What became of a mutation of an agent."""

    agent: Agent | None
    user_errors: tuple[Refusal, ...] = ()


# What an admin may clear by writing null; null elsewhere is a mistake.
CLEARABLE = frozenset({"input_schema", "output_schema", "input_mapping", "validator", "secret"})
_CAMEL = {
    "endpoint_url": "endpointUrl",
    "input_schema": "inputSchema",
    "output_schema": "outputSchema",
    "input_mapping": "inputMapping",
    "timeout_seconds": "timeoutSeconds",
    "max_concurrent_executions": "maxConcurrentExecutions",
}


@dataclass(frozen=True)
class Agents:
    """Use cases on agents."""

    database: Database
    sandbox: Sandbox
    secrets: Secrets
    executors: Collection[str]
    validators: Collection[str]
    endpoint_problem: EndpointCheck
    limits: InputLimits = field(default_factory=InputLimits)
    secret_overlap_seconds: float = SECRET_OVERLAP_SECONDS
    """How long a replaced secret still signs besides the new one; 0: not at all."""

    async def create(self, viewer: Viewer, draft: AgentDraft) -> AgentResult:
        """Register an agent."""
        refused = admins_only(viewer, "register an agent") or await self._problem(draft)
        if refused is not None:
            return AgentResult(None, (refused,))
        async with self.database.begin() as tx:
            agent = await agent_rows.create(tx, {"id": ids.new_id(ids.AGENT), **self._columns(draft)})
            given = [item.name for item in fields(draft) if getattr(draft, item.name) != item.default]
            await agent_rows.note_change(tx, agent.id, viewer.actor, _api_names(given))
        return AgentResult(agent)

    async def update(self, viewer: Viewer, agent_id: str, changes: Mapping[str, Any]) -> AgentResult:
        """Change the fields given (names of AgentDraft; None clears where it can be empty)."""
        refused = admins_only(viewer, "edit an agent")
        if refused is not None:
            return AgentResult(None, (refused,))
        agent = await self._get(agent_id)
        if agent is None:
            return AgentResult(None, (not_found("agent", agent_id, "agentId"),))
        for name, value in changes.items():
            if value is None and name not in CLEARABLE:
                path = _CAMEL.get(name, name)
                return AgentResult(agent, (invalid(f"{path} cannot be null: leave it out to keep it.", path),))
        present = AgentDraft(**{name: getattr(agent, name) for name in AgentDraft.__dataclass_fields__})
        draft = replace(present, **changes)
        refused = await self._problem(draft, changes)
        if refused is not None:
            return AgentResult(agent, (refused,))
        columns = {name: value for name, value in self._columns(draft).items() if name in changes}
        if draft.secret is not None and self._has(agent, draft.secret):
            columns.pop("secret", None)  # said again, not rotated: the one before keeps its time
        async with self.database.begin() as tx:
            changed = await agent_rows.change(
                tx, agent_id, columns, previous_secret_seconds=self.secret_overlap_seconds
            )
            # A stored credential never equals another: its name is there exactly when it was replaced.
            differing = [name for name, value in columns.items() if value != getattr(agent, name)]
            if changed is not None and differing:
                await agent_rows.note_change(tx, agent_id, viewer.actor, _api_names(differing))
        return AgentResult(changed)

    def _has(self, agent: Agent, secret: str) -> bool:
        """Whether that is the agent's secret already."""
        try:
            return agent.secret is not None and self.secrets.decrypt(agent.secret) == secret
        except ValueError:
            return False

    def _columns(self, draft: AgentDraft) -> dict[str, Any]:
        columns = dict(vars(draft))
        columns["secret"] = None if draft.secret is None else self.secrets.encrypt(draft.secret)
        return columns

    async def _problem(self, draft: AgentDraft, changed: Collection[str] | None = None) -> Refusal | None:
        """What is wrong with a draft; of an edit only the changed fields are looked at."""

        def given(name: str) -> bool:
            return changed is None or name in changed

        refused = _text_problem(draft, given)
        if refused is not None:
            return refused
        if given("executor") and draft.executor not in self.executors:
            known = ", ".join(sorted(self.executors))
            return invalid(f"There is no executor {draft.executor!r} here; installed: {known}.", "executor")
        if given("validator") and draft.validator is not None and draft.validator not in self.validators:
            known = ", ".join(sorted(self.validators))
            return invalid(f"There is no validator {draft.validator!r} here; installed: {known}.", "validator")
        # `not <=` and not `>`: NaN is in no range.
        longest = self.limits.agent_timeout_seconds
        if given("timeout_seconds") and not 0 < draft.timeout_seconds <= longest:
            return invalid(f"timeoutSeconds must be above 0 and at most {longest:g}.", "timeoutSeconds")
        if not 1 <= draft.max_concurrent_executions <= LARGEST_CONCURRENCY:
            return invalid(
                f"maxConcurrentExecutions must be between 1 and {LARGEST_CONCURRENCY}.",
                "maxConcurrentExecutions",
            )
        for name in ("input_schema", "output_schema"):
            value = getattr(draft, name)
            if given(name) and value is not None:
                refused = await inputs.schema(value, (_CAMEL[name],), self.sandbox, self.limits)
                if refused is not None:
                    return refused
        if given("input_mapping") and draft.input_mapping is not None:
            refused = await self._mapping_problem(draft.input_mapping)
            if refused is not None:
                return refused
        if given("endpoint_url"):
            problem = await self.endpoint_problem(draft.endpoint_url)
            if problem is not None:
                return invalid(problem, "endpointUrl")
        return None

    async def _mapping_problem(self, mapping: JsonValue) -> Refusal | None:
        path = "inputMapping"
        if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
            return invalid("inputMapping must be an object of property names and CEL expressions.", path)
        if len(mapping) > MAPPED_PROPERTIES:
            return invalid(f"inputMapping has at most {MAPPED_PROPERTIES} properties.", path)
        refused = inputs.json(mapping, (path,), self.limits.job_input_bytes)
        if refused is not None:
            return refused
        for name, expression in mapping.items():
            problems = await self.sandbox.check_expression(str(expression), variables=("job", "previous"))
            if problems:
                return invalid(f"The expression of {name!r} is not valid: {problems[0]}", path, name)
        return None

    async def _get(self, agent_id: str) -> Agent | None:
        if not ids.is_id(ids.AGENT, agent_id):
            return None
        async with self.database.read() as tx:
            return await agent_rows.get(tx, agent_id)

    # ------------------------------------------------------------------------------------------------------ reads

    async def get(self, viewer: Viewer, agent_id: str) -> Agent | None:
        """One agent that the viewer may see: a client sees enabled ones."""
        agent = await self._get(agent_id)
        return agent if agent is not None and (agent.enabled or viewer.is_admin) else None

    async def get_many(self, agent_ids: Sequence[str]) -> Sequence[Agent | None]:
        """Agents by ids that come from jobs and executions which the viewer sees, disabled or not."""
        async with self.database.read() as tx:
            return await agent_rows.get_many(tx, agent_ids)

    async def page(self, viewer: Viewer, page: Page) -> PageOf[Agent]:
        """Agents that the viewer may see, newest first."""
        async with self.database.read() as tx:
            return await agent_rows.page(tx, page, only_enabled=not viewer.is_admin)

    async def count(self, viewer: Viewer) -> int:
        """How many agents that list has."""
        async with self.database.read() as tx:
            return await agent_rows.count(tx, only_enabled=not viewer.is_admin)

    async def changes_of(self, agent_ids: Sequence[str], page: Page) -> Sequence[PageOf[AgentChange]]:
        """The same page of many agents' changes, the latest first; for admins, whoever asks makes sure of it."""
        async with self.database.read() as tx:
            return await agent_rows.changes_of(tx, agent_ids, page)

    async def count_changes_of(self, agent_ids: Sequence[str]) -> Sequence[int]:
        """How many changes each agent has seen."""
        async with self.database.read() as tx:
            return await agent_rows.count_changes_of(tx, agent_ids)


def _text_problem(draft: AgentDraft, given: Callable[[str], bool]) -> Refusal | None:
    texts = (
        ("name", draft.name, inputs.NAME_CHARACTERS),
        ("endpoint_url", draft.endpoint_url, URL_CHARACTERS),
        ("secret", draft.secret, 4_000),
    )
    for name, value, longest in texts:
        if given(name) and value is not None:
            refused = inputs.text(value, (_CAMEL.get(name, name),), longest)
            if refused is not None:
                return refused
    return None


_CURSOR = "a"


def cursor_of(agent: Agent) -> str:
    """The cursor of an agent in the list of agents."""
    return cursors.encode(_CURSOR, agent.created_at, agent.id)


def position(cursor: str) -> cursors.Position:
    """Read a cursor of the list of agents. Raises BadRequestError."""
    return cursors.decode(_CURSOR, (datetime, str), cursor)


_CHANGE_CURSOR = "h"


def change_cursor_of(change: AgentChange) -> str:
    """The cursor of a change in its agent's list."""
    return cursors.encode(_CHANGE_CURSOR, change.number)


def change_position(cursor: str) -> cursors.Position:
    """Read a cursor of a list of changes. Raises BadRequestError."""
    return cursors.decode(_CHANGE_CURSOR, (int,), cursor)


def _api_names(names: Sequence[str]) -> list[str]:
    return [_CAMEL.get(name, name) for name in names]

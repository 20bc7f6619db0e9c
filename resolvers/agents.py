"""Agents."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial

import strawberry

from db.records import Agent, AgentChange
from resolvers.context import Info
from resolvers.errors import ForbiddenError
from resolvers.inputs import CreateAgentInput, UpdateAgentInput
from resolvers.keyed import Reading, keyed
from resolvers.paging import Listed, listed
from resolvers.rates import counted
from services import cursors
from services.agents import AgentResult, change_cursor_of, change_position, cursor_of, position


def agent(info: Info, id: strawberry.ID) -> Awaitable[Agent | None]:
    """One agent that the viewer may see."""
    return info.context.services.agents.get(info.context.require_viewer(), id)


async def agents(
    info: Info, first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
) -> Listed[Agent]:
    """Agents that the viewer may see, newest first."""
    viewer, service = info.context.require_viewer(), info.context.services.agents
    page = cursors.page(position, first, after, last, before)
    return Listed(await service.page(viewer, page), partial(map, cursor_of), partial(service.count, viewer))


def endpoint_url(root: Agent, info: Info) -> str | None:
    """Where its requests go: for admins."""
    return root.endpoint_url if info.context.require_viewer().is_admin else None


@keyed("id")
def changes(info: Info, first: int | None = None, after: str | None = None) -> Reading[Listed[AgentChange]]:
    """Who changed it: for admins."""
    if not info.context.require_viewer().is_admin:
        raise ForbiddenError("Only an admin may read who changed an agent.")
    service, page = info.context.services.agents, cursors.page(change_position, first, after, None, None)
    read, count = partial(service.changes_of, page=page), partial(service.count_changes_of)
    return listed(info, read, count, partial(map, change_cursor_of))


@counted(AgentResult)
async def create_agent(info: Info, input: CreateAgentInput) -> AgentResult:
    """Register an agent."""
    return await info.context.services.agents.create(info.context.require_viewer(), input.draft())


@counted(AgentResult)
async def update_agent(info: Info, input: UpdateAgentInput) -> AgentResult:
    """Change an agent."""
    viewer = info.context.require_viewer()
    return await info.context.services.agents.update(viewer, input.agent_id, input.changes())

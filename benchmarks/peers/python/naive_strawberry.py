"""Strawberry as its documentation begins: types made of ORM objects, async resolvers, DataLoaders; no limits."""

from __future__ import annotations

import base64
import json
import os
from datetime import datetime
from typing import Any

import strawberry
import uvicorn
from sqlalchemy import func, select
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from tables import AgentRow, ExecutionRow, JobRow, LogRow, session


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


@strawberry.type
class PageInfo:
    has_next_page: bool


@strawberry.type
class Agent:
    id: strawberry.ID
    name: str


@strawberry.type
class Owner:
    id: strawberry.ID
    display_name: str


@strawberry.type
class Execution:
    number: int
    state: str
    outcome: str | None
    queued_at: datetime


@strawberry.type
class Log:
    id: strawberry.ID
    timestamp: datetime
    type: str
    status: str
    message: str
    payload: JSON | None


@strawberry.type
class LogEdge:
    node: Log
    cursor: str


@strawberry.type
class LogConnection:
    edges: list[LogEdge]
    nodes: list[Log]
    page_info: PageInfo


def log_of(row: LogRow) -> Log:
    return Log(
        id=strawberry.ID(row.id),
        timestamp=row.timestamp,
        type=row.type.upper(),
        status=row.status.upper(),
        message=row.message,
        payload=None if row.payload is None else json.loads(row.payload),  # type: ignore[arg-type]
    )


async def load_logs(keys: list[tuple[str, int]]) -> list[LogConnection]:
    first = keys[0][1]
    rank = func.row_number().over(partition_by=LogRow.job_id, order_by=LogRow.seq).label("rank")
    ranked = select(LogRow.seq, rank).where(LogRow.job_id.in_([key[0] for key in keys])).subquery()
    statement = select(LogRow).join(ranked, ranked.c.seq == LogRow.seq).where(ranked.c.rank <= first + 1)
    found: dict[str, list[LogRow]] = {key[0]: [] for key in keys}
    async with session() as opened:
        for row in (await opened.execute(statement.order_by(LogRow.seq))).scalars():
            found[row.job_id].append(row)
    pages: list[LogConnection] = []
    for job_id, _ in keys:
        rows = found[job_id]
        nodes = [log_of(row) for row in rows[:first]]
        edges = [LogEdge(node=node, cursor=cursor_of(row.seq)) for node, row in zip(nodes, rows, strict=False)]
        pages.append(LogConnection(edges=edges, nodes=nodes, page_info=PageInfo(has_next_page=len(rows) > first)))
    return pages


async def load_agents(keys: list[str]) -> list[Agent | None]:
    async with session() as opened:
        rows = (await opened.execute(select(AgentRow).where(AgentRow.id.in_(keys)))).scalars()
        found = {row.id: Agent(id=strawberry.ID(row.id), name=row.name) for row in rows}
    return [found.get(key) for key in keys]


async def load_executions(keys: list[str]) -> list[Execution | None]:
    async with session() as opened:
        rows = (await opened.execute(select(ExecutionRow).where(ExecutionRow.id.in_(keys)))).scalars()
        found = {
            row.id: Execution(
                number=row.number,
                state=row.state.upper(),
                outcome=None if row.outcome is None else row.outcome.upper(),
                queued_at=row.queued_at,
            )
            for row in rows
        }
    return [found.get(key) for key in keys]


@strawberry.type
class Job:
    row: strawberry.Private[JobRow]
    id: strawberry.ID
    title: str
    status: str
    updated_at: datetime

    @strawberry.field
    async def logs(self, info: strawberry.Info[Any, None], first: int = 20) -> LogConnection:
        page: LogConnection = await info.context["logs"].load((self.row.id, first))
        return page

    @strawberry.field
    async def agent(self, info: strawberry.Info[Any, None]) -> Agent | None:
        found: Agent | None = await info.context["agents"].load(self.row.agent_id)
        return found

    @strawberry.field
    async def latest_execution(self, info: strawberry.Info[Any, None]) -> Execution | None:
        found: Execution | None = await info.context["executions"].load(self.row.latest_execution_id)
        return found

    @strawberry.field
    async def owner(self) -> Owner:
        return Owner(id=strawberry.ID(self.row.owner_id), display_name=self.row.owner_name)


def job_of(row: JobRow) -> Job:
    return Job(row=row, id=strawberry.ID(row.id), title=row.title, status=row.status.upper(), updated_at=row.updated_at)


@strawberry.type
class JobEdge:
    node: Job
    cursor: str


@strawberry.type
class JobConnection:
    edges: list[JobEdge]
    nodes: list[Job]
    page_info: PageInfo


@strawberry.type
class Query:
    @strawberry.field
    async def job(self, id: strawberry.ID) -> Job | None:  # noqa: A002
        async with session() as opened:
            row = await opened.get(JobRow, id)
        return None if row is None else job_of(row)

    @strawberry.field
    async def jobs(self, first: int = 20) -> JobConnection:
        statement = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(first + 1)
        async with session() as opened:
            rows = list((await opened.execute(statement)).scalars())
        nodes = [job_of(row) for row in rows[:first]]
        edges = [JobEdge(node=job, cursor=cursor_of(str(job.row.created_at), job.id)) for job in nodes]
        return JobConnection(edges=edges, nodes=nodes, page_info=PageInfo(has_next_page=len(rows) > first))


class App(GraphQL[Any, None]):
    async def get_context(self, request: Any, response: Any) -> Any:
        del request, response
        return {
            "logs": DataLoader(load_logs),
            "agents": DataLoader(load_agents),
            "executions": DataLoader(load_executions),
        }


schema = strawberry.Schema(Query, config=StrawberryConfig())

if __name__ == "__main__":
    app = App(schema)
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", loop="uvloop")

"""Ariadne as its documentation begins: a schema in words, resolvers by name, dicts, DataLoaders of asyncpg rows."""

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import uvicorn
from ariadne import ObjectType, QueryType, make_executable_schema
from ariadne.asgi import GraphQL

SDL = """
type Query { job(id: ID!): Job jobs(first: Int = 20): JobConnection! }
type PageInfo { hasNextPage: Boolean! }
type Agent { id: ID! name: String! }
type Owner { id: ID! displayName: String! }
type Execution { number: Int! state: String! outcome: String queuedAt: DateTime! }
type Job { id: ID! title: String! status: String! updatedAt: DateTime! agent: Agent owner: Owner!
  latestExecution: Execution logs(first: Int = 20): LogConnection! }
type JobEdge { node: Job! cursor: String! }
type JobConnection { edges: [JobEdge!]! nodes: [Job!]! pageInfo: PageInfo! }
type Log { id: ID! timestamp: DateTime! type: String! status: String! message: String! payload: JSON }
type LogEdge { node: Log! cursor: String! }
type LogConnection { edges: [LogEdge!]! nodes: [Log!]! pageInfo: PageInfo! }
scalar JSON
scalar DateTime
"""

LOGS = """
SELECT part.* FROM unnest($1::text[]) AS wanted(value) JOIN LATERAL (
    SELECT seq, id, job_id, timestamp, type, status, message, payload FROM job_logs WHERE job_id = wanted.value
    ORDER BY seq LIMIT $2
) part ON true ORDER BY part.seq
"""
query, job_type = QueryType(), ObjectType("Job")
pool: Any = None


def cursor_of(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


class Loader:
    """Collects keys for one pass of the loop."""

    def __init__(self, read: Callable[[list[Any]], Awaitable[dict[Any, Any]]]) -> None:
        self.read = read
        self.waiting: dict[Any, asyncio.Future[Any]] = {}

    def load(self, key: Any) -> asyncio.Future[Any]:
        if not self.waiting:
            self.task = asyncio.ensure_future(self.run())
        return self.waiting.setdefault(key, asyncio.get_running_loop().create_future())

    async def run(self) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting, self.waiting = self.waiting, {}
        found = await self.read(list(waiting))
        for key, future in waiting.items():
            future.set_result(found.get(key))


def page(rows: list[Any], first: int, node: Callable[[Any], Any], cursor: Callable[[Any], str]) -> dict[str, Any]:
    nodes = [node(row) for row in rows[:first]]
    return {
        "nodes": nodes,
        "edges": [{"node": node, "cursor": cursor(row)} for node, row in zip(nodes, rows, strict=False)],
        "pageInfo": {"hasNextPage": len(rows) > first},
    }


def log_of(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "timestamp": row["timestamp"].isoformat(),
        "type": row["type"].upper(),
        "status": row["status"].upper(),
        "message": row["message"],
        "payload": json.loads(row["payload"]),
    }


def job_of(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "title": row["title"],
        "status": row["status"].upper(),
        "updatedAt": row["updated_at"].isoformat(),
        "owner": {"id": row["owner_id"], "displayName": row["owner_name"]},
        "row": row,
    }


async def read_logs(keys: list[Any]) -> dict[Any, Any]:
    first = keys[0][1]
    found: dict[str, list[Any]] = {key[0]: [] for key in keys}
    for row in await pool.fetch(LOGS, list(found), first + 1):
        found[row["job_id"]].append(row)
    return {key: page(found[key[0]], first, log_of, lambda row: cursor_of(row["seq"])) for key in keys}


async def read_agents(keys: list[Any]) -> dict[Any, Any]:
    rows = await pool.fetch("SELECT id, name FROM agents WHERE id = ANY($1)", keys)
    return {row["id"]: dict(row) for row in rows}


async def read_executions(keys: list[Any]) -> dict[Any, Any]:
    rows = await pool.fetch("SELECT id, number, state, outcome, queued_at FROM executions WHERE id = ANY($1)", keys)
    return {
        row["id"]: {
            "number": row["number"],
            "state": row["state"].upper(),
            "outcome": row["outcome"].upper(),
            "queuedAt": row["queued_at"].isoformat(),
        }
        for row in rows
    }


@query.field("job")
async def job(_root: Any, _info: Any, id: str) -> Any:  # noqa: A002
    row = await pool.fetchrow("SELECT * FROM jobs WHERE id = $1", id)
    return None if row is None else job_of(row)


@query.field("jobs")
async def jobs(_root: Any, _info: Any, first: int) -> Any:
    rows = await pool.fetch("SELECT * FROM jobs ORDER BY created_at DESC, id DESC LIMIT $1", first + 1)
    return page(rows, first, job_of, lambda row: cursor_of(str(row["created_at"]), row["id"]))


@job_type.field("logs")
async def logs(root: Any, info: Any, first: int) -> Any:
    return await info.context["logs"].load((root["id"], first))


@job_type.field("agent")
async def agent(root: Any, info: Any) -> Any:
    return await info.context["agents"].load(root["row"]["agent_id"])


@job_type.field("latestExecution")
async def latest_execution(root: Any, info: Any) -> Any:
    return await info.context["executions"].load(root["row"]["latest_execution_id"])


def context(_request: Any, _data: Any = None) -> Any:
    return {"logs": Loader(read_logs), "agents": Loader(read_agents), "executions": Loader(read_executions)}


served = GraphQL(make_executable_schema(SDL, query, job_type), context_value=context)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        await served(scope, receive, send)
        return
    global pool  # noqa: PLW0603
    await receive()
    pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=4, max_size=16)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", loop="uvloop")

"""The limit: what Python can do at all. Bare ASGI, asyncpg records, dicts written by hand, orjson: the same bytes."""

import asyncio
import base64
import os
from typing import Any

import asyncpg
import orjson
import uvicorn

LOGS = """
SELECT seq, id, timestamp, type, status, message, payload FROM job_logs WHERE job_id = $1 ORDER BY seq LIMIT 21
"""
JOB = "SELECT id, title, status FROM jobs WHERE id = $1"
JOBS = "SELECT id, title, status, created_at FROM jobs ORDER BY created_at DESC, id DESC LIMIT 51"
MANY_LOGS = """
SELECT part.* FROM unnest($1::text[]) AS wanted(value) JOIN LATERAL (
    SELECT seq, id, job_id, timestamp, type, status, message, payload FROM job_logs WHERE job_id = wanted.value
    ORDER BY seq LIMIT 21
) part ON true ORDER BY part.seq
"""
ROWS = """
SELECT j.id, j.title, j.status, j.updated_at, j.owner_id, j.owner_name, a.id AS agent, a.name AS agent_name, e.number,
    e.state, e.outcome, e.queued_at
FROM (SELECT * FROM jobs ORDER BY created_at DESC, id DESC LIMIT 51) j LEFT JOIN agents a ON a.id = j.agent_id
LEFT JOIN executions e ON e.id = j.latest_execution_id ORDER BY j.created_at DESC, j.id DESC
"""

Row = Any
pool: Any = None


def moment(value: Any) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def log(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "timestamp": moment(row["timestamp"]),
        "type": row["type"].upper(),
        "status": row["status"].upper(),
        "message": row["message"],
        "payload": orjson.Fragment(row["payload"]),
    }


def cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(b'["l",%d]' % seq).decode().rstrip("=")


async def q1(variables: Any) -> Any:
    job = await pool.fetchrow(JOB, variables["id"])
    rows = await pool.fetch(LOGS, variables["id"])
    return {
        "job": {
            "id": job["id"],
            "title": job["title"],
            "status": job["status"].upper(),
            "logs": {"nodes": [log(row) for row in rows[:20]], "pageInfo": {"hasNextPage": len(rows) > 20}},
        }
    }


async def q2(_variables: Any) -> Any:
    jobs = (await pool.fetch(JOBS))[:50]
    found: dict[str, list[Row]] = {job["id"]: [] for job in jobs}
    for row in await pool.fetch(MANY_LOGS, list(found)):
        found[row["job_id"]].append(row)
    edges = [
        {
            "cursor": base64.urlsafe_b64encode(
                b'["j","created_at",%d,"%s"]' % (int(job["created_at"].timestamp() * 1e6), job["id"].encode())
            )
            .decode()
            .rstrip("="),
            "node": {
                "id": job["id"],
                "title": job["title"],
                "status": job["status"].upper(),
                "logs": {
                    "edges": [{"cursor": cursor(row["seq"]), "node": log(row)} for row in found[job["id"]][:20]],
                    "pageInfo": {"hasNextPage": len(found[job["id"]]) > 20},
                },
            },
        }
        for job in jobs
    ]
    return {"jobs": {"edges": edges}}


async def q3(_variables: Any) -> Any:
    return {"__typename": "Query"}


async def q4(_variables: Any) -> Any:
    rows = (await pool.fetch(ROWS))[:50]
    return {
        "jobs": {
            "nodes": [
                {
                    "id": row["id"],
                    "title": row["title"],
                    "status": row["status"].upper(),
                    "updatedAt": moment(row["updated_at"]),
                    "agent": {"id": row["agent"], "name": row["agent_name"]},
                    "owner": {"id": row["owner_id"], "displayName": row["owner_name"]},
                    "latestExecution": {
                        "number": row["number"],
                        "state": row["state"].upper(),
                        "outcome": row["outcome"].upper(),
                        "queuedAt": moment(row["queued_at"]),
                    },
                }
                for row in rows
            ]
        }
    }


ANSWERS = {"Q1": q1, "Q2": q2, "Q3": q3, "Q4": q4}
HEADERS = [(b"content-type", b"application/json; charset=utf-8")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        global pool  # noqa: PLW0603
        await receive()
        pool = await asyncpg.create_pool(os.environ["DATABASE"], min_size=4, max_size=16)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await pool.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    asked = orjson.loads(body)
    answer = orjson.dumps({"data": await ANSWERS[asked["operationName"]](asked.get("variables") or {})})
    length = (b"content-length", str(len(answer)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, length]})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    asyncio.set_event_loop_policy(None)
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", loop="uvloop")

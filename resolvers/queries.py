"""What does not belong to one kind of thing: who is asking, any node, what is installed, where the feed stands."""
# ruff: noqa: A002  (names of the contract)

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import strawberry

from db.records import Actor, Agent, Execution, Job, JobLog, Validation
from resolvers.context import Info
from resolvers.parts import parts
from services import ids


def viewer(info: Info) -> Actor | None:
    """Who is asking; the one field that answers nobody."""
    return None if info.context.viewer is None else info.context.viewer.actor


async def node(info: Info, id: strawberry.ID) -> Agent | Execution | Job | JobLog | Validation | None:
    """Whatever the id names, where the viewer may see it."""
    viewer, services = info.context.require_viewer(), info.context.services
    match ids.prefix_of(id):
        case ids.AGENT:
            return await services.agents.get(viewer, id)
        case ids.JOB:
            jobs = partial(services.jobs.get_many, viewer, parts=parts(info, Job, ()))
            return await info.context.load(jobs, id)
        case ids.EXECUTION:
            executions = partial(services.executions.get_many, viewer, parts=parts(info, Execution, ()))
            return await info.context.load(executions, id)
        case ids.VALIDATION:
            return await info.context.load(partial(services.executions.validations, viewer), id)
        case ids.LOG:
            entries = partial(services.logs.get_many, viewer, parts=parts(info, JobLog, ()))
            return await info.context.load(entries, id)
        case _:
            return None


def executors(info: Info) -> Sequence[str]:
    """Names of the installed executors."""
    info.context.require_viewer()
    return info.context.services.executors


def validators(info: Info) -> Sequence[str]:
    """Names of the installed validators."""
    info.context.require_viewer()
    return info.context.services.validators


async def feed_cursor(info: Info) -> str:
    """Where the feed stood before any other field of this operation was read: see schema.extensions."""
    info.context.require_viewer()
    if info.context.feed_cursor is None:
        return await info.context.services.feed.cursor()
    return await info.context.feed_cursor

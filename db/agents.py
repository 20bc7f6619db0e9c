"""Statements on agents and on the slots that bound how many calls to one may be under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import FromClause, Select, and_, bindparam, case, delete, func, insert, or_, select, update

from db import rows
from db.chains import Link, Place
from db.models import agent_changes, agent_slots, agents
from db.paging import Key, Listing, by_ids, count_of_list, counts_of_parents, page_of_list, pages_of_parents, prepared
from db.prepared import given
from db.types import Id, in_seconds, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from db.records import Actor, Agent, AgentChange, Page, PageOf
    from db.session import Transaction

NEWEST_FIRST = Key(("created_at", "id"), descending=True)


async def create(tx: Transaction, values: dict[str, Any]) -> Agent:
    """Insert an agent; `values` holds every column but the times."""
    statement = insert(agents).values(created_at=now(), updated_at=now(), **values).returning(agents)
    agent = rows.agent((await tx.connection.execute(statement)).one())
    await _fit_slots(tx, agent)
    return agent


async def change(
    tx: Transaction, agent_id: str, values: dict[str, Any], *, previous_secret_seconds: float = 0
) -> Agent | None:
    """Set the given columns; None where there is no such agent.

    A new secret keeps the one that it replaces as the previous one, for so many seconds; clearing it clears both.
    """
    rotated: dict[str, Any] = {}
    if "secret" in values:
        keeps = values["secret"] is not None and previous_secret_seconds > 0
        had_one = agents.c.secret.is_not(None)
        rotated = {
            "previous_secret": agents.c.secret if keeps else None,
            "previous_secret_until": case((had_one, in_seconds(previous_secret_seconds))) if keeps else None,
        }
    statement = (
        update(agents).where(agents.c.id == agent_id).values(updated_at=now(), **values, **rotated).returning(agents)
    )
    row = (await tx.connection.execute(statement)).one_or_none()
    if row is None:
        return None
    agent = rows.agent(row)
    await _fit_slots(tx, agent)
    return agent


async def _fit_slots(tx: Transaction, agent: Agent) -> None:
    """As many slots as calls may be under way; a slot too many that is taken goes when it is given back."""
    wanted = agent.max_concurrent_executions
    of_agent = agent_slots.c.agent_id == agent.id
    numbers = set((await tx.connection.execute(select(agent_slots.c.number).where(of_agent))).scalars())
    missing = [{"agent_id": agent.id, "number": n} for n in range(1, wanted + 1) if n not in numbers]
    if missing:
        await tx.connection.execute(insert(agent_slots), missing)
    surplus = and_(of_agent, agent_slots.c.number > wanted, agent_slots.c.execution_id.is_(None))
    await tx.connection.execute(delete(agent_slots).where(surplus))


async def secrets_after(tx: Transaction, agent_id: str, limit: int) -> list[Agent]:
    """Lock the next agents by id that have a stored secret, so that no edit comes between."""
    stored = or_(agents.c.secret.is_not(None), agents.c.previous_secret.is_not(None))
    statement = select(agents).where(agents.c.id > agent_id, stored).order_by(agents.c.id).limit(limit)
    # Executions may still refer to them meanwhile.
    return [rows.agent(row) for row in await tx.connection.execute(statement.with_for_update(key_share=True))]


async def reseal(tx: Transaction, agent_id: str, secret: str | None, previous_secret: str | None) -> None:
    """Store the same secrets encrypted anew; without a previous one, none is kept any more."""
    values: dict[str, Any] = {"secret": secret, "previous_secret": previous_secret}
    if previous_secret is None:
        values["previous_secret_until"] = None
    await tx.connection.execute(update(agents).where(agents.c.id == agent_id).values(**values))


async def get(tx: Transaction, agent_id: str) -> Agent | None:
    """One agent."""
    statement = prepared(tx, "an agent", lambda: select(agents).where(agents.c.id == bindparam("key", type_=Id)))
    row = await tx.fetch_one(statement, {"key": agent_id})
    return None if row is None else rows.agent(row)


def still(agent: Agent) -> Link:
    """A link of a chain: the agent, if it is enabled and as it was read."""
    read = {"id": agent.id, "updated_at": agent.updated_at}

    def build(place: Place) -> Select[Any]:
        same = [agents.c[name] == parameter for name, parameter in place.new(agents, read, "read").items()]
        return select(agents.c.id).where(*same, agents.c.enabled, *place.when)

    return Link("still the agent", build, given(read, "read"))


async def get_many(tx: Transaction, agent_ids: Sequence[str]) -> list[Agent | None]:
    """Agents by id, in the order asked for."""
    return await by_ids(tx, agents, _listed(only_enabled=False), agent_ids, rows.agent)


def _enabled(table: FromClause) -> Select[Any]:
    return select(table).where(table.c.enabled)


def _listed(*, only_enabled: bool) -> Listing:
    return Listing(_enabled, shape="enabled") if only_enabled else Listing(select, shape="all")


async def page(tx: Transaction, page: Page, *, only_enabled: bool) -> PageOf[Agent]:
    """Agents, newest first."""
    return await page_of_list(tx, agents, _listed(only_enabled=only_enabled), NEWEST_FIRST, page, rows.agent)


async def count(tx: Transaction, *, only_enabled: bool) -> int:
    """How many agents that list has."""
    return await count_of_list(tx, agents, _listed(only_enabled=only_enabled))


# -------------------------------------------------------------------------------------------------------- changes

LATEST_FIRST = Key(("number",), descending=True)


async def note_change(tx: Transaction, agent_id: str, actor: Actor, fields: Sequence[str]) -> None:
    """Note who changed which fields of an agent, in the transaction that has changed it."""
    of_agent = agent_changes.c.agent_id == agent_id
    number = select(func.coalesce(func.max(agent_changes.c.number), 0) + 1).where(of_agent).scalar_subquery()
    noted = {"agent_id": agent_id, "number": number, "changed_at": now(), "fields": list(fields)}
    await tx.connection.execute(insert(agent_changes).values(**noted, **rows.actor_columns("actor", actor)))


async def changes_of(tx: Transaction, agent_ids: Sequence[str], page: Page) -> list[PageOf[AgentChange]]:
    """The same page of many agents' changes, the latest first."""
    return await pages_of_parents(
        tx, agent_changes, Listing(select, shape="all"), "agent_id", agent_ids, LATEST_FIRST, page, rows.agent_change
    )


async def count_changes_of(tx: Transaction, agent_ids: Sequence[str]) -> list[int]:
    """How many changes each agent has seen."""
    return await counts_of_parents(tx, agent_changes, Listing(select, shape="all"), "agent_id", agent_ids)

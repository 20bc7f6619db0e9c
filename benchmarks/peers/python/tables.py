"""The tables as an ORM has them, for the peers that use one."""

import os
from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class AgentRow(Base):
    __tablename__ = "agents"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    name: Mapped[str]


class JobRow(Base):
    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    title: Mapped[str]
    status: Mapped[str]
    agent_id: Mapped[str | None]
    owner_id: Mapped[str]
    owner_name: Mapped[str]
    latest_execution_id: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class ExecutionRow(Base):
    __tablename__ = "executions"
    id: Mapped[str] = mapped_column(String, primary_key=True)
    number: Mapped[int]
    state: Mapped[str]
    outcome: Mapped[str | None]
    queued_at: Mapped[datetime]


class LogRow(Base):
    __tablename__ = "job_logs"
    seq: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    timestamp: Mapped[datetime]
    type: Mapped[str]
    status: Mapped[str]
    message: Mapped[str]
    payload: Mapped[str | None]


engine = create_async_engine(
    os.environ["DATABASE"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=16, max_overflow=0
)
session = async_sessionmaker(engine, expire_on_commit=False)

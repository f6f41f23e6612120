# mypy: ignore-errors
# It runs in an environment of its own, with packages that ours does not have.
"""Create and decide, written plainly: the same rows, and the same promises to an agent as far as a
few statements can keep them, without rules in the database. Run by uvicorn; see
stock_fastapi.py."""

import hashlib
import json
import os
import uuid
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel
from sqlalchemy import ForeignKey, UniqueConstraint, select, text
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://")
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSONB}


class Caller(Base):
    __tablename__ = "callers"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)


class Task(Base):
    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("caller_id", "idempotency_key"),)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    caller_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("callers.id"))
    idempotency_key: Mapped[str]
    task_type: Mapped[str]
    target: Mapped[str]
    data: Mapped[dict[str, Any]]
    payload_digest: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    approvals: Mapped[list["Approval"]] = relationship(back_populates="task")


class Approval(Base):
    __tablename__ = "approvals"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    task_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("tasks.id"), index=True)
    role: Mapped[str]
    status: Mapped[str]
    decided_by: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("callers.id"))
    decided_at: Mapped[datetime | None]
    task: Mapped[Task] = relationship(back_populates="approvals")


class Event(Base):
    __tablename__ = "events"
    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    event_type: Mapped[str]
    caller_id: Mapped[uuid.UUID]
    subject_id: Mapped[uuid.UUID] = mapped_column(index=True)
    details: Mapped[dict[str, Any]]


class TaskRequest(BaseModel):
    target: str
    task_type: str
    data: dict[str, Any]


class Decision(BaseModel):
    payload_digest: str


@asynccontextmanager
async def lifespan(app):
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(1)"))  # one process at a time
        await connection.run_sync(Base.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)


async def database():
    async with sessions() as session:
        yield session


Session = Annotated[AsyncSession, Depends(database)]


async def caller(session: Session, authorization: Annotated[str, Header()]) -> Caller:
    key = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()
    if found := await session.scalar(select(Caller).where(Caller.key_hash == key)):
        return found
    raise HTTPException(401)


CurrentCaller = Annotated[Caller, Depends(caller)]


def now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def record(session: AsyncSession, caller: Caller, what: str, subject: uuid.UUID, **details) -> None:
    event = {"at": now(), "event_type": what, "caller_id": caller.id, "subject_id": subject}
    session.add(Event(**event, details=details))


def represent(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "task_type": task.task_type,
        "target": task.target,
        "data": task.data,
        "payload_digest": task.payload_digest,
        "status": task.status,
        "created_at": task.created_at,
        "approvals": [
            {"approval_id": one.id, "status": one.status, "decided_at": one.decided_at}
            for one in task.approvals
        ],
    }


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/tasks", status_code=202)
async def create(
    task_request: TaskRequest,
    caller: CurrentCaller,
    session: Session,
    idempotency_key: Annotated[str, Header()],
):
    payload = json.dumps(task_request.model_dump(), sort_keys=True, separators=(",", ":"))
    row = {
        "id": uuid.uuid4(),
        "caller_id": caller.id,
        "idempotency_key": idempotency_key,
        **task_request.model_dump(),
        "payload_digest": hashlib.sha256(payload.encode()).hexdigest(),
        "status": "awaiting_approval",
        "created_at": now(),
    }
    inserted = await session.scalar(
        insert(Task).values(row).on_conflict_do_nothing().returning(Task.id)
    )
    if inserted is None:
        again = select(Task).filter_by(caller_id=caller.id, idempotency_key=idempotency_key)
        task = await session.scalar(again)
        return {"task_id": task.id, "status": task.status}
    approval = Approval(
        id=uuid.uuid4(), task_id=inserted, role=task_request.target, status="pending"
    )
    session.add(approval)
    record(session, caller, "task.routed", inserted, payload_digest=row["payload_digest"])
    record(session, caller, "approval.requested", approval.id, task_id=str(inserted))
    await session.commit()
    return {"task_id": inserted, "status": "awaiting_approval"}


@app.get("/tasks/{task_id}")
async def read(task_id: uuid.UUID, caller: CurrentCaller, session: Session):
    with_approvals = select(Task).options(selectinload(Task.approvals))
    task = await session.scalar(with_approvals.filter_by(id=task_id, caller_id=caller.id))
    if task is None:
        raise HTTPException(404)
    return represent(task)


@app.get("/tasks")
async def page(caller: CurrentCaller, session: Session, page: int = 1, page_size: int = 20):
    mine = select(Task).options(selectinload(Task.approvals)).filter_by(caller_id=caller.id)
    ordered = mine.order_by(Task.created_at.desc())
    found = await session.scalars(ordered.offset((page - 1) * page_size).limit(page_size))
    return {"tasks": [represent(task) for task in found]}


@app.post("/approvals/{approval_id}/approve")
async def approve(
    approval_id: uuid.UUID, decision: Decision, caller: CurrentCaller, session: Session
):
    locked = select(Approval).options(selectinload(Approval.task)).filter_by(id=approval_id)
    approval = await session.scalar(locked.with_for_update())
    if approval is None or approval.role != caller.role:
        raise HTTPException(404)
    if approval.status != "pending" or approval.task.payload_digest != decision.payload_digest:
        raise HTTPException(409)
    approval.status, approval.decided_by, approval.decided_at = "approved", caller.id, now()
    approval.task.status = "approved"
    record(session, caller, "approval.approved", approval.id, digest=decision.payload_digest)
    record(session, caller, "task.approved", approval.task_id)
    await session.commit()
    return {"approval_id": approval.id, "status": approval.status}

"""How each contact, agent and queue stands, as others may know it: the values of the topic `status`, from a board.

A value depends on accepted turns alone, so all who make it make the same; times are of the log, and what grows with the
clock (how long somebody has waited) is told as the moment since when. `position` is the id of the last event that it
knows of: who has seen a later one for the same key drops it. Estimates and places in line are not told yet.
"""

from typing import Literal, NamedTuple

from msgspec import Struct

from engine.core.words import TIERS, Channel, Tier

from .board import Agent, Board, Contact, DoorView, Outcome, State, Status

READ_TO = "waitline-position"  # header of a record: the position of the last turn that its writer had read
Kind = Literal["contact", "agent", "queue"]


class Stamp(NamedTuple):
    """position: the id of an event; at: its time, in milliseconds since the epoch."""

    position: str
    at: int


UNTOLD = Stamp("", 0)


class ContactStatus(Struct, frozen=True, gc=False):
    """A contact. due_at orders the line and promises nothing; since: of its state; agent_id: who it is offered to, or
    talked with (the last one, once it has finished); outcome is empty until it has finished. Times are milliseconds
    since the epoch, 0 where it has not come to that."""

    pool: str
    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    customer: str
    tier: Tier
    vip: bool
    state: Status
    outcome: Outcome
    agent_id: str
    queued_at: int
    due_at: int
    since: int
    answered_at: int
    ended_at: int
    position: str
    at: int


class AssignmentStatus(Struct, frozen=True, gc=False):
    """A contact that an agent is offered, talks to, or wraps up."""

    contact_id: str
    channel: Channel
    queue_id: str
    state: Literal["offered", "talking", "wrap-up"]
    since: int


class AgentStatus(Struct, frozen=True, gc=False):
    """An agent. presence: gone is who is not signed in; state: what a wallboard shows; since: of that state, or of the
    reason given for not being ready (0 for who is gone); reason: why they are not ready."""

    pool: str
    agent_id: str
    presence: Literal["ready", "not-ready", "gone"]
    reason: str
    state: State | Literal["gone"]
    since: int
    team: str
    queues: tuple[str, ...]
    assignments: tuple[AssignmentStatus, ...]
    position: str
    at: int


class QueueStatus(Struct, frozen=True, gc=False):
    """A queue. waiting counts those held out to an agent too; longest_wait_since: when the first of them entered, 0
    where nobody waits; agents_ready: who serves this queue and is ready; agents_idle: those of them without a
    contact; doors: of the channels that have opening hours."""

    pool: str
    queue_id: str
    name: str
    waiting: int
    waiting_by_channel: dict[str, int]
    offered: int
    talking: int
    longest_wait_since: int
    agents_ready: int
    agents_idle: int
    doors: dict[str, DoorView]
    position: str
    at: int


AnyStatus = ContactStatus | AgentStatus | QueueStatus


def key_of(kind: Kind, pool: str, id: str) -> str:
    return f"{kind}/{pool}/{id}"


def contact_status(board: Board, contact_id: str, stamp: Stamp = UNTOLD) -> ContactStatus | None:
    """None: the board no longer knows it."""
    contact = board.contact_row(contact_id)
    if contact is None:
        return None
    return ContactStatus(
        board.pool,
        contact.contact_id,
        contact.channel,
        contact.queue_id,
        contact.source,
        contact.customer,
        TIER[contact.due_reason[0]],
        "vip" in contact.due_reason,
        contact.status,
        contact.outcome,
        contact.agent_id,
        contact.queued_at,
        contact.queued_at + contact.target_ms - contact.head_start_ms,
        since_of(board, contact),
        contact.answered_at,
        contact.ended_at,
        stamp.position,
        stamp.at,
    )


def since_of(board: Board, contact: Contact) -> int:
    if contact.status == "finished":
        return contact.ended_at
    agent = board.agent_row(contact.agent_id) if contact.agent_id else None
    held = agent.contacts if agent else ()
    return next((each.since for each in held if each.contact_id == contact.contact_id), contact.entered_at)


def agent_status(board: Board, agent_id: str, stamp: Stamp = UNTOLD) -> AgentStatus:
    agent = board.agent_row(agent_id)
    if agent is None:
        return AgentStatus(board.pool, agent_id, "gone", "", "gone", 0, "", (), (), stamp.position, stamp.at)
    return AgentStatus(
        board.pool,
        agent.agent_id,
        "ready" if agent.ready else "not-ready",
        agent.reason,
        agent.state,
        agent.since,
        agent.team,
        agent.queues,
        assignments_of(agent),
        stamp.position,
        stamp.at,
    )


def assignments_of(agent: Agent) -> tuple[AssignmentStatus, ...]:
    return tuple(
        AssignmentStatus(each.contact_id, each.channel, each.queue_id, each.status, each.since)
        for each in agent.contacts
    )


def queue_statuses(board: Board, stamp: Stamp = UNTOLD) -> dict[str, QueueStatus]:
    """Every queue that the rules name or where somebody still is, by id. Without a stamp: to be compared."""
    return {
        queue.queue_id: QueueStatus(
            board.pool,
            queue.queue_id,
            queue.name,
            queue.waiting,
            queue.waiting_by_channel,
            queue.offered,
            queue.talking,
            board.at - queue.longest_wait_ms if queue.waiting else 0,
            queue.agents_ready,
            queue.agents_idle,
            queue.doors,
            stamp.position,
            stamp.at,
        )
        for queue in board.queues(board.at)
    }


TIER: dict[str, Tier] = {f"tier-{tier}": tier for tier in TIERS}

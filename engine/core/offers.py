"""Who is offered to whom: all matching, in one place. Writes nothing.

Between turns nobody waits whom a standing agent could serve. So only agents and contacts that the events of this turn
have
set free can make a new pair: `stirred` names them, and no one else is looked at.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from . import messages as m
from .matching import earliest_due, longest_idle
from .rules import ROOMS_WITH
from .tables import Contact, View

Reason = tuple[str, ...]
LONGEST_IDLE: Reason = ("longest-idle",)
EARLIEST_DUE: Reason = ("earliest-due",)
AFTER_DECLINE: dict[Reason, Reason] = {
    LONGEST_IDLE: ("longest-idle", "after-decline"),
    EARLIEST_DUE: ("earliest-due", "after-decline"),
}

FREES_AGENT = frozenset(
    {
        m.OfferAccepted, m.OfferDeclined, m.OfferRevoked, m.ContactTransferred, m.ContactEnded, m.WrapUpEnded,
        m.AgentBecameReady, m.AgentProfileChanged,
    }
)  # fmt: skip
FREES_CONTACT = frozenset(
    {
        m.ContactQueued, m.ContactUpdated, m.ContactTransferred, m.OfferDeclined, m.OfferExpired, m.OfferRevoked,
        m.DeclinesLapsed,
    }
)  # fmt: skip
STIRS = FREES_AGENT | FREES_CONTACT | {m.RulesPublished}


def stirred(view: View, events: list[m.Event]) -> tuple[dict[str, None], dict[str, None]]:
    """Agents and contacts that may make a new pair, in the order of the events."""
    agents: dict[str, None] = {}
    contacts: dict[str, None] = {}
    for event in events:
        kind = type(event)
        if kind in FREES_AGENT:
            agents[event.agent_id] = None  # type: ignore[attr-defined]
        if kind in FREES_CONTACT:
            contacts[event.contact_id] = None  # type: ignore[attr-defined]
        if kind is m.RulesPublished:
            agents.update(dict.fromkeys(view.agents))
    return agents, contacts


def offers(view: View, events: list[m.Event], issue: Callable[[m.OfferIssued], None]) -> None:
    """Issues the offers that these events make possible, one at a time, each written before the next is looked for.

    Always the earliest due contact that anybody standing can serve, to the longest idle of those who can serve it: so
    an agent
    is offered the earliest due of theirs and a contact the longest idle of its own, however many came free in one turn.
    """
    if not any(type(event) in STIRS for event in events):
        return
    agents, contacts = stirred(view, events)
    rows, standing = view.contacts, view.agents
    ahead: list[tuple[int, int, str, str]] = []  # due, seq, contact, and the agent who brought it forward
    for contact_id in contacts:
        contact = rows.get(contact_id)
        if contact is not None and contact.status == "waiting":
            ahead.append((contact.due_at, contact.seq, contact_id, ""))
    for agent_id in agents:
        agent = standing.get(agent_id)
        if agent is not None and agent.room:
            contact_id = earliest_due(view, agent)
            if contact_id:
                contact = rows[contact_id]
                ahead.append((contact.due_at, contact.seq, contact_id, agent_id))
    heapify(ahead)
    while ahead:
        _, _, contact_id, agent_id = heappop(ahead)
        contact = rows[contact_id]
        if contact.status == "waiting":
            chosen = longest_idle(view, contact, ROOMS_WITH[contact.need[1]])
            if chosen:
                issue(offer(view, contact, chosen, EARLIEST_DUE if agent_id else LONGEST_IDLE))
        if agent_id:
            agent = standing[agent_id]
            if agent.room:  # another took it: what is next for this one?
                contact_id = earliest_due(view, agent)
                if contact_id:
                    contact = rows[contact_id]
                    heappush(ahead, (contact.due_at, contact.seq, contact_id, agent_id))


def offer(view: View, contact: Contact, agent_id: str, reason: Reason) -> m.OfferIssued:
    assert view.rules is not None
    at, queue_id = view.at, contact.need[0]
    return m.OfferIssued(
        contact.id,
        agent_id,
        queue_id,
        at + view.rules.queues[queue_id].offer_ms,
        at - contact.queued_at,
        at - view.agents[agent_id].idle_since,
        AFTER_DECLINE[reason] if contact.declined_by else reason,
    )

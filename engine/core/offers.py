"""Who is offered to whom: all matching, in one place. Writes nothing.

Between turns nobody waits whom a standing agent could serve. So only agents and contacts that the events of this turn
have set free can make a new pair: `stirred` names them, and no one else is looked at.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from . import messages as m
from .matching import earliest_due, longest_idle, settle
from .tables import Agent, Contact, Tables, View

Reason = tuple[str, ...]
LONGEST_IDLE: Reason = ("longest-idle",)
EARLIEST_DUE: Reason = ("earliest-due",)
AFTER_DECLINE: dict[Reason, Reason] = {
    LONGEST_IDLE: ("longest-idle", "after-decline"),
    EARLIEST_DUE: ("earliest-due", "after-decline"),
}

AGENT, CONTACT, BOTH = 1, 2, 3
FREES: dict[type[m.Event], int] = {
    m.ContactQueued: CONTACT,
    m.ContactUpdated: CONTACT,
    m.OfferAccepted: AGENT,
    m.OfferDeclined: BOTH,
    m.OfferExpired: CONTACT,
    m.OfferRevoked: BOTH,
    m.DeclinesLapsed: CONTACT,
    m.ContactTransferred: BOTH,
    m.ContactEnded: AGENT,
    m.WrapUpEnded: AGENT,
    m.AgentProfileChanged: AGENT,
    m.AgentBecameReady: AGENT,
}


def stirred(view: View, events: list[m.Event]) -> tuple[list[Agent], list[Contact]]:
    """Standing agents and waiting contacts that these events have set free."""
    agents: list[Agent] = []
    contacts: list[Contact] = []
    for event in events:
        kind = type(event)
        freed = FREES.get(kind, 0)
        if freed & AGENT:
            agent = view.agents.get(event.agent_id)  # type: ignore[attr-defined]
            if agent is not None and agent.room:
                agents.append(agent)
        if freed & CONTACT:
            contact = view.contacts.get(event.contact_id)  # type: ignore[attr-defined]
            if contact is not None and contact.status == "waiting":
                contacts.append(contact)
        elif kind is m.RulesPublished:
            agents += (agent for agent in view.agents.values() if agent.room)
    return agents, contacts


def offers(view: Tables, events: list[m.Event], issue: Callable[[Tables, m.OfferIssued], None]) -> None:
    """Issues the offers that these events make possible and appends them; each is written before the next is looked
    for.

    Always the earliest due contact that anybody standing can serve, to the longest idle of those who can serve it: so
    an agent is offered the earliest due of theirs and a contact the longest idle of its own, however many came free in
    one turn.
    """
    agents, contacts = stirred(view, events)
    if len(agents) == 1 and not contacts:  # by far the most frequent turns: nobody, one agent, one contact
        contact_id = earliest_due(view, agents[0])
        if contact_id:
            issue_to(view, view.contacts[contact_id], agents[0].id, EARLIEST_DUE, events, issue)
        return
    if view.freed:
        settle(view)
    if not agents and len(contacts) < 2:
        for contact in contacts:
            chosen = longest_idle(view, contact)
            if chosen:
                issue_to(view, contact, chosen, LONGEST_IDLE, events, issue)
        return

    # (…, the agent who brought the contact forward; "" where it came by itself)
    ahead = [(contact.due_at, contact.seq, contact.id, "") for contact in contacts]
    heapify(ahead)
    for agent in agents:
        bring_forward(view, agent, ahead)
    while ahead:
        _, _, contact_id, agent_id = heappop(ahead)
        contact = view.contacts[contact_id]
        if contact.status == "waiting":
            chosen = longest_idle(view, contact)
            if chosen:
                issue_to(view, contact, chosen, EARLIEST_DUE if agent_id else LONGEST_IDLE, events, issue)
        if agent_id and view.agents[agent_id].room:  # another took it: what is next for this one?
            bring_forward(view, view.agents[agent_id], ahead)


def bring_forward(view: View, agent: Agent, ahead: list[tuple[int, int, str, str]]) -> None:
    contact_id = earliest_due(view, agent)
    if contact_id:
        contact = view.contacts[contact_id]
        heappush(ahead, (contact.due_at, contact.seq, contact_id, agent.id))


def issue_to(
    view: Tables,
    contact: Contact,
    agent_id: str,
    reason: Reason,
    events: list[m.Event],
    issue: Callable[[Tables, m.OfferIssued], None],
) -> None:
    at, queue_id = view.at, contact.need[0]
    offer = m.OfferIssued(
        contact.id,
        agent_id,
        queue_id,
        at + view.rules.queues[queue_id].offer_ms,
        at - contact.queued_at,
        at - view.agents[agent_id].idle_since,
        AFTER_DECLINE[reason] if contact.declined_by else reason,
    )
    issue(view, offer)
    events.append(offer)

"""Who is offered to whom: all matching, in one place. Writes nothing.

Between turns nobody waits whom a standing agent could serve, but for room that is kept: while the earliest due contact
of an agent needs more room than they have left, nothing is offered to them that is due later by more than the grace. So
only agents and contacts that the events of this turn have set free can make a new pair, and contacts for which room was
kept no longer: `stirred` and `let_go` name them, and no one else is looked at.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from . import messages as m
from .matching import earliest_due, let_go, longest_idle, settle
from .ordered import NEVER
from .tables import Agent, Contact, Tables, View

Reason = tuple[str, ...]
LONGEST_IDLE: Reason = ("longest-idle",)
EARLIEST_DUE: Reason = ("earliest-due",)
ROOM_RELEASED: Reason = ("room-released",)
PREFERRED: Reason = ("preferred",)
REASONS = (LONGEST_IDLE, EARLIEST_DUE, ROOM_RELEASED)
BY_ITSELF, BY_AGENT, BY_ROOM = range(3)  # which of them; the first that holds is told
AFTER_DECLINE: dict[Reason, Reason] = {reason: (*reason, "after-decline") for reason in (*REASONS, PREFERRED)}

AGENT, CONTACT, BOTH = 1, 2, 3
FREES: dict[type[m.Event], int] = {
    m.ContactQueued: CONTACT,
    m.ContactUpdated: CONTACT,
    m.OfferAccepted: AGENT,
    m.OfferDeclined: BOTH,
    m.OfferExpired: CONTACT,
    m.OfferRevoked: BOTH,
    m.DeclinesLapsed: CONTACT,
    m.PreferenceLapsed: CONTACT,
    m.ContactReturned: CONTACT,
    m.ContactMatchRelaxed: CONTACT,
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
    everybody = False
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
        elif kind is m.RulesPublished or kind is m.QueueOpened:
            everybody = True
    if everybody:
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
    if len(agents) == 1 and not contacts and not view.released:  # the most frequent turns: one agent, one contact
        contact_id = earliest_due(view, agents[0])
        if contact_id:
            issue_to(view, view.contacts[contact_id], agents[0].id, EARLIEST_DUE, events, issue)
        agents = []
    if view.freed:
        settle(view)
    if not agents and len(contacts) == 1 and not view.released:
        chosen = longest_idle(view, contacts[0])
        if chosen:
            issue_to(view, contacts[0], chosen, LONGEST_IDLE, events, issue)
        contacts = []

    # (…, which reason, the agent who brought the contact forward; "" where it came by itself)
    ahead = [(contact.due_at, contact.seq, contact.id, BY_ITSELF, "") for contact in contacts]
    heapify(ahead)
    for agent in agents:
        bring_forward(view, agent, ahead)
    while ahead or view.released:
        if view.released:
            for head in let_go(view):
                heappush(ahead, (*head, BY_ROOM, ""))
            continue
        due_at, seq, contact_id, by, agent_id = heappop(ahead)
        contact = view.contacts[contact_id]
        chosen = longest_idle(view, contact) if contact.status == "waiting" else ""
        if chosen:
            issue_to(view, contact, chosen, REASONS[by], events, issue)
        in_line = by == BY_ROOM and not contact.prefer_until
        if in_line and (chosen or contact.status != "waiting" or contact.declined_by):
            following = view.lines[contact.need].after((due_at, seq, contact_id))
            if following is not NEVER:
                heappush(ahead, (*following, BY_ROOM, ""))
        if agent_id and view.agents[agent_id].room:  # another took it: what is next for this one?
            assert contact.status != "waiting" or chosen, "who brings a contact forward can have it"
            bring_forward(view, view.agents[agent_id], ahead)


def bring_forward(view: View, agent: Agent, ahead: list[tuple[int, int, str, int, str]]) -> None:
    contact_id = earliest_due(view, agent)
    if contact_id:
        contact = view.contacts[contact_id]
        heappush(ahead, (contact.due_at, contact.seq, contact_id, BY_AGENT, agent.id))


def issue_to(
    view: Tables,
    contact: Contact,
    agent_id: str,
    reason: Reason,
    events: list[m.Event],
    issue: Callable[[Tables, m.OfferIssued], None],
) -> None:
    at, queue_id = view.at, contact.need[0]
    if contact.prefer_until:
        reason = PREFERRED
    offer = m.OfferIssued(
        contact.id,
        agent_id,
        queue_id,
        at + view.rules.queues[queue_id].offer_ms,
        at - contact.queued_at,
        at - view.agents[agent_id].idle_since,
        AFTER_DECLINE[reason] if contact.retry_at else reason,
    )
    issue(view, offer)
    events.append(offer)

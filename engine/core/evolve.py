"""From an event to new rows. Nothing is decided here: the event says it all."""

from collections.abc import Callable
from sys import intern
from typing import Any

from msgspec.structs import replace

from . import messages as m
from .doors import is_open, next_edge
from .matching import (
    enter_line,
    groups_of,
    join_bench,
    leave_bench,
    leave_line,
    line_for,
    need_of,
    profile_key,
    shut,
    stand,
    unshut,
)
from .rules import INDEX, Compiled, compile_rules
from .tables import Agent, Contact, Door, Listed, Load, ProfileKey, Source, Tables, Visits

NOTHING: dict[str, str] = {}  # shared by all contacts without attributes; rows are never changed in place


def contact_queued(tables: Tables, event: m.ContactQueued) -> None:
    id, at, source = event.contact_id, tables.at, intern(event.source)
    contact = Contact(
        id,
        source,
        event.customer,
        line_for(tables, need_of(event.queue_id, event.channel, event.skills)).need,  # one for all with this need
        event.tier,
        event.vip,
        tables.position,
        at,
        at,
        event.due_at,
        event.give_up_at,
        "waiting",
        at,
        declined_by=event.not_agents,
        attributes=event.attributes or NOTHING,
        customer_class="vip" if event.vip else event.customer_class,  # older logs know no class
        allowed=event.allowed,
        not_agents=event.not_agents,
        prefer=event.prefer,
        prefer_until=event.prefer_until,
        relax_at=event.relax_at,
        hops=event.hops,
        came=(event.errand, event.from_pool) if event.errand else (),
    )
    if event.errand:
        contact = replace(contact, first_queued_at=event.first_queued_at)
        tables.taken.note(event.errand, tables.position, at)
    repeats = tables.rules.rules.doors.repeats
    if repeats is not None and event.customer and not event.errand:
        tables.visits.note(event.customer, at, repeats)
    tables.contacts[id] = contact
    if event.prefer_until:
        tables.prefers.put(event.prefer_until, id)
    if event.relax_at:
        tables.relaxes.put(event.relax_at, id)
    enter_line(tables, contact)
    count(tables, event.queue_id, 1)
    tables.waits.put(event.give_up_at, id)
    brought = tables.by_source.get(source)
    if brought is None:
        brought = tables.by_source[source] = {}
    brought[id] = None


def contact_turned_away(tables: Tables, event: m.ContactTurnedAway) -> None:
    if event.contact_id in tables.contacts:
        leaves_unanswered(tables, event.contact_id)
    else:
        tables.finished.note(event.contact_id, tables.position, tables.at)


def contact_kept(tables: Tables, event: m.ContactKept) -> None:
    contact = tables.contacts[event.contact_id]
    tables.waits.drop(contact.give_up_at, contact.id)
    tables.waits.put(event.give_up_at, contact.id)
    tables.contacts[contact.id] = replace(contact, give_up_at=event.give_up_at)


def contact_updated(tables: Tables, event: m.ContactUpdated) -> None:
    former = tables.contacts[event.contact_id]
    queue_id, channel, _, also = former.need
    need = line_for(tables, need_of(queue_id, channel, event.skills, also)).need
    asked = former.asked if event.asked is None else tuple(event.asked.items())
    contact = tables.contacts[former.id] = replace(former, need=need, attributes=event.attributes, asked=asked)
    if need != former.need:
        leave_line(tables, former)
        enter_line(tables, contact)


def contact_match_relaxed(tables: Tables, event: m.ContactMatchRelaxed) -> None:
    former = tables.contacts[event.contact_id]
    also = groups_of(event.queues, event.teams)
    need = line_for(tables, need_of(former.need[0], former.need[1], event.skills, also)).need
    asked = (former.asked or former.need[2]) if event.step else ()
    contact = tables.contacts[former.id] = replace(former, need=need, step=event.step, asked=asked)
    look_again(tables, contact, event.next_at)
    if need != former.need and former.status == "waiting":
        leave_line(tables, former)
        enter_line(tables, contact)


def preference_lapsed(tables: Tables, event: m.PreferenceLapsed) -> None:
    former = tables.contacts[event.contact_id]
    if not former.prefer_until:
        return  # it never waited for that agent
    contact = tables.contacts[former.id] = prefers_nobody(tables, former)
    if former.status == "waiting":
        leave_line(tables, former)
        enter_line(tables, contact)


def contact_overflowing(tables: Tables, event: m.ContactOverflowing) -> None:
    former = tables.contacts[event.contact_id]
    leave_line(tables, former)
    contact = prefers_nobody(tables, former) if former.prefer_until else former
    tables.errands.pop(former.away[0] if former.away else "", None)
    tables.errands[event.errand] = former.id
    tables.overflows.put(event.until, former.id)
    tables.contacts[former.id] = replace(
        contact,
        status="overflowing",
        since=tables.at,
        deadline_at=event.until,
        away=(event.errand, event.to_pool, event.to_queue_id),
    )


def contact_overflowed(tables: Tables, event: m.ContactOverflowed) -> None:
    contact = tables.contacts[event.contact_id]
    leaves_unanswered(tables, contact.id)
    tables.recalled.forget(contact.away[0])


def contact_returned(tables: Tables, event: m.ContactReturned) -> None:
    former = tables.contacts[event.contact_id]
    tables.overflows.drop(former.deadline_at, former.id)
    contact = tables.contacts[former.id] = replace(former, status="waiting", since=tables.at, deadline_at=0)
    enter_line(tables, contact)


def offer_issued(tables: Tables, event: m.OfferIssued) -> None:
    id = event.contact_id
    contact = tables.contacts[id]
    leave_line(tables, contact)
    tables.contacts[id] = replace(
        contact, status="offered", since=tables.at, agent_id=event.agent_id, deadline_at=event.expires_at
    )
    tables.offers.put(event.expires_at, id)
    agent = tables.agents[event.agent_id]
    assert not agent.offered, "one offer at a time"
    stand(tables, replace(agent, offered=id))


def offer_accepted(tables: Tables, event: m.OfferAccepted) -> None:
    id, at = event.contact_id, tables.at
    contact = tables.contacts[id]
    tables.offers.drop(contact.deadline_at, id)
    tables.waits.drop(contact.give_up_at, id)
    count(tables, event.queue_id, -1)
    if contact.retry_at:
        tables.declines.drop(contact.retry_at, id)
    tables.talks.put(event.talk_until, id)
    if contact.prefer_until:
        contact = prefers_nobody(tables, contact)
    if contact.relax_at:
        tables.relaxes.drop(contact.relax_at, id)
    tables.contacts[id] = replace(
        contact,
        status="talking",
        since=at,
        deadline_at=event.talk_until,
        declined_by=contact.not_agents,
        retry_at=0,
        relax_at=0,
    )
    agent = tables.agents[event.agent_id]
    load = loaded(agent.load, contact, 1)
    stand(tables, replace(agent, offered="", idle_since=at, load=load, contacts=(*agent.contacts, id)))


def offer_declined(tables: Tables, event: m.OfferDeclined) -> None:
    contact = tables.contacts[event.contact_id]
    if contact.retry_at:
        tables.declines.drop(contact.retry_at, contact.id)
    tables.declines.put(event.retry_at, contact.id)
    back_to_line(tables, replace(contact, declined_by=(*contact.declined_by, event.agent_id), retry_at=event.retry_at))


def offer_expired(tables: Tables, event: m.OfferExpired) -> None:
    back_to_line(tables, tables.contacts[event.contact_id])


def offer_revoked(tables: Tables, event: m.OfferRevoked) -> None:
    back_to_line(tables, tables.contacts[event.contact_id])


def declines_lapsed(tables: Tables, event: m.DeclinesLapsed) -> None:
    contact = tables.contacts[event.contact_id]
    tables.declines.drop(contact.retry_at, contact.id)
    tables.contacts[contact.id] = replace(contact, declined_by=contact.not_agents, retry_at=0)
    if not contact.not_agents:
        tables.passed_over.pop(contact.id, None)


def contact_transferred(tables: Tables, event: m.ContactTransferred) -> None:
    former, at = tables.contacts[event.contact_id], tables.at
    tables.talks.drop(former.deadline_at, former.id)
    contact = tables.contacts[former.id] = replace(
        former,
        need=line_for(tables, need_of(event.queue_id, former.need[1], event.skills)).need,
        queued_at=at,
        due_at=event.due_at,
        give_up_at=event.give_up_at,
        status="waiting",
        since=at,
        agent_id="",
        deadline_at=0,
        declined_by=(*former.not_agents, event.agent_id) if event.retry_at else former.not_agents,
        retry_at=event.retry_at,
        step=0,
        asked=(),
        relax_at=event.relax_at,
    )
    if event.relax_at:
        tables.relaxes.put(event.relax_at, contact.id)
    enter_line(tables, contact)
    count(tables, event.queue_id, 1)
    tables.waits.put(event.give_up_at, contact.id)
    if event.retry_at:
        tables.declines.put(event.retry_at, contact.id)
    part(tables, former)


def contact_abandoned(tables: Tables, event: m.ContactAbandoned) -> None:
    leaves_unanswered(tables, event.contact_id)


def contact_timed_out(tables: Tables, event: m.ContactTimedOut) -> None:
    leaves_unanswered(tables, event.contact_id)


def contact_ended(tables: Tables, event: m.ContactEnded) -> None:
    """With a wrap-up, `wrap-up-started` follows in the same turn and says the rest."""
    contact = tables.contacts[event.contact_id]
    tables.talks.drop(contact.deadline_at, contact.id)
    if not event.wrap_up:
        gone(tables, contact)
        part(tables, contact)


def wrap_up_started(tables: Tables, event: m.WrapUpStarted) -> None:
    id, until = event.contact_id, event.until
    tables.wraps.put(until, id)
    tables.contacts[id] = replace(tables.contacts[id], status="wrap-up", since=tables.at, deadline_at=until)


def wrap_up_ended(tables: Tables, event: m.WrapUpEnded) -> None:
    contact = tables.contacts[event.contact_id]
    tables.wraps.drop(contact.deadline_at, contact.id)
    gone(tables, contact)
    part(tables, contact)


def agent_signed_in(tables: Tables, event: m.AgentSignedIn) -> None:
    bench, at = join_bench(tables, key_of(event)), tables.at
    agent = Agent(event.agent_id, bench, False, "", at, at, team=event.team, addresses=event.addresses)
    stand(tables, agent)


def agent_profile_changed(tables: Tables, event: m.AgentProfileChanged) -> None:
    former = tables.agents[event.agent_id]
    bench = join_bench(tables, key_of(event))
    stand(tables, replace(former, bench=bench, team=event.team, addresses=event.addresses))
    leave_bench(tables, former.bench)


def agent_became_ready(tables: Tables, event: m.AgentBecameReady) -> None:
    at = tables.at
    stand(tables, replace(tables.agents[event.agent_id], ready=True, reason="", since=at, idle_since=at))


def agent_became_not_ready(tables: Tables, event: m.AgentBecameNotReady) -> None:
    stand(tables, replace(tables.agents[event.agent_id], ready=False, reason=event.reason, since=tables.at))


def agent_signed_out(tables: Tables, event: m.AgentSignedOut) -> None:
    agent = tables.agents[event.agent_id]
    assert not agent.contacts and not agent.offered, "nobody leaves with a contact"
    stand(tables, replace(agent, ready=False))
    del tables.agents[agent.id]
    leave_bench(tables, agent.bench)


def customer_blocked(tables: Tables, event: m.CustomerBlocked) -> None:
    put_on_list(tables, Listed(event.customer, True, event.until))


def customer_allowed(tables: Tables, event: m.CustomerAllowed) -> None:
    put_on_list(tables, Listed(event.customer, False, event.until))


def customer_unlisted(tables: Tables, event: m.CustomerUnlisted) -> None:
    former = tables.listed.pop(event.customer)
    if former.until:
        tables.listings.drop(former.until, former.customer)


def queue_opened(tables: Tables, event: m.QueueOpened) -> None:
    """Without a next edge to wait for nothing need be kept of it: it is open for good."""
    door = tables.doors[door_id(event.queue_id, event.channel)]
    if door.shut:
        unshut(tables, door.queue_id, door.channel)
    hang(tables, replace(door, open=True, shut=False), event.closes_at)


def queue_closed(tables: Tables, event: m.QueueClosed) -> None:
    door = tables.doors[door_id(event.queue_id, event.channel)]
    keeps = event.on_close == "keep"
    if keeps and not door.shut:
        shut(tables, door.queue_id, door.channel)
    elif door.shut and not keeps:
        unshut(tables, door.queue_id, door.channel)
    hang(tables, replace(door, open=False, shut=keeps), event.opens_at)


def source_heard(tables: Tables, event: m.SourceHeard) -> None:
    await_source(tables, Source(event.source, event.silent_at))


def source_fell_silent(tables: Tables, event: m.SourceFellSilent) -> None:
    await_source(tables, Source(event.source, event.lost_at, True))


def source_lost(tables: Tables, event: m.SourceLost) -> None:
    tables.silences.drop(tables.sources.pop(event.source).deadline_at, event.source)


def rules_published(tables: Tables, event: m.RulesPublished) -> None:
    former = tables.rules
    tables.rules, tables.version, tables.hash = compile_rules(event.rules), event.version, event.hash
    if former.weights != tables.rules.weights:
        for bench in tables.benches.values():
            bench.rooms.clear()
        for agent in list(tables.agents.values()):
            stand(tables, agent)
    if event.rules.doors.repeats != former.rules.doors.repeats:
        tables.visits = Visits()  # another limit counts from now on
    look_at_widths(tables, former)
    if tables.doors or event.rules.hours:
        look_at_doors(tables)


def nothing(tables: Tables, event: m.Event) -> None:
    pass


# ---- helpers


def loaded(load: Load, contact: Contact, change: int) -> Load:
    calls, chats, texts = load
    i = INDEX[contact.need[1]]
    if i == 0:
        return calls + change, chats, texts
    return (calls, chats + change, texts) if i == 1 else (calls, chats, texts + change)


def back_to_line(tables: Tables, contact: Contact) -> None:
    """An offered contact waits again, in its old place, and its agent stands free of it."""
    agent = tables.agents[contact.agent_id]
    tables.offers.drop(contact.deadline_at, contact.id)
    contact = tables.contacts[contact.id] = replace(
        contact, status="waiting", since=tables.at, agent_id="", deadline_at=0
    )
    enter_line(tables, contact)
    stand(tables, replace(agent, offered=""))


def leaves_unanswered(tables: Tables, id: str) -> None:
    contact = tables.contacts[id]
    if contact.status == "overflowing":
        tables.overflows.drop(contact.deadline_at, id)
    else:
        leave_line(tables, contact)
    count(tables, contact.need[0], -1)
    tables.waits.drop(contact.give_up_at, id)
    if contact.retry_at:
        tables.declines.drop(contact.retry_at, id)
    if contact.prefer_until:
        tables.prefers.drop(contact.prefer_until, id)
    if contact.relax_at:
        tables.relaxes.drop(contact.relax_at, id)
    gone(tables, contact)


def gone(tables: Tables, contact: Contact) -> None:
    del tables.contacts[contact.id]
    if contact.away:
        tables.errands.pop(contact.away[0], None)
        tables.recalled.note(contact.away[0], tables.position, tables.at)
    brought = tables.by_source[contact.source]
    del brought[contact.id]
    if not brought:
        del tables.by_source[contact.source]
    tables.finished.note(contact.id, tables.position, tables.at)


def part(tables: Tables, contact: Contact) -> None:
    """The contact's agent is rid of it."""
    agent = tables.agents[contact.agent_id]
    id = contact.id
    contacts = () if len(agent.contacts) == 1 else tuple([other for other in agent.contacts if other != id])
    stand(tables, replace(agent, load=loaded(agent.load, contact, -1), contacts=contacts, idle_since=tables.at))


def key_of(event: m.AgentSignedIn | m.AgentProfileChanged) -> ProfileKey:
    return profile_key(event.queues, event.skills, event.limits, event.team)


def prefers_nobody(tables: Tables, contact: Contact) -> Contact:
    tables.prefers.drop(contact.prefer_until, contact.id)
    return replace(contact, prefer_until=0)


def look_again(tables: Tables, contact: Contact, at: int) -> None:
    """The next step of its widening is due then; 0: there is none."""
    if contact.relax_at:
        tables.relaxes.drop(contact.relax_at, contact.id)
    if at:
        tables.relaxes.put(at, contact.id)
    tables.contacts[contact.id] = replace(contact, relax_at=at)


def look_at_widths(tables: Tables, former: Compiled) -> None:
    """After new rules: whoever waits where the widening is another is looked at at once."""
    changed = {
        queue_id
        for queue_id, plan in tables.rules.queues.items()
        if queue_id in former.queues and former.queues[queue_id].widths != plan.widths
    }
    if changed:
        for contact in list(tables.contacts.values()):
            if contact.status in ("waiting", "offered", "overflowing") and contact.need[0] in changed:
                look_again(tables, contact, tables.at)


def count(tables: Tables, queue_id: str, change: int) -> None:
    """So many more wait for this queue, or are held out to an agent."""
    tables.crowds[queue_id] = tables.crowds.get(queue_id, 0) + change
    tables.crowd += change


def door_id(queue_id: str, channel: str) -> str:
    return f"{queue_id}\n{channel}"


def hang(tables: Tables, door: Door, next_at: int) -> None:
    """Stores a door's new row, to be looked at again at next_at; 0: never."""
    id = door_id(door.queue_id, door.channel)
    former = tables.doors.get(id)
    if former is not None and former.next_at:
        tables.openings.drop(former.next_at, id)
    if door.open and not next_at:
        tables.doors.pop(id, None)
        return
    tables.doors[id] = replace(door, next_at=next_at)
    if next_at:
        tables.openings.put(next_at, id)


def look_at_doors(tables: Tables) -> None:
    """After new rules: a door whose hours say something else than it shows is due at once."""
    at, queues = tables.at, tables.rules.queues
    for door in list(tables.doors.values()):
        plan = queues.get(door.queue_id)
        if plan is None:  # nobody waits there, or the rules had been refused
            if door.shut:
                unshut(tables, door.queue_id, door.channel)
            hang(tables, replace(door, open=True), 0)
        elif door.channel not in plan.hours:
            hang(tables, door, 0 if door.open else at)
    for queue_id, plan in queues.items():
        for channel, edges in plan.hours.items():
            door = tables.doors.get(door_id(queue_id, channel)) or Door(queue_id, channel, True, False, 0)
            hang(tables, door, next_edge(edges, at) if is_open(edges, at) == door.open else at)


def put_on_list(tables: Tables, row: Listed) -> None:
    former = tables.listed.get(row.customer)
    if former is not None and former.until:
        tables.listings.drop(former.until, row.customer)
    tables.listed[row.customer] = row
    if row.until:
        tables.listings.put(row.until, row.customer)


def await_source(tables: Tables, source: Source) -> None:
    former = tables.sources.get(source.id)
    if former is not None:
        tables.silences.drop(former.deadline_at, source.id)
    tables.sources[source.id] = source
    tables.silences.put(source.deadline_at, source.id)


EVOLVE: dict[type[m.Event], Callable[[Tables, Any], None]] = {
    m.ContactQueued: contact_queued,
    m.ContactTurnedAway: contact_turned_away,
    m.ContactKept: contact_kept,
    m.ContactUpdated: contact_updated,
    m.ContactMatchRelaxed: contact_match_relaxed,
    m.PreferenceLapsed: preference_lapsed,
    m.ContactOverflowing: contact_overflowing,
    m.ContactOverflowed: contact_overflowed,
    m.ContactReturned: contact_returned,
    m.OverflowRecalled: nothing,
    m.OfferIssued: offer_issued,
    m.OfferAccepted: offer_accepted,
    m.OfferDeclined: offer_declined,
    m.OfferExpired: offer_expired,
    m.OfferRevoked: offer_revoked,
    m.DeclinesLapsed: declines_lapsed,
    m.ContactTransferred: contact_transferred,
    m.ContactAbandoned: contact_abandoned,
    m.ContactTimedOut: contact_timed_out,
    m.ContactEnded: contact_ended,
    m.WrapUpStarted: wrap_up_started,
    m.WrapUpEnded: wrap_up_ended,
    m.CustomerBlocked: customer_blocked,
    m.CustomerAllowed: customer_allowed,
    m.CustomerUnlisted: customer_unlisted,
    m.AgentSignedIn: agent_signed_in,
    m.AgentProfileChanged: agent_profile_changed,
    m.AgentBecameReady: agent_became_ready,
    m.AgentBecameNotReady: agent_became_not_ready,
    m.AgentSignedOut: agent_signed_out,
    m.QueueOpened: queue_opened,
    m.QueueClosed: queue_closed,
    m.SourceHeard: source_heard,
    m.SourceFellSilent: source_fell_silent,
    m.SourceLost: source_lost,
    m.RulesPublished: rules_published,
    m.CommandRefused: nothing,
    m.CommandFailed: nothing,
}

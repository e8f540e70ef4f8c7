"""A command and what is known -> what happens. Writes nothing.

Each function takes the view, the command and the source that sent it, and gives events; what follows from them (who is
offered to whom) is said by offers.py.
"""

from collections.abc import Callable
from typing import Any

from . import messages as m
from .doors import TOLD_BOUND, barred, door_due, listed, turned_away, waited_enough
from .matching import need_of, profile_key, room_of, who_can_serve
from .overflow import answer_due, confirm_overflow, leaving, recalled, take_over
from .rules import BIT, Plan, Profile, Rules, compile_rules, hash_of, in_order
from .tables import Agent, Contact, Need, View
from .widening import all_lapse, lapse, next_step_at, preference, preference_due, relaxed, widening_due, width_at
from .words import CustomerClass

TICK_BOUND = 64  # deadlines that one tick fires at most; the host sends another as long as something is due
ATTRIBUTES_MOST = 64

Events = list[m.Event]


def refused(command: m.Command, subject: str, reason: str, *seen: str) -> Events:
    return [m.CommandRefused(m.TYPE_OF[type(command)], subject, reason, seen)]


# ---- contacts


def route_contact(view: View, c: m.RouteContact, source: str) -> Events:
    id = c.contact_id
    if id in view.contacts:
        return refused(c, id, "contact-id-open", view.contacts[id].status)
    if view.finished.get(id) is not None:
        return refused(c, id, "contact-id-used")
    plan = view.rules.queues.get(c.queue_id)
    if plan is None:
        return refused(c, id, "unknown-queue", c.queue_id)
    if c.channel not in plan.channels:
        return refused(c, id, "channel-not-served", c.queue_id, c.channel)
    on = listed(view, c.customer) if view.listed else None
    if plan.guarded or on is not None:
        away = turned_away(view, plan, c, source, on)
        if away is not None:
            return [away]
    at = view.at
    target_ms = plan.target_ms[c.tier]
    of: CustomerClass = "vip" if c.vip else c.customer_class
    head_start_ms, why = view.rules.starts[c.tier, of, on is not None]
    skills = needed(plan, c.skills)
    lapsed = preference(view, c.prefer, need_of(c.queue_id, c.channel, skills), c.not_agents) if c.prefer else ""
    queued: Events = [
        m.ContactQueued(
            id,
            c.channel,
            c.queue_id,
            source,
            at + target_ms - head_start_ms,
            at + plan.wait_ms,
            target_ms,
            why,
            c.tier,
            of == "vip",
            c.customer,
            skills,
            head_start_ms,
            in_order(c.attributes),
            of,
            on is not None,
            c.prefer,
            at + view.rules.prefer_ms if c.prefer and not lapsed and view.rules.prefer_ms else 0,
            tuple(dict.fromkeys(c.not_agents)),
            next_step_at(plan, at),
        )
    ]
    if lapsed and view.rules.prefer_ms:
        queued.append(m.PreferenceLapsed(id, c.queue_id, c.prefer, lapsed))
    return queued


def update_contact(view: View, c: m.UpdateContact, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status != "waiting":
        return refused(c, contact.id, "not-waiting", contact.status)
    queue_id, _, skills, _ = contact.need
    plan = view.rules.queues[queue_id]
    asked = contact.asked or skills
    wanted = dict(asked) if c.skills is None else needed(plan, c.skills)
    changes = wanted != dict(asked)
    attributes = in_order({k: v for k, v in (contact.attributes | c.attributes).items() if v})
    if len(attributes) > ATTRIBUTES_MOST:
        return refused(c, contact.id, "too-many-attributes")
    if not changes and attributes == contact.attributes:
        return []
    if not changes or not contact.step:
        return [m.ContactUpdated(contact.id, queue_id, wanted if changes else dict(skills), attributes)]
    needs = relaxed(width_at(plan, contact.step), wanted)
    return [m.ContactUpdated(contact.id, queue_id, needs, attributes, wanted)]


def accept_offer(view: View, c: m.AcceptOffer, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status != "offered" or contact.agent_id != c.agent_id:
        return refused(c, contact.id, "offer-gone", contact.status)
    at = view.at
    if at >= contact.deadline_at:
        return refused(c, contact.id, "offer-expired")
    queue_id = contact.need[0]
    if not fits(view, view.agents[c.agent_id], contact):
        revoked = m.OfferRevoked(contact.id, c.agent_id, queue_id, "over-capacity")
        return [*refused(c, contact.id, "over-capacity"), revoked]
    plan = view.rules.queues[queue_id]
    return [m.OfferAccepted(contact.id, c.agent_id, queue_id, at - contact.queued_at, at + plan.talk_ms)]


def decline_offer(view: View, c: m.DeclineOffer, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status != "offered" or contact.agent_id != c.agent_id:
        return refused(c, contact.id, "offer-gone", contact.status)
    queue_id = contact.need[0]
    retry_at = view.at + view.rules.decline_ms
    declined: Events = [m.OfferDeclined(contact.id, c.agent_id, queue_id, retry_at, c.reason)]
    if all_declined(view, contact.need, (*contact.declined_by, c.agent_id)):
        declined.append(m.DeclinesLapsed(contact.id, queue_id, "all-declined"))
    lapse(contact, "declined", declined)
    return declined


def end_contact(view: View, c: m.EndContact, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status == "wrap-up":
        return refused(c, contact.id, "already-ended")
    if contact.status == "talking":
        return talk_over(view, contact, c.by)
    if c.by == "agent":
        return refused(c, contact.id, "not-with-agent", contact.status)
    return left(view, contact, c.by, "customer-left" if c.by == "customer" else "adapter-lost")


def complete_wrap_up(view: View, c: m.CompleteWrapUp, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status != "wrap-up" or contact.agent_id != c.agent_id:
        return refused(c, contact.id, "no-wrap-up", contact.status)
    return [wrapped(view, contact, "done")]


def transfer_contact(view: View, c: m.TransferContact, source: str) -> Events:
    contact = view.contacts.get(c.contact_id)
    if contact is None:
        return not_here(view, c, c.contact_id)
    if contact.status != "talking":
        return refused(c, contact.id, "not-talking", contact.status)
    if contact.agent_id != c.agent_id:
        return refused(c, contact.id, "not-with-agent", contact.status)
    plan = view.rules.queues.get(c.queue_id)
    if plan is None:
        return refused(c, contact.id, "unknown-queue", c.queue_id)
    from_queue_id, channel, needs, _ = contact.need
    if channel not in plan.channels:
        return refused(c, contact.id, "channel-not-served", c.queue_id, channel)
    if plan.guarded:
        bar = barred(view, plan, c.queue_id, channel)
        if bar:
            return refused(c, contact.id, f"queue-{bar}", c.queue_id)
    target_ms = plan.target_ms[contact.tier]
    head_start_ms, why = view.rules.starts[contact.tier, contact.customer_class, contact.allowed]
    skills = needed(plan, dict(contact.asked or needs) if c.skills is None else c.skills)
    need = need_of(c.queue_id, channel, skills)
    others = not all_declined(view, need, (*contact.not_agents, contact.agent_id))
    return [
        m.ContactTransferred(
            contact.id,
            contact.agent_id,
            from_queue_id,
            c.queue_id,
            contact.first_queued_at + target_ms - head_start_ms,
            view.at + plan.wait_ms,
            target_ms,
            why,
            skills,
            head_start_ms,
            view.at - contact.since,
            view.at + view.rules.decline_ms if others else 0,
            next_step_at(plan, view.at),
        )
    ]


# ---- customers


def block_customer(view: View, c: m.BlockCustomer, source: str) -> Events:
    return [m.CustomerBlocked(c.customer, view.at + c.for_ms if c.for_ms else 0, c.reason)]


def allow_customer(view: View, c: m.AllowCustomer, source: str) -> Events:
    return [m.CustomerAllowed(c.customer, view.at + c.for_ms if c.for_ms else 0, c.reason)]


def unlist_customer(view: View, c: m.UnlistCustomer, source: str) -> Events:
    if c.customer not in view.listed:
        return refused(c, c.customer, "not-listed")
    return [m.CustomerUnlisted(c.customer, "lifted")]


# ---- agents


def sign_in_agent(view: View, c: m.SignInAgent, source: str) -> Events:
    id, rules = c.agent_id, view.rules
    if id in view.agents:
        return refused(c, id, "already-signed-in")
    if rules.rules.roster == "rules":
        listed = rules.roster.get(id)
        if listed is None:
            return refused(c, id, "not-in-roster")
        if c.queues is not None or c.skills is not None or c.limits is not None:
            return refused(c, id, "roster-in-rules")
        profile = listed
    else:
        profile = Profile(
            tuple(sorted(set(c.queues or ()))),
            in_order(c.skills or {}),
            in_order(rules.limits | dict(c.limits or {})),
            c.team,
            in_order(dict(c.addresses)),
        )
    if not profile.queues:
        return refused(c, id, "nothing-to-serve")
    for queue_id in profile.queues:
        if queue_id not in rules.queues:
            return refused(c, id, "unknown-queue", queue_id)
    here = m.AgentSignedIn(id, profile.queues, profile.skills, profile.limits, profile.team, profile.addresses)
    return [here, m.AgentBecameReady(id)] if c.ready else [here]


def set_agent_ready(view: View, c: m.SetAgentReady, source: str) -> Events:
    agent = view.agents.get(c.agent_id)
    if agent is None:
        return refused(c, c.agent_id, "unknown-agent")
    if agent.ready:
        return refused(c, agent.id, "already-ready")
    return [m.AgentBecameReady(agent.id)]


def set_agent_not_ready(view: View, c: m.SetAgentNotReady, source: str) -> Events:
    agent = view.agents.get(c.agent_id)
    if agent is None:
        return refused(c, c.agent_id, "unknown-agent")
    if not agent.ready and agent.reason == c.reason:
        return refused(c, agent.id, "already-not-ready")
    return [*taken_back(view, agent, "agent-not-ready"), m.AgentBecameNotReady(agent.id, c.reason)]


def sign_out_agent(view: View, c: m.SignOutAgent, source: str) -> Events:
    agent = view.agents.get(c.agent_id)
    if agent is None:
        return refused(c, c.agent_id, "unknown-agent")
    theirs = [view.contacts[id] for id in agent.contacts]
    talking = [contact.id for contact in theirs if contact.status == "talking"]
    if talking:
        return refused(c, agent.id, "agent-has-contacts", *talking)
    out = [*taken_back(view, agent, "agent-signed-out"), *(wrapped(view, contact, "signed-out") for contact in theirs)]
    all_lapse(view, agent.id, out)
    return [*out, m.AgentSignedOut(agent.id)]


# ---- sources, rules, time


def source_heartbeat(view: View, c: m.SourceHeartbeat, source: str) -> Events:
    return [m.SourceHeard(source, view.at + (c.silence_ms or view.rules.silence_ms))]


def publish_rules(view: View, c: m.PublishRules, source: str) -> Events:
    rules, hash = c.rules, hash_of(c.rules)
    if view.version:
        if rules.pool != view.rules.rules.pool:
            return refused(c, rules.pool, "wrong-pool", view.rules.rules.pool)
        if hash == view.hash:
            return []
        kept = {queue.id for queue in rules.queues}
        for queue_id in view.rules.queues:
            if queue_id not in kept and any(contact.need[0] == queue_id for contact in view.contacts.values()):
                return refused(c, rules.pool, "queue-in-use", queue_id)
    published: Events = [m.RulesPublished(view.version + 1, hash, rules)]
    if rules.roster == "rules" and view.agents:
        published += reprofiled(view, rules)
    return published


def reprofiled(view: View, rules: Rules) -> Events:
    roster = compile_rules(rules).roster
    changed: Events = []
    for agent in view.agents.values():
        profile = roster.get(agent.id)
        if profile is None or not profile.queues:
            continue  # stays as they are until they sign out; they cannot sign in again
        new = profile_key(profile.queues, profile.skills, profile.limits, profile.team)
        if new != view.numbers[agent.bench].key or profile.addresses != agent.addresses:
            changed.append(
                m.AgentProfileChanged(
                    agent.id, profile.queues, profile.skills, profile.limits, profile.team, profile.addresses
                )
            )
    return changed


def tick(view: View, c: m.Tick, source: str) -> Events:
    """Fires what is due, earliest first, at most TICK_BOUND deadlines; ties by kind in the order below, then by id."""
    at = view.at
    due = []
    for order, (agenda, fire) in enumerate(
        (
            (view.offers, offer_due),
            (view.wraps, wrap_up_due),
            (view.talks, talk_due),
            (view.waits, wait_due),
            (view.declines, declines_due),
            (view.prefers, preference_due),
            (view.relaxes, widening_due),
            (view.overflows, answer_due),
            (view.openings, door_due),
            (view.listings, listing_due),
            (view.silences, silence_due),
        )
    ):
        due += [(due_at, order, id, fire) for due_at, id in agenda.due(at, TICK_BOUND)]
    due.sort(key=lambda entry: entry[:3])
    events: Events = []
    # contacts that an earlier deadline of this tick has ended, with an event each; never iterated
    over: set[str] = set()
    for _, _, id, fire in due[:TICK_BOUND]:
        fire(view, id, over, events)
    leaving(view, over, events)
    return events


def offer_due(view: View, id: str, over: set[str], events: Events) -> None:
    contact = view.contacts[id]
    if id not in over:
        events.append(m.OfferExpired(id, contact.agent_id, contact.need[0]))
        events.append(m.AgentBecameNotReady(contact.agent_id, "no-answer"))
        lapse(contact, "no-answer", events)


def wrap_up_due(view: View, id: str, over: set[str], events: Events) -> None:
    events.append(wrapped(view, view.contacts[id], "limit"))


def talk_due(view: View, id: str, over: set[str], events: Events) -> None:
    if id not in over:
        over.add(id)
        events += talk_over(view, view.contacts[id], "limit")


def wait_due(view: View, id: str, over: set[str], events: Events) -> None:
    contact = view.contacts[id]
    if id in over:
        return
    last = waited_enough(view, contact)
    if type(last) is m.ContactTimedOut:
        over.add(id)
        if contact.status == "offered" and not any(type(e) is m.OfferExpired and e.contact_id == id for e in events):
            events.append(m.OfferRevoked(id, contact.agent_id, contact.need[0], "wait-limit"))
        events += [last, *recalled(contact, "adapter")]
    else:
        events.append(last)


def declines_due(view: View, id: str, over: set[str], events: Events) -> None:
    if id not in over:
        events.append(m.DeclinesLapsed(id, view.contacts[id].need[0], "time"))


def listing_due(view: View, id: str, over: set[str], events: Events) -> None:
    events.append(m.CustomerUnlisted(id, "time"))


def silence_due(view: View, id: str, over: set[str], events: Events) -> None:
    """First silent, then lost: its contacts are ended, so many a tick, and it is forgotten when none is left."""
    if not view.sources[id].silent:
        events.append(m.SourceFellSilent(id, view.at + view.rules.lost_ms))
        return
    expired = {e.contact_id for e in events if type(e) is m.OfferExpired}
    brought = (view.contacts[contact_id] for contact_id in view.by_source.get(id, ()))
    theirs = (contact for contact in brought if contact.status != "wrap-up" and contact.id not in over)
    for contact in theirs:
        if len(over) >= TOLD_BOUND:
            return  # still due: the next tick goes on
        over.add(contact.id)
        if contact.status == "talking":
            events += talk_over(view, contact, "adapter")
        elif contact.id in expired:
            events.append(m.ContactAbandoned(contact.id, contact.need[0], view.at - contact.queued_at, "adapter"))
        else:
            events += left(view, contact, "adapter", "source-lost")
    events.append(m.SourceLost(id))


# ---- helpers


def needed(plan: Plan, skills: dict[str, int]) -> dict[str, int]:
    """What the contact asks and what its queue asks: the higher level of each, sorted."""
    if not plan.skills:
        return in_order(skills)
    return in_order(skills | {skill: max(level, skills.get(skill, 0)) for skill, level in plan.skills.items()})


def not_here(view: View, c: m.Command, id: str) -> Events:
    return refused(c, id, "unknown-contact" if view.finished.get(id) is None else "contact-gone")


def fits(view: View, agent: Agent, contact: Contact) -> bool:
    return bool(room_of(view, view.numbers[agent.bench], agent.load) & BIT[contact.need[1]])


def all_declined(view: View, need: Need, agent_ids: tuple[str, ...]) -> bool:
    """Whether, but for these, nobody is ready, busy or not, who could be asked. Looks at one bench more than they
    have."""
    declined: dict[int, int] = {}
    for id in agent_ids:
        agent = view.agents.get(id)
        if agent is not None and agent.ready:
            declined[agent.bench] = declined.get(agent.bench, 0) + 1
    who = who_can_serve(view, need)
    while who:
        bench = view.numbers[(who & -who).bit_length() - 1]
        if bench.ready > declined.get(bench.number, 0):
            return False
        who &= who - 1
    return True


def left(view: View, contact: Contact, by: m.By, reason: str) -> Events:
    gone = m.ContactAbandoned(contact.id, contact.need[0], view.at - contact.queued_at, by)
    if contact.status == "offered":
        return [m.OfferRevoked(contact.id, contact.agent_id, contact.need[0], reason), gone]
    return [gone, *recalled(contact, by)]


def talk_over(view: View, contact: Contact, by: Any) -> Events:
    queue_id = contact.need[0]
    plan = view.rules.queues[queue_id]
    talked_ms = view.at - contact.since
    if not plan.wrap_up_ms:
        return [m.ContactEnded(contact.id, contact.agent_id, queue_id, talked_ms, by)]
    return [
        m.ContactEnded(contact.id, contact.agent_id, queue_id, talked_ms, by, True),
        m.WrapUpStarted(contact.id, contact.agent_id, queue_id, view.at + plan.wrap_up_ms),
    ]


def wrapped(view: View, contact: Contact, reason: Any) -> m.Event:
    return m.WrapUpEnded(contact.id, contact.agent_id, contact.need[0], view.at - contact.since, reason)


def taken_back(view: View, agent: Agent, reason: str) -> Events:
    if not agent.offered:
        return []
    return [m.OfferRevoked(agent.offered, agent.id, view.contacts[agent.offered].need[0], reason)]


DECIDE: dict[type[m.Command], Callable[[View, Any, str], Events]] = {
    m.RouteContact: route_contact,
    m.UpdateContact: update_contact,
    m.AcceptOffer: accept_offer,
    m.DeclineOffer: decline_offer,
    m.EndContact: end_contact,
    m.CompleteWrapUp: complete_wrap_up,
    m.TransferContact: transfer_contact,
    m.TakeOver: take_over,
    m.ConfirmOverflow: confirm_overflow,
    m.BlockCustomer: block_customer,
    m.AllowCustomer: allow_customer,
    m.UnlistCustomer: unlist_customer,
    m.SignInAgent: sign_in_agent,
    m.SetAgentReady: set_agent_ready,
    m.SetAgentNotReady: set_agent_not_ready,
    m.SignOutAgent: sign_out_agent,
    m.SourceHeartbeat: source_heartbeat,
    m.PublishRules: publish_rules,
    m.Tick: tick,
}

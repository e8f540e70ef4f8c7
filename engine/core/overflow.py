"""A contact leaves for another pool and is taken over there, once. Writes nothing.

    waiting -> overflowing -> overflowed: the other pool has it
                           -> returned: it has not, and the contact waits in its old place

The pools need not share a log. Whoever performs this (engine/streams/errands.py) sends the other pool a TakeOver named
by the event that asks for it, and brings back a ConfirmOverflow; both may be sent again without a second effect. Until
the answer is here the contact is held out to nobody. After the deadline it waits here again: by then the other pool
takes it no more. Should it turn out to have taken it in time, the contact leaves after all if it still waits here;
else the other pool is told to let it go.
"""

from . import messages as m
from .doors import barred
from .rules import Plan
from .tables import Contact, View
from .widening import is_offered

HOPS_MOST = 8  # pools that one contact passes through: two that overflow into each other come to an end
Events = list[m.Event]


def leaving(view: View, over: set[str], events: Events) -> None:
    """Of the contacts whose match has been relaxed in this tick, those leave whose steps lead to another pool."""
    for event in list(events):
        if type(event) is not m.ContactMatchRelaxed or event.contact_id in over:
            continue
        contact = view.contacts[event.contact_id]
        if contact.status not in ("waiting", "offered") or is_offered(contact, events) or contact.hops >= HOPS_MOST:
            continue
        topic = contact.attributes.get("topic", "")
        for width in view.rules.queues[event.queue_id].widths[contact.step : event.step]:
            open_to = not width.topics or topic in width.topics
            if width.pool and open_to and width.pool != view.rules.rules.pool:
                over.add(contact.id)
                events.append(
                    m.ContactOverflowing(
                        contact.id,
                        event.queue_id,
                        width.pool,
                        width.queue,
                        f"{view.position}/{len(events)}",
                        view.at + view.rules.overflow_ms,
                        view.at - contact.queued_at,
                    )
                )
                break


def take_over(view: View, c: m.TakeOver, source: str) -> Events:
    """What this pool says to a contact of another; without events where it has been taken over before."""
    id, plan = c.contact_id, view.rules.queues.get(c.queue_id)
    if view.taken.get(c.errand) is not None:
        return []
    reason = "unknown-queue" if plan is None else why_not(view, c, plan)
    if plan is None or reason:
        return [m.CommandRefused(m.TYPE_OF[type(c)], id, reason)]
    asked = {skill: max(level, c.skills.get(skill, 0)) for skill, level in plan.skills.items()}
    relax_at = view.at + plan.widths[0].after_ms if plan.widths else 0
    return [
        m.ContactQueued(
            id,
            c.channel,
            c.queue_id,
            c.source,
            c.due_at,
            view.at + plan.wait_ms,
            max(0, c.due_at - c.first_queued_at),
            (f"tier-{c.tier}", "kept-due"),
            c.tier,
            c.customer_class == "vip",
            c.customer,
            dict(sorted((c.skills | asked).items())),
            max(0, c.first_queued_at - c.due_at),
            dict(sorted(c.attributes.items())),
            c.customer_class,
            c.allowed,
            relax_at=relax_at,
            first_queued_at=c.first_queued_at,
            from_pool=c.from_pool,
            errand=c.errand,
            hops=c.hops,
        )
    ]


def why_not(view: View, c: m.TakeOver, plan: Plan) -> str:
    if view.at > c.until:
        return "too-late"  # its own pool has it again
    if c.contact_id in view.contacts:
        return "contact-id-open"
    if c.channel not in plan.channels:
        return "channel-not-served"
    bar = barred(view, plan, c.queue_id, c.channel) if plan.guarded else ""
    return f"queue-{bar}" if bar else ""


def confirm_overflow(view: View, c: m.ConfirmOverflow, source: str) -> Events:
    contact = view.contacts.get(view.errands.get(c.errand, ""))
    if contact is None:
        if c.accepted and c.contact_id and view.recalled.get(c.errand) is not None:
            return [m.OverflowRecalled(c.contact_id, c.by_pool, c.errand, "adapter")]
        return [m.CommandRefused(m.TYPE_OF[type(c)], c.errand, "unknown-errand")]
    _, pool, to_queue_id = contact.away
    queue_id, waited_ms = contact.need[0], view.at - contact.queued_at
    gone = m.ContactOverflowed(contact.id, queue_id, pool, to_queue_id, waited_ms)
    if contact.status == "overflowing":
        return [gone] if c.accepted else [m.ContactReturned(contact.id, queue_id, pool, to_queue_id, c.reason)]
    if not c.accepted:
        return [m.CommandRefused(m.TYPE_OF[type(c)], c.errand, "unknown-errand")]
    if contact.status == "waiting":
        return [gone]
    if contact.status == "offered":
        return [m.OfferRevoked(contact.id, contact.agent_id, queue_id, "overflowed"), gone]
    return [m.OverflowRecalled(contact.id, pool, c.errand, "adapter")]  # an agent of ours has it


def answer_due(view: View, id: str, over: set[str], events: Events) -> None:
    if id not in over:
        contact = view.contacts[id]
        _, pool, to_queue_id = contact.away
        events.append(m.ContactReturned(id, contact.need[0], pool, to_queue_id, "no-answer"))


def recalled(contact: Contact, by: m.By) -> Events:
    """What the other pool hears of a contact that leaves while it is on its way there."""
    if contact.status != "overflowing":
        return []
    errand, pool, _ = contact.away
    return [m.OverflowRecalled(contact.id, pool, errand, by)]

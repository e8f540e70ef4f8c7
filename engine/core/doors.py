"""Who is let in, and what becomes of those who wait when a queue closes. Writes nothing.

Whether a queue is open at a moment is read from its hours alone, so that not even a late tick lets anybody in; the
events that tell of opening and closing follow by deadline.
"""

from bisect import bisect_right
from heapq import merge

from . import messages as m
from .matching import lines_at
from .rules import Plan
from .tables import Contact, Listed, View
from .words import TIERS, Channel, Tier

TOLD_BOUND = 64  # contacts that one tick ends at most: those told that their queue closes, those of lost sources
TIER: dict[str, Tier] = {tier: tier for tier in TIERS}  # a default is left out by identity, not by equality


def is_open(edges: tuple[int, ...], at: int) -> bool:
    return bisect_right(edges, at) & 1 == 1


def next_edge(edges: tuple[int, ...], at: int) -> int:
    """When the doors open or close next, after `at`; 0: never."""
    i = bisect_right(edges, at)
    return edges[i] if i < len(edges) else 0


def barred(view: View, plan: Plan, queue_id: str, channel: str) -> str:
    """Why this queue lets no contact of this channel in now, as a code; "" where it does. The queue must be guarded."""
    edges = plan.hours.get(channel)  # type: ignore[call-overload]
    if edges is not None and not is_open(edges, view.at):
        return "closed"
    if plan.most_waiting and view.crowds.get(queue_id, 0) >= plan.most_waiting:
        return "full"
    most = view.rules.rules.doors.most_waiting
    return "full" if most and view.crowd >= most else ""


def listed(view: View, customer: str) -> Listed | None:
    """The list that the customer is on now, if any."""
    found = view.listed.get(customer)
    return None if found is None or (found.until and found.until <= view.at) else found


def welcome_at(view: View, customer: str) -> int:
    """When a customer may come again who has been let in as often as the rules allow; 0: now."""
    repeats = view.rules.rules.doors.repeats
    if repeats is None or not customer:
        return 0
    window_ms = repeats.window * 1000
    times = view.visits.within(customer, view.at - window_ms)
    return times[-repeats.most] + window_ms if len(times) >= repeats.most else 0


def turned_away(view: View, plan: Plan, c: m.RouteContact, source: str, on: Listed | None) -> m.Event | None:
    """What the contact is told that wants to come in here, or None where it may. on: the list its customer is on."""
    doors = view.rules.rules.doors
    if on is not None and on.blocked:
        return m.ContactTurnedAway(
            c.contact_id, c.channel, c.queue_id, source, "blocked", doors.blocked, customer=c.customer, tier=c.tier
        )
    reason = barred(view, plan, c.queue_id, c.channel)
    if reason != "closed" and on is None:
        again_at = welcome_at(view, c.customer)
        if again_at:
            return m.ContactTurnedAway(
                c.contact_id,
                c.channel,
                c.queue_id,
                source,
                "too-often",
                doors.too_often,
                customer=c.customer,
                tier=c.tier,
                welcome_at=again_at,
            )
    if not reason:
        return None
    edges = plan.hours.get(c.channel)
    return m.ContactTurnedAway(
        c.contact_id,
        c.channel,
        c.queue_id,
        source,
        reason,
        plan.closed if reason == "closed" else plan.full,
        next_edge(edges, view.at) if edges is not None and reason == "closed" else 0,
        alternatives(view, plan, c.channel),
        c.customer,
        tier=c.tier,
    )


def alternatives(view: View, plan: Plan, channel: str) -> tuple[str, ...]:
    """Those of the queue's alternatives that would let a contact in now, as `queue/channel`."""
    found = []
    for queue_id, said in plan.alternatives:
        way = said or channel
        other = view.rules.queues.get(queue_id)
        if other is None or way not in other.channels:
            continue
        if not other.guarded or not barred(view, other, queue_id, way):
            found.append(f"{queue_id}/{way}")
    return tuple(found)


def waited_enough(view: View, contact: Contact) -> m.ContactTimedOut | m.ContactKept:
    """What becomes of a contact whose limit on waiting has come. A limit that falls into hours in which places
    are kept moves behind the opening, by what was left of it at closing."""
    id, (queue_id, channel, *_), limit_at = contact.id, contact.need, contact.give_up_at
    plan = view.rules.queues[queue_id]
    edges = plan.hours.get(channel)  # type: ignore[call-overload]
    if edges is not None and plan.on_close == "keep" and not is_open(edges, limit_at):
        i = bisect_right(edges, limit_at)
        left_ms = limit_at - max(contact.queued_at, edges[i - 1] if i else 0)
        return m.ContactKept(id, queue_id, edges[i] + left_ms if i < len(edges) else view.at + plan.wait_ms)
    waited_ms = view.at - contact.queued_at
    if plan.waited == "end":
        return m.ContactTimedOut(id, queue_id, waited_ms)
    return m.ContactTimedOut(id, queue_id, waited_ms, plan.waited, alternatives(view, plan, channel))


def door_due(view: View, id: str, over: set[str], events: list[m.Event]) -> None:
    """The doors open or close, as their hours say now. Who has to be told goes first, so many a tick."""
    door, at = view.doors[id], view.at
    queue_id, channel = door.queue_id, door.channel
    plan = view.rules.queues[queue_id]
    edges = plan.hours.get(channel)
    if edges is None:  # new rules have taken its hours away
        events.append(m.QueueOpened(queue_id, channel))
        return
    next_at = next_edge(edges, at)
    if is_open(edges, at):
        events.append(m.QueueOpened(queue_id, channel, next_at))
        return
    if door.open and plan.on_close == "tell":
        lines = [list(line) for line in lines_at(view, queue_id, channel)]
        lines += [
            [entry for entry in own if view.contacts[entry[2]].need[:2] == (queue_id, channel)]
            for own in view.personal.values()
        ]
        for _, _, contact_id in merge(*lines):  # earliest due first
            if contact_id in over:
                continue
            if len(over) >= TOLD_BOUND:
                return  # still due: the next tick goes on
            over.add(contact_id)
            events.append(let_go(view, plan, view.contacts[contact_id], next_at))
    events.append(m.QueueClosed(queue_id, channel, next_at, plan.on_close))


def let_go(view: View, plan: Plan, contact: Contact, opens_at: int) -> m.Event:
    queue_id = contact.need[0]
    channel: Channel = contact.need[1]  # type: ignore[assignment]
    return m.ContactTurnedAway(
        contact.id,
        channel,
        queue_id,
        contact.source,
        "closing",
        plan.closed,
        opens_at,
        alternatives(view, plan, channel),
        contact.customer,
        view.at - contact.queued_at,
        TIER[contact.tier],
    )

"""Who may serve a contact as its wait grows: one preferred agent first, later more than asked for. Writes nothing.

How far a match is relaxed follows from how long the contact has been in its queue and from the rules as they are now;
the events that tell of it follow by deadline. Neither changes when a contact is due, so no place in the line changes.
"""

from bisect import bisect_right

from . import messages as m
from .matching import can_serve
from .rules import Plan, Width
from .tables import Contact, Need, View

AS_ASKED = Width(0, frozenset(), {}, (), ())


def width_at(plan: Plan, step: int) -> Width:
    """After so many steps; fewer where the rules have fewer by now."""
    return plan.widths[min(step, len(plan.widths)) - 1] if step and plan.widths else AS_ASKED


def relaxed(width: Width, asked: dict[str, int]) -> dict[str, int]:
    """The skills that are needed of those asked for."""
    if width is AS_ASKED:
        return asked
    lowest = width.lowest
    return {skill: min(level, lowest.get(skill, level)) for skill, level in asked.items() if skill not in width.dropped}


def next_step_at(plan: Plan, queued_at: int, step: int = 0) -> int:
    """When the step after `step` is due; 0: there is none."""
    return queued_at + plan.widths[step].after_ms if step < len(plan.widths) else 0


def widening_due(view: View, id: str, over: set[str], events: list[m.Event]) -> None:
    """All steps whose time has come, in one event."""
    if id in over:
        return
    contact = view.contacts[id]
    queue_id, _, skills, also = contact.need
    plan = view.rules.queues[queue_id]
    step = bisect_right(plan.widths, view.at - contact.queued_at, key=lambda width: width.after_ms)
    next_at = next_step_at(plan, contact.queued_at, step)
    offered = is_offered(contact, events)
    if offered:  # it leaves for another pool only if this offer comes to nothing
        for i in range(contact.step, step):
            if plan.widths[i].pool:
                step, next_at = i, contact.deadline_at
                break
    width = width_at(plan, step)
    needs, had = relaxed(width, dict(contact.asked or skills)), dict(skills)
    queues = tuple([queue for queue in width.queues if queue != queue_id])
    reason = ["rules-changed"] if step < contact.step or (step == contact.step and not offered) else []
    if had.keys() - needs.keys():
        reason.append("skills-dropped")
    if any(needs[skill] < had.get(skill, 0) for skill in needs):
        reason.append("skills-lowered")
    if not set(queues) <= set(also):
        reason.append("queues-added")
    if not {f"\n{team}" for team in width.teams} <= set(also):
        reason.append("teams-added")
    if any(plan.widths[i].pool for i in range(contact.step, step)):
        reason.append("other-pool")
    told = tuple(reason or ["as-before"])
    events.append(m.ContactMatchRelaxed(id, queue_id, step, told, needs, queues, width.teams, next_at))


def is_offered(contact: Contact, events: list[m.Event]) -> bool:
    """Whether it will still be held out to an agent after these events of a tick."""
    expired = any(type(e) is m.OfferExpired and e.contact_id == contact.id for e in events)
    return contact.status == "offered" and not expired


# ---- the preferred agent


def preference(view: View, agent_id: str, need: Need, not_agents: tuple[str, ...]) -> str:
    """Why the contact cannot wait for this agent, as a code; "" where it can."""
    if agent_id in not_agents:
        return "excluded"
    agent = view.agents.get(agent_id)
    if agent is None:
        return "not-here"
    return "" if can_serve(view, agent, need) else "not-able"


def lapse(contact: Contact, reason: str, events: list[m.Event]) -> None:
    """It waits for its agent no longer, if it did until now."""
    if contact.prefer_until and not any(type(e) is m.PreferenceLapsed and e.contact_id == contact.id for e in events):
        events.append(m.PreferenceLapsed(contact.id, contact.need[0], contact.prefer, reason))


def preference_due(view: View, id: str, over: set[str], events: list[m.Event]) -> None:
    if id not in over:
        lapse(view.contacts[id], "time", events)


def all_lapse(view: View, agent_id: str, events: list[m.Event]) -> None:
    """The agent leaves: nobody waits for them any longer."""
    waiting = [entry[2] for entry in view.personal.get(agent_id, ())]
    offered = view.agents[agent_id].offered
    for id in [offered, *waiting] if offered else waiting:
        if view.contacts[id].prefer == agent_id:
            lapse(view.contacts[id], "signed-out", events)

"""How much later somebody may come and still be served first: the bound of a rule set, known before it is deployed.

first(C) is the time at which the errand of contact C first came in; lead(C) is the target of its tier in the queue in
which it now is, less its head start.

Claim. E waits in line, L came later, and L is offered to an agent A who could have had E: A serves E's queue, channel
and skills, or what E's match has been relaxed to, A has not declined E, and E's doors are not closed over a kept place.
Then

    first(L) - first(E)  <=  lead(E) - lead(L) + room

where room is the grace if A can be so loaded that one more of L's channel fits and none of E's, and 0 otherwise. The
bound of E is the greatest right side over all L that some agent can serve beside E, and at least 0.

Proof. (1) due(C) = first(C) + lead(C) at every moment: routing sets it so; a transfer sets it anew, from the same
first(C) and the new queue's target; nothing else writes it. Declines, missed offers, changed skills, kept places and
widening change who may serve a contact, never when it is due. (2) If A has room for E, then due(L) <= due(E). For
suppose due(E) < due(L). A stands and E waits, so E goes first, unless A's room is kept from E for a contact K that is
due before due(E) - grace. But then K is due before due(L) - grace as well, and the room is kept from L. (3) If A has
room for L and none for E, then A's room is kept for E from everybody due later than due(E) + grace, so
due(L) <= due(E) + grace. Put (1) into (2) and (3).

Not counted, because an agent, a supervisor or the doors say it and the log shows it: agents who have declined E, or
have transferred it, until `times.decline` after its last decline (at once, if nobody else is left to ask); the
`offer` seconds for which E is held out to another; those for which it waits for its preferred agent alone; hours for
which a queue keeps places; contacts that came, and talks that began, under other rules; those of other pools.
"""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from engine.core.rules import FULL, INDEX, Compiled, HeadStarts, Profile, Rules, Width, compile_rules
from engine.core.widening import AS_ASKED, relaxed
from engine.core.words import CHANNELS, TIERS

from .mistakes import Lang, catalog, printable
from .rules_told import span, told

Door = tuple[str, str]  # queue, channel
Standing = tuple[str, ...]  # what gives a customer a head start: ("vip",); () for an ordinary one


class Party(NamedTuple):
    """Contacts that have one lead."""

    queue_id: str
    channel: str
    tier: str
    standing: Standing


class Bound(NamedTuple):
    """Of a contact that waits as `of`, by at most `bound_s` seconds later somebody may come and still go first. by: who
    comes that late; None where nobody can, and the bound is 0. by_room: while the agent has no room for `of`; the
    grace is in the bound."""

    of: Party
    bound_s: int
    by: Party | None = None
    by_room: bool = False


class _Rival(NamedTuple):
    """Who may go before a contact: by `ahead_s` seconds more than the contact's own lead."""

    ahead_s: int
    party: Party
    by_room: bool


def bounds(rules: Rules) -> list[Bound]:
    """For every queue and channel that some agent of the rules serves, every tier and standing; in the order of the
    file. Where agents say at sign-in what they serve, each may serve everything."""
    compiled = compile_rules(rules)
    best = _rivals(compiled)
    found = []
    for queue_id, plan in compiled.queues.items():
        for channel in plan.channels:
            rival = best.get((queue_id, channel))
            if rival is None:
                continue
            for tier in TIERS:
                for standing, head_start_s in standings(rules.head_starts):
                    bound_s = plan.target_ms[tier] // 1000 - head_start_s + rival.ahead_s
                    of = Party(queue_id, channel, tier, standing)
                    found.append(Bound(of, bound_s, rival.party, rival.by_room) if bound_s > 0 else Bound(of, 0))
    return found


def standings(head_starts: HeadStarts) -> list[tuple[Standing, int]]:
    """Each with its head start in seconds, an ordinary customer first. What a class gives and what the allow-list gives
    add up."""
    said = msgspec.structs.asdict(head_starts)
    allowed_s = said.pop("allowed")
    classes: list[tuple[Standing, int]] = [((), 0), *(((name,), seconds) for name, seconds in said.items() if seconds)]
    return classes + [((*names, "allowed"), seconds + allowed_s) for names, seconds in classes if allowed_s]


def _rivals(compiled: Compiled) -> dict[Door, _Rival]:
    """For each door, who may overtake those who wait there by most; of equals the door's own queue, then the file's
    order."""
    standing, head_start_s = max(standings(compiled.rules.head_starts), key=lambda each: each[1])
    leads: dict[str, tuple[int, str]] = {}  # queue -> the least lead that anybody can have there, and the tier
    for queue_id, plan in compiled.queues.items():
        target_ms, tier = min((plan.target_ms[tier], i) for i, tier in enumerate(TIERS))
        leads[queue_id] = target_ms // 1000 - head_start_s, TIERS[tier]
    grace_s = compiled.grace_ms // 1000
    best: dict[Door, _Rival] = {}
    for doors, limits in _profiles(compiled):
        soonest: dict[str, str] = {}  # channel -> the queue of the least lead
        for queue_id, channel in doors:
            if channel not in soonest or leads[queue_id] < leads[soonest[channel]]:
                soonest[channel] = queue_id
        for door in doors:
            for channel, queue_id in soonest.items():
                if (door[0], channel) in doors and leads[door[0]][0] == leads[queue_id][0]:
                    queue_id = door[0]
                lead_s, tier_of = leads[queue_id]
                by_room = bool(grace_s) and fits_alone(compiled.weights, limits, INDEX[channel], INDEX[door[1]])
                rival = _Rival(by_room * grace_s - lead_s, Party(queue_id, channel, tier_of, standing), by_room)
                if door not in best or (rival.ahead_s, queue_id == door[0]) > (
                    best[door].ahead_s,
                    best[door].party.queue_id == door[0],
                ):
                    best[door] = rival
    return best


def _profiles(compiled: Compiled) -> list[tuple[dict[Door, None], tuple[int, ...] | None]]:
    """What an agent can serve, each once, and how many of each channel they take; None: any number."""
    if compiled.rules.roster == "sign-in":
        return [({(id, channel): None for id, plan in compiled.queues.items() for channel in plan.channels}, None)]
    found = {}
    for profile in compiled.roster.values():
        key = (profile.queues, tuple(profile.skills.items()), tuple(profile.limits.values()), profile.team)
        if key in found:
            continue
        doors: dict[Door, None] = {}
        for queue_id, plan in compiled.queues.items():
            if any(may_serve(profile, queue_id, plan.skills, width) for width in (AS_ASKED, *plan.widths)):
                doors |= {(queue_id, channel): None for channel in plan.channels if profile.limits[channel]}
        served = {channel for _, channel in doors}
        found[key] = doors, tuple(profile.limits[each] if each in served else 0 for each in CHANNELS)
    return list(found.values())


def may_serve(profile: Profile, queue_id: str, skills: dict[str, int], width: Width) -> bool:
    """Whether this agent may serve contacts of the queue whose match has been relaxed so far."""
    theirs = {queue_id, *width.queues} & set(profile.queues) or profile.team in width.teams
    return bool(theirs) and all(profile.skills.get(s, 0) >= n for s, n in relaxed(width, skills).items())


@lru_cache(4096)
def fits_alone(weights: tuple[int, int, int], limits: tuple[int, ...] | None, one: int, other: int) -> bool:
    """Whether an agent can be so loaded that one more of channel `one` fits and none of channel `other`."""
    if one == other:
        return False
    if limits is None:  # any: those that are full at one, or never
        free = [FULL] * len(CHANNELS)
        narrow = [1 if i == other else FULL for i in range(len(CHANNELS))]
        return any(fits_alone(weights, tuple(each), one, other) for each in (free, narrow))
    third = 3 - one - other
    for of_one in range(limits[one]):
        for of_other in range(limits[other] + 1):
            left = FULL - weights[one] - of_one * weights[one] - of_other * weights[other]
            if left < 0:
                break
            if of_other == limits[other]:
                return True
            left -= min(limits[third], left // weights[third]) * weights[third]
            if left + weights[one] < weights[other]:
                return True
    return False


# ---- in words


def explained(rules: Rules, lang: Lang = "en") -> list[str]:
    """The bounds in sentences: of each tier the queues in which it is greatest for an ordinary customer; by how much
    less others are overtaken; what is not counted."""
    words, names, channels = (told(lang)[part] for part in ("bound", "standings", "channels"))
    comma = catalog()[lang]["marks"]["comma"]

    def customers(standing: Standing) -> str:
        return names["and"].join(names[each] for each in standing)

    known = bounds(rules)
    lines = [words["title"].format(pool=printable(rules.pool))]
    for tier in TIERS:
        of_tier = [each for each in known if each.of.tier == tier and not each.of.standing]
        most = max((each.bound_s for each in of_tier), default=0)
        found = [each for each in of_tier if each.bound_s == most and each.by is not None]
        if not found:
            lines.append("  " + words["never"].format(tier=tier))
            continue
        first = found[0]
        assert first.by is not None
        queues = list(dict.fromkeys(printable(each.of.queue_id) for each in found))
        room = ""
        if first.by_room:
            room = words["room"].format(
                grace=span(rules.times.grace, lang),
                channel=channels[first.by.channel],
                needs=channels[first.of.channel],
            )
        said = {
            "tier": tier,
            "queues": comma.join([*queues[:5], "…"] if len(queues) > 5 else queues),
            "time": span(most, lang),
            "rival": first.by.tier,
            "rivals": words["customers"].format(customers=customers(first.by.standing)) if first.by.standing else "",
            "queue": printable(first.by.queue_id),
            "room": room,
        }
        lines.append("  " + words["line"].format(**said))
    less = [
        words["head-start"].format(customers=customers(standing), time=span(head_start_s, lang))
        for standing, head_start_s in standings(rules.head_starts)
        if len(standing) == 1
    ]
    if less:
        lines.append(words["head-starts"].format(head_starts=comma.join(less)))
    return [*lines, words["not-counted"].format(decline=span(rules.times.decline, lang))]


def as_documents(rules: Rules) -> list[dict[str, object]]:
    """The bounds for JSON. by: null where nobody who comes later goes first."""
    return [
        {
            **_document(each.of),
            "bound_s": each.bound_s,
            "by": _document(each.by) if each.by else None,
            "by_room": each.by_room,
        }
        for each in bounds(rules)
    ]


def _document(party: Party) -> dict[str, object]:
    standing = "+".join(party.standing) or "ordinary"
    return {"queue": party.queue_id, "channel": party.channel, "tier": party.tier, "customer": standing}

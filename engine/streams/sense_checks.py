"""Whether rules that hold do what they were written for: agents who never get what they are to serve, teams without
agents, doors' words that nobody hears, chats before which calls run out of time.

All they find are warnings. They are asked only where every name is known; some need a log in which somebody is signed
in. As in rules_checks.py, each check answers with all that it finds.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec.structs import replace

from engine.core.rules import Agent, Profile, Queue, Rules, compile_rules, widths_of
from engine.core.widening import AS_ASKED, relaxed
from engine.core.words import TIERS, Channel

from .rules_bound import Bound, bounds, may_serve
from .rules_checks import Checked, members, numbered_queues, targets_of
from .rules_held import SignedIn
from .rules_shape import Found, Said, as_toml
from .toml_lines import Path

# Errors in spite of which every name is known, so that agents and queues can be set against each other.
APART = frozenset(
    {"queue-unserved", "skill-nobody-has", "skill-too-high", "skills-not-together", "channel-nobody-takes"}
    | {"hours-never", "pool-characters", "steps-order", "no-channels"}
)


def sense_checks(seen: Checked, known: Sequence[Found]) -> list[Found]:
    """known: what the other checks have found."""
    errors = [each for each in known if each.severity == "error"]
    if not seen.complete or any(each.code not in APART for each in errors):
        return []
    seen = seen._replace(torn=seen.torn | {each.path[:end] for each in errors for end in range(len(each.path) + 1)})
    rules = timeless(seen)
    found = [
        *asked_again(seen),
        *tiers_overlap(seen),
        *names_differ(seen),
        *ways_differ(seen),
        *ways_open(seen),
        *doors_of_the_pool(seen),
        *room(seen, bounds(rules)),
    ]
    if rules.roster == "rules":
        found += [
            *teams_have_agents(seen),
            *agents_get_what_they_serve(seen, rules),
            *addresses_are_used(seen, rules),
            *steps_add_somebody(seen, rules),
        ]
    return [each._replace(severity="warning") for each in found]


def timeless(seen: Checked) -> Rules:
    """The rules as if every queue were always open."""
    said = seen.rules
    fields = {name: getattr(said, name) for name in Rules.__struct_fields__}
    queues = tuple([replace(queue, hours=None) for queue in said.queues])
    return Rules(**fields | {"hours": (), "queues": queues})


# ---- times


def asked_again(seen: Checked) -> Iterator[Found]:
    """An agent who has declined is asked again before the contact leaves the line."""
    times = seen.rules.times
    said: set[Path] = set()
    for number, queue in numbered_queues(seen):
        wait = times.wait if queue.wait is None else queue.wait
        place = first_that_stands(seen, [("queues", number, "wait"), ("times", "decline")])
        if times.decline >= wait and seen.stands("times", "decline") and place not in said:
            said.add(place)
            yield Found(place, "decline-after-wait", {"decline_s": times.decline, "wait_s": wait})


def first_that_stands(seen: Checked, places: list[Path]) -> Path:
    return next((place for place in places if seen.stands(*place)), places[-1])


def tiers_overlap(seen: Checked) -> Iterator[Found]:
    """A head start that is worth more than the distance of two tiers makes the later tier come first."""
    starts = seen.rules.head_starts
    names = [name for name in ("vip", "known", "prospect", "allowed") if seen.stands("head_starts", name)]
    targets = targets_of(seen.rules.targets)
    for sooner, later in pairwise(TIERS):
        apart = targets[later] - targets[sooner]
        if not seen.stands("targets", later) or apart <= 0:
            continue
        for name in names:
            if getattr(starts, name) > apart:
                numbers: Said = {"head_start_s": getattr(starts, name), "apart_s": apart}
                yield Found(("head_starts", name), "tiers-overlap", {"sooner": sooner, "later": later} | numbers)


def room(seen: Checked, known: list[Bound]) -> Iterator[Found]:
    """The grace: long enough to be of use somewhere, too short to let chats go before a call until it leaves."""
    times = seen.rules.times
    if times.grace and seen.stands("times", "grace") and known and not any(each.by_room for each in known):
        yield Found(("times", "grace"), "grace-unused")
    queues = {queue.id: queue for queue in seen.rules.queues}
    for each in known:
        queue = queues[each.of.queue_id]
        wait = times.wait if queue.wait is None else queue.wait
        blocks = each.by_room and each.by is not None and each.bound_s >= wait > each.bound_s - times.grace
        if blocks and not each.of.standing and each.by is not None:
            said: Said = {"queue": as_toml(queue.id), "needs": each.of.channel, "channel": each.by.channel}
            numbers: Said = {"bound_s": each.bound_s, "wait_s": wait, "grace_s": times.grace}
            yield Found(first_that_stands(seen, [("times", "grace"), ("times",)]), "room-blocks", said | numbers)
            return


# ---- who serves what


def teams_have_agents(seen: Checked) -> Iterator[Found]:
    used = {agent.team for agent in seen.rules.agents}
    for number, team in zip(seen.numbers["teams"], seen.rules.teams, strict=True):
        if team.id not in used:
            yield Found(("teams", number, "id"), "team-without-agents", {"id": as_toml(team.id)})


def agents_get_what_they_serve(seen: Checked, rules: Rules) -> Iterator[Found]:
    """Each queue that an agent is to serve, with what keeps its contacts from them. What a whole team lacks is said
    once, where the team names the queue. Queues of which something is wrong for everybody are left alone."""
    roster = compile_rules(rules).roster
    agent_number = dict(zip([agent.id for agent in rules.agents], seen.numbers["agents"], strict=True))
    number_of = {queue.id: number for number, queue in numbered_queues(seen)}
    queues = {queue.id: queue for queue in rules.queues if ("queues", number_of[queue.id]) not in seen.torn}
    of_team: dict[str, list[Agent]] = {}
    for agent in rules.agents:
        of_team.setdefault(agent.team, []).append(agent)
    for array, number, each in members(seen):
        who = [each] if isinstance(each, Agent) else of_team.get(each.id, [])
        for index, queue_id in enumerate(each.queues):
            if queue_id not in queues:
                continue
            lacks = {agent.id: lack for agent in who if (lack := lacking(roster[agent.id], queues[queue_id]))}
            if who and len(lacks) == len(who):
                some = tuple(map(as_toml, [*lacks][:5])) + ("…",) * (len(lacks) > 5)
                code, parameters = lacks[who[0].id]
                place: Path = (array, number, "queues", index)
                yield Found(place, code, parameters | {"agents": some, "queue": as_toml(queue_id)})
                continue
            for agent in who:  # some of a team
                if agent.id in lacks and queue_id not in agent.queues:
                    code, parameters = lacks[agent.id]
                    said: Said = {"agents": (as_toml(agent.id),), "queue": as_toml(queue_id)}
                    yield Found(("agents", agent_number[agent.id]), code, parameters | said)


def lacking(profile: Profile, queue: Queue) -> tuple[str, Said] | None:
    """What keeps a queue's contacts from this agent, if anything does."""
    for skill, level in eased(queue).items():
        have = profile.skills.get(skill, 0)
        if have < level:
            return "agent-lacks-skill", {"skill": as_toml(skill), "level": level, "have": have}
    if not any(profile.limits[channel] for channel in queue.channels):
        return "agent-takes-no-channel", {"channels": tuple(map(as_toml, queue.channels))}
    return None


def eased(queue: Queue) -> dict[str, int]:
    """The skills that its contacts need once their match has been relaxed as far as it goes."""
    return relaxed(widths_of(queue.widen)[-1], dict(queue.skills)) if queue.widen else dict(queue.skills)


def steps_add_somebody(seen: Checked, rules: Rules) -> Iterator[Found]:
    """Each step of widening that names queues or teams makes some agent of the roster able to serve who was not. One
    that eases skills is believed: a contact may ask for more than its queue does."""
    roster = {
        (each.queues, tuple(each.skills.items()), each.team): each for each in compile_rules(rules).roster.values()
    }
    for number, queue in numbered_queues(seen):
        if all(step.drop or step.lower for step in queue.widen):
            continue
        asked = dict(queue.skills)
        known = {id for id, profile in roster.items() if may_serve(profile, queue.id, asked, AS_ASKED)}
        for index, (step, width) in enumerate(zip(queue.widen, widths_of(queue.widen), strict=True)):
            able = {id for id, profile in roster.items() if may_serve(profile, queue.id, asked, width)}
            if able == known and not (step.drop or step.lower):
                yield Found(("queues", number, "widen", index), "step-adds-nobody")
            known |= able


def addresses_are_used(seen: Checked, rules: Rules) -> Iterator[Found]:
    roster = compile_rules(rules).roster
    taking: dict[str, tuple[Channel, ...]] = {queue.id: queue.channels for queue in rules.queues}
    for number, agent in zip(seen.numbers["agents"], seen.rules.agents, strict=True):
        served = {channel for queue_id in roster[agent.id].queues for channel in taking[queue_id]}
        for channel in agent.addresses:
            if served and channel not in served:
                yield Found(("agents", number, "addresses", channel), "address-unused", {"channel": as_toml(channel)})


def live_checks(seen: Checked, agents: Sequence[SignedIn]) -> list[Found]:
    """What nobody can do who is signed in at present."""
    return [each._replace(severity="warning") for each in nobody_there(seen, agents)]


def nobody_there(seen: Checked, agents: Sequence[SignedIn]) -> Iterator[Found]:
    if not agents:
        yield Found(("pool",), "nobody-signed-in")
        return
    for number, queue in numbered_queues(seen):
        path: Path = ("queues", number)
        serving = [agent for agent in agents if queue.id in agent.queues]
        if not serving:
            yield Found((*path, "id"), "queue-nobody-signed-in", {"id": as_toml(queue.id)})
            continue
        for skill, level in eased(queue).items():
            best = max(agent.skills.get(skill, 0) for agent in serving)
            if best < level:
                parameters: Said = {"skill": as_toml(skill), "level": level, "best": best}
                yield Found((*path, "skills", skill), "skill-nobody-signed-in", parameters)


# ---- names and doors


def names_differ(seen: Checked) -> Iterator[Found]:
    first: dict[str, str] = {}
    for number, queue in numbered_queues(seen):
        if queue.name and queue.name in first:
            parameters: Said = {"name": as_toml(queue.name), "other": as_toml(first[queue.name])}
            yield Found(("queues", number, "name"), "same-name", parameters)
        first.setdefault(queue.name, queue.id)


def ways_differ(seen: Checked) -> Iterator[Found]:
    for number, queue in numbered_queues(seen):
        for said in dict.fromkeys(queue.alternatives):
            if queue.alternatives.count(said) > 1:
                yield Found(("queues", number, "alternatives"), "repeated", {"found": as_toml(said)})


def ways_open(seen: Checked) -> Iterator[Found]:
    """An alternative that has the same hours is closed whenever this queue is; where nothing but closing turns anybody
    away, nobody is ever told of it."""
    doors = seen.rules.doors
    if doors.most_waiting or doors.repeats:
        return
    queues = {queue.id: queue for queue in seen.rules.queues}
    for number, queue in numbered_queues(seen):
        if queue.most_waiting or (queue.waited or doors.waited) != "end" or not queue.hours:
            continue
        for index, said in enumerate(queue.alternatives):
            other = queues.get(said)
            if other is not None and other is not queue and hours_by_channel(other) == hours_by_channel(queue):
                place: Path = ("queues", number, "alternatives", index)
                yield Found(place, "alternative-closed-too", {"queue": as_toml(other.id)})


def hours_by_channel(queue: Queue) -> dict[str, str]:
    said = queue.hours if isinstance(queue.hours, dict) else dict.fromkeys(queue.channels, queue.hours or "")
    return {channel: id for channel, id in said.items() if id and channel in queue.channels}


def doors_of_the_pool(seen: Checked) -> Iterator[Found]:
    """What [doors] says for all queues, where no queue can come to it."""
    doors, queues = seen.rules.doors, seen.rules.queues
    for key in ("on_close", "closed"):
        if seen.stands("doors", key) and not any(queue.hours for queue in queues):
            yield Found(("doors", key), "no-queue-closes", {"key": key})
    if seen.stands("doors", "full") and not doors.most_waiting and not any(queue.most_waiting for queue in queues):
        yield Found(("doors", "full"), "no-queue-fills")
    if seen.stands("doors", "too_often") and not doors.repeats:
        yield Found(("doors", "too_often"), "needs-repeats")

"""Whether well-formed rules make sense: ids that exist, queues that somebody serves, deadlines that go together.

Each check answers with all that it finds. Where a part of the file could not be read, what would only follow from that
is not reported.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, NamedTuple

from engine.core.rules import FULL, Agent, Limits, Queue, Targets, Team
from engine.core.words import CHANNELS, TIERS, Channel, Tier

from .hours import SaidRules
from .mistakes import Severity
from .rules_shape import ARRAYS, At, Found, Said, as_toml, guessed
from .toml_lines import Path


class Checked(NamedTuple):
    """What the checks look at.

    rules: as far as they fit. merged: as they stand in the file, includes merged in. numbers: by array, the index in
    `merged` of each element of `rules`. torn: every path in or under which something does not fit. complete: whether
    every include could be read.
    """

    rules: SaidRules
    merged: dict[str, Any]
    numbers: dict[str, list[int]]
    torn: set[Path]
    complete: bool

    def stands(self, *path: str | int) -> bool:
        """Whether it was written, not taken from a default."""
        value: Any = self.merged
        key: Any
        for key in path:
            if not isinstance(value, list) and not (isinstance(value, dict) and key in value):
                return False
            value = value[key]
        return True

    def whole(self, array: str) -> bool:
        """Whether every id of the array is known."""
        said = self.merged.get(array, [])
        return self.complete and isinstance(said, list) and len(said) == len(self.numbers[array])


def checks(seen: Checked) -> list[Found]:
    found = [
        *pool_id(seen),
        *time_zone(seen),
        *queues_exist(seen),
        *ids_are_unique(seen),
        *references(seen),
        *no_repetition(seen),
        *channels(seen),
        *targets_rise(seen),
        *deadlines(seen),
        *limits_in_reach(seen),
        *roster_is_meant(seen),
    ]
    torn = seen.torn | {
        each.path[:end] for each in found if each.severity == "error" for end in range(len(each.path) + 1)
    }
    return [*found, *roster_serves(seen._replace(torn=torn))]


# ---- single values


def pool_id(seen: Checked) -> Iterator[Found]:
    """It stands in addresses: /v1/pools/{pool}/queues."""
    pool = seen.rules.pool
    if ("pool",) in seen.torn or "pool" not in seen.merged:
        return
    wrong = [c for c in dict.fromkeys(pool) if c in "/\\?#%" or c.isspace() or not c.isprintable()]
    if wrong or pool in {".", ".."}:
        characters = tuple(as_toml(c) for c in wrong or [pool])
        yield Found(("pool",), "pool-characters", {"characters": characters})


@cache
def zones() -> tuple[str, ...]:
    """The zones of the package tzdata, which are the same on every machine."""
    return tuple(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def time_zone(seen: Checked) -> Iterator[Found]:
    yield from zone_unknown(("time_zone",), seen.rules.time_zone)


def zone_unknown(path: Path, zone: str) -> Iterator[Found]:
    if zone in zones():
        return
    by_city = [each for each in zones() if each.rpartition("/")[2].casefold() == zone.casefold().replace(" ", "_")]
    guess = by_city[0] if by_city else guessed(zone, zones())
    parameters: Said = {"found": as_toml(zone), "guess": as_toml(guess)}
    yield Found(path, "unknown-time-zone", parameters, "did-you-mean-value" if guess else "")


# ---- ids


def queues_exist(seen: Checked) -> Iterator[Found]:
    if "queues" in seen.merged and not seen.merged["queues"] and seen.whole("queues"):
        yield Found(("queues",), "no-queues")


def ids_are_unique(seen: Checked) -> Iterator[Found]:
    for array in ARRAYS:
        first: dict[str, Path] = {}
        for number, each in zip(seen.numbers[array], getattr(seen.rules, array), strict=True):
            place: Path = (array, number, "id")
            if each.id in first:
                yield Found(place, "duplicate-id", {"id": as_toml(each.id), "first": At(first[each.id])})
            else:
                first[each.id] = place


def references(seen: Checked) -> Iterator[Found]:
    queues = tuple(queue.id for queue in seen.rules.queues)
    teams = tuple(team.id for team in seen.rules.teams)
    for array, number, each in members(seen):
        if isinstance(each, Agent) and each.team and each.team not in teams and seen.whole("teams"):
            yield unknown((array, number, "team"), "unknown-team", each.team, teams)
        if seen.whole("queues"):
            for queue in dict.fromkeys(each.queues):
                if queue not in queues:
                    place = (array, number, "queues", seen.merged[array][number]["queues"].index(queue))
                    yield unknown(place, "unknown-queue", queue, queues)


def unknown(path: Path, code: str, name: str, known: tuple[str, ...]) -> Found:
    parameters: Said = {"found": as_toml(name)}
    if guess := guessed(name, known):
        return Found(path, code, parameters | {"guess": as_toml(guess)}, "did-you-mean-value")
    if not known:
        return Found(path, code, parameters)
    some = tuple(map(as_toml, known[:8])) + ("…",) * (len(known) > 8)
    return Found(path, code, parameters | {"known": some}, "there-are")


def members(seen: Checked) -> Iterator[tuple[str, int, Team | Agent]]:
    for number, team in zip(seen.numbers["teams"], seen.rules.teams, strict=True):
        yield "teams", number, team
    for number, agent in zip(seen.numbers["agents"], seen.rules.agents, strict=True):
        yield "agents", number, agent


def numbered_queues(seen: Checked) -> Iterator[tuple[int, Queue]]:
    yield from zip(seen.numbers["queues"], seen.rules.queues, strict=True)


def no_repetition(seen: Checked) -> Iterator[Found]:
    lists: list[tuple[Path, Sequence[str]]] = [
        (("queues", number, "channels"), queue.channels) for number, queue in numbered_queues(seen)
    ]
    lists += [((array, number, "queues"), each.queues) for array, number, each in members(seen)]
    for path, names in lists:
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield Found(path, "repeated", {"found": as_toml(name)}, severity="warning")


def channels(seen: Checked) -> Iterator[Found]:
    for number, queue in numbered_queues(seen):
        if not queue.channels and ("queues", number, "channels") not in seen.torn:
            yield Found(("queues", number, "channels"), "no-channels", {"allowed": tuple(map(as_toml, CHANNELS))})


# ---- deadlines


def targets_of(targets: Targets) -> dict[Tier, int]:
    return {"now": targets.now, "today": targets.today, "follow-up": targets.follow_up}


def targets_rise(seen: Checked) -> Iterator[Found]:
    tables: list[tuple[Path, Targets | None]] = [(("targets",), seen.rules.targets)]
    tables += [(("queues", number, "targets"), queue.targets) for number, queue in numbered_queues(seen)]
    for path, targets in tables:
        if targets is None or path in seen.torn or not seen.stands(*path):
            continue
        seconds = targets_of(targets)
        for sooner, later in pairwise(TIERS):
            if seconds[sooner] > seconds[later]:
                numbers: Said = {"sooner_s": seconds[sooner], "later_s": seconds[later]}
                yield Found(path, "targets-order", {"sooner": sooner, "later": later} | numbers, severity="warning")


def deadlines(seen: Checked) -> Iterator[Found]:
    """Each queue with what it takes from [times] and [targets]. What comes from there alone is said once."""
    said: set[tuple[Path, str]] = set()
    for number, queue in numbered_queues(seen):
        if ("times",) in seen.torn or ("targets",) in seen.torn or ("queues", number) in seen.torn:
            continue
        for found in deadlines_of(seen, number, queue):
            if (found.path, found.code) not in said:
                said.add((found.path, found.code))
                yield found


def deadlines_of(seen: Checked, number: int, queue: Queue) -> Iterator[Found]:
    rules = seen.rules
    own: Path = ("queues", number)
    targets = targets_of(queue.targets or rules.targets)
    offer = rules.times.offer if queue.offer is None else queue.offer
    wait = rules.times.wait if queue.wait is None else queue.wait

    def place(*paths: Path) -> Path:
        return next((path for path in paths if seen.stands(*path)), paths[-1])

    if offer > targets["now"]:
        path = place((*own, "offer"), (*own, "targets", "now"), ("times", "offer"), ("targets", "now"))
        numbers: Said = {"offer_s": offer, "target_s": targets["now"]}
        yield Found(path, "offer-after-target", numbers, severity="warning")
    if queue.service_level > wait:
        path = place((*own, "service_level"), (*own, "wait"), ("times", "wait"))
        numbers = {"threshold_s": queue.service_level, "wait_s": wait}
        yield Found(path, "threshold-after-wait", numbers, severity="warning")
    # A tier whose target nobody has written down is one that the pool may well not use.
    used = [
        tier for tier in TIERS if tier == "now" or seen.stands(*own, "targets", tier) or seen.stands("targets", tier)
    ]
    early = tuple(f"{tier} {targets[tier]} s" for tier in used if targets[tier] > wait)
    if early:
        path = place((*own, "wait"), (*own, "targets"), ("times", "wait"), ("targets",))
        yield Found(path, "wait-before-target", {"wait_s": wait, "tiers": early}, severity="warning")


# ---- who takes what


def limits_in_reach(seen: Checked) -> Iterator[Found]:
    rules = seen.rules
    tables: list[tuple[Path, Limits | None]] = [(("limits",), rules.limits)]
    tables += [
        (("agents", number, "limits"), agent.limits)
        for number, agent in zip(seen.numbers["agents"], rules.agents, strict=True)
    ]
    for path, limits in tables:
        for channel in CHANNELS if limits else ():
            limit = getattr(limits, channel)
            weight = getattr(rules.weights, channel)
            place = (*path, channel)
            if limit > FULL // weight and seen.stands(*place) and not {place, ("weights",)} & seen.torn:
                numbers: Said = {"limit": limit, "weight": weight, "most": FULL // weight}
                yield Found(place, "limit-out-of-reach", {"channel": channel} | numbers, severity="warning")


def roster_is_meant(seen: Checked) -> Iterator[Found]:
    if ("roster",) in seen.torn:
        return
    agents = seen.merged.get("agents")
    if seen.rules.roster == "rules":
        if not agents and seen.whole("agents"):
            yield Found(("roster",), "roster-without-agents")
        return
    for array in ("agents", "teams"):  # names alone are welcome: a page can show them
        idle = [number for name, number, each in members(seen) if name == array and says_what_is_served(each)]
        if idle:
            yield Found((array, idle[0]), "roster-ignored", {"count": len(idle)}, severity="warning")
            return


def says_what_is_served(member: Team | Agent) -> bool:
    if isinstance(member, Agent) and (member.team or member.limits or member.addresses):
        return True
    return bool(member.queues or member.skills)


class Profile(NamedTuple):
    """What an agent of the roster serves, their team's share included; the agent's own level of a skill counts."""

    queues: frozenset[str]
    skills: dict[str, int]
    limits: Limits


def roster_serves(seen: Checked) -> Iterator[Found]:
    rules = seen.rules
    if rules.roster != "rules" or not rules.agents or not seen.complete:
        return
    if any((table,) in seen.torn for table in ("roster", "agents", "teams", "limits", "weights")):
        return
    teams = {team.id: team for team in rules.teams}
    none = Team(id="none")
    serving: dict[str, list[Profile]] = {queue.id: [] for queue in rules.queues}
    for number, agent in zip(seen.numbers["agents"], rules.agents, strict=True):
        team = teams.get(agent.team, none)
        queues = frozenset(agent.queues) | frozenset(team.queues)
        if not queues:
            yield Found(("agents", number), "serves-nothing", {"id": as_toml(agent.id)}, severity="warning")
        for queue_id in queues & serving.keys():
            serving[queue_id].append(Profile(queues, {**team.skills, **agent.skills}, agent.limits or rules.limits))
    for number, queue in numbered_queues(seen):
        if ("queues", number) not in seen.torn:
            yield from served(number, queue, serving[queue.id])


def served(number: int, queue: Queue, profiles: list[Profile]) -> Iterator[Found]:
    path: Path = ("queues", number)
    severity: Severity = "warning" if queue.widen else "error"  # others may come to it with time
    if not profiles:
        yield Found((*path, "id"), "queue-unserved", {"id": as_toml(queue.id)}, severity=severity)
        return
    missing = False
    for skill, level in queue.skills.items():
        place = (*path, "skills", skill)
        best = max(each.skills.get(skill, 0) for each in profiles)
        if best == 0:
            missing = True
            have = tuple(sorted({name for each in profiles for name in each.skills}))
            guess = guessed(skill, have)
            parameters: Said = {"skill": as_toml(skill), "guess": as_toml(guess)}
            yield Found(place, "skill-nobody-has", parameters, "did-you-mean-value" if guess else "", severity)
        elif best < level:
            missing = True
            yield Found(
                place, "skill-too-high", {"skill": as_toml(skill), "level": level, "best": best}, severity=severity
            )
    if missing:
        return
    able = [
        each for each in profiles if all(each.skills.get(skill, 0) >= level for skill, level in queue.skills.items())
    ]
    if not able:
        skills = tuple(f"{skill} {level}" for skill, level in queue.skills.items())
        yield Found((*path, "skills"), "skills-not-together", {"skills": skills}, severity=severity)
        return
    for channel in dict.fromkeys(queue.channels):
        if not any(takes(each, channel) for each in able):
            yield Found((*path, "channels"), "channel-nobody-takes", {"channel": as_toml(channel)})


def takes(profile: Profile, channel: Channel) -> bool:
    limit: int = getattr(profile.limits, channel)
    return limit > 0

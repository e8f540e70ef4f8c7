"""Whether steps of widening make sense: names that exist, times that rise, steps that come in time and change things.

As in rules_checks.py, each check answers with all that it finds.
"""

from collections.abc import Iterator

from engine.core.rules import Queue, Rules

from .rules_checks import Checked, numbered_queues, unknown
from .rules_shape import Found, Said, as_toml
from .toml_lines import Path


def widening_checks(seen: Checked) -> list[Found]:
    found = [*preference(seen)]
    for number, queue in numbered_queues(seen):
        if queue.widen and ("queues", number, "widen") not in seen.torn:
            found += [
                *names(seen, number, queue),
                *times(seen, number, queue),
                *effects(number, queue),
                *ways(seen, number, queue),
            ]
    return found


def place(number: int, step: int, *more: str | int) -> Path:
    return ("queues", number, "widen", step, *more)


def names(seen: Checked, number: int, queue: Queue) -> Iterator[Found]:
    queues = tuple(each.id for each in seen.rules.queues)
    teams = tuple(each.id for each in seen.rules.teams)
    for i, step in enumerate(queue.widen):
        if seen.whole("queues"):
            for j, each in enumerate(step.queues):
                if each not in queues:
                    yield unknown(place(number, i, "queues", j), "unknown-queue", each, queues)
        if seen.whole("teams") and seen.rules.roster == "rules":  # others say their team at sign-in
            for j, each in enumerate(step.teams):
                if each not in teams:
                    yield unknown(place(number, i, "teams", j), "unknown-team", each, teams)


def times(seen: Checked, number: int, queue: Queue) -> Iterator[Found]:
    before = 0
    for i, step in enumerate(queue.widen):
        if step.after <= before:
            yield Found(place(number, i, "after"), "steps-order", {"after_s": step.after, "before_s": before})
        before = max(before, step.after)
    if ("times",) in seen.torn:
        return
    wait = seen.rules.times.wait if queue.wait is None else queue.wait
    for i, step in enumerate(queue.widen):
        if step.after >= wait:
            numbers = {"after_s": step.after, "wait_s": wait}
            yield Found(place(number, i, "after"), "step-after-wait", numbers, severity="warning")


def effects(number: int, queue: Queue) -> Iterator[Found]:
    """Each step should open a contact to somebody who could not have it before."""
    dropped: set[str] = set()
    lowest: dict[str, int] = {}
    given = {("queue", queue.id)}
    for i, step in enumerate(queue.widen):
        lower = {skill: level for skill, level in step.lower.items() if skill not in dropped | set(step.drop)}
        more = {("queue", each) for each in step.queues} | {("team", each) for each in step.teams}
        lowers = any(level < lowest.get(skill, 101) for skill, level in lower.items())
        if not (lowers or set(step.drop) - dropped or more - given or step.pool or step.queue):
            yield Found(place(number, i), "step-changes-nothing", severity="warning")
        elif lost := [skill for skill in step.lower if skill not in lower]:
            parameters = {"skill": as_toml(lost[0])}
            yield Found(place(number, i, "lower", lost[0]), "lower-dropped", parameters, severity="warning")
        dropped |= set(step.drop)
        lowest |= {skill: min(level, lowest.get(skill, level)) for skill, level in lower.items()}
        given |= more


def ways(seen: Checked, number: int, queue: Queue) -> Iterator[Found]:
    """Steps that lead to another pool."""
    for i, step in enumerate(queue.widen):
        if bool(step.pool) != bool(step.queue):
            yield Found(place(number, i), "pool-and-queue")
        elif step.topics and not step.pool:
            yield Found(place(number, i, "topics"), "topics-without-pool", severity="warning")
        elif step.pool and step.pool == seen.rules.pool:
            yield Found(place(number, i, "pool"), "overflow-itself")


def between_pools(pools: dict[str, Rules]) -> Iterator[tuple[str, Found]]:
    """(pool, what is wrong there) with steps that lead from one of these pools to another: pools and queues that do not
    exist, and circles. Where only one pool is known, nothing is said."""
    ways: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for pool, rules in pools.items():
        for number, queue in enumerate(rules.queues):
            for i, step in enumerate(queue.widen):
                if not step.pool:
                    continue
                other = pools.get(step.pool)
                if other is None:
                    if len(pools) > 1:
                        yield pool, unknown(place(number, i, "pool"), "unknown-pool", step.pool, tuple(pools))
                elif step.queue not in [each.id for each in other.queues]:
                    known = tuple(each.id for each in other.queues)
                    yield pool, unknown(place(number, i, "queue"), "unknown-queue", step.queue, known)
                else:
                    ways.setdefault((pool, queue.id), []).append((step.pool, step.queue))
                    if _leads(ways, (step.pool, step.queue), (pool, queue.id)):
                        said: Said = {"pool": as_toml(step.pool), "queue": as_toml(step.queue)}
                        yield pool, Found(place(number, i, "pool"), "overflow-loop", said)


def _leads(ways: dict[tuple[str, str], list[tuple[str, str]]], start: tuple[str, str], to: tuple[str, str]) -> bool:
    seen, ahead = {start}, [start]
    while ahead:
        here = ahead.pop()
        if here == to:
            return True
        ahead += [each for each in ways.get(here, ()) if each not in seen]
        seen.update(ahead)
    return False


def preference(seen: Checked) -> Iterator[Found]:
    """Said for the pool, so it is held against the least target of `now`."""
    if ("times",) in seen.torn or ("targets",) in seen.torn or not seen.stands("times", "prefer"):
        return
    targets = [queue.targets or seen.rules.targets for _, queue in numbered_queues(seen)]
    least = min([each.now for each in targets], default=seen.rules.targets.now)
    if seen.rules.times.prefer >= least:
        numbers = {"prefer_s": seen.rules.times.prefer, "target_s": least}
        yield Found(("times", "prefer"), "prefer-after-target", numbers, severity="warning")

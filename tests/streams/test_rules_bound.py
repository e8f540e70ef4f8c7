"""The overtaking bound: worked out as the definition says it, nearly reached where it can be, and told in words.

That the engine keeps it is held in every simulated day (tests/core/promises.py: `check_overtaking`).
"""

import json
import string
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.commands_check import check_command
from engine.core.rules import FULL, Agent, HeadStarts, Limits, Queue, Rules, Targets, Times, compile_rules
from engine.core.words import CHANNELS, TIERS
from engine.streams.rules_bound import Bound, Party, bounds, explained, fits_alone, standings
from engine.streams.rules_file import read_rules
from engine.streams.rules_told import span, told
from engine.streams.transcript import parse, tell
from tests.core.promises import Witness
from tests.core.world import Day

TESTS = Path(__file__).resolve().parents[1]
DESKS = sorted((TESTS.parent / "deploy" / "desks").glob("*.toml"))


def of(rules: Rules, queue: str, channel: str, tier: str, *standing: str) -> Bound:
    found = [each for each in bounds(rules) if each.of == (queue, channel, tier, standing)]
    assert len(found) == 1
    return found[0]


# ---- what it is


def test_it_is_the_difference_of_targets_and_head_starts_and_the_grace_where_room_may_lack():
    rules = Rules("desk", (Queue("sales", channels=("call", "chat")),), targets=Targets(60, 600), times=Times(grace=20))
    assert of(rules, "sales", "chat", "now") == Bound(
        Party("sales", "chat", "now", ()), 90, Party("sales", "call", "now", ("vip",))
    )
    assert of(rules, "sales", "call", "now") == Bound(
        Party("sales", "call", "now", ()), 110, Party("sales", "chat", "now", ("vip",)), by_room=True
    )
    assert of(rules, "sales", "call", "now", "vip").bound_s == 20
    assert of(rules, "sales", "chat", "now", "vip") == Bound(Party("sales", "chat", "now", ("vip",)), 0)
    assert of(rules, "sales", "chat", "today").bound_s == 600 - 60 + 90


def test_only_queues_that_share_an_agent_are_set_against_each_other():
    queues = (Queue("slow", targets=Targets(600), skills={"tax": 3}), Queue("quick", targets=Targets(10)))
    apart = (Agent("ann", queues=("slow",), skills={"tax": 3}), Agent("bob", queues=("quick", "slow")))
    rules = Rules("desk", queues, roster="rules", agents=apart, times=Times(grace=0))
    assert of(rules, "slow", "call", "now").bound_s == 90, "bob lacks the skill"
    both = (Agent("ann", queues=("slow", "quick"), skills={"tax": 3}),)
    shared = Rules("desk", queues, roster="rules", agents=both, times=Times(grace=0))
    assert of(shared, "slow", "call", "now").bound_s == 600 - 10 + 90
    assert of(shared, "slow", "call", "now").by == Party("quick", "call", "now", ("vip",))


def test_an_agent_who_takes_one_channel_alone_needs_no_grace():
    agents = (Agent("ann", queues=("sales",), limits=Limits(chat=0, sms=0)),)
    queues = (Queue("sales", channels=("call",)),)
    rules = Rules("desk", queues, roster="rules", agents=agents, head_starts=HeadStarts(0))
    assert [(each.of.tier, each.bound_s) for each in bounds(rules)] == [
        ("now", 0),
        ("today", 4 * 3600 - 60),
        ("follow-up", 24 * 3600 - 60),
    ]


@given(
    st.tuples(*[st.integers(1, 100)] * 3),
    st.tuples(*[st.integers(0, 5)] * 3),
    st.permutations(range(3)).map(lambda order: order[:2]),
)
@settings(deadline=None, max_examples=300)
def test_room_for_one_channel_and_not_another_is_found_exactly_where_some_load_leaves_it(weights, limits, pair):
    one, other = pair

    def fits(load: tuple[int, ...], channel: int) -> bool:
        used = sum(weight * count for weight, count in zip(weights, load, strict=True))
        return used + weights[channel] <= FULL and load[channel] < limits[channel]

    loads = [
        load
        for load in product(*(range(limit + 1) for limit in limits))
        if sum(weight * count for weight, count in zip(weights, load, strict=True)) <= FULL
    ]
    expected = any(fits(load, one) and not fits(load, other) for load in loads)
    assert fits_alone(weights, limits, one, other) == expected


def matches(queue: Queue) -> Iterator[tuple[dict[str, int], set[str], set[str]]]:
    """What a contact needs, and whose agents may serve it too, before and after each step of widening."""
    needs, also, teams = dict(queue.skills), set[str](), set[str]()
    yield needs, also, teams
    for step in queue.widen:
        needs = {skill: level for skill, level in needs.items() if skill not in step.drop}
        needs = {skill: min(level, step.lower.get(skill, level)) for skill, level in needs.items()}
        also, teams = also | set(step.queues), teams | set(step.teams)
        yield needs, also, teams


def by_definition(rules: Rules) -> dict[tuple[str, str, str, bool], int]:
    """Every contact against every other that some agent serves beside it."""
    compiled, queues = compile_rules(rules), {queue.id: queue for queue in rules.queues}
    doors = [(id, channel) for id, plan in compiled.queues.items() for channel in plan.channels]

    def lead(queue: str, tier: str, vip: bool) -> int:
        return compiled.queues[queue].target_ms[tier] // 1000 - rules.head_starts.vip * vip

    found = {}
    for agent in compiled.roster.values():
        skills = agent.skills
        served = [
            (queue, channel)
            for queue, channel in doors
            if agent.limits[channel]
            and any(
                ({queue, *also} & {*agent.queues} or agent.team in teams)
                and all(skills.get(skill, 0) >= level for skill, level in needs.items())
                for needs, also, teams in matches(queues[queue])
            )
        ]
        limits = tuple(agent.limits[c] if any(c == channel for _, channel in served) else 0 for c in CHANNELS)
        for (queue, channel), (other, way) in product(served, served):
            room = fits_alone(compiled.weights, limits, CHANNELS.index(way), CHANNELS.index(channel))
            for tier, vip, theirs, vips in product(TIERS, (False, True), TIERS, (False, True)):
                more = lead(queue, tier, vip) - lead(other, theirs, vips) + room * rules.times.grace
                key = (queue, channel, tier, vip)
                found[key] = max(found.get(key, 0), more)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_it_is_what_the_definition_gives_when_every_pair_is_tried(seed):
    day = Day(seed)
    rules = day.first_rules()
    rules = replace(rules, roster="rules", hours=day.hours(), times=Times(grace=7))
    said = {
        (each.of.queue_id, each.of.channel, each.of.tier, bool(each.of.standing)): each.bound_s
        for each in bounds(rules)
    }
    assert said == by_definition(rules)


# ---- what comes of it


def test_a_desk_comes_within_five_hundredths_of_it():
    story = parse((TESTS / "transcripts" / "overtaken-by-no-more-than-the-bound.txt").read_text("utf-8"))
    witness = Witness()
    for position, each in enumerate(tell(story)):
        witness.turn(
            each.said.command, each.said.source, str(position), position, each.said.at, each.decided.events, None
        )
    by_ms, most_ms = witness.overtaken[-1]
    assert most_ms == 100_000
    assert 0.95 * most_ms <= by_ms <= most_ms


# ---- in words


@pytest.mark.parametrize("path", DESKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_check_says_it_of_every_tier_in_few_lines(path, lang):
    result = CliRunner().invoke(check_command, [str(path), "--lang", lang])
    lines = result.output.splitlines()
    rules = read_rules(path).rules
    assert result.exit_code == 0
    assert lines[1:] == explained(rules, lang) and len(lines) == 2 + len(TIERS) + 2
    assert all(line.startswith(f"  {tier}") for line, tier in zip(lines[2:], TIERS, strict=False))


def test_a_head_start_takes_from_the_bound_what_it_is_worth():
    rules = Rules("desk", (Queue("sales"),), head_starts=HeadStarts(90, known=20, allowed=15), times=Times(grace=20))
    assert of(rules, "sales", "call", "now").bound_s == 90 + 15 + 20
    for standing, head_start_s in standings(rules.head_starts):
        assert of(rules, "sales", "call", "now", *standing).bound_s == 90 + 15 + 20 - head_start_s
    assert "Who has a head start is overtaken by so much less: VIP 1 min 30 s, known 20 s, allow-listed 15 s." in (
        explained(rules)
    )


def test_json_says_it_of_every_queue_and_channel():
    path = TESTS.parent / "deploy" / "desks" / "service-desk.toml"
    document = json.loads(CliRunner().invoke(check_command, [str(path), "--json"]).output)
    bounds_of = document["pools"][0]["bounds"]
    assert len(bounds_of) == (3 + 3 + 2) * len(TIERS) * 2
    assert bounds_of[0] == {
        "queue": "orders",
        "channel": "call",
        "tier": "now",
        "customer": "ordinary",
        "bound_s": 135,
        "by": {"queue": "billing", "channel": "chat", "tier": "now", "customer": "vip"},
        "by_room": True,
    }


def test_both_languages_have_the_same_sentences_with_the_same_places():
    places = {}
    for lang in ("en", "zh-CN"):
        places[lang] = {
            (part, code): {name for _, name, _, _ in string.Formatter().parse(text) if name}
            for part, codes in told(lang).items()
            for code, text in codes.items()
        }
    assert places["en"] == places["zh-CN"]


def test_spans_are_said_in_the_largest_units():
    assert [span(each, "en") for each in (0, 59, 60, 5410, 86_400)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h 30 min 10 s",
        "1 d",
    ]
    assert span(86_461, "zh-CN") == "1 天 1 分 1 秒"

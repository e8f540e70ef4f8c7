"""The indexes beside the rows where days seldom lead: what is forgotten, made anew, or looked up by type; and what the
core's source must not hold, so that the same log gives the same answer everywhere."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from engine.core import matching
from engine.core import messages as m
from engine.core.decide import DECIDE
from engine.core.doors import TOLD_BOUND
from engine.core.evolve import EVOLVE
from engine.core.ordered import Lineup, Ordered
from engine.core.restore import restored, rows_of
from engine.core.rules import Agent, Limits, Queue, Rules, Times, Weights
from engine.core.step import next_due, step
from engine.core.tables import Tables

from .indexes import check_indexes
from .world import POOL, Day

CORE = Path(matching.__file__).parent
RULES = Rules("desk", (Queue("sales"), Queue("repairs")), times=Times(offer=15, talk=600, silence=10, lost=20))


class Pool:
    """A pool to which commands are said; times in seconds."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.tables = Tables()
        self.position = -1
        self.say(m.PublishRules(rules), at=0)

    def say(self, command: m.Command, at: float, source: str = "pbx") -> list[Any]:
        self.position += 1
        return step(self.tables, command, source, f"id-{self.position}", self.position, int(at * 1000))

    def ready(self, *agents: str, at: float = 1, **profile: Any) -> None:
        for agent in agents:
            self.say(m.SignInAgent(agent, True, ("repairs", "sales"), **profile), at)


def kinds(events: list[Any]) -> list[str]:
    return [m.TYPE_OF[type(event)] for event in events]


# ---- what is forgotten and made anew


@pytest.mark.parametrize("seed", [0, 4, 17])
def test_forgetting_idle_lines_and_benches_changes_no_decision(seed: int, monkeypatch: pytest.MonkeyPatch):
    undisturbed = Day(seed)
    chain = undisturbed.run().chain
    monkeypatch.setattr(matching, "KEPT", 2)
    forgetful = Day(seed)
    assert forgetful.run().chain == chain
    lines = (len(day.partition.pools[POOL].lines) for day in (undisturbed, forgetful))
    assert next(lines) > 10 > next(lines)


@pytest.mark.parametrize("seed", [4, 8])
def test_the_length_of_blocks_changes_no_decision(seed: int, monkeypatch: pytest.MonkeyPatch):
    chain = Day(seed).run().chain
    monkeypatch.setattr(Ordered, "LENGTH", 2)
    monkeypatch.setattr(Lineup, "LENGTH", 2)
    assert Day(seed).run().chain == chain


def test_a_bench_number_is_used_again_by_another_profile(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matching, "KEPT", 0)
    pool = Pool()
    pool.ready("ann", skills={"zh": 3})
    pool.say(m.RouteContact("c1", "call", "sales", skills={"zh": 4}), 2)
    pool.say(m.SignOutAgent("ann"), 3)
    check_indexes(pool.tables)
    pool.ready("bob", at=4, skills={"en": 1, "zh": 4})
    assert len(pool.tables.numbers) == 1 and not pool.tables.free_numbers
    assert pool.tables.agents["bob"].offered == "c1"
    check_indexes(pool.tables)


def test_an_offer_is_declined_though_its_line_has_been_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matching, "KEPT", 0)
    pool = Pool()
    pool.ready("ann", "bob")
    pool.say(m.RouteContact("c1", "call", "sales"), 2)
    assert not pool.tables.lines
    assert kinds(pool.say(m.DeclineOffer("c1", "ann"), 3)) == ["offer-declined", "offer-issued"]
    assert pool.tables.agents["bob"].offered == "c1"


def test_an_offer_is_declined_after_a_restore():
    pool = Pool()
    pool.ready("ann", "bob")
    pool.say(m.RouteContact("c1", "call", "sales"), 2)
    pool.tables = restored(rows_of(pool.tables), pool.position, 2_000)
    check_indexes(pool.tables)
    assert kinds(pool.say(m.DeclineOffer("c1", "ann"), 3)) == ["offer-declined", "offer-issued"]


def test_heavier_weights_leave_everybody_the_room_that_they_now_have():
    pool = Pool()
    pool.ready(*(f"agent-{i}" for i in range(6)))
    for i in range(6):
        pool.say(m.RouteContact(f"c{i}", "chat", "sales"), 2 + i)
        pool.say(m.AcceptOffer(f"c{i}", f"agent-{i}"), 2.5 + i)
    pool.say(m.PublishRules(Rules("desk", RULES.queues, weights=Weights(chat=60))), 20)
    check_indexes(pool.tables)
    assert kinds(pool.say(m.RouteContact("late", "chat", "sales"), 21)) == ["contact-queued"]
    published = pool.say(m.PublishRules(Rules("desk", RULES.queues, weights=Weights(chat=50))), 22)
    assert kinds(published) == ["rules-published", "offer-issued"]
    assert published[1].agent_id == "agent-0", "the longest idle of all who have room again"
    check_indexes(pool.tables)


def test_a_new_roster_gives_those_who_are_here_their_new_profiles():
    roster = Rules("desk", RULES.queues, roster="rules", agents=(Agent("ann", queues=("sales",)),))
    pool = Pool(roster)
    pool.say(m.SignInAgent("ann", True), 1)
    pool.say(m.RouteContact("c1", "call", "repairs"), 2)
    wider = Rules(
        "desk", RULES.queues, roster="rules", agents=(Agent("ann", queues=("repairs",), limits=Limits(call=1)),)
    )
    events = pool.say(m.PublishRules(wider), 3)
    assert kinds(events) == ["rules-published", "agent-profile-changed", "offer-issued"]
    check_indexes(pool.tables)


# ---- time and ticks


def test_log_time_that_runs_backwards_counts_as_the_last():
    pool = Pool()
    pool.ready("ann", at=100)
    [queued, offered] = pool.say(m.RouteContact("c1", "call", "sales"), at=40)
    assert queued.due_at == 160_000 and offered.idle_ms == 0
    assert pool.tables.at == 100_000


def test_a_tick_with_nothing_due_says_nothing():
    pool = Pool()
    pool.say(m.RouteContact("c1", "call", "sales"), 2)
    assert pool.say(m.Tick(), 3) == []


def test_a_tick_that_comes_again_under_the_same_name_is_no_repeat():
    pool = Pool(Rules("desk", RULES.queues, times=Times(wait=5)))
    for number in (1, 2):
        pool.say(m.RouteContact(f"c{number}", "call", "sales"), number * 10)
        events = step(pool.tables, m.Tick(), "waitline", "tick", 50 + number, number * 10_000 + 5_000)
        assert kinds(events) == ["contact-timed-out"]


def late_tick_of_a_lost_source(talking: int) -> Pool:
    """Everybody talks, their adapter falls silent, and then nothing happens until long after all deadlines."""
    pool = Pool()
    for i in range(talking):
        pool.ready(f"agent-{i}")
        pool.say(m.RouteContact(f"c{i}", "call", "sales"), 2)
        pool.say(m.AcceptOffer(f"c{i}", f"agent-{i}"), 3)
    pool.say(m.SourceHeartbeat(), 4)
    assert kinds(pool.say(m.Tick(), 14)) == ["source-fell-silent"]
    return pool


def test_a_talk_that_is_overdue_when_its_source_is_lost_is_ended_once():
    pool = late_tick_of_a_lost_source(1)
    assert kinds(pool.say(m.Tick(), 3600)) == ["contact-ended", "wrap-up-started", "source-lost"]


def test_the_clock_goes_on_however_many_talks_are_overdue_when_their_source_is_lost():
    pool = late_tick_of_a_lost_source(TOLD_BOUND + 10)
    ticks = 0
    while next_due(pool.tables) <= 3_600_000:
        events = pool.say(m.Tick(), 3600)
        assert events, "a tick on which something is due says something"
        assert sum(type(event) is m.ContactEnded and event.by == "adapter" for event in events) <= TOLD_BOUND
        ticks += 1
    assert ticks == 2 and not pool.tables.sources


def test_a_tick_ends_so_many_contacts_and_no_more_however_many_sources_are_lost():
    pool = Pool()
    for source in range(40):
        for contact in range(10):
            pool.say(m.RouteContact(f"c-{source}-{contact}", "call", "sales"), 2, f"pbx-{source}")
        pool.say(m.SourceHeartbeat(), 3, f"pbx-{source}")
    assert kinds(pool.say(m.Tick(), 13)) == ["source-fell-silent"] * 40
    ended = []
    while pool.tables.sources:
        ended.append(kinds(pool.say(m.Tick(), 40)).count("contact-abandoned"))
    assert sum(ended) == 400 and max(ended) <= TOLD_BOUND


# ---- looked up by type


def test_every_command_has_its_decision_and_every_event_its_evolution():
    assert set(DECIDE) == set(get_args(m.AnyCommand))
    assert set(EVOLVE) == set(get_args(m.AnyEvent))


# ---- the source itself

ORDER_SHOWS = {
    "list", "tuple", "iter", "next", "enumerate", "zip", "map", "filter", "islice", "chain", "fromkeys", "join",
    "extend", "update", "dict",
}  # fmt: skip


def is_set(node: ast.AST, names: set[str]) -> bool:
    """Whether an expression is a set, as far as the source says. names: variables and attributes that hold sets."""
    match node:
        case ast.Set() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id="set" | "frozenset")):
            return True
        case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
            views = [ast.unparse(side).endswith((".keys()", ".items()")) for side in (left, right)]
            return any(views) or is_set(left, names) or is_set(right, names)
        case ast.IfExp(body=body, orelse=orelse):
            return is_set(body, names) or is_set(orelse, names)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
    return False


def sets_named(tree: ast.Module) -> set[str]:
    """Variables, parameters and attributes that are annotated as sets or are given one."""
    names: set[str] = set()
    for node in ast.walk(tree):
        annotation = getattr(node, "annotation", None)
        if annotation is not None and "set[" in ast.unparse(annotation):
            names.add(node.arg if isinstance(node, ast.arg) else ast.unparse(node.target).split(".")[-1])
        if isinstance(node, ast.Assign) and is_set(node.value, names):
            names.update(ast.unparse(target).split(".")[-1] for target in node.targets)
    return names


def iterations(tree: ast.Module) -> Iterator[ast.expr]:
    """Expressions whose order shows."""
    for node in ast.walk(tree):
        match node:
            case ast.For(iter=over) | ast.comprehension(iter=over):
                yield over
            case ast.Starred(value=over):
                yield over
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in ORDER_SHOWS:
                yield from args


def shown_sets(source: str) -> list[str]:
    tree = ast.parse(source)
    names = sets_named(tree)
    harmless = {  # the members of a set that is made of another, and what is sorted first
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.Set | ast.SetComp)
        for part in [*getattr(node, "elts", []), *getattr(node, "generators", [])]
    }
    inside = {id(part.value) for part in ast.walk(tree) if isinstance(part, ast.Starred) and id(part) in harmless}
    inside |= {id(part.iter) for part in ast.walk(tree) if isinstance(part, ast.comprehension) and id(part) in harmless}
    return [
        f"{over.lineno}: {ast.unparse(over)}"
        for over in iterations(tree)
        if id(over) not in inside and is_set(over, names)
    ]


def calls(source: str, *names: str) -> list[str]:
    return [
        f"{node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
    ]


@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.name)
def test_no_order_of_a_set_shows_in_the_core(path: Path):
    assert shown_sets(path.read_text()) == []


@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.name)
def test_the_core_asks_no_object_for_its_hash_or_address(path: Path):
    assert calls(path.read_text(), "hash", "id") == []


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "z = [x for x in frozenset(y)]",
        "seen = set()\nfor x in seen: pass",
        "def f(seen: set[int]): return list(seen)",
        "class A:\n    def __init__(self): self.who: set[int] = set()\n    def f(self): return next(iter(self.who))",
        "z = [*{1, 2}]",
        "for x in a.keys() - b: pass",
        "for x in (set(a) | set(b)): pass",
    ],
)
def test_an_order_of_a_set_that_shows_is_found(source: str):
    assert shown_sets(source)


@pytest.mark.parametrize(
    "source",
    ["z = sorted(set(y))", "z = {*a, *set(b)}", "z = {x for x in set(y)}", "z = 1 in {1, 2}", "for x in {}: pass"],
)
def test_a_set_whose_order_does_not_show_is_let_be(source: str):
    assert not shown_sets(source)

"""Two hundred simulated days, their promises checked by brute force (world.py, promises.py, indexes.py).

After each turn: the turn against what an independent bookkeeping foresaw, every offer against all pairs, quiet, the
next deadline, and the rows of everybody whom the turn names in the core, in a partition that only folds the journal,
and in the books. Every hundredth turn and at the end: all rows and all indexes. From a random point on a partition
restored from a snapshot decides along, and its records are compared byte by byte.
"""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from engine.core.messages import EVENTS
from engine.core.reasons import REASONS

from .world import Day, Summary

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(200)
TOGETHER = 10
QUICK = 20  # so many are in `make quick`, too

HARD_CASES = (
    "a clock was set back",
    "a command came again after it had been forgotten",
    "a command was repeated",
    "a contact was transferred after its match had been relaxed",
    "a contact was transferred twice",
    "a priority customer came first, though later",
    "a queue closed and kept places",
    "a queue closed and opened between two ticks",
    "a queue closed with more waiting than one tick tells",
    "a snapshot was taken after quiet commands",
    "a source was lost with more contacts than one tick ends",
    "a step to another pool came while the contact was offered",
    "a tick came more than a second late",
    "a tick came too early",
    "an agent of another queue or team served, the match being relaxed",
    "another pool's yes came when an agent here had the contact",
    "another pool's yes came when the contact waited here again",
    "more was due than one tick fires",
    "new rules left an agent with more than they should have",
    "new rules took steps of widening back",
    "nothing was heard for more than half an hour",
    "one tick freed several agents who were offered waiting contacts",
    "room was kept for a contact that needs more",
    "several steps of widening were due at once",
    "the preferred agent came before one longer idle",
    "two had been idle equally long",
    "two were due at the same time",
    "what a contact needs changed after its match had been relaxed",
    "who had declined was passed over",
    "who is never to be asked was passed over",
    "who was turned away was told what is open",
)


@cache
def day(seed: int) -> Summary:
    return Day(seed).run()


@pytest.mark.parametrize(
    "first", [pytest.param(i, marks=[pytest.mark.thorough] * (i >= QUICK)) for i in SEEDS[::TOGETHER]]
)
def test_every_promise_holds_through_ten_days(first: int):
    for seed in range(first, first + TOGETHER):
        assert day(seed).contacts >= 500


@pytest.mark.thorough
def test_all_days_together_see_every_event_and_every_reason():
    seen: Counter[str] = sum((day(seed).seen for seed in SEEDS), Counter())
    assert not (EVENTS.keys() | REASONS) - seen.keys()


@pytest.mark.thorough
def test_all_days_together_meet_every_hard_case():
    met: Counter[str] = sum((day(seed).met for seed in SEEDS), Counter())
    assert set(met) == set(HARD_CASES)


@pytest.mark.thorough
def test_the_overtaking_bound_is_no_wide_guess():
    by_ms, most_ms = max((day(seed).overtaken for seed in SEEDS), key=lambda each: each[0] / each[1])
    assert 0.9 * most_ms < by_ms <= most_ms


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_a_day_comes_out_the_same_in_another_process_under_another_hash_seed(hash_seed: str):
    seeds = (3, 8)
    process = subprocess.run(
        [sys.executable, "-m", "tests.core.world", *map(str, seeds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    chains = [line.split()[1] for line in process.stdout.splitlines()]
    assert chains == [day(seed).chain for seed in seeds]

"""The ordered collections of the core against plain lists and dictionaries."""

from collections.abc import Iterable
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core import tables
from engine.core.deadlines import NONE, Agenda
from engine.core.ordered import NEVER, Lineup, Ordered
from engine.core.tables import Recent

from .indexes import check_agenda, check_ordered

steady = settings(deadline=None)  # a busy machine is no fault


class ShortOrdered(Ordered):
    """Blocks split and vanish all the time."""

    LENGTH = 2


class ShortLineup(Lineup):
    LENGTH = 3


adding = st.tuples(st.booleans(), st.integers(0, 30), st.integers(0, 3))


def done(ordered: Ordered, steps: Iterable[tuple[bool, int, int]]) -> list[tuple[int, str, int]]:
    """Adds or, where it is there and was not asked to be added, removes; gives back what must be in it."""
    plain: list[tuple[int, str, int]] = []
    for adds, key, kind in steps:
        entry = (key, f"name-{key % 7}", kind)
        if not adds and entry in plain:
            ordered.remove(entry)
            plain.remove(entry)
        else:
            ordered.add(entry)
            plain.append(entry)
        check_ordered(ordered)
        assert ordered.first == min(plain, default=NEVER)
    return sorted(plain)


@steady
@given(st.lists(adding, max_size=60))
def test_entries_come_out_in_order_however_they_went_in(steps):
    ordered = ShortOrdered()
    assert done(ordered, steps) == list(ordered)


@steady
@given(st.lists(adding, max_size=60))
def test_all_entries_can_be_removed_again(steps):
    ordered = ShortOrdered()
    for entry in done(ordered, steps):
        ordered.remove(entry)
        check_ordered(ordered)
    assert list(ordered) == [] and ordered.first == NEVER and not ordered.blocks


@steady
@given(st.lists(adding, max_size=60), st.frozensets(st.integers(0, 3)), st.frozensets(st.integers(0, 6)))
def test_the_first_of_some_kinds_without_some_names_is_found(steps, kinds, unwanted):
    lineup = ShortLineup()
    plain = done(lineup, steps)
    names = tuple(f"name-{number}" for number in sorted(unwanted))
    wanted = [entry for entry in plain if entry[2] in kinds and entry[1] not in names]
    mask = sum(1 << kind for kind in kinds)
    assert lineup.first_of(mask, kinds, names) == (wanted[0] if wanted else NEVER)


@pytest.mark.parametrize("kind", [Ordered, Lineup])
def test_thousands_of_entries_are_kept_in_order_in_blocks_of_the_real_size(kind: type[Ordered]):
    random, ordered, plain = Random(7), kind(), set()
    for turn in range(12_000):
        entry = (random.randrange(5_000), f"name-{turn}", random.randrange(200))
        if turn < 5_000 or random.random() < 0.5:
            ordered.add(entry)
            plain.add(entry)
        else:
            gone = random.choice(sorted(plain)) if turn % 100 == 0 else ordered.first
            ordered.remove(gone)
            plain.remove(gone)
    check_ordered(ordered)
    assert list(ordered) == sorted(plain) and len(ordered.blocks) > 4


def test_what_is_not_there_cannot_be_removed():
    ordered = Ordered()
    ordered.add((1, "a"))
    with pytest.raises((AssertionError, IndexError)):
        ordered.remove((0, "b"))


@steady
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2_000)), max_size=40),
    st.integers(0, 2_000),
    st.integers(1, 5),
)
def test_an_agenda_knows_the_next_deadline_and_fires_the_earliest_first(puts, at, bound):
    agenda, plain = Agenda(), {}
    for id, due_at in puts:
        if id in plain:
            agenda.drop(plain.pop(id), id)
        if due_at % 5:
            agenda.put(due_at, id)
            plain[id] = due_at
        check_agenda(agenda, [(due_at, id) for id, due_at in plain.items()])
    assert agenda.next() == min(plain.values(), default=NONE)
    assert agenda.due(at, bound) == sorted((due_at, id) for id, due_at in plain.items() if due_at <= at)[:bound]


minute = 60_000


@steady
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 20 * minute)), max_size=60),
    st.integers(2, 6),
)
def test_a_value_is_known_for_half_an_hour_or_until_as_many_newer_ones_have_come(notes, most):
    with patch.object(tables, "RECENT_MOST", most):
        recent, at, noted = Recent(), 1_000_000_000, []
        for value, (key, pause) in enumerate(notes):
            at += pause
            recent.note(key, value, at)
            noted.append((key, value, at))
            latest = {key: (value, noted_at) for key, value, noted_at in noted}
            for key, (value, noted_at) in latest.items():
                newer = {other for other, number, _ in noted if number > value}
                if at - noted_at < 30 * minute and len(newer) < most:
                    assert recent.get(key) == value
                else:
                    assert recent.get(key) in (None, value)
            assert recent.get("never") is None
            assert len(recent.young) <= most and len(recent.old) <= most


def test_what_was_noted_again_is_remembered_by_its_last_value():
    recent = Recent()
    recent.note("a", 1, 1_000)
    recent.note("b", 2, 1_000 + tables.RECENT_MS)
    recent.note("a", 3, 2_000 + tables.RECENT_MS)
    assert recent.get("a") == 3

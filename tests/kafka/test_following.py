"""Older turns are found along a journal that several owners have written, whatever former ones have left in it."""

import random
from itertools import pairwise

import pytest

from engine.agents import following
from engine.agents.following import Followed, Trail
from engine.core import messages as m
from engine.streams.journal import GENESIS, Marker, Place, Reader, read_turn, write_marker, write_turn
from engine.streams.log import Record
from engine.streams.ownership import FoldAgain
from engine.streams.views import Views

REF = m.CommandRef("desk", "pbx", "1", "source-heartbeat")


def written(seed: int) -> list[Record]:
    """A journal of some owners; woken ones write after others have taken it, also the very turns that others wrote."""
    dice = random.Random(seed)
    records: list[Record] = []
    chain, position, owner, former = GENESIS, 6, -1, []

    def append(body: bytes) -> None:
        records.append(Record(len(records), None, body))

    for _ in range(300):
        if owner < 0 or dice.random() < 0.05:
            former.append((owner, chain, position))
            owner = len(records)
            append(write_marker(Marker(f"worker-{owner}", "log-1", "real", 0, base=7)))
            continue
        before = chain, position
        position += dice.randint(1, 3)
        turn = m.Turn(position, 1000 + position, REF, [])
        body, chain = write_turn(owner, chain, turn)
        append(body)
        if len(former) > 1 and dice.random() < 0.3:
            stale, old_chain, old_position = dice.choice(former[1:])
            if dice.random() < 0.5:
                append(write_turn(stale, before[0], turn)[0])
            else:
                late = m.Turn(old_position + 1, 900, REF, [])
                append(write_turn(stale, old_chain, late)[0])
    return records


def accepted(records: list[Record], place: Place | None = None) -> list[m.Turn]:
    reader = Reader(place)
    return [turn for turn in map(reader.read, records) if isinstance(turn, m.Turn)]


def places(records: list[Record]) -> list[Place]:
    reader = Reader()
    found = []
    for record in records:
        reader.read(record)
        found.append(reader.place)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_a_trail_reaches_back_over_what_counts_and_over_nothing_else(seed, monkeypatch):
    monkeypatch.setattr(following, "STRIDE", 5)
    records = written(seed)
    everything = accepted(records)
    assert len(everything) > 150 and len(everything) + 20 < len(records), "much of it is void"
    dice = random.Random(seed)
    for begin in dice.sample(places(records), 10):
        trail = Trail(begin)
        back = dice.randint(10, 60)
        for after in sorted(dice.sample(range(7, begin.position + 1), 5), reverse=True) if begin.position > 20 else []:
            while (place := trail.before(after)) is None:
                first = trail.begin.offset
                if not trail.reach_back(records[max(0, first - back) : first + 1]):
                    back *= 2
            assert place.position <= after and (begin.offset < 50 or place.position > after - 200)
            found = accepted(records[place.offset + 1 :], place)
            assert [turn for turn in found if turn.position > after] == [t for t in everything if t.position > after]
        assert all(a.position < b.position for a, b in pairwise(trail._places[1:]))


async def test_who_follows_knows_the_same_turns_as_who_reads_all_of_it(monkeypatch):
    monkeypatch.setattr(following, "KEPT", 20)
    records = written(1)
    everything = accepted(records)
    followed = Followed(Views(0))
    news = followed.news
    fates = {turn.position: followed.fate(turn.position) for turn in everything[10:]}
    never = followed.fate(everything[30].position - 1) if everything[30].position - 1 not in fates else None
    for start in range(0, len(records), 7):
        followed.take(records[start : start + 7])
    assert news.done() and followed.place == places(records)[-1] and followed.base == 7
    assert all(fate.result() == turn for fate, turn in zip(fates.values(), everything[10:], strict=True))
    assert never is None or never.result() is None
    for turn in everything:
        kept = followed.recent(turn.position, 3)
        after = [each for each in everything if each.position > turn.position]
        assert kept is None or list(map(read_turn, kept)) == after[:3]
    assert followed.recent(everything[-20].position, 3) is not None and followed.recent(6, 3) is None
    late = followed.fate(everything[-1].position)
    assert late is not None and late.result() == everything[-1], "it had come before anybody asked"
    assert followed.fate(everything[0].position) is None, "so old that the broker must be asked"


async def test_a_snapshot_of_another_journal_is_noticed_at_the_first_turn_after_it():
    records, others = written(2), written(3)
    strange = next(place for place in places(others)[100:] if place.owner <= place.offset)
    followed = Followed(Views(0, strange))
    with pytest.raises(FoldAgain):
        followed.take(records[strange.offset + 1 :])

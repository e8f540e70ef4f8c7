"""A partition into which a log is being moved: nobody takes it before the last turn is there."""

import pytest
from msgspec.structs import replace

from engine.streams.journal import Marker, Reader, handed_over, write_marker
from engine.streams.log import Record
from engine.streams.ownership import CannotTake, Lost, Ownership
from engine.streams.partition import Partition
from tests.streams.test_journal import STORY, journal
from tests.streams.written import MONDAY, log_of

OURS = Marker("w1", "another", "real", MONDAY)


def moved(encoding="json"):
    """The journal of a log of five commands as it stands in its new place, whose own commands begin at position 5."""
    copy = [Record(0, None, write_marker(Marker("mover", "log-1", "real", MONDAY, encoding=encoding, base=5)))]
    for record in list(log_of(STORY, encoding=encoding).journal())[1:]:
        copy.append(Record(len(copy), None, handed_over(record.body, 0)))
    return copy


def folded(records):
    own = Ownership(Partition(), Reader(), whole=True)
    for record in records:
        own.fold(record)
    return own


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_log_that_was_moved_goes_on_with_its_chain_and_its_positions(encoding):
    own = folded(moved(encoding))
    body = own.marker(OURS)
    own.marked(6)
    for record in [*moved(encoding), Record(6, None, body)][own.reads_from :]:
        own.fold(record)
    assert own.taken and own.seek(0) == 0 and own.restart() == 5
    reader = Reader()
    for record in journal(encoding):
        reader.read(record)
    assert own.place.chain == reader.place.chain, "the owner of a turn is not in its chain"
    assert own.ours == replace(OURS, log="log-1", encoding=encoding, base=5)


@pytest.mark.parametrize("arrived", range(1, 6))
def test_a_log_of_which_a_part_has_arrived_is_taken_by_nobody(arrived):
    with pytest.raises(CannotTake, match="only a part of it has arrived"):
        folded(moved()[:arrived]).marker(OURS)


def test_who_looked_before_the_move_began_and_wrote_the_marker_behind_it_does_not_own():
    own = folded([])
    body = own.marker(OURS)
    own.marked(6)
    for record in moved():
        own.fold(record)
    with pytest.raises(Lost, match="mover has begun a log here"):
        own.fold(Record(6, None, body))

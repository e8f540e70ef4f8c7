"""One worker's ownership of a partition, over real pools: what it takes, what it refuses, and when it is lost. What
several of them do to each other is explored in test_explorer.py."""

import pytest
from msgspec.structs import replace

from engine.core import messages as m
from engine.streams import partition as partition_module
from engine.streams.audit import verify
from engine.streams.codec import read_command, write_command
from engine.streams.journal import GENESIS, Marker, Place, Reader, Void, read_turn, write_marker, write_turn
from engine.streams.log import Entry, Record
from engine.streams.ownership import (
    Batch,
    CannotTake,
    FoldAgain,
    Lost,
    Ownership,
    Poisoned,
    SeekAgain,
    version_of,
)
from engine.streams.partition import QUIET_MOST, REJECTED, Partition
from engine.streams.topics import partition_of
from engine.streams.transcript import parse, tell
from tests.streams.written import MONDAY, RULES, copied, log_of

STORY = """
    0.0 > publish-rules rules=desk
    1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    3.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    4.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    5.0 > route-contact contact_id=c2 channel=chat queue_id=sales
    9.0 > end-contact contact_id=c1 by=customer
"""
TURNS = [0, 1, 2, 4, 5]  # positions; the command at 3 repeats the one before it
OURS = Marker("w1", "log-1", "real", MONDAY)


class Topics:
    """One partition of both topics, and workers that own it by the book."""

    def __init__(self, story=STORY, base=0):
        self.commands = [
            Entry(base + offset, MONDAY + told.said.at, told.body)
            for offset, told in enumerate(tell(parse(story, RULES)))
        ]
        self.journal = []
        self.base = base

    def append(self, *bodies):
        self.journal += bodies
        return len(self.journal) - len(bodies)

    def read(self, own, until=None):
        found = []
        while own.reads_from < (len(self.journal) if until is None else until):
            found.append(own.fold(Record(own.reads_from, None, self.journal[own.reads_from])))
        return found

    def begin(self, own=None, ours=OURS, **said):
        """Looks, and puts its marker there."""
        own = own or Ownership(Partition(), Reader(), whole=True, **said)
        self.read(own)
        own.marked(self.append(own.marker(ours)))
        return own

    def take(self, own=None, ours=OURS, **said):
        own = self.begin(own, ours, **said)
        self.read(own, own.number + 1)
        assert own.taken
        own.seek(0)
        return own

    def batch(self, own, count=None, begin=None):
        begin = own.next_position if begin is None else begin
        entries = [entry for entry in self.commands if entry.position >= begin][:count]
        end = entries[-1].position + 1 if entries else begin
        return Batch(own.generation, begin, end, entries)

    def decide(self, own, count=None):
        return [made.record for made in own.decide(self.batch(own, count)) if made.record is not None]

    def serve(self, own, count=None):
        """Decides what there is; appended, acknowledged."""
        for record in self.decide(own, count):
            own.appended(self.append(record))
        return own

    def turns(self):
        reader = Reader()
        read = [reader.read(Record(offset, None, body)) for offset, body in enumerate(self.journal)]
        return [found.position for found in read if isinstance(found, m.Turn)]

    def chain(self):
        reader = Reader()
        for offset, body in enumerate(self.journal):
            reader.read(Record(offset, None, body))
        return reader.place.chain


@pytest.fixture
def topics():
    return Topics()


def snapshot_of(topics, own):
    place = own.snapshot_place
    manifest, chunks = own.pools.snapshot(place)(b"")
    partition, place, _ = Partition.restore(manifest, list(chunks))
    return Ownership(partition, Reader(place, own.reader.marker), whole=False)


# ---- taking


def test_an_empty_journal_is_taken_by_a_marker_whose_offset_is_the_owners_number(topics):
    own = topics.begin()
    assert not own.taken and own.reads_from == 0
    topics.read(own)
    assert own.taken and own.number == 0 and own.seek(0) == 0
    assert own.ours == OURS and own.place == Place(0, 0)


def test_what_one_owner_decides_the_next_one_folds_and_goes_on_from(topics):
    first = topics.serve(topics.take(), 3)
    second = topics.take()
    assert second.number == 4 and second.next_position == 3
    topics.serve(second)
    assert topics.turns() == TURNS
    chains = [log_of(STORY, zero=MONDAY)]
    assert topics.chain() == bytes.fromhex(verify(chains[0]).chain), "two owners, the same past"
    with pytest.raises(Lost, match="the journal ends at 7, not at 4"):
        first.journal_ends(len(topics.journal))


def test_commands_that_said_nothing_after_the_last_turn_are_decided_again(topics):
    own = topics.serve(topics.take(), 4)
    assert own.next_position == 4 and own.place.position == 2
    assert topics.take().next_position == 3


def test_of_a_log_its_first_marker_says_what_it_is(topics):
    topics.take(ours=replace(OURS, log="log-1", encoding="msgpack"))
    own = topics.take(ours=replace(OURS, worker="w2", log="mine", time="simulated"))
    assert own.ours == replace(OURS, worker="w2", encoding="msgpack")


def test_a_marker_that_has_landed_unheard_of_is_found_while_reading_on(topics):
    own = Ownership(Partition(), Reader(), whole=True)
    topics.append(own.marker(OURS))
    topics.read(own)
    assert not own.taken
    own.marked(0)
    topics.read(own)
    assert own.taken


def test_a_marker_behind_ours_takes_the_partition_away_before_we_have_it(topics):
    own = topics.begin()
    topics.begin(ours=replace(OURS, worker="w2"))
    topics.read(own, 1)
    with pytest.raises(Lost, match="our marker is at journal offset 0, and 1 of 1 counts"):
        topics.read(own)
    with pytest.raises(Lost):
        own.seek(0)


def test_the_last_turn_is_read_again_after_the_marker_and_must_stand_where_it_was(topics):
    topics.serve(topics.take())
    own = Ownership(Partition(), Reader(), whole=True)
    topics.read(own)
    del topics.journal[-1]  # an unclean election, while we look
    topics.begin(ours=replace(OURS, worker="w2"))
    own.marked(topics.append(own.marker(OURS)))
    with pytest.raises(Lost, match="does not hold turn 5 at offset 5: it was cut"):
        topics.read(own)


def test_the_turn_that_is_read_again_is_not_folded_again(topics):
    topics.serve(topics.take())
    own = topics.begin()
    assert topics.read(own) == [Void(5, "read-again", alarm=False), own.ours]
    assert own.taken and own.pools.position == 5


def test_a_journal_shorter_than_what_was_read_is_not_taken(topics):
    topics.serve(topics.take())
    own = Ownership(Partition(), Reader(), whole=True)
    topics.read(own)
    body = own.marker(OURS)
    with pytest.raises(Lost, match="has gone on at 3, before the turn of command 5"):
        own.marked(3)
    assert body


def test_what_has_been_read_is_not_read_again_out_of_order(topics):
    own = topics.take()
    with pytest.raises(AssertionError, match="in order"):
        own.fold(Record(0, None, topics.journal[0]))


# ---- who must not take


@pytest.mark.parametrize(
    ("theirs", "ours", "match"),
    [
        ({"engine": "9.1.0"}, {}, "Engine 9.1.0 .* has had this partition; this worker is engine"),
        ({"partitions": 3}, {}, "begun with 3 partitions, and the topics have 1"),
        ({"partition": 2, "partitions": 3}, {"partitions": 3}, "is that of partition 2, and stands in 0: a byte copy"),
        ({"journal_id": "a"}, {"journal_id": "b"}, r"The journal topic is not the one .* \(id b, and was a\)"),
        ({"commands_id": "a"}, {"commands_id": "b"}, "The commands topic is not the one"),
    ],
)
def test_who_does_not_fit_leaves_the_partition_alone(topics, theirs, ours, match):
    topics.append(write_marker(replace(OURS, worker="w0", **theirs)))
    own = Ownership(Partition(), Reader(), whole=True)
    topics.read(own)
    with pytest.raises(CannotTake, match=match):
        own.marker(replace(OURS, **ours))
    with pytest.raises(Lost):
        own.marker(OURS)


def test_topics_whose_ids_nobody_has_said_are_not_compared(topics):
    topics.take(ours=replace(OURS, journal_id="a"))
    assert topics.take().ours.journal_id == ""


def test_an_older_engine_stops_when_a_newer_ones_marker_comes_before_its_own(topics):
    own = Ownership(Partition(), Reader(), whole=True)
    body = own.marker(OURS)
    topics.append(write_marker(replace(OURS, worker="w2", engine="9.0.0")))
    own.marked(topics.append(body))
    with pytest.raises(CannotTake, match="Engine 9"):
        topics.read(own)


def test_an_old_engines_late_marker_does_not_hide_the_newer_engine_before_it(topics):
    topics.append(write_marker(replace(OURS, worker="w2", engine="9.0.0")), write_marker(replace(OURS, worker="w3")))
    own = Ownership(Partition(), Reader(), whole=True)
    topics.read(own)
    with pytest.raises(CannotTake, match="Engine 9"):
        own.marker(OURS)


def test_a_newer_engine_may_follow(topics):
    topics.serve(topics.take(ours=replace(OURS, engine="0.1.9")), 3)
    assert topics.serve(topics.take()).place.position == 5


def test_versions_compare_by_their_numbers():
    assert version_of("0.10.0") > version_of("0.9.9") > version_of("0.9")
    assert version_of("0.3.0rc1") == version_of("0.3.0") == version_of("0.3.0.post2")
    assert version_of("main") == ()


def test_commands_that_have_expired_unread_are_not_passed_over(topics):
    own = topics.serve(topics.take(), 3)
    assert own.seek(3, again=True) == 3
    with pytest.raises(CannotTake, match="begin at offset 4, and 3 is the next to be decided"):
        own.seek(4, again=True)


# ---- deciding


def test_a_batch_begins_where_the_last_one_ended(topics):
    own = topics.serve(topics.take(), 2)
    for begin in (0, 1, 3):
        with pytest.raises(SeekAgain, match=f"go on at {begin}, and 2 comes next"):
            own.decide(topics.batch(own, begin=begin))
    stale = topics.batch(own)
    assert own.seek(0, again=True) == 2
    with pytest.raises(SeekAgain, match="is of seek 1, and this is 2"):
        own.decide(stale)
    topics.serve(own)
    assert topics.turns() == TURNS


def test_an_idle_consumer_that_was_moved_is_noticed(topics):
    own = topics.serve(topics.take(), 2)
    own.consumer_stands(2)
    with pytest.raises(SeekAgain, match="go on at 6, and 2 comes next"):
        own.consumer_stands(6)


def test_offsets_that_do_not_exist_are_no_gap(topics):
    topics.commands = [Entry(7 + 3 * i, at, body) for i, (_, at, body) in enumerate(topics.commands)]
    own = topics.take()
    topics.serve(own, 2)
    assert own.next_position == 11
    topics.serve(own)
    assert topics.turns() == [7 + 3 * i for i in TURNS]


def test_only_what_stands_where_it_was_expected_may_be_told(topics):
    own = topics.take()
    records = topics.decide(own)
    assert own.place == Place(0, 0)
    assert own.appended(topics.append(*records[:2]), 2).position == 1
    assert own.appended(topics.append(*records[2:]), 3).position == 5
    assert own.place == Place(5, 0, 5, topics.chain())


def test_a_record_that_lands_after_somebody_elses_is_not_told(topics):
    own = topics.take()
    records = topics.decide(own)
    topics.append(write_marker(replace(OURS, worker="w2")))
    with pytest.raises(Lost, match="got journal offset 2 where 1 was expected"):
        own.appended(topics.append(*records), len(records))
    with pytest.raises(Lost):
        own.decide(topics.batch(own))
    assert topics.turns() == []


def test_after_a_failed_append_nothing_of_it_is_told(topics):
    own = topics.take()
    records = topics.decide(own)
    own.failed_append("timed out")
    with pytest.raises(Lost, match="an append has failed: timed out"):
        own.appended(topics.append(*records), len(records))
    assert own.snapshot_place is None and not own.taken


@pytest.mark.parametrize("ends", [0, 1, 3])
def test_an_idle_owner_notices_that_the_journal_has_gone_on_or_was_cut(topics, ends):
    own = topics.serve(topics.take(), 1)
    own.journal_ends(2)
    with pytest.raises(Lost, match=f"ends at {ends}, not at 2"):
        own.journal_ends(ends)


def test_what_is_in_flight_may_or_may_not_have_arrived_when_the_end_is_looked_at(topics):
    own = topics.take()
    assert len(topics.decide(own, 3)) == 3
    for ends in (1, 2, 3, 4):
        own.journal_ends(ends)
    with pytest.raises(Lost):
        own.journal_ends(5)


def test_while_it_is_being_taken_the_end_of_the_journal_says_nothing(topics):
    own = topics.begin()
    own.journal_ends(17)
    topics.read(own)
    assert own.taken


# ---- what is no command, what says nothing, what poisons


def test_what_cannot_be_decoded_is_said_and_the_partition_goes_on(topics):
    topics.commands[3] = topics.commands[3]._replace(body=b"\xff not a command")
    own = topics.take()
    made = own.decide(topics.batch(own))
    assert [each.problem is not None for each in made] == [False, False, False, True, False, False]
    assert made[3].record is None and own.next_position == 6


def test_a_command_of_another_partitions_pool_is_refused_here():
    topics = Topics()
    number = partition_of("desk", 7)
    elsewhere = (number + 1) % 7
    own = topics.take(Ownership(Partition(number=elsewhere, partitions=7), Reader(), whole=True))
    made = own.decide(topics.batch(own, 1))
    assert made[0].problem is not None and f"belongs to partition {number}; this is {elsewhere}" in str(made[0].problem)
    own = Topics().take(Ownership(Partition(number=number, partitions=7), Reader(), whole=True))
    assert own.decide(topics.batch(own, 1))[0].record is not None


def test_after_a_long_stretch_of_what_is_no_command_an_empty_turn_is_written(topics, monkeypatch):
    assert QUIET_MOST == 1000
    monkeypatch.setattr(partition_module, "QUIET_MOST", 3)
    zero = topics.commands[0]
    topics.commands = [zero, *(Entry(i, zero.at, b"nothing") for i in range(1, 8))]
    own = topics.serve(topics.take())
    assert topics.turns() == [0, 3, 6]
    turn = read_turn(topics.journal[-1])
    assert (turn.position, turn.command, turn.events) == (6, REJECTED, [])
    again = topics.take()
    assert again.next_position == 7 and again.pools.chain == own.pools.chain
    log = copied(
        log_of(STORY),
        entries=topics.commands,
        records=[Record(0, None, topics.journal[0])]
        + [Record(i, read_turn(body).position, body) for i, body in enumerate(topics.journal[1:4], 1)],
    )
    found = verify(log, redecide=True)
    assert found.problems == [] and found.redecided == 8 and found.pools == ["desk"]


def test_who_waits_for_an_answer_gets_a_turn_also_where_nothing_comes_of_it(topics):
    envelope, _ = read_command(topics.commands[3].body)
    topics.commands[3] = topics.commands[3]._replace(body=write_command(replace(envelope, answer=True)))
    topics.serve(topics.take())
    assert topics.turns() == [0, 1, 2, 3, 4, 5]
    turn = read_turn(topics.journal[4])
    assert (turn.position, turn.events, turn.repeats) == (3, [], 2)


def poisonous(monkeypatch, position):
    """The engine has a fault, which the command at `position` brings to light."""
    sound = partition_module.step

    def step(tables, command, source, id, at_position, at):
        if at_position == position:
            raise RuntimeError("a fault of the engine")
        return sound(tables, command, source, id, at_position, at)

    monkeypatch.setattr(partition_module, "step", step)


def test_a_command_that_cannot_be_decided_becomes_a_turn_that_says_so_at_the_next_taking(topics, monkeypatch):
    poisonous(monkeypatch, 2)
    own = topics.take()
    with pytest.raises(Poisoned, match="command 2 cannot be decided: RuntimeError: a fault of the engine") as poison:
        own.decide(topics.batch(own))
    assert poison.value.position == 2
    with pytest.raises(Lost):
        own.decide(topics.batch(own))
    topics.serve(topics.take(failed={2: poison.value.error}))
    assert topics.turns() == TURNS
    turn = read_turn(topics.journal[4])
    assert turn.events == [m.CommandFailed("route-contact", "RuntimeError: a fault of the engine")]


def test_a_command_that_cannot_even_be_read_does_not_stop_the_fleet(topics, monkeypatch):
    def read(body):
        if body == topics.commands[4].body:
            raise RuntimeError("a fault of the decoder")
        return read_command(body)

    monkeypatch.setattr(partition_module, "read_command", read)
    own = topics.take()
    with pytest.raises(Poisoned) as poison:
        own.decide(topics.batch(own))
    own = topics.take(failed={poison.value.position: poison.value.error})
    problems = [made.problem for made in own.decide(topics.batch(own))]
    assert [str(each) for each in problems if each] == ["RuntimeError: a fault of the decoder"]


# ---- snapshots


def test_a_snapshot_stands_at_a_turn_of_our_own_with_nothing_in_flight(topics):
    own = topics.take()
    assert own.snapshot_place is None
    records = topics.decide(own)
    own.appended(topics.append(*records[:-1]), len(records) - 1)
    assert own.snapshot_place is None
    own.appended(topics.append(records[-1]))
    assert own.snapshot_place == Place(5, 0, 5, topics.chain())


def test_who_begins_with_a_snapshot_reads_its_turn_again_and_goes_on(topics):
    first = topics.serve(topics.take(), 3)
    own = snapshot_of(topics, first)
    topics.serve(first, 2)
    assert own.reads_from == 3
    topics.serve(topics.take(own))
    assert own.next_position == 6 and topics.turns() == TURNS


@pytest.mark.parametrize("cut", [1, 2])
def test_a_snapshot_of_another_journal_is_thrown_away(topics, cut):
    own = snapshot_of(topics, topics.serve(topics.take(), 3))
    del topics.journal[-cut:]
    topics.append(*(b"{}" for _ in range(cut)))
    with pytest.raises(FoldAgain, match="does not hold turn 2 at offset 3"):
        topics.read(own)
    with pytest.raises(Lost):
        own.marker(OURS)


def test_a_snapshot_of_a_longer_journal_is_thrown_away(topics):
    own = snapshot_of(topics, topics.serve(topics.take()))
    del topics.journal[1:]
    with pytest.raises(FoldAgain, match="has gone on at 1, before the turn of command 5"):
        topics.begin(own)


def test_the_same_turn_of_a_former_owner_is_not_the_snapshots(topics):
    """Owners who decide alike write the same chain; the log was cut, and the first one's record came late."""
    first = topics.take()
    late = topics.decide(first, 1)
    own = snapshot_of(topics, topics.serve(topics.take(), 1))
    assert topics.journal.pop() != late[0]
    topics.append(*late)
    with pytest.raises(FoldAgain, match="does not hold turn 0 at offset 2"):
        topics.read(own)


def test_a_void_record_after_a_snapshot_does_not_throw_it_away(topics):
    first = topics.serve(topics.take(), 2)
    own = snapshot_of(topics, first)
    lost, later = topics.decide(first, 1), topics.decide(first)
    topics.append(*later)  # without the one before them
    assert lost
    found = topics.read(own)
    assert {each.why for each in found[1:]} == {"chain-broken"} and all(each.alarm for each in found[1:])
    topics.serve(topics.take(own))
    assert topics.turns() == TURNS


def test_a_turn_of_an_owner_whose_marker_stands_before_the_snapshot_throws_it_away(topics):
    """After an unclean election a former owner can have put turns, and a snapshot of them, behind another's marker."""
    first = topics.serve(topics.take(), 2)
    own = snapshot_of(topics, first)
    other, _ = write_turn(2, first.place.chain, m.Turn(2, MONDAY, m.CommandRef("desk", "pbx", "1", "tick"), []))
    topics.append(other)
    with pytest.raises(FoldAgain, match="the marker of the turn at journal offset 3 stands before the snapshot"):
        topics.read(own)


# ---- logs that were moved


@pytest.mark.parametrize("base", [40, 1])
def test_a_log_that_continues_an_archive_begins_at_its_base_with_its_chain(base):
    archive = "ab" * 32
    topics = Topics(base=base)
    own = topics.take(ours=replace(OURS, base=base, chain=archive))
    assert own.base == base and own.next_position == base and own.seek(0, again=True) == 0
    topics.serve(own)
    assert topics.turns() == [base + i for i in TURNS]
    assert topics.chain() == own.place.chain != GENESIS
    again = topics.take()
    assert again.base == base and again.next_position == base + 6 and again.ours.chain == archive
    assert again.pools.chain == own.pools.chain


def test_turns_before_the_base_count_where_the_whole_log_was_moved():
    reader = Reader()
    reader.read(Record(0, None, write_marker(replace(OURS, base=3))))
    assert reader.place == Place(0, 0, -1, GENESIS)


def test_positions_before_the_base_do_not_count_behind_an_archive():
    reader = Reader()
    reader.read(Record(0, None, write_marker(replace(OURS, base=3, chain="ab" * 32))))
    assert reader.place.position == 2


def test_a_log_of_another_base_that_was_begun_meanwhile_is_not_ours(topics):
    own = Ownership(Partition(), Reader(), whole=True)
    body = own.marker(OURS)
    topics.append(write_marker(replace(OURS, worker="mover", base=7, chain="ab" * 32)))
    own.marked(topics.append(body))
    with pytest.raises(Lost, match="mover has begun a log here"):
        topics.read(own)

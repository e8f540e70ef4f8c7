"""The rules of ownership that readers and writers share, each on a journal that a real partition has written."""

from hashlib import sha256

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine import __version__
from engine.core import messages as m
from engine.streams.codec import envelope_of, read_command
from engine.streams.journal import (
    FORMAT,
    GENESIS,
    JournalBroken,
    Marker,
    Place,
    Reader,
    Void,
    read_turn,
    split_turn,
    write_marker,
    write_turn,
)
from engine.streams.log import Record
from engine.streams.partition import QUIET_MOST, QUIET_MS, Partition, tick_for
from engine.streams.transcript import parse, tell
from tests.streams.strategies import turns
from tests.streams.written import RULES, copied, log_of, marker, rechained
from tests.transcripts.stories import STORIES

ENCODINGS = ["json", "msgpack"]
STORY = """
    0.0 > publish-rules rules=desk
    1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    3.0 > route-contact contact_id=c1 channel=call queue_id=sales
    5.0 > route-contact contact_id=c2 channel=chat queue_id=sales
    9.0 > end-contact contact_id=c1 by=customer
"""
encodings = pytest.mark.parametrize("encoding", ENCODINGS)


def journal(encoding="json"):
    return list(log_of(STORY, encoding=encoding).journal())


def read_all(records, reader=None):
    reader = reader or Reader()
    return [reader.read(record) for record in records], reader


def taken(records, **said):
    """The same journal after another owner has taken it."""
    return [*records, Record(len(records), None, write_marker(marker(9_000, worker="second", **said)))]


def turn_after(reader, events=(), position=None):
    position = reader.place.position + 1 if position is None else position
    return m.Turn(position, 10_000, m.CommandRef("desk", "pbx", "x", "end-contact"), list(events))


def written(reader, turn, encoding="json", **place):
    """A record of `turn` as an owner who stands at the reader's place, or at `place`, would write it."""
    said = replace(reader.place, **place)
    record, _ = write_turn(said.owner, said.chain, turn, encoding)
    return Record(reader.place.offset + 1, turn.position, record)


# ---- records


@given(turns, st.integers(0, 1 << 62), st.binary(min_size=32, max_size=32), st.sampled_from(ENCODINGS))
def test_a_turn_comes_out_of_its_record_as_it_went_in(turn, owner, chain, encoding):
    record, new_chain = write_turn(owner, chain, turn, encoding)
    assert read_turn(record) == turn
    its_owner, its_chain, body = split_turn(record)
    assert (its_owner, its_chain) == (owner, new_chain)
    assert new_chain == sha256(chain + body).digest()


@given(turns, st.binary(min_size=32, max_size=32))
def test_a_record_is_plain_json_or_plain_msgpack_that_others_read(turn, chain):
    record, new_chain = write_turn(7, chain, turn, "json")
    document = msgspec.json.decode(record)
    assert list(document) == ["owner", "chain", "position", "at", "command", "events"]
    assert (document["owner"], document["chain"]) == (7, new_chain.hex())
    packed, new_chain = write_turn(7, chain, turn, "msgpack")
    packed_document = msgpack.unpackb(packed)
    assert packed_document == {"owner": 7, "chain": new_chain, "turn": {k: document[k] for k in list(document)[2:]}}


def test_the_bytes_of_a_record_stay_what_they_are():
    turn = m.Turn(3, 1_795_428_000_000, m.CommandRef("desk", "pbx", "42", "end-contact"), [m.AgentBecameReady("ann")])
    record, chain = write_turn(0, GENESIS, turn)
    assert record == (
        b'{"owner":0,"chain":"%s","position":3,"at":1795428000000,'
        b'"command":{"pool":"desk","source":"pbx","id":"42","type":"end-contact"},'
        b'"events":[{"type":"agent-became-ready","agent_id":"ann"}]}' % chain.hex().encode()
    )
    assert (
        chain.hex() == "8304d0ec82895b0553b590ffb6db453e483805b743ed2850d3baf6c1d77dfe3c"
    )  # sha256sum over 32 zeros and the turn


def test_a_marker_says_its_engine_and_format_also_when_they_are_todays():
    document = msgspec.json.decode(write_marker(marker()))["marker"]
    assert (document["engine"], document["format"], document["encoding"]) == (__version__, FORMAT, "json")
    assert set(document) == set(Marker.__struct_fields__)


# ---- what counts (rule 2)


@encodings
def test_what_one_owner_has_written_counts(encoding):
    said, reader = read_all(journal(encoding))
    assert isinstance(said[0], Marker) and all(isinstance(each, m.Turn) for each in said[1:])
    assert [each.position for each in said[1:]] == [0, 1, 2, 3, 4]
    assert reader.place.offset == 5 and reader.place.owner == 0 and reader.place.position == 4


@encodings
def test_a_turn_of_an_older_owner_is_void(encoding):
    records = journal(encoding)
    _, stalled = read_all(records)
    late = written(stalled, turn_after(stalled), encoding)
    records = taken(records)
    said, reader = read_all([*records, late._replace(offset=len(records))])
    assert said[-1] == Void(len(records), "older-owner", alarm=False)
    assert reader.place.owner == 6 and reader.place.position == 4


@encodings
def test_the_new_owner_goes_on_where_the_older_one_had_come_to(encoding):
    _, reader = read_all(taken(journal(encoding)))
    turn = turn_after(reader, [m.AgentBecameReady("ann")])
    assert reader.read(written(reader, turn, encoding)) == turn


def test_an_owner_of_another_encoding_goes_on_the_same_chain():
    _, reader = read_all(taken(journal("json"), encoding="msgpack"))
    turn = turn_after(reader, [m.AgentBecameReady("ann")])
    assert reader.read(written(reader, turn, "msgpack")) == turn


@encodings
def test_a_turn_that_does_not_continue_the_chain_is_void_and_an_alarm(encoding):
    _, reader = read_all(journal(encoding))
    before = reader.place
    assert reader.read(written(reader, turn_after(reader), encoding, chain=GENESIS)) == Void(
        6, "chain-broken", alarm=True
    )
    assert reader.place == before


@encodings
def test_a_turn_that_was_decided_on_a_lost_one_is_void_and_all_after_it_too(encoding):
    records = journal(encoding)
    said, reader = read_all(records[:3] + records[4:])
    assert [each.why for each in said[3:]] == ["chain-broken", "chain-broken"]
    assert reader.place.position == 1


@encodings
def test_a_position_that_is_repeated_is_void_and_an_alarm(encoding):
    for position in (4, 2, 0):
        _, reader = read_all(journal(encoding))
        assert reader.read(written(reader, turn_after(reader, position=position), encoding)) == Void(
            6, "position-not-later", alarm=True
        )


def test_an_owner_that_nobody_has_announced_is_void_and_an_alarm():
    _, reader = read_all(journal())
    assert reader.read(written(reader, turn_after(reader), owner=3)) == Void(6, "unknown-owner", alarm=True)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{}", b"nonsense", b'{"owner":0}', b'{"owner":0,"chain":"',
        b'{"owner":x,"chain":"' + b"0" * 64 + b'",}', b'{"owner":0,"chain":"' + b"g" * 64 + b'","position":5}',
        b'{"owner":0,"chain":"' + b"AB" * 32 + b'","position":5}', b'{"chain":"' + b"0" * 64 + b'","owner":0}',
        b"\x80", b"\x83", b"\xff" * 100, b'{"owner":' + b"9" * 5000 + b',"chain":"',
    ],
)  # fmt: skip
def test_what_is_no_record_is_void_and_an_alarm(body):
    _, reader = read_all(journal())
    before = reader.place
    assert reader.read(Record(6, 5, body)) == Void(6, "not-a-record", alarm=True)
    assert reader.place == before


def test_void_records_change_nothing_for_those_that_count():
    records = journal()
    said, clean = read_all(records)
    torn = [Record(0, 0, b"{")]
    mixed = [records[0], *(each for record in records[1:] for each in (*torn, record, *torn))]
    assert [each for each in read_all(mixed)[0] if not isinstance(each, Void)] == said
    assert read_all(mixed)[1].place == clean.place


@encodings
def test_a_changed_byte_anywhere_in_a_turn_is_detected(encoding):
    records = journal(encoding)
    _, before = read_all(records[:3])
    sound = records[3].body
    for i in range(len(sound)):
        for value in (
            range(256) if i < 100 else (0, 32, 34, 48, 92, 125, 255, sound[i] ^ 1, sound[i] ^ 32, sound[i] ^ 128)
        ):
            if value == sound[i]:
                continue
            body = sound[:i] + bytes([value]) + sound[i + 1 :]
            reader = Reader(before.place, before.marker)
            assert isinstance(reader.read(records[3]._replace(body=body)), Void), (i, value)


@given(turns, st.sampled_from(ENCODINGS), st.data())
def test_any_change_of_any_turn_is_detected(turn, encoding, draw):
    place = Place(3, 3, -1, GENESIS)
    record, _ = write_turn(3, GENESIS, turn, encoding)
    assert Reader(place).read(Record(4, turn.position, record)) == turn
    start = draw.draw(st.integers(0, len(record)))
    end = draw.draw(st.integers(start, min(start + 5, len(record))))
    changed = record[:start] + draw.draw(st.binary(min_size=end - start, max_size=end - start)) + record[end:]
    if changed != record:
        assert isinstance(Reader(place).read(Record(4, turn.position, changed)), Void)


# ---- where a reader stands (rule 7), and what it cannot read


@encodings
def test_a_reader_that_stops_anywhere_and_goes_on_from_its_place_reads_the_same(encoding):
    records = taken(journal(encoding))
    whole, end = read_all(records)
    for stop in range(1, len(records) + 1):
        first, before = read_all(records[:stop])
        place = msgspec.json.decode(msgspec.json.encode(before.place), type=Place)
        rest, after = read_all(records[stop:], Reader(place, before.marker))
        assert first + rest == whole and after.place == end.place


@encodings
def test_a_turn_before_any_marker_is_an_error(encoding):
    with pytest.raises(JournalBroken, match="journal offset 1: a turn before any owner's marker"):
        Reader().read(journal(encoding)[1])


def test_a_marker_of_a_newer_format_is_refused():
    records = taken(journal(), format=FORMAT + 1, engine="9.0.0")
    with pytest.raises(JournalBroken, match=r"journal offset 6: written by engine 9\.0\.0 in format 2; this is engine"):
        read_all(records)


@pytest.mark.parametrize(
    "body",
    [
        b'{"marker":',
        b'{"marker":{}}',
        b'{"marker":null}',
        b'{"marker":' + write_marker(marker())[10:].replace(b'"simulated"', b'"imagined"'),
        write_marker(marker()).replace(b'"format":1', b'"format":"1"'),
        write_marker(marker(chain="00")),
        write_marker(marker(chain="zz" * 32)),
    ],
)
def test_a_marker_that_cannot_be_read_is_an_error(body):
    with pytest.raises(JournalBroken, match="journal offset 0: an owner's marker"):
        Reader().read(Record(0, None, body))


def turn_bytes(position, event):
    command = b'{"pool":"p","source":"s","id":"i","type":"t"}'
    return b'{"position":%d,"at":1,"command":%s,"events":[%s]}' % (position, command, event)


def test_a_turn_with_an_event_of_a_newer_engine_is_an_error_and_not_skipped():
    _, reader = read_all(journal())
    body = turn_bytes(5, b'{"type":"sung-to"}')
    chain = sha256(reader.place.chain + body).hexdigest().encode()
    with pytest.raises(JournalBroken, match="journal offset 6: a turn of a newer engine"):
        reader.read(Record(6, 5, b'{"owner":0,"chain":"%s",%s' % (chain, body[1:])))


def test_a_field_that_a_newer_engine_has_added_to_an_event_is_passed_over():
    body = turn_bytes(0, b'{"type":"agent-became-ready","agent_id":"ann","mood":"fine"}')
    chain = sha256(GENESIS + body).hexdigest().encode()
    turn = Reader(Place(0, 0)).read(Record(1, 0, b'{"owner":0,"chain":"%s",%s' % (chain, body[1:])))
    assert turn.events == [m.AgentBecameReady("ann")]


def test_a_copy_goes_on_from_the_position_and_the_chain_it_was_made_at():
    _, old = read_all(journal())
    copy = Reader()
    copy.read(Record(0, None, write_marker(marker(base=5, chain=old.place.chain.hex()))))
    assert copy.place == Place(0, 0, 4, old.place.chain)
    assert isinstance(copy.read(written(copy, turn_after(copy, position=5))), m.Turn)


def test_the_first_marker_is_remembered_beside_the_newest():
    _, reader = read_all(taken(journal()))
    assert (reader.first.worker, reader.marker.worker) == ("test", "second")


# ---- the partition: decide, fold, snapshots


def run(partition, told, start=0):
    """The records of a story's commands from `start` on."""
    return [partition.decide(*read_command(body), position, at).record for position, at, body in told[start:]]


def script(path):
    story = parse(path.read_text(encoding="utf-8"), RULES)
    return [(position, told.said.at, told.body) for position, told in enumerate(tell(story)) if not told.bad]


def new(encoding):
    partition = Partition(encoding)
    partition.owner = 0
    return partition


@encodings
@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_folding_gives_the_same_rows_as_deciding(path, encoding):
    told = script(path)
    whole = run(new(encoding), told)
    for stop in range(len(told) + 1):
        folded, reader = new(encoding), Reader(Place(0, 0))
        for (position, _, _), record in zip(told[:stop], whole, strict=False):
            if record is not None:
                turn = reader.read(Record(position + 1, position, record))
                folded.fold(turn, reader.place)
        again = told.index(next((each for each in told if each[0] > folded.position), told[-1]))
        if folded.position < told[-1][0]:
            assert run(folded, told, again) == whole[again:]


@encodings
@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_snapshot_goes_on_as_if_nothing_had_happened(path, encoding):
    told = script(path)
    whole = run(new(encoding), told)
    partition = new(encoding)
    place = Place(0, 0)
    for stop, (position, at, body) in enumerate(told, 1):
        record = partition.decide(*read_command(body), position, at).record
        if record is not None:
            place = Place(stop, 0, position, partition.chain)
        manifest, chunks = partition.snapshot(place)(b"a projection")
        restored, said_place, projections = Partition.restore(manifest, chunks, encoding)
        assert (said_place, projections) == (place, b"a projection")
        assert restored.next_due() == partition.next_due()
        after = next((i for i, each in enumerate(told) if each[0] > place.position), len(told))
        assert run(restored, told, after) == whole[after:]


def snapshot():
    partition = new("json")
    told = script(next(path for path in STORIES if path.stem == "three-chats-and-a-call"))[:12]
    run(partition, told)
    manifest, chunks = partition.snapshot(Place(12, 0, partition.position, partition.chain))(b"")
    return manifest, list(chunks)


def test_a_snapshot_that_has_lost_a_piece_is_refused():
    manifest, chunks = snapshot()
    assert len(chunks) >= 3
    for i in range(len(chunks)):
        with pytest.raises(ValueError, match="not whole"):
            Partition.restore(manifest, chunks[:i] + chunks[i + 1 :])
    with pytest.raises(ValueError, match="not whole"):
        Partition.restore(manifest, [*chunks, chunks[0]])


@given(st.data())
def test_a_snapshot_that_is_torn_or_foreign_is_refused(draw):
    manifest, chunks = snapshot()
    with pytest.raises(ValueError):
        Partition.restore(manifest[: draw.draw(st.integers(0, len(manifest) - 1))], chunks)
    with pytest.raises(ValueError):
        Partition.restore(draw.draw(st.binary()), chunks)
    with pytest.raises(ValueError):
        Partition.restore(manifest, [draw.draw(st.binary()), *chunks])


def test_a_snapshot_of_another_engine_version_is_refused():
    manifest, chunks = snapshot()
    body = manifest[32:].replace(__version__.encode(), b"0.0.9")
    with pytest.raises(ValueError, match=r"made by engine 0\.0\.9"):
        Partition.restore(sha256(body).digest() + body, chunks)


@given(st.data())
def test_a_snapshot_with_a_changed_byte_is_refused(draw):
    manifest, chunks = snapshot()
    pieces = [manifest, *chunks]
    which = draw.draw(st.integers(0, len(pieces) - 1))
    place = draw.draw(st.integers(0, len(pieces[which]) - 1))
    changed = bytearray(pieces[which])
    changed[place] ^= draw.draw(st.integers(1, 255))
    pieces[which] = bytes(changed)
    with pytest.raises(ValueError, match="changed"):
        Partition.restore(pieces[0], pieces[1:])


def test_after_many_commands_that_say_nothing_an_empty_turn_is_written():
    partition = new("json")
    run(partition, script(next(path for path in STORIES if path.stem == "update-makes-a-match"))[:4])
    start = partition.position + 1
    records = [decided_tick(partition, start + i, 21_000) for i in range(2 * QUIET_MOST)]
    assert [i for i, record in enumerate(records) if record is not None] == [QUIET_MOST - 1, 2 * QUIET_MOST - 1]
    turn = read_turn(records[QUIET_MOST - 1])
    assert (turn.position, turn.events, turn.command.type) == (start + QUIET_MOST - 1, [], "tick")


def test_after_a_long_time_without_a_turn_an_empty_one_is_written():
    partition = new("json")
    run(partition, [(0, 1000, tell_rules())])
    assert decided_tick(partition, 1, 1000 + QUIET_MS - 1) is None
    assert read_turn(decided_tick(partition, 2, 1000 + QUIET_MS)).events == []
    assert decided_tick(partition, 3, 1000 + QUIET_MS) is None


def tell_rules():
    return msgspec.json.encode(envelope_of(m.PublishRules(RULES["desk"]), "0", "story", "desk"))


def decided_tick(partition, position, at):
    envelope, command = tick_for("desk", position)
    return partition.decide(envelope, command, position, at).record


def test_a_command_on_which_the_engine_failed_gets_a_turn_that_says_so_and_no_other_effect():
    partition = new("json")
    told = script(next(path for path in STORIES if path.stem == "longest-idle-first"))
    run(partition, told[:3])
    envelope, _ = read_command(told[3][2])
    decided = partition.fail(envelope, 3, told[3][1], "AssertionError: what must hold did not")
    assert read_turn(decided.record).events == [
        m.CommandFailed("route-contact", "AssertionError: what must hold did not")
    ]
    assert "c1" not in partition.pools["desk"].contacts
    assert partition.decide(*read_command(told[3][2]), 4, told[3][1]).repeats == 3


def test_log_time_never_runs_backwards_in_turns():
    partition = new("json")
    run(partition, [(0, 5000, tell_rules())])
    body = msgspec.json.encode(envelope_of(m.SignInAgent("ann", queues=("sales",)), "1", "story", "desk"))
    assert read_turn(partition.decide(*read_command(body), 1, 4000).record).at == 5000


def test_a_forged_turn_with_a_forged_chain_is_only_found_by_deciding_again():
    """What the chain promises: one hash for the whole past; not that its keeper is honest."""
    log = log_of(STORY)
    records = list(log.journal())
    said, honest = read_all(records)
    forged = rechained(records, {2: replace(said[3], events=said[3].events[:1])})
    said, reader = read_all(list(copied(log, records=forged).journal()))
    assert not any(isinstance(each, Void) for each in said) and reader.place.chain != honest.place.chain

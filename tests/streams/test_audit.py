"""Verifying a log: a sound one is called sound, and whatever is done to it is named."""

import msgspec
import pytest
from msgspec.structs import replace

from engine import __version__
from engine.core import messages as m
from engine.embedded import Embedded
from engine.streams.audit import PROBLEMS_MOST, verify
from engine.streams.codec import read_command
from engine.streams.journal import Reader, write_marker
from engine.streams.log import HOLE, Record
from engine.streams.memory_log import MemoryLog
from engine.streams.partition import QUIET_MOST, QUIET_MS
from engine.streams.transcript import parse, show, tell
from tests.streams.written import MONDAY, RULES, copied, log_of, marker, rechained
from tests.transcripts.stories import STORIES

STORY = """
    0.0 > publish-rules rules=desk
    1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    3.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    4.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    5.0 > route-contact contact_id=c2 channel=chat queue_id=sales @web/1 actor=door
    9.0 > end-contact contact_id=c1 by=customer @pbx/2
"""


@pytest.fixture(params=["json", "msgpack"])
def log(request):
    return log_of(STORY, zero=MONDAY, encoding=request.param)


def turns_of(log):
    reader = Reader()
    return {said.position: said for said in map(reader.read, log.journal()) if isinstance(said, m.Turn)}


def problems(log, **asked):
    return verify(log, **asked).problems


def edited(log, position, old, new):
    entries = list(log.commands())
    assert old in entries[position].body
    entries[position] = entries[position]._replace(body=entries[position].body.replace(old, new))
    return copied(log, entries=entries)


def test_a_log_that_nobody_has_touched_is_whole(log):
    found = verify(log, redecide=True)
    assert found.sound and found.problems == []
    assert (found.commands, found.turns, found.quiet, found.markers, found.voids) == (6, 5, 1, 1, 0)
    assert (found.first_position, found.last_position) == (0, 5)
    assert (found.first_at, found.last_at) == (MONDAY, MONDAY + 9000)
    assert (found.log, found.time, found.pools, found.engines) == ("log-1", "simulated", ["desk"], [__version__])
    assert (found.redecided, found.folded) == (6, 0)


def test_the_chain_is_the_same_for_the_same_past_and_another_for_another():
    assert verify(log_of(STORY)).chain == verify(log_of(STORY)).chain
    assert verify(log_of(STORY)).chain != verify(log_of(STORY.replace("c2", "c3"))).chain


def test_an_empty_log_is_whole():
    found = verify(copied(log_of(STORY), entries=[], records=[]), redecide=True)
    assert found.sound and found.first_position == found.last_position == -1


def test_progress_is_told_up_to_the_end(log):
    told = []
    verify(log, lambda done, total: told.append((done, total)))
    assert told[-1] == (6, 6)


def test_a_turn_that_was_changed_is_named_and_what_follows_does_not_count(log):
    records = list(log.journal())
    records[3] = records[3]._replace(body=records[3].body.replace(b"c1", b"c9"))
    found = verify(copied(log, records=records))
    assert not found.sound and found.voids == 3
    assert found.problems[0] == (
        "Journal record 3 does not continue the chain: it, or one before it, was changed, lost or put in."
    )


def test_a_turn_that_was_taken_out_is_named(log):
    records = [record for record in log.journal() if record.offset != 2]
    assert "Journal records 2 to 2 are missing." in problems(copied(log, records=records))
    closed_up = [record._replace(offset=i) for i, record in enumerate(records)]
    assert any("does not continue the chain" in problem for problem in problems(copied(log, records=closed_up)))


def test_turns_that_are_cut_off_at_the_end_show_when_all_is_decided_again(log):
    cut = copied(log, records=list(log.journal())[:-1])
    assert problems(cut) == []
    (problem,) = problems(cut, redecide=True)
    assert problem.startswith(
        "Command 5 comes out differently when it is decided again: it said nothing, and says now:"
    )


@pytest.mark.parametrize(
    ("name", "position", "old", "new"),
    [("source", 2, b"pbx", b"web"), ("id", 4, b'"1"', b'"9"'), ("actor", 4, b"door", b"dorr")],
)
def test_a_command_that_is_not_the_one_its_turn_names_is_named(name, position, old, new):
    told = problems(edited(log_of(STORY), position, old, new))
    assert len(told) == 1 and f"Command {position} has {name} " in told[0]


def test_a_command_whose_data_was_changed_shows_when_all_is_decided_again():
    changed = edited(log_of(STORY), 5, b'"customer"', b'"adapter"')
    assert problems(changed) == []
    (problem,) = problems(changed, redecide=True)
    assert "Command 5 comes out differently" in problem
    assert 'event 0 was {"type":"offer-revoked"' in problem and '"reason":"adapter-lost"' in problem


def test_a_command_that_has_become_unreadable_is_named():
    assert any(
        "Command 5 has a turn but cannot be read" in told
        for told in problems(edited(log_of(STORY), 5, b'"id"', b'"ID"'))
    )


def test_a_log_time_that_was_changed_is_named(log):
    entries = list(log.commands())
    entries[2] = entries[2]._replace(at=entries[2].at + 1)
    assert problems(copied(log, entries=entries)) == [
        f"Command 2 has log time {MONDAY + 3001}, but its turn says {MONDAY + 3000}."
    ]


def test_time_that_runs_backwards_is_named(log):
    entries = list(log.commands())
    entries[3] = entries[3]._replace(at=MONDAY)
    assert problems(copied(log, entries=entries)) == [
        f"Command 3 has log time {MONDAY}, the one before it {MONDAY + 3000}."
    ]


def test_a_command_that_was_taken_out_is_named(log):
    entries = list(log.commands())
    without_quiet = problems(copied(log, entries=entries[:3] + entries[4:]))
    assert "Commands 3 to 3 are missing." in without_quiet
    without_turn = problems(copied(log, entries=entries[:2] + entries[3:]))
    assert any("has no command: there is no position 2" in told for told in without_turn)
    assert "Commands 2 to 2 are missing." in without_turn
    assert "The first command has position 1; positions begin at 0." in problems(copied(log, entries=entries[1:]))


def test_a_turn_filed_under_another_position_is_named(log):
    records = list(log.journal())
    records[2] = records[2]._replace(position=0)
    assert problems(copied(log, records=records)) == ["Journal record 2, turn of command 1, is filed under 0."]


def test_a_journal_that_cannot_be_read_on_is_named(log):
    records = list(log.journal())
    newer = Record(len(records), None, write_marker(marker(MONDAY, format=99)))
    told = problems(copied(log, records=[*records, newer]))
    assert told[0].startswith(
        f"The journal cannot be read on: journal offset 6: written by engine {__version__} in format 99"
    )
    assert any("a turn before any owner's marker" in each for each in problems(copied(log, records=records[1:])))


def test_owners_who_do_not_agree_on_what_the_log_is_are_named(log):
    records = list(log.journal())
    other = Record(len(records), None, write_marker(marker(MONDAY + 9_000, log="log-2", time="real", partitions=3)))
    assert problems(copied(log, records=[*records, other])) == [
        "The owner's marker at 6 says log 'log-2'; the first one said 'log-1'.",
        "The owner's marker at 6 says time 'real'; the first one said 'simulated'.",
        "The owner's marker at 6 says partitions 3; the first one said 1.",
    ]


def test_late_records_of_a_former_owner_are_no_problem(log):
    records = list(log.journal())
    taken = Record(len(records), None, write_marker(marker(MONDAY + 9_000, worker="second")))
    late = records[-1]._replace(offset=len(records) + 1)
    found = verify(copied(log, records=[*records, taken, late]))
    assert found.sound and (found.markers, found.voids) == (2, 1)


def test_a_turn_that_this_engine_would_not_have_written_is_named_by_its_event():
    log = log_of(STORY)
    turn = turns_of(log)[2]
    queued, offered = turn.events
    other = replace(turn, events=[queued, replace(offered, agent_id="bob")])
    forged = copied(log, records=rechained(list(log.journal()), {2: other}))
    assert problems(forged) == []
    (problem,) = problems(forged, redecide=True)
    assert problem.startswith("Command 2 comes out differently when it is decided again: event 1 was")
    assert problem.endswith("What follows was not decided again.")


@pytest.mark.parametrize("which", ["fewer", "quiet", "at"])
def test_other_ways_to_differ_are_put_into_words(which):
    log = log_of(STORY)
    turn = turns_of(log)[2]
    other = {
        "fewer": replace(turn, events=turn.events[:1]),
        "quiet": replace(turn, events=[]),
        "at": turn,
    }[which]
    records = rechained(list(log.journal())[:4], {2: other})
    if which == "at":  # the same turn, written with its fields in another order: other bytes, chained well
        body = msgspec.json.encode({"at": turn.at, "position": 2, "command": turn.command, "events": turn.events})
        records = [*records[:3], record_of(records, 3, body)]
    (problem,) = problems(copied(log, records=records, entries=list(log.commands())[:3]), redecide=True)
    words = {"fewer": "it had 1 events, and has 2 now", "quiet": "it had 0 events", "at": "the same, but not its bytes"}
    assert words[which] in problem


def record_of(records, offset, body):
    from hashlib import sha256

    reader = Reader()
    for record in records[:offset]:
        reader.read(record)
    chain = sha256(reader.place.chain + body).hexdigest().encode()
    return records[offset]._replace(body=b'{"owner":0,"chain":"%s",%s' % (chain, body[1:]))


def test_turns_of_another_engine_version_are_folded_and_not_decided_again():
    log = log_of(STORY, engine="0.0.9")
    turn = turns_of(log)[2]
    queued, _ = turn.events
    late_offer = replace(
        turn, events=[replace(queued, due_at=queued.due_at - 1)]
    )  # another engine's idea of a head start
    rest = {position: replace(each, events=[]) for position, each in turns_of(log).items() if position > 2}
    old = copied(log, records=rechained(list(log.journal()), {2: late_offer, **rest}))
    found = verify(old, redecide=True)
    assert found.sound and (found.redecided, found.folded) == (0, 5)


def test_the_next_version_goes_on_from_what_the_one_before_it_decided():
    log = log_of(STORY, engine="0.0.9")
    offset = log.ends()[1]
    log.append(offset, [], [Record(offset, None, write_marker(marker(9_000)))])
    found = verify(log, redecide=True)
    assert found.sound and found.engines == ["0.0.9", __version__]


def test_a_command_on_which_the_engine_failed_is_folded():
    log = log_of(STORY)
    failed = replace(turns_of(log)[5], events=[m.CommandFailed("end-contact", "AssertionError")])
    found = verify(copied(log, records=rechained(list(log.journal()), {5: failed})), redecide=True)
    assert found.sound and found.folded == 1


def test_problems_are_all_counted_and_not_all_told():
    records = list(log_of(STORY).journal())
    torn = [Record(i, 0, b"{") for i in range(len(records), len(records) + PROBLEMS_MOST + 50)]
    found = verify(copied(log_of(STORY), records=[*records, *torn]))
    assert len(found.problems) == PROBLEMS_MOST and found.problem_count == PROBLEMS_MOST + 50


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_what_a_real_host_has_written_through_restarts_is_decided_again_to_the_same_bytes(path):
    log, now = MemoryLog(), [MONDAY]
    host = Embedded(log, lambda: now[0], "simulated", name="log-1")
    for number, told in enumerate(tell(parse(path.read_text(encoding="utf-8"), RULES)), 1):
        now[0] = MONDAY + told.said.at
        host.submit([(*read_command(told.body), told.body)])
        if number % 4 == 0:
            if number % 8:
                host.snapshot()()
            host = Embedded(log, lambda: now[0], "simulated", name="log-1")
    found = verify(log, redecide=True)
    assert found.problems == []
    assert found.redecided == found.commands > 0 and found.markers > 1
    assert [line for line in show(log, relative=True) if " ! " in line] == []


def test_a_copy_with_holes_is_whole_and_says_what_could_not_be_decided_again(log):
    entries = list(log.commands())
    entries[2] = entries[2]._replace(body=HOLE)  # of a turn,
    entries[3] = entries[3]._replace(body=HOLE)  # and of a command that said nothing
    found = verify(copied(log, entries=entries), redecide=True)
    assert found.problems == [] and found.chain == verify(log).chain
    assert (found.commands, found.turns, found.quiet, found.holes) == (4, 5, 0, 2)
    assert (found.redecided, found.folded) == (4, 1)
    lines = list(show(copied(log, entries=entries), relative=True))
    assert sum("! no command" in line for line in lines) == 2
    assert any("< contact-queued contact_id=c1" in line for line in lines), "its events are told"


def test_a_hole_hides_no_turn_that_was_changed(log):
    entries = [entry._replace(body=HOLE) for entry in log.commands()]
    records = list(log.journal())
    spoilt = records[3]._replace(body=records[3].body.replace(b"c1", b"c9", 1))
    found = verify(copied(log, entries=entries, records=[*records[:3], spoilt, *records[4:]]), redecide=True)
    assert "does not continue the chain" in found.problems[0]


def test_an_empty_turn_behind_holes_is_folded_since_nobody_knows_how_many_were_quiet_there():
    story = "0.0 > publish-rules rules=desk\n" + f"{QUIET_MS // 2000}.0 > tick\n" * QUIET_MOST
    log = log_of(story, zero=MONDAY)
    assert verify(log, redecide=True).turns == 2
    entries = list(log.commands())
    entries[1:400] = [entry._replace(body=HOLE) for entry in entries[1:400]]
    found = verify(copied(log, entries=entries), redecide=True)
    assert found.problems == [] and (found.holes, found.folded) == (399, 1)

"""Transcripts: every command can be written and read back; a log is shown as it is."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import __version__
from engine.core import messages as m
from engine.core.rules import hash_of
from engine.streams.journal import Reader, write_marker
from engine.streams.log import Record
from engine.streams.transcript import (
    Clock,
    Said,
    Seconds,
    TranscriptError,
    event_text,
    milliseconds,
    parse,
    quoted,
    render,
    seconds,
    show,
)
from tests.streams.strategies import TEXTS, commands_without_rules, events, ids
from tests.streams.written import MONDAY, RULES, copied, log_of, marker

STORY = """
    0.0 > publish-rules rules=desk
    1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    3.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    4.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    5.0 > route-contact contact_id=c2 channel=chat queue_id=sales @web/1 actor=door
    9.0 > end-contact contact_id=c1 by=customer @pbx/2
"""
addresses = st.fixed_dictionaries({}, optional={"pool": ids, "source": ids, "id": ids, "actor": ids})
moments = st.integers(-(10**9), 10**12)


# ---- lines both ways


@given(commands_without_rules, addresses, moments, st.integers(-1, 10**9))
def test_every_command_that_is_written_can_be_read_back(command, address, at, position):
    said = Said(at, command, position=position, **address)
    (line,) = render(said).split("\n")
    assert parse(line).commands == [said]


@given(commands_without_rules, addresses, st.integers(0, 4 * 10**12))
def test_every_command_can_be_read_back_from_a_log_with_times_of_day(command, address, at):
    said = Said(at, command, **address)
    clock = Clock(ZoneInfo("Asia/Shanghai"))
    text = f"{clock.heading(at)}\n{render(said, scale=clock)}"
    assert parse(text).commands == [said]


@pytest.mark.parametrize("name", sorted(RULES))
def test_published_rules_are_known_by_name_or_by_the_beginning_of_their_hash(name):
    said = Said(5, m.PublishRules(RULES[name]))
    by_hash = render(said)
    by_name = render(said, names={hash_of(RULES[name]): name})
    assert f"rules={name}" in by_name and hash_of(RULES[name])[:12] in by_hash
    assert parse(by_hash, RULES).commands == parse(by_name, RULES).commands == [said]


@given(events, moments)
def test_every_event_is_one_line_without_signs_that_a_terminal_would_obey(event, at):
    for full in (False, True):
        line = event_text(event, Seconds(at), full=full)
        assert line.startswith(f"< {m.TYPE_OF[type(event)]}")
        assert line.isprintable()


@given(TEXTS)
def test_what_is_quoted_is_printable_and_on_one_line(text):
    assert quoted(text).isprintable()


@given(st.integers(-(10**15), 10**15))
def test_seconds_are_exact_to_the_millisecond(ms):
    text = seconds(ms)
    assert milliseconds(text) == ms
    assert not text.endswith("00") and "." in text


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0.0"), (3000, "3.0"), (12_500, "12.5"), (-1, "-0.001"), (60_040, "60.04")]
)
def test_seconds_have_at_least_one_decimal_and_no_needless_ones(ms, text):
    assert seconds(ms) == text


def test_a_turn_is_written_as_the_house_style_shows():
    said = Said(9000, m.EndContact("c1", "customer"))
    happened = [
        m.OfferRevoked("c1", "ann", "sales", "customer-left"),
        m.ContactAbandoned("c1", "sales", 6000, "customer"),
    ]
    assert render(said, happened).split("\n") == [
        "    9.0 > end-contact contact_id=c1 by=customer",
        "    9.0 < offer-revoked contact_id=c1 agent_id=ann reason=customer-left",
        "    9.0 < contact-abandoned contact_id=c1 waited=6.0",
    ]


def test_lists_dicts_and_texts_are_written_for_people():
    said = Said(
        0,
        m.SignInAgent(
            "ann", True, ("sales", "sales, abroad"), {"english": 2, "german": 1}, addresses={"call": "sip:ann"}
        ),
        source="desktop",
        id="a/b",
    )
    assert render(said).strip() == (
        '0.0 > sign-in-agent agent_id=ann ready=true queues=sales,"sales, abroad" skills={english:2,german:1} '
        'addresses={call:"sip:ann"} @desktop/a/b'
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("3.0 > rout-contact contact_id=c1", "there is no command 'rout-contact'"),
        ("3.0 > tick now", "'=' is missing"),
        ("3.0 > tick now=1", "tick has no field 'now'"),
        ("3.0 > end-contact contact_id=c1", "missing required field `by`"),
        ("3.0 > end-contact contact_id=c1 contact_id=c2 by=agent", "contact_id is said twice"),
        ("3.0 > end-contact contact_id= by=agent", "a value is missing before ' by=agent'"),
        ("3.0 > end-contact contact_id=c1 by=nobody", "Invalid enum value 'nobody'"),
        ("3.0 > route-contact contact_id=c1 channel=call queue_id=sales vip=yes", "neither true nor false"),
        (
            "3.0 > route-contact contact_id=c1 channel=call queue_id=sales skills={a:1",
            "',' is missing before the end of the line",
        ),
        ("3.00001 > tick", "not a number of seconds"),
        ("10:00:00.0 > tick", "no line above that says the date"),
        ("3.0 > publish-rules rules=unheard-of", "no rules are known by the name 'unheard-of'"),
        ("3.0 tick", "neither an entry, nor a comment, nor rules"),
        ('3.0 > end-contact contact_id="c1 by=agent', "Unterminated string"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_with_its_number(line, complaint):
    with pytest.raises(TranscriptError, match="line 2: ") as caught:
        parse(f"# A comment.\n{line}\n", RULES)
    assert complaint in str(caught.value)


def test_rules_in_a_story_that_do_not_hold_are_named():
    with pytest.raises(TranscriptError, match="rules small"):
        parse('rules small:\n| pool = "desk"\n')


# ---- logs


def shown(log, **chosen):
    return list(show(log, **chosen))


def test_a_log_is_shown_with_times_of_day_in_the_zone_of_its_rules():
    rules = 'rules here:\n| pool = "desk"\n| time_zone = "Asia/Shanghai"\n| [[queues]]\n| id = "sales"\n'
    log = log_of(rules + STORY.replace("rules=desk", "rules=here"), zero=MONDAY)
    lines = shown(log)
    assert lines[:3] == [
        "# Times of day in Asia/Shanghai",
        "# Monday 2026-11-23, UTC+08:00",
        f"18:00:00.000 * marker owner=0 worker=test engine={__version__} format=1 time=simulated log=log-1",
    ]
    assert lines[3] == "# Pool desk, where no other is named"
    assert "18:00:03.000 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1 #2" in lines
    assert any(
        line.startswith("18:00:03.000 < offer-issued contact_id=c1 agent_id=ann expires_at=18:00:18.0")
        for line in lines
    )
    assert any("give_up_at=2026-11-26T18:00:03.0" in line for line in lines)


def test_a_new_day_is_announced_and_so_is_a_change_of_the_clock():
    before = int(
        datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC).timestamp() * 1000
    )  # a second later Berlin goes back an hour
    story = """
        0.0 > publish-rules rules=desk
        1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    86401.0 > set-agent-not-ready agent_id=ann
    """.replace("\n    ", "\n")
    lines = shown(log_of(story, zero=before), zone=ZoneInfo("Europe/Berlin"))
    assert [line for line in lines if "day" in line] == [
        "# Times of day in Europe/Berlin",
        "# Sunday 2026-10-25, UTC+02:00",
        "# Sunday 2026-10-25, UTC+01:00",
        "# Monday 2026-10-26, UTC+01:00",
    ]
    assert "02:59:59.000 > publish-rules" in "\n".join(lines) and "02:00:00.000 > sign-in-agent" in "\n".join(lines)


def test_what_is_shown_of_a_log_can_be_read_back():
    log = log_of(STORY, zero=MONDAY)
    for chosen in ({}, {"relative": True}, {"full": True}):
        read = parse("\n".join(shown(log, **chosen)), RULES)
        first = 0 if chosen.get("relative") else MONDAY
        assert [said.at - first for said in read.commands] == [said.at for said in parse(STORY, RULES).commands]
        assert [said.command for said in read.commands] == [said.command for said in parse(STORY, RULES).commands]
        assert [said.position for said in read.commands] == [0, 1, 2, 3, 4, 5]


def test_commands_that_said_nothing_are_shown_too():
    lines = shown(log_of(STORY), relative=True)
    assert [line for line in lines if line.startswith("    4.0")] == [
        "    4.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1 #3"
    ]


def test_an_actor_is_shown():
    assert any("@web/1 actor=door #4" in line for line in shown(log_of(STORY)))


def test_showing_may_begin_anywhere_and_end_after_so_many_commands():
    log = log_of(STORY)
    whole = [line for line in shown(log) if " > " in line or " < " in line]
    begins = [i for i, line in enumerate(whole) if " > " in line]
    assert len(begins) == 6
    for start in range(6):
        rest = [line for line in shown(log, from_position=start) if " > " in line or " < " in line]
        assert rest == whole[begins[start] :]
        two = [line for line in shown(log, from_position=start, limit=2) if " > " in line or " < " in line]
        assert two == whole[begins[start] : [*begins, None, None][start + 2]]
    assert shown(log, from_position=6) == []


def test_of_a_contact_each_turn_in_which_it_appears_is_shown_and_nothing_else():
    log = log_of(STORY + "   20.0 > set-agent-not-ready agent_id=ann\n")
    lines = [line[8:] for line in shown(log, contact="c2", relative=True) if " > " in line or " < " in line]
    assert lines == [
        "> route-contact contact_id=c2 channel=chat queue_id=sales @web/1 actor=door #4",
        "< contact-queued contact_id=c2 due_at=60.0 give_up_at=600.0 target=60.0 reason=tier-now",
        "> end-contact contact_id=c1 by=customer @pbx/2 #5",
        "< offer-issued contact_id=c2 agent_id=ann expires_at=19.0 waited=4.0 idle=8.0 reason=earliest-due",
        "> set-agent-not-ready agent_id=ann @story/6 #6",
        "< offer-revoked contact_id=c2 agent_id=ann reason=agent-not-ready",
    ]


def test_refusals_belong_to_the_contact_they_are_about():
    log = log_of(STORY + "   20.0 > end-contact contact_id=c1 by=agent\n")
    assert [line[8:] for line in shown(log, contact="c1", relative=True)][-1].startswith("< command-refused subject=c1")


def test_one_pool_can_be_shown_alone():
    other = 'rules far:\n| pool = "far"\n| [[queues]]\n| id = "sales"\n'
    log = log_of(
        other
        + STORY
        + "   10.0 > publish-rules rules=far pool=far\n   11.0 > sign-in-agent agent_id=bo queues=sales pool=far\n"
    )
    assert [line.split("#")[-1] for line in shown(log, pool="far") if " > " in line] == ["6", "7"]
    assert [line.split("#")[-1] for line in shown(log) if "pool=far" in line] == ["6", "7"]


def test_a_record_that_does_not_count_is_flagged():
    log = log_of(STORY)
    records = list(log.journal())
    taken = Record(len(records), None, write_marker(marker(9_000, worker="second")))
    late = Record(len(records) + 1, records[-1].position, records[-1].body)
    lines = shown(copied(log, records=[*records, taken, late]), relative=True)
    assert lines[-2].startswith("    9.0 * marker owner=6 worker=second")
    assert lines[-1] == "    9.0 ! journal record 7 is void: older-owner"


def test_a_command_that_cannot_be_read_is_flagged_without_its_signs():
    log = log_of(STORY)
    entries = list(log.commands())
    entries[3] = entries[3]._replace(body=b'{"id":"\xc2\x9b2J","odd\x1b":1}')
    lines = shown(copied(log, entries=entries))
    assert any("! no command #3: " in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_showing_from_the_middle_survives_a_void_record_right_before_it():
    log = log_of(STORY)
    records = list(log.journal())
    void = records[-1]._replace(offset=len(records), body=records[-1].body.replace(b'"owner":0', b'"owner":3'))
    reader = Reader()
    assert [type(reader.read(record)).__name__ for record in [*records, void]][-2:] == ["Turn", "Void"]
    lines = shown(copied(log, records=[*records, void]), from_position=5)
    assert any("> end-contact" in line for line in lines) and any("is void: unknown-owner" in line for line in lines)

"""Rules files are read or their mistakes told: every one, at its line, in two languages, and never as a traceback."""

import json
import os
import re
import string
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.commands_check import check_command
from engine.core.messages import SignInAgent, SignOutAgent
from engine.core.rules import Agent, Limits, Queue, Rules, Targets, Times, compile_rules
from engine.embedded import Embedded
from engine.streams.mistakes import Mistake, catalog
from engine.streams.rules_bound import explained
from engine.streams.rules_file import Reading, parse_rules, read_pools, read_rules, render
from engine.streams.rules_shape import ARRAYS, SHAPE, as_toml, dotted, element, guessed, seconds_of
from engine.streams.sqlite_log import SqliteLog

TESTS = Path(__file__).resolve().parents[1]
BAD = sorted((TESTS / "bad_rules").glob("*.toml"))
DESKS = sorted((TESTS.parent / "deploy" / "desks").glob("*.toml"))
AUTUMN = 1_795_600_000_000  # 2026-11-25
SMALL = 'pool = "desk"\n[[queues]]\nid = "orders"\n'


def codes(reading: Reading) -> list[str]:
    return [each.code for each in reading.mistakes]


def places(reading: Reading) -> list[tuple[int, str]]:
    return [(each.line, each.code) for each in reading.mistakes]


def written(folder: Path, **texts: str) -> Path:
    """Files by their names without .toml, `__` for a folder below."""
    for name, text in texts.items():
        path = folder / (name.replace("__", "/") + ".toml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder


# ---- between pools


def leading(pool: str, to: str, queue: str) -> str:
    return f'pool = "{pool}"\n[[queues]]\nid = "any"\n[[queues.widen]]\nafter = 9\npool = "{to}"\nqueue = "{queue}"\n'


@pytest.mark.parametrize(
    ("bureau", "home", "expected"),
    [
        (leading("bureau", "third", "any"), leading("home", "bureau", "any"), [("bureau", "unknown-pool")]),
        ('pool = "bureau"\n[[queues]]\nid = "one"\n', leading("home", "bureau", "any"), [("home", "unknown-queue")]),
        (leading("bureau", "home", "any"), leading("home", "bureau", "any"), [("home", "overflow-loop")]),
        ('pool = "bureau"\n[[queues]]\nid = "any"\n', leading("home", "bureau", "any"), []),
    ],
)
def test_steps_to_other_pools_are_held_against_the_pools_beside_them(tmp_path, bureau, home, expected):
    readings = read_pools(written(tmp_path, bureau=bureau, home=home))
    assert [(each.pool, wrong.code) for each in readings for wrong in each.mistakes] == expected
    assert all((each.rules is None) == bool(each.mistakes) for each in readings)


# ---- planted faults


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_exactly_the_planted_faults_are_found_at_their_lines(path):
    expected = []
    for place, code in re.findall(r"^# expect: (\S+) (\S+)$", path.read_text(errors="replace"), re.MULTILINE):
        file, _, line = place.rpartition(":")
        expected.append((str(path.parent / file) if file else str(path), int(line), code))
    reading = read_rules(path)
    assert sorted((each.file, each.line, each.code) for each in reading.mistakes) == sorted(expected)
    assert (reading.rules is None) == any(each.severity == "error" for each in reading.mistakes)


def test_the_planted_faults_are_many_and_of_every_kind():
    planted = {
        code for path in BAD for code in re.findall(r"^# expect: \S+ (\S+)$", path.read_text(errors="replace"), re.M)
    }
    elsewhere = {  # in this file: about the file as a whole, or reached by no file at all
        *("missing-file", "folder", "not-a-file", "unreadable", "too-large", "no-pools", "pool-twice"),
        *("unknown-pool", "overflow-loop"),  # seen only where several pools are read together
        *("include-needs-file", "include-too-many", "toml", "toml-too-deep", "not-understood"),
        *("toml-statement", "toml-unclosed-table"),
        *("nobody-signed-in", "queue-nobody-signed-in", "skill-nobody-signed-in"),  # of a log
        *("hours-no-workdays", "hours-no-holidays"),  # in test_hours.py: they depend on the day
    }
    assert len(BAD) >= 25
    assert planted | elsewhere == catalog()["en"]["problems"].keys()
    assert not planted & elsewhere


@pytest.mark.parametrize("path", DESKS, ids=lambda path: path.stem)
def test_the_desks_that_we_ship_are_clean(path):
    reading = read_rules(path, AUTUMN)
    assert reading.mistakes == []
    assert compile_rules(reading.rules).queues


def test_a_small_clean_file_gives_rules_and_no_noise():
    reading = parse_rules(SMALL, "pool.toml")
    rules = Rules(pool="desk", queues=(Queue(id="orders"),))
    assert reading == Reading("pool.toml", "desk", rules, [], said=reading.said)


def test_what_just_fits_is_no_mistake():
    skills = ", ".join(f"skill_{number} = 1" for number in range(64))
    long = "x" * 128
    text = f"""
        pool = "desk"
        roster = "rules"
        targets = {{ now = 20, today = 20, follow-up = 20 }}
        times = {{ offer = 20, wait = 20 }}
        weights = {{ call = 100, chat = 50, sms = 1 }}
        limits = {{ call = 1, chat = 2, sms = 100 }}
        [[queues]]
        id = "orders"
        service_level = 20
        skills = {{ english = 100 }}
        [[queues]]
        id = "{long}"
        [[agents]]
        id = "ann"
        queues = ["orders", "{long}"]
        skills = {{ english = 100 }}
        [[agents]]
        id = "bob"
        queues = ["{long}"]
        skills = {{ {skills} }}
    """
    assert parse_rules(text, "pool.toml").mistakes == []


def test_everything_a_file_can_say_arrives_in_the_rules():
    text = """
        pool = "desk"
        time_zone = "Asia/Shanghai"
        locale = "zh-CN"
        roster = "rules"
        targets = { now = 30, today = 7200, follow-up = 10000 }
        head_starts = { vip = 60, known = 30, prospect = 10, allowed = 5 }
        times = { offer = 20, wrap_up = 0, wait = 20000, talk = 7200, decline = 60, silence = 10, lost = 20 }
        weights = { call = 90, chat = 30, sms = 10 }
        doors.on_close = "tell"
        doors.closed = "form"
        doors.full = "form"
        doors.waited = "form"
        doors.blocked = "form"
        doors.too_often = "form"
        doors.most_waiting = 90
        doors.repeats = { most = 3, window = 60 }
        limits = { call = 1, chat = 2, sms = 10 }
        [[queues]]
        id = "订单"
        name = "Orders"
        channels = ["call", "sms"]
        skills = { "两种 语言" = 2 }
        service_level = 30
        targets = { now = 40 }
        offer = 10
        wrap_up = 5
        wait = 15000
        talk = 3600
        hours = "day"
        on_close = "keep"
        closed = "form"
        full = "self-service"
        waited = "message"
        most_waiting = 7
        alternatives = ["订单/sms"]
        [[teams]]
        id = "front"
        queues = ["订单"]
        skills = { "两种 语言" = 1 }
        [[agents]]
        id = "ann"
        name = "Ann"
        team = "front"
        queues = ["订单"]
        skills = { "两种 语言" = 2 }
        limits = { sms = 3 }
        addresses = { call = "sip:ann@127.0.0.1" }
        [[hours]]
        id = "day"
        weekly = ["mon-fri 09:00-17:00"]
        time_zone = "Asia/Urumqi"
        holidays = "CN"
        closed = ["2026-12-31"]
        open = ["2026-12-27 10:00-12:00"]
        [[holidays]]
        id = "CN"
        closed = ["2026-12-30"]
        workdays = ["2026-12-26"]
    """
    reading = parse_rules(text, "pool.toml", AUTUMN)
    assert reading.mistakes == []
    assert reading.rules is not None
    assert reading.rules.times == Times(20, 0, 20000, 7200, 60, 10, 20)
    queue, agent = reading.rules.queues[0], reading.rules.agents[0]
    assert queue.targets == Targets(40, 7200, 10000)  # what it does not name is the pool's
    assert agent.limits == Limits(call=1, chat=2, sms=3)
    assert agent == Agent(
        "ann", "Ann", "front", ("订单",), {"两种 语言": 2}, Limits(1, 2, 3), {"call": "sip:ann@127.0.0.1"}
    )
    assert queue == Queue(
        "订单", "Orders", ("call", "sms"), {"两种 语言": 2}, 30, queue.targets, 10, 5, 15000, 3600, "day", "keep",
        "form", "self-service", "message", 7, ("订单/sms",),
    )  # fmt: skip
    unsaid = {f for f in Rules.__struct_fields__ if getattr(reading.rules, f) == getattr(Rules("", ()), f)}
    assert unsaid == set(), "say every key here, so that this test sees it arrive"


def test_the_rules_of_a_file_outlive_the_log():
    for path in DESKS:
        rules = read_rules(path).rules
        assert msgspec.json.decode(msgspec.json.encode(rules), type=Rules) == rules


# ---- sentences


def test_a_mistake_is_one_plain_line():
    text = SMALL + '[[queues]]\nid = "support"\n' + "\n" * 8 + "offfer = 3\n"
    found = parse_rules(text, "pool.toml").mistakes
    assert render(found) == "pool.toml:14  queues[1].offfer: no such key. Did you mean `offer`?"
    assert render(found, "zh-CN") == "pool.toml:14  queues[1].offfer：没有这个键。是否想写 `offer`？"
    assert render([]) == ""


def test_only_a_terminal_gets_colours():
    found = parse_rules(SMALL + "[times]\noffer = 61\nwait = 10\n", "pool.toml").mistakes
    plain = render(found, "en", stream_is_terminal=False)
    coloured = render(found, "en", stream_is_terminal=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain != coloured


def test_both_languages_have_the_same_sentences_with_the_same_placeholders():
    assert catalog().keys() == {"en", "zh-CN"}
    en, zh = catalog()["en"], catalog()["zh-CN"]
    assert en.keys() == zh.keys()
    for section in en:
        assert en[section].keys() == zh[section].keys()
        for code in en[section]:
            names = [sorted(set(named(words[section][code]))) for words in (en, zh)]
            assert names[0] == names[1], code


def named(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_every_planted_fault_can_be_said_and_nothing_in_it_reaches_the_terminal(lang):
    said = []
    for path in BAD:
        mistakes = read_rules(path).mistakes
        lines = render(mistakes, lang).split("\n")
        assert len(lines) == len(mistakes)
        assert all(line.isprintable() for line in lines)
        assert all(mistake.problem(lang).endswith((".", "。")) for mistake in mistakes)
        said += [mistake.suggestion for mistake in mistakes if mistake.suggestion]
    explicit = catalog()["en"]["suggestions"].keys() - catalog()["en"]["problems"].keys()
    assert set(said) == explicit, "each suggestion is one that somebody gets to read"


def test_a_suggestion_in_full():
    cases = {
        "rooster = 1": "Did you mean `roster`?",
        "wrap_up = 1": "`wrap_up` belongs in [times], [[queues]].",
        'roster = "rule"': 'Did you mean "rules"?',
        "locale = 7": "",
        "[targets]\npool = 1": "`pool` belongs at the top of the file, before the first [table].",
        "[targets]\nfollow_up = 90000": "Did you mean `follow-up`?",
        "[targets]\nlater = 90000": "Known here: now, today, follow-up.",
        '[times]\noffer = "1.5 min"': "Times are in seconds: write 90.",
        '[times]\noffer = "20"': "Write 20 without quotation marks.",
        '[limits]\nchat = "2 h"': "",
        "[agents]\nid = 'ann'": "Write each one under its own [[agents]].",
    }
    for text, suggestion in cases.items():
        top, _, rest = text.partition("\n") if not text.startswith("[") else ("", "", text)
        reading = parse_rules(f"{top}\n{SMALL}{rest}\n", "pool.toml")
        assert [each.advice() for each in reading.mistakes] == [suggestion], text


def test_guesses_are_close_or_not_made():
    known = ("time_zone", "roster", "targets", "follow-up")
    assert guessed("timezone", known) == "time_zone"
    assert guessed("Time-Zone", known) == "time_zone"
    assert guessed("followup", known) == "follow-up"
    assert guessed("colour", known) == ""
    assert guessed("x" * 65, ("x" * 64,)) == ""


def test_durations_as_people_write_them():
    said = {"15s": 15, " 2 min ": 120, "1.5 h": 5400, "3 days": 259_200, "90 Sec.": 90, "soon": None, "2 weeks": None}
    assert {text: seconds_of(text) for text in said} == said
    assert seconds_of(15) is None


def test_values_are_shown_short_and_on_one_line():
    assert as_toml({"a b": [1, 2, 3, 4], "c": {"d": {"e": 1}}}) == '{"a b" = [1, 2, 3, …], c = {d = {…}}}'
    assert as_toml("x" * 100) == '"' + "x" * 47 + '…"'
    assert as_toml(1 << 20_000) == "0x1000000000000000000000…"
    assert as_toml('two\n"lines"') == '"two\\n\\"lines\\""'
    assert dotted(("queues", 2, "skills", "a.b")) == 'queues[2].skills."a.b"'


# ---- what the structs say is what is checked


def keys_of_every_table() -> list[tuple[str, str]]:
    """(the lines before it, the key) for every key that rules have."""
    headers = {"": [field.encode_name for field in SHAPE.fields]}
    for field in SHAPE.fields:
        table = element(field.type) or field.type
        if isinstance(table, msgspec.inspect.StructType):
            header = (
                f'[[{field.encode_name}]]\nid = "x"\n' if field.encode_name in ARRAYS else f"[{field.encode_name}]\n"
            )
            headers[header] = [each.encode_name for each in table.fields if each.encode_name != "id"]
    return [(header, key) for header, keys in headers.items() for key in keys]


@pytest.mark.parametrize(("header", "key"), keys_of_every_table(), ids=lambda part: part.replace("\n", " "))
def test_a_wrong_type_is_found_at_each_key_that_rules_have(header, key):
    line = f"{key} = 2026-11-22T10:00:00Z\n"  # right for nothing
    pool = "" if (header, key) == ("", "pool") else 'pool = "desk"\n'
    queues = "" if (header, key) == ("", "queues") else '[[queues]]\nid = "orders"\n'
    text = pool + header + line + queues
    reading = parse_rules(text, "pool.toml")
    expected = text[: text.index(line)].count("\n") + 1
    assert [each.line for each in reading.mistakes if each.code.startswith("not-")] == [expected]
    assert [each for each in reading.mistakes if each.severity == "error" and each.line != expected] == []


KEYS = ["id", "pool", "queues", "agents", "teams", "skills", "now", "offer", "roster", "limits", "chat"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["call", "rules", "UTC", "desk"]),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), each, max_size=4)
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(VALUES)
def test_whatever_well_formed_file_is_read_the_mistakes_are_told(value):
    table = value if isinstance(value, dict) else {"queues": value}
    text = "".join(f"{json.dumps(key)} = {inline(each)}\n" for key, each in table.items())
    reading = parse_rules(text, "pool.toml")
    assert (reading.rules is None) == any(each.severity == "error" for each in reading.mistakes)
    assert "not-understood" not in codes(reading)
    assert all(1 <= each.line <= text.count("\n") + 1 for each in reading.mistakes)
    assert render(reading.mistakes).count("\n") == max(0, len(reading.mistakes) - 1)


def inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value) if value is not None else "1979-05-27"


DESK = (TESTS.parent / "deploy" / "desks" / "service-desk.toml").read_text()


@settings(deadline=None)
@given(st.data())
def test_a_rules_file_with_a_slip_of_the_hand_never_ends_in_a_traceback(data):
    start = data.draw(st.integers(0, len(DESK)))
    end = data.draw(st.integers(start, min(len(DESK), start + 40)))
    slip = data.draw(st.text(max_size=3) | st.sampled_from(["\n", '"', "'''", "[", "]]", "{", "=", "\r", "\0", "99"]))
    text = DESK[:start] + slip + DESK[end:]
    reading = parse_rules(text, "pool.toml")
    assert (reading.rules is None) == any(each.severity == "error" for each in reading.mistakes)
    assert all(0 <= each.line <= text.count("\n") + 1 for each in reading.mistakes)
    assert render(reading.mistakes, "zh-CN").isprintable() or len(reading.mistakes) > 1


# ---- knock-on faults are not told


def test_what_only_follows_from_another_mistake_is_not_reported():
    text = """pool = "desk"
roster = "rules"
[[queues]]
id = 5
[[queues]]
id = "support"
skills = { german = "two" }
[[queues]]
id = "billing"
chanels = ["call"]
[[agents]]
id = "ann"
queues = ["orders", "support", "billing"]
limits = { sms = 0 }
"""
    assert places(parse_rules(text, "pool.toml")) == [(4, "not-a-text"), (7, "not-a-number"), (10, "unknown-key")]


def test_mistakes_of_every_kind_are_told_at_once():
    text = """pool = "desk"
roster = "rules"
time_zone = "Mars"
[[queues]]
id = "orders"
ofer = 3
[[agents]]
id = "ann"
queues = ["order"]
[times]
wait = "1 h"
"""
    found = places(parse_rules(text, "pool.toml"))
    assert found == [(3, "unknown-time-zone"), (6, "unknown-key"), (9, "unknown-queue"), (11, "not-a-number")]


# ---- bytes


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path):
    path = tmp_path / "pool.toml"
    path.write_bytes(b"\xef\xbb\xbf" + (SMALL + "[times]\noffer = 99\n").replace("\n", "\r\n").encode())
    assert places(read_rules(path)) == [(5, "offer-after-target")]


def test_what_is_no_file_of_rules_is_a_mistake_about_the_whole_file(tmp_path):
    (tmp_path / "huge.toml").write_bytes(b"#" * 50_000_000)
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    found = {
        "nowhere.toml": "missing-file",
        "nowhere/pool.toml": "missing-file",
        ".": "folder",
        "huge.toml": "too-large",
        "pipe.toml": "not-a-file",
        "loop.toml": "unreadable",
        "nul\0.toml": "unreadable",
        "long" * 100: "unreadable",
    }
    for name, code in found.items():
        reading = read_rules(tmp_path / name)
        assert (reading.rules, places(reading)) == (None, [(0, code)]), name
        assert render(reading.mistakes).isprintable()


@pytest.mark.parametrize(
    ("text", "line", "code"),
    [
        ("pool = 'desk'\n] = 1", 2, "toml-statement"),
        ("\n\ntimes = { offer = 1 wait = 2 }", 3, "toml-unclosed-table"),
        ("pool = 'desk'\nid = \"\x7f\"", 2, "toml"),
        ("queues = " + "[" * 5_000, 0, "toml-too-deep"),
        ("pool = 'desk'\n\nqueues = [\n\n\n", 3, "toml-value"),
        ("pool = '''desk\n\n\n", 1, "toml-unclosed-text"),
    ],
)
def test_a_fault_of_toml_is_told_at_the_line_where_reading_stopped(text, line, code):
    assert places(parse_rules(text, "pool.toml")) == [(line, code)]


def test_deep_and_wide_files_are_read_or_refused_but_not_fallen_over():
    assert codes(parse_rules(SMALL + "x = " + "[" * 200 + "]" * 200, "pool.toml")) == ["unknown-key"]
    assert codes(parse_rules("a." * 500 + "b = 1\n" + SMALL, "pool.toml")) == ["unknown-key"]
    assert len(parse_rules(SMALL + "[[agents]]\nidd = 1\n" * 2_000, "pool.toml").mistakes) == 4_000


# ---- includes


def test_included_tables_count_as_if_they_stood_in_the_file(tmp_path):
    folder = written(
        tmp_path,
        pool='include = ["staff/teams.toml", "staff/agents.toml", "times.toml"]\nroster = "rules"\n' + SMALL,
        staff__teams='[[teams]]\nid = "front"\nqueues = ["orders", "support"]\n',
        staff__agents='include = ["more.toml"]\n[[agents]]\nid = "ann"\nteam = "front"\n',
        staff__more='[[agents]]\nid = "bob"\nteam = "front"\n[[queues]]\nid = "support"\n',
        times="[times]\noffer = 20\n",
    )
    reading = read_rules(folder / "pool.toml")
    assert reading.mistakes == []
    assert reading.rules is not None
    assert [queue.id for queue in reading.rules.queues] == ["orders", "support"]
    assert [agent.id for agent in reading.rules.agents] == ["ann", "bob"]
    assert reading.rules.times.offer == 20
    assert [path.name for path in reading.included] == ["teams.toml", "agents.toml", "more.toml", "times.toml"]


def test_a_link_inside_the_folder_may_be_included_and_one_that_leads_out_may_not(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder = written(
        tmp_path, desk__pool='include = ["in.toml", "out.toml"]\n' + SMALL, elsewhere__x="[times]\noffer = 9\n"
    )
    written(tmp_path, desk__real='[[queues]]\nid = "support"\n')
    (folder / "desk/in.toml").symlink_to("real.toml")
    (folder / "desk/out.toml").symlink_to("../elsewhere/x.toml")
    assert places(read_rules(folder / "desk/pool.toml")) == [(1, "include-outside")]


def test_an_include_is_never_absolute(tmp_path):
    folder = written(tmp_path, pool=f'include = ["{tmp_path}/part.toml"]\n' + SMALL, part="[times]\noffer = 9\n")
    assert places(read_rules(folder / "pool.toml")) == [(1, "include-outside")]


def test_a_chain_of_includes_ends_somewhere(tmp_path):
    texts = {f"f{n}": f'include = ["f{n + 1}.toml"]\n' for n in range(20)}
    assert codes(read_rules(written(tmp_path, **texts) / "f0.toml")) == ["include-too-many"]


def test_a_text_that_is_no_file_cannot_include():
    assert places(parse_rules('include = ["a.toml"]\n' + SMALL, "pool.toml")) == [(1, "include-needs-file")]


# ---- folders


def test_a_folder_is_one_pool_for_each_file_that_no_other_includes(tmp_path):
    folder = written(
        tmp_path,
        south='include = ["staff.toml"]\nroster = "rules"\n' + SMALL.replace("desk", "south"),
        staff='[[agents]]\nid = "ann"\nqueues = ["orders"]\n',
        north=SMALL.replace("desk", "north"),
        below__other=SMALL,
    )
    (folder / ".hidden.toml").write_text("no")
    (folder / "notes.txt").write_text("no")
    readings = read_pools(folder)
    assert [(reading.file, reading.pool) for reading in readings] == [
        (str(folder / "north.toml"), "north"),
        (str(folder / "south.toml"), "south"),
    ]
    assert all(reading.rules for reading in readings)


def test_one_pool_in_two_files_is_a_mistake_of_the_second(tmp_path):
    folder = written(tmp_path, a="\n" + SMALL, b=SMALL, c=SMALL.replace("desk", "shop"))
    first, second, third = read_pools(folder)
    assert first.mistakes == third.mistakes == []
    assert second.rules is None
    assert render(second.mistakes) == (
        f'{folder}/b.toml:1  pool: the pool "desk" is already described at {folder}/a.toml:2. '
        "Give each pool an id of its own."
    )


def test_files_that_include_each_other_are_all_heard_of(tmp_path):
    folder = written(tmp_path, a='include = ["b.toml"]\n' + SMALL, b='include = ["a.toml"]\n')
    assert [codes(reading) for reading in read_pools(folder)] == [["include-cycle"], ["include-cycle"]]


def test_a_folder_without_pools_and_a_path_to_nowhere_are_mistakes(tmp_path):
    assert [places(reading) for reading in read_pools(tmp_path)] == [[(0, "no-pools")]]
    assert [places(reading) for reading in read_pools(tmp_path / "x")] == [[(0, "missing-file")]]
    assert [places(reading) for reading in read_pools(Path("nul\0"))] == [[(0, "unreadable")]]
    (tmp_path / "gone.toml").symlink_to("nowhere")
    assert [places(reading) for reading in read_pools(tmp_path)] == [[(0, "missing-file")]]


def test_a_file_is_a_list_of_one_pool():
    assert read_pools(DESKS[0]) == [read_rules(DESKS[0])]


# ---- the command


def check(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(check_command, list(map(str, arguments)))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_check_says_of_clean_rules_what_they_hold(tmp_path):
    path = written(tmp_path, pool=SMALL) / "pool.toml"
    code, output = check(path)
    first, *bound = output.splitlines()
    assert (code, first) == (0, f"{path}: pool desk, queues: 1, teams: 0, agents: 0. Nothing to mend.")
    assert bound == explained(parse_rules(SMALL, "pool.toml").rules)


def test_check_says_what_nobody_can_do_who_is_signed_in(tmp_path):
    text = SMALL + '[[queues]]\nid = "tax"\nskills = { tax = 3 }\n[[queues]]\nid = "law"\n'
    folder = written(tmp_path, pool=text)
    log = SqliteLog.open(tmp_path / "log")
    host = Embedded(log, lambda: AUTUMN)
    host.publish(parse_rules(text, "pool.toml").rules)

    def found() -> list[tuple[int, str]]:
        code, output = check(folder / "pool.toml", "--data", tmp_path / "log", "--json")
        assert code == 0
        return [(each["line"], each["code"]) for each in json.loads(output)["pools"][0]["mistakes"]]

    assert found() == [(1, "nobody-signed-in")]
    host.ask(SignInAgent("ann", True, ("orders", "tax"), {"tax": 2}), "1", "desk", "desk")
    host.ask(SignInAgent("bob", True, ("law",)), "2", "desk", "desk")
    assert found() == [(6, "skill-nobody-signed-in")]
    host.ask(SignOutAgent("bob"), "3", "desk", "desk")
    assert found() == [(6, "skill-nobody-signed-in"), (8, "queue-nobody-signed-in")]
    log.close()
    code, output = check(folder / "pool.toml", "--data", tmp_path / "none")
    assert code == 2 and "none" in output


def test_a_queue_that_never_closes_is_not_one_that_never_opens():
    text = SMALL + 'hours = "always"\n[[hours]]\nid = "always"\nweekly = ["daily 00:00-24:00"]\n'
    assert codes(parse_rules(text, "pool.toml")) == []


def test_check_fails_for_mistakes_but_not_for_warnings(tmp_path):
    folder = written(tmp_path, bad=SMALL + "x = 1\n", good=SMALL.replace("desk", "shop") + "[times]\noffer = 61\n")
    assert check(folder / "good.toml")[0] == 0
    code, output = check(folder)
    assert code == 1
    shop = explained(read_rules(folder / "good.toml").rules)
    assert output.splitlines() == [
        *shop,
        f"{folder}/bad.toml:4   queues[0].x: no such key. "
        "Known here: id, name, channels, skills, service_level, targets, offer, wrap_up, wait, talk, hours, on_close, "
        "closed, full, waited, most_waiting, alternatives, widen.",
        f"{folder}/good.toml:5  warning: times.offer: an agent has 61 s to answer an offer, "
        "but the target of `now` is 60 s: one missed offer and the contact is late.",
        "Mistakes: 1, warnings: 1.",
    ]


def test_check_says_that_a_fault_of_toml_hides_what_comes_after(tmp_path):
    path = written(tmp_path, pool='pool = "desk\n') / "pool.toml"
    assert check(path, "--lang", "zh-CN") == (
        1,
        f"{path}:1  文本缺少结尾的引号。\n这类错误之后的内容没有再读，可能还有别的错误。\n错误 1 处，提醒 0 处。\n",
    )


def test_check_as_json_has_everything_a_program_needs(tmp_path):
    path = written(tmp_path, pool=SMALL + "ofer = 1\n") / "pool.toml"
    code, output = check(path, "--json", "--lang", "zh-CN")
    assert code == 1
    assert json.loads(output) == {
        "pools": [
            {
                "file": str(path),
                "pool": "desk",
                "accepted": False,
                "queues": None,
                "teams": None,
                "agents": None,
                "bounds": None,
                "mistakes": [
                    {
                        "file": str(path),
                        "line": 4,
                        "where": "queues[0].ofer",
                        "severity": "error",
                        "code": "unknown-key",
                        "parameters": {
                            "key": "ofer",
                            "known": list(Queue.__struct_fields__),
                            "guess": "offer",
                        },
                        "problem": "没有这个键。",
                        "suggestion": "是否想写 `offer`？",
                    }
                ],
            }
        ],
        "errors": 1,
        "warnings": 0,
    }


def test_check_used_wrongly_is_told_so():
    assert check()[0] == 2
    assert check(DESKS[0], "--lang", "fr")[0] == 2
    assert check("/nowhere.toml")[0] == 1


def test_a_mistake_travels_as_json_and_comes_back():
    mistake = read_rules(BAD[0]).mistakes[0]
    assert msgspec.json.decode(msgspec.json.encode(mistake), type=Mistake) == mistake

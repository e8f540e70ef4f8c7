"""`waitline rules`: what is published, shown and compared is what the log holds and what the files say."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from engine.commands_rules import rules_command
from engine.core.messages import RouteContact
from engine.core.rules import Doors, HeadStarts, Hours, Limits, Queue, Repeats, Rules, Targets, Team, hash_of
from engine.embedded import Embedded
from engine.streams.hours import worked_out
from engine.streams.memory_log import MemoryLog
from engine.streams.rules_diff import differences, sentence
from engine.streams.rules_file import parse_rules, read_rules
from engine.streams.rules_held import as_toml_file, held_at
from engine.streams.sqlite_log import SqliteLog

DESKS = sorted((Path(__file__).resolve().parents[1] / "deploy" / "desks").glob("*.toml"))
NOW = 1_795_600_000_000  # 2026-11-25
FIRST = """
pool = "shop"
[head_starts]
vip = 90
[[queues]]
id = "repairs"
channels = ["call", "chat"]
"""
SECOND = FIRST.replace("90", "120").replace('"call", "chat"', '"call"')
CHANGED = ["queue repairs: takes chats no more", "VIP customers are now due 2 min earlier (was 1 min 30 s)"]


def ask(*arguments: str | Path, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(rules_command, list(map(str, arguments)), input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def log(tmp_path) -> Path:
    """A log in which the first rules stand at position 0."""
    with_rules(tmp_path / "log", FIRST)
    return tmp_path / "log"


def with_rules(folder: Path, *texts: str, time: Any = "real") -> None:
    opened = SqliteLog.open(folder)
    host = Embedded(opened, lambda: NOW, time)
    for text in texts:
        host.publish(parse_rules(text, "shop.toml", NOW).rules)
    opened.close()


def written(folder: Path, text: str, name: str = "shop.toml") -> Path:
    (folder / name).write_text(text)
    return folder / name


# ---- publish


def test_publishing_says_what_changes_asks_and_publishes(log, tmp_path):
    file = written(tmp_path, SECOND)
    code, output = ask("publish", file, "--data", log, answer="n\n")
    assert code == 1 and output.splitlines()[:2] == CHANGED
    assert ask("show", "--data", log, "--json")[1].count('"version": 1') == 1
    code, output = ask("publish", file, "--data", log, answer="y\n")
    assert code == 0 and output.endswith("The pool shop goes by these rules since position 1.\n")
    assert ask("diff", log, file) == (0, "The rules are the same.\n")
    assert ask("publish", file, "--data", log) == (0, "The rules are the same.\n")
    third = written(tmp_path, SECOND.replace("120", "60"))
    assert ask("publish", third, "--data", log, "--json")[0] == 2, "nobody can be asked"
    document = json.loads(ask("publish", third, "--data", log, "--json", "--yes")[1])
    assert document == {
        "pool": "shop",
        "status": "accepted",
        "position": 2,
        "reason": "",
        "changes": ["VIP customers are now due 1 min earlier (was 2 min)"],
    }


def test_a_new_pool_may_come_into_a_log(log, tmp_path):
    code, output = ask("publish", written(tmp_path, FIRST.replace("shop", "bank")), "--data", log, "--yes")
    assert code == 0 and output.splitlines()[0] == "The pool bank is new in this log."
    code, output = ask("show", "--data", log)
    assert code == 1 and output == "The log has the pools shop, bank: say --pool.\n"
    assert 'pool = "bank"' in ask("show", "--data", log, "--pool", "bank")[1]


def test_rules_with_mistakes_are_not_published(log, tmp_path):
    code, output = ask("publish", written(tmp_path, SECOND + "offfer = 1\n"), "--data", log, "--yes")
    assert code == 1 and "Did you mean `offer`?" in output and "rules with mistakes do not hold" in output


def test_a_log_that_is_served_is_left_alone(log, tmp_path):
    serving = SqliteLog.open(log)
    try:
        code, output = ask("publish", written(tmp_path, SECOND), "--data", log, "--yes")
        assert code == 1 and "Publish" not in output and output
        assert ask("show", "--data", log)[0] == 0, "showing takes no lock"
    finally:
        serving.close()


def test_what_the_pool_refuses_is_said(log, tmp_path):
    opened = SqliteLog.open(log, create=False)
    host = Embedded(opened, lambda: NOW)
    host.ask(RouteContact("c1", "call", "repairs"), "1", "pbx", "shop")
    opened.close()
    code, output = ask("publish", written(tmp_path, FIRST.replace("repairs", "sales")), "--data", log, "--yes")
    assert code == 1 and "Not published: queue-in-use (repairs). The pool goes on under the rules it had." in output


def test_simulated_time_gets_no_rules_of_real_time(tmp_path):
    with_rules(tmp_path / "log", FIRST, time="simulated")
    code, output = ask("publish", written(tmp_path, SECOND), "--data", tmp_path / "log", "--yes")
    assert code == 1 and "simulated time" in output


def test_it_must_be_said_which_log(tmp_path):
    file = written(tmp_path, FIRST)
    assert ask("publish", file)[0] == 2
    assert ask("publish", file, "--data", tmp_path, "--broker", "localhost:1")[0] == 2
    assert ask("publish", file, "--data", tmp_path / "none")[0] == 1


# ---- show


@pytest.mark.parametrize("path", DESKS, ids=lambda path: path.stem)
def test_what_is_shown_can_be_published_again_and_is_the_same(path):
    rules = read_rules(path, NOW).rules
    reading = parse_rules(as_toml_file(rules), "shown.toml", NOW)
    assert not [each for each in reading.mistakes if each.severity == "error"]
    assert hash_of(reading.rules) == hash_of(rules)


@pytest.mark.parametrize("weekly", ["daily 00:00-24:00", "daily 18:00-08:00", "mon 09:00-10:00", "sat,sun 00:00-24:00"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/New_York", "Asia/Kathmandu"])
def test_hours_are_shown_so_that_the_same_doors_open(weekly, zone):
    text = FIRST + f'hours = "day"\n[[hours]]\nid = "day"\ntime_zone = "{zone}"\nweekly = ["{weekly}"]\n'
    rules = parse_rules(text, "shop.toml", NOW).rules
    assert parse_rules(as_toml_file(rules), "shown.toml", NOW).rules == rules


def test_rules_are_shown_as_they_held_at_a_position(log, tmp_path):
    ask("publish", written(tmp_path, SECOND), "--data", log, "--yes")
    assert "vip = 90" in ask("show", "--data", log, "--at", "0")[1]
    assert "vip = 120" in ask("show", "--data", log, "--at", "1")[1]
    assert ask("show", "--data", log, "--at", "2") == (1, "The log ends at position 1.\n")
    document = json.loads(ask("show", "--data", log, "--at", "0", "--json")[1])
    assert (document["version"], document["position"]) == (1, 0)
    assert document["rules"]["head_starts"]["vip"] == 90


def test_nothing_is_shown_where_nothing_was_published(tmp_path):
    SqliteLog.open(tmp_path / "empty").close()
    assert ask("show", "--data", tmp_path / "empty") == (1, "The log holds no rules.\n")
    assert held_at(MemoryLog()) == {}


# ---- diff


def test_files_and_positions_are_compared(log, tmp_path):
    file = written(tmp_path, SECOND)
    assert ask("diff", log, file) == (1, "\n".join(CHANGED) + "\n")
    ask("publish", file, "--data", log, "--yes")
    assert ask("diff", f"{log}@0", f"{log}@1") == (1, "\n".join(CHANGED) + "\n")
    code, output = ask("diff", f"{log}@0", log, "--lang", "zh-CN")
    assert (code, output) == (1, "队列 repairs：不再接受聊天\nVIP 客户改为提前 2 分 到期（原为 1 分 30 秒）\n")
    changes = json.loads(ask("diff", f"{log}@0", log, "--json")[1])
    assert changes[1] == {
        "where": ["head_starts", "vip"],
        "kind": "changed",
        "old": 90,
        "new": 120,
        "sentence": CHANGED[1],
    }
    assert ask("diff", log, tmp_path / "none.toml")[0] == 2


BASE = parse_rules(FIRST, "shop.toml", NOW).rules


def texts(old: Rules, new: Rules) -> list[str]:
    return [sentence(each) for each in differences(old, new)]


def test_a_queue_says_its_own_like_the_pool():
    said = Queue("repairs", channels=("call", "chat"), offer=20, targets=Targets(30), most_waiting=5)
    new = msgspec.structs.replace(BASE, queues=(said,), doors=Doors(repeats=Repeats(3, 3600)))
    assert texts(BASE, new) == [
        "queue repairs: targets are now now 30 s, today 4 h, follow-up 1 d (was as in the pool)",
        "queue repairs: an agent now has 20 s to answer an offer (was as in the pool)",
        "queue repairs: at most so many may wait: now 5 (was as in the pool)",
        "how often a customer is let in is now most 3, window 1 h (was no rule)",
    ]


def test_skills_teams_and_limits():
    old = msgspec.structs.replace(BASE, teams=(Team("red", ("repairs",), {"tax": 1}),))
    new = msgspec.structs.replace(BASE, teams=(Team("red", (), {"tax": 2, "law": 1}),), limits=Limits(chat=4))
    assert texts(old, new) == [
        "chats: an agent now has at most 4 at a time (was 3)",
        "team red: serves repairs no more",
        "team red: tax is now level 2 (was 1)",
        "team red: law is now asked for or had, at level 1",
    ]


def test_hours_that_are_only_worked_out_for_longer_are_no_other_hours():
    text = FIRST + 'hours = "day"\n[[hours]]\nid = "day"\nweekly = ["mon-fri 09:00-17:00"]\n'
    said = parse_rules(text, "shop.toml", NOW).said
    old, new = worked_out(said, NOW), worked_out(said, NOW + 60 * 86_400_000)
    assert texts(old, new) == ["opening hours day are worked out until 2027-10-01 00:00 UTC (was 2027-07-01 00:00 UTC)"]
    longer = parse_rules(text.replace("17:00", "18:00"), "shop.toml", NOW).rules
    assert texts(old, longer) == ["opening hours day are others, from 2026-10-01 17:00 UTC on"]


def changed(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number of the pool's own tables, one after the other, greater by one."""
    for name in value.__struct_fields__:
        inner = getattr(value, name)
        if isinstance(inner, msgspec.Struct):
            for place, other in changed(inner, (*path, name)):
                yield place, msgspec.structs.replace(value, **{name: other})
        elif isinstance(inner, int):
            yield (*path, name), msgspec.structs.replace(value, **{name: inner + 1})


@pytest.mark.parametrize("lang", ["en", "zh-CN"])
def test_every_number_of_the_pool_has_a_sentence_of_its_own(lang):
    for place, other in changed(BASE):
        (change,) = differences(BASE, other)
        assert ".".join(change.where) not in sentence(change, lang), place


def test_what_has_no_sentence_is_said_all_the_same():
    new = msgspec.structs.replace(BASE, hours=(Hours("day", (0, 1)),), head_starts=HeadStarts(90))
    assert texts(BASE, new) == ["opening hours day are new"]
    (change,) = differences(BASE, msgspec.structs.replace(BASE, time_zone="Asia/Shanghai"))
    assert sentence(change) == "the time zone is now Asia/Shanghai (was UTC)"
    assert sentence(change._replace(where=("unheard-of",))) == "unheard-of is now Asia/Shanghai (was UTC)"

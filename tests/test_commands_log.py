"""`waitline log show` and `waitline log verify`, on a real file, as a person or a script calls them."""

import json
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from engine import __version__
from engine.commands_log import log_command
from engine.streams.log import Entry, Record
from engine.streams.sqlite_log import SqliteLog
from tests.streams.written import MONDAY, log_of

STORY = """
    0.0 > publish-rules rules=desk
    1.0 > sign-in-agent agent_id=ann ready=true queues=sales
    3.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    4.0 > route-contact contact_id=c1 channel=call queue_id=sales @pbx/1
    5.0 > route-contact contact_id=c2 channel=chat queue_id=sales @web/1
    9.0 > end-contact contact_id=c1 by=customer @pbx/2
"""
ASK = [sys.executable, "-m", "engine", "log"]


@pytest.fixture(params=["json", "msgpack"])
def folder(tmp_path, request):
    with_log(tmp_path, encoding=request.param)
    return tmp_path


def with_log(folder, **said):
    log = SqliteLog.open(folder)
    log_of(STORY, log, zero=MONDAY, **said)
    log.close()


def run(*arguments):
    result = CliRunner().invoke(log_command, [str(each) for each in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_show_prints_the_transcript(folder):
    result = run("show", folder)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "# Times of day in UTC" and "# Monday 2026-11-23, UTC+00:00" in lines
    assert lines[-1].startswith(
        "10:00:09.000 < offer-issued contact_id=c2 agent_id=ann expires_at=10:00:24.0 waited=4.0"
    )


def test_show_can_be_asked_for_a_contact_a_place_and_a_zone(folder):
    result = run("show", folder, "--contact", "c2", "--zone", "Asia/Shanghai")
    assert [line[:14] for line in result.output.splitlines()[3:]] == [
        "18:00:05.000 >",
        "18:00:05.000 <",
        "18:00:09.000 >",
        "18:00:09.000 <",
    ]
    assert " #4" in run("show", folder, "--from", "4", "--limit", "1").output
    assert " #5" not in run("show", folder, "--from", "4", "--limit", "1").output
    assert "    3.0 > route-contact" in run("show", folder, "--relative").output
    assert "queue_id=sales talked" not in run("show", folder).output
    assert "target=60.0 reason=tier-now" in run("show", folder, "--full").output
    assert "queue_id=sales source=pbx" in run("show", folder, "--full").output


def test_show_can_print_one_json_document_a_line(folder):
    documents = [json.loads(line) for line in run("show", folder, "--json").output.splitlines()]
    assert documents[0]["marker"]["engine"] == __version__ and documents[0]["offset"] == 0
    assert [document["position"] for document in documents[1:]] == [0, 1, 2, 3, 4, 5]
    assert documents[3]["command"] == {
        "id": "1",
        "source": "pbx",
        "pool": "desk",
        "type": "route-contact",
        "data": {"contact_id": "c1", "channel": "call", "queue_id": "sales"},
        "version": 1,
    }
    assert [event["type"] for event in documents[3]["events"]] == ["contact-queued", "offer-issued"]
    assert documents[4]["events"] == []
    assert len(run("show", folder, "--json", "--limit", "2").output.splitlines()) == 3


def test_verify_says_that_a_whole_log_is_whole(folder):
    result = run("verify", folder, "--redecide")
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "6 commands, positions 0 to 5, 5 with a turn, 1 that said nothing"
    assert "6 commands decided again, 0 turns only folded" in result.output
    assert result.output.splitlines()[-1] == "The log is whole."
    document = json.loads(run("verify", folder, "--json").output)
    assert document["sound"] is True and document["problems"] == document["file"] == []
    assert f"chain {document['chain']}" in result.output


def test_verify_names_what_is_wrong_and_fails(folder):
    log = SqliteLog.open(folder)
    log.append(6, [Entry(6, MONDAY + 10_000, b"{}")], [Record(6, 6, b'{"owner":0,"chain":"')])
    log.close()
    result = run("verify", folder)
    assert result.exit_code == 1
    assert result.output.splitlines()[0] == "PROBLEM  Journal record 6 cannot be read as a turn."
    assert result.output.splitlines()[-1] == "The log is NOT whole."
    assert json.loads(run("verify", folder, "--json").output)["sound"] is False


def test_verify_also_looks_at_the_file(folder):
    size = (folder / "waitline.db").stat().st_size
    with (folder / "waitline.db").open("r+b") as file:
        for page in range(4096, size, 4096):
            file.seek(page)
            file.write(b"\xff" * 1000)
    result = run("verify", folder)
    assert result.exit_code == 1
    assert "waitline.db" in result.output


def test_a_folder_without_a_log_is_named_and_stays_as_it_was(tmp_path):
    for command in ("show", "verify"):
        result = run(command, tmp_path / "nothing")
        assert result.exit_code == 1 and "nothing" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_zone_that_does_not_exist_is_named(folder):
    for zone in ("Mars/Olympus", "../etc", ""):
        result = run("show", folder, "--zone", zone)
        assert result.exit_code == 2 and "there is no time zone" in result.output


def test_both_work_while_the_log_is_being_written(folder):
    log = SqliteLog.open(folder)
    try:
        assert run("verify", folder).exit_code == 0
        assert run("show", folder).exit_code == 0
    finally:
        log.close()


@pytest.mark.parametrize("command", [[], ["show"], ["verify"]])
def test_the_help_is_worth_reading(command):
    text = run(*command, "--help").output
    assert len(text) > 300 and "DIR" in text


def test_there_is_no_progress_bar_in_a_pipe_and_one_on_a_terminal(tmp_path):
    with_log(tmp_path)
    piped = subprocess.run([*ASK, "verify", tmp_path], capture_output=True, check=False)
    assert piped.returncode == 0 and piped.stderr == b""
    reader, writer = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    shown = subprocess.run(
        [*ASK, "verify", tmp_path], stdout=subprocess.PIPE, stderr=writer, env=environment, check=False
    )
    os.close(writer)
    assert shown.returncode == 0 and shown.stdout == piped.stdout
    assert b"Reading" in os.read(reader, 65536)
    os.close(reader)


def test_whoever_reads_only_the_first_lines_sees_no_traceback(tmp_path):
    with_log(tmp_path)
    script = f"{' '.join(ASK)} show {tmp_path} | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout == "# Times of day in UTC\n" and result.stderr == ""

"""What every released version has written is read for ever, and means what it meant."""

import json
from pathlib import Path

import msgspec
import pytest

from engine import __version__
from engine.core import messages as m
from engine.streams.codec import read_command
from engine.streams.journal import Marker, Reader, write_marker, write_turn
from engine.streams.log import Record
from engine.streams.partition import Partition
from schemas.generate import meaning, meaning_of_command

VERSIONS = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name[0].isdigit())
versions = pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
journals = pytest.mark.parametrize("encoding", ["json", "msgpack"])


def lines(folder, name):
    for line in (folder / name).read_text(encoding="utf-8").splitlines():
        document = json.loads(line)
        body = bytes.fromhex(document["hex"]) if "hex" in document else document["bytes"].encode()
        yield body, document["means"], document.get("at")


def missing(was, now):
    """Where `now` says something else than `was`, or nothing; what is new in it does not matter."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [
            f"{key}: {each}"
            for key in was
            for each in ([missing(was[key], now[key])] if key in now else ["gone"])
            if each
        ]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [f"{i}: {each}" for i, each in enumerate(map(missing, was, now)) if each]
    return [] if was == now else [f"{was!r} has become {now!r}"]


def follow(folder, encoding):
    reader = Reader()
    for offset, (body, means, _) in enumerate(lines(folder, f"journal-{encoding}.jsonl")):
        yield body, means, reader.read(Record(offset, None, body)), reader


def test_this_version_has_its_golden_messages():
    assert __version__ in [path.name for path in VERSIONS]


@versions
def test_commands_mean_what_they_meant(folder):
    found = list(lines(folder, "commands.jsonl"))
    for body, means, _ in found:
        assert missing(means, meaning_of_command(body)) == []
    if folder.name == __version__:
        assert {json.loads(body)["type"] for body, _, _ in found} == set(m.COMMANDS)


@versions
def test_events_mean_what_they_meant(folder):
    found = list(lines(folder, "events.jsonl"))
    for body, means, _ in found:
        assert missing(means, meaning(msgspec.json.decode(body, type=m.AnyEvent))) == []
    if folder.name == __version__:
        assert {json.loads(body)["type"] for body, _, _ in found} == set(m.EVENTS)


@versions
def test_messages_without_rules_are_written_as_they_were(folder):
    """Rules stand in full, so a new one lengthens them; everything else leaves out what has its default."""
    for body, _, _ in lines(folder, "events.jsonl"):
        if folder.name == __version__ or b'"rules"' not in body:
            assert msgspec.json.encode(msgspec.json.decode(body, type=m.AnyEvent)) == body
    for body, _, _ in lines(folder, "commands.jsonl"):
        envelope, command = read_command(body)
        assert msgspec.json.encode(envelope) == body
        if folder.name == __version__ or b'"rules"' not in body:
            assert msgspec.json.encode(command) == bytes(envelope.data)


@versions
@journals
def test_journals_are_followed_to_their_end_and_mean_what_they_meant(folder, encoding):
    kinds = []
    for _, means, said, _ in follow(folder, encoding):
        assert isinstance(said, m.Turn | Marker)
        assert missing(means, meaning(said)) == []
        kinds.append(type(said))
    assert kinds[0] is Marker and len(kinds) > 20


@versions
@journals
def test_journals_of_this_version_are_written_as_they_were(folder, encoding):
    if folder.name != __version__:
        pytest.skip("an older version's journal is only read")
    chain = bytes(32)
    for body, _, said, _ in follow(folder, encoding):
        if isinstance(said, Marker):
            assert write_marker(said) == body
        else:
            again, chain = write_turn(0, chain, said, encoding)
            assert again == body


@versions
@journals
def test_journals_are_folded_into_rows_that_can_be_gone_on_from(folder, encoding):
    partition = Partition(encoding)
    for _, _, said, reader in follow(folder, encoding):
        if isinstance(said, m.Turn):
            partition.fold(said, reader.place)
    manifest, chunks = partition.snapshot(reader.place)(b"")
    Partition.restore(manifest, chunks, encoding)


@versions
def test_what_this_version_has_decided_it_decides_again(folder):
    if folder.name != __version__:
        pytest.skip("an older version's turns are only folded")
    partition = Partition()
    partition.owner = 0
    records = [
        partition.decide(*read_command(body), position, at).record
        for position, (body, _, at) in enumerate(lines(folder, "commands.jsonl"))
    ]
    written = [body for body, _, said, _ in follow(folder, "json") if isinstance(said, m.Turn)]
    assert [record for record in records if record is not None] == written

"""The HTTP door, as adapters, CRMs and strangers meet it: a real server, asked over HTTP."""

import asyncio
import itertools
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema
import pytest
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate

from engine.core.messages import COMMANDS, INTERNAL
from engine.streams.audit import verify
from engine.streams.journal import read_turn
from engine.streams.sqlite_log import SqliteLog
from tests.hosts.server import RULES, WAIT_S, Listener, Server, command, fields
from tests.kafka.doors import KafkaDoor
from tests.kafka.oracle import check
from tests.kafka.workers import WorkerProcess

POOLS = 24  # each test that changes something has one of its own
UNUSED = itertools.count(0, 1_000_000)  # ids, where a pool is met again
JSON = {"Content-Type": "application/json"}


def rules_of(pool: str) -> str:
    return RULES.replace('pool = "desk"', f'pool = "{pool}"')


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.broker)])
def server(request, tmp_path_factory) -> Iterator[Server]:
    """What is asked of this one holds for every host."""
    folder = tmp_path_factory.mktemp("door")
    config = folder / "pools"
    config.mkdir()
    for number in range(POOLS):
        (config / f"pool-{number:02d}.toml").write_text(rules_of(f"pool-{number:02d}"))
    if request.param == "kafka":
        broker, shape = request.getfixturevalue("broker"), request.getfixturevalue("topics")(partitions=3)
        worker = WorkerProcess(folder, broker, shape, "worker", config=config)
        worker.wait("rules-published", POOLS)
        with KafkaDoor(broker, shape).start() as server:
            yield server
            assert server.stop() == 0 and worker.stop() == 0
        asyncio.run(check(broker, shape.prefix))
    else:
        with Server(folder / "data", config).start() as server:
            yield server
            assert server.stop() == 0
        log = SqliteLog.open(folder / "data", read_only=True)
        assert log.verify() == [] and verify(log, redecide=True).problems == []
        log.close()
    assert "Traceback" not in server.text(), server.text()


@pytest.fixture(scope="module")
def client(server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def names(server) -> Iterator[str]:
    return iter([f"pool-{number:02d}" for number in range(POOLS)])


class Pool:
    """A pool that nobody else uses. Commands get ids by themselves."""

    def __init__(self, client: httpx.Client, name: str) -> None:
        self.client = client
        self.name = name
        self.sent = next(UNUSED)

    def command(self, kind: str, **data: Any) -> dict[str, Any]:
        self.sent += 1
        return command(kind, f"id-{self.sent}", pool=self.name, **data)

    def post(self, content: Any, **settings: Any) -> httpx.Response:
        return self.client.post("/v1/commands", json=content, **settings)

    def do(self, kind: str, **data: Any) -> dict[str, Any]:
        """The result of a command, with its events."""
        answer = self.post(self.command(kind, **data), params={"wait": "decided"})
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    @property
    def partition(self) -> int:
        """The first part of its events' ids."""
        pools = self.client.get("/v1/pools").json()["pools"]
        return next(int(each["partition"]) for each in pools if each["pool"] == self.name)

    def position(self) -> int:
        """That of a command that changes nothing: one more each time, if nothing else is taken meanwhile."""
        return int(self.do("end-contact", contact_id="nobody", by="customer")["position"])

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        answer = self.client.get(f"/v1/pools/{self.name}/{path}", params=params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def pool(client, names) -> Pool:
    return Pool(client, next(names))


@pytest.fixture
def quiet(client) -> Pool:
    """A pool for tests that change nothing."""
    return Pool(client, f"pool-{POOLS - 1:02d}")


# ---- commands


def kinds(result: dict[str, Any]) -> list[str]:
    return [event["type"] for event in result["events"]]


def test_every_command_of_an_adapter_and_a_desk_is_taken(pool):
    here = {"queues": ["sales", "repairs"], "skills": {"technical": 3}}
    story = [
        ("source-heartbeat", {"silence_ms": 86_400_000}, ["source-heard"]),
        ("sign-in-agent", {"agent_id": "ann", **here}, ["agent-signed-in"]),
        (
            "route-contact",
            {"contact_id": "c1", "channel": "call", "queue_id": "sales", "vip": True},
            ["contact-queued"],
        ),
        ("update-contact", {"contact_id": "c1", "attributes": {"order": "1"}}, ["contact-updated"]),
        ("set-agent-ready", {"agent_id": "ann"}, ["agent-became-ready", "offer-issued"]),
        (
            "decline-offer",
            {"contact_id": "c1", "agent_id": "ann"},
            ["offer-declined", "declines-lapsed", "offer-issued"],
        ),
        ("accept-offer", {"contact_id": "c1", "agent_id": "ann"}, ["offer-accepted"]),
        (
            "transfer-contact",
            {"contact_id": "c1", "agent_id": "ann", "queue_id": "repairs"},
            ["contact-transferred", "offer-issued"],
        ),
        ("accept-offer", {"contact_id": "c1", "agent_id": "ann"}, ["offer-accepted"]),
        ("end-contact", {"contact_id": "c1", "by": "agent"}, ["contact-ended", "wrap-up-started"]),
        ("complete-wrap-up", {"contact_id": "c1", "agent_id": "ann"}, ["wrap-up-ended"]),
        ("set-agent-not-ready", {"agent_id": "ann", "reason": "lunch"}, ["agent-became-not-ready"]),
        ("sign-out-agent", {"agent_id": "ann"}, ["agent-signed-out"]),
        ("block-customer", {"customer": "k1", "reason": "abuse"}, ["customer-blocked"]),
        ("allow-customer", {"customer": "k1"}, ["customer-allowed"]),
        ("unlist-customer", {"customer": "k1"}, ["customer-unlisted"]),
    ]
    assert {kind for kind, _, _ in story} == COMMANDS.keys() - INTERNAL
    last, partition = -1, pool.partition
    for kind, data, expected in story:
        result = pool.do(kind, **data)
        assert (result["status"], kinds(result)) == ("accepted", expected), kind
        assert result["position"] > last and result["at"] > 1_700_000_000_000
        last = result["position"]
        assert [event["id"] for event in result["events"]] == [f"{partition}/{last}/{i}" for i in range(len(expected))]


@pytest.mark.parametrize("server", ["embedded"], indirect=True)
def test_without_wait_the_events_are_not_in_the_answer_and_another_word_than_decided_is_refused(pool):
    result = pool.post(pool.command("source-heartbeat"), params={}).json()
    assert result.keys() == {"status", "position", "at"}
    answer = pool.post(pool.command("source-heartbeat"), params={"wait": "forever"})
    assert (answer.status_code, answer.json()["field"]) == (400, "wait")


def test_a_batch_has_a_result_for_each_in_order(pool):
    route = {"channel": "chat", "queue_id": "sales"}
    first = pool.command("route-contact", contact_id="c1", **route)
    batch = [
        first,
        pool.command("route-contact", contact_id="c1", **route),
        {"id": "x"},
        first,
        {**pool.command("source-heartbeat"), "pool": "nowhere"},
        pool.command("route-contact", contact_id="c2", channel="chat"),
        pool.command("update-contact", contact_id="c1"),
        pool.command("end-contact", contact_id="c1", by="customer"),
        "no command at all",
    ]
    answer = pool.post(batch, params={"wait": "decided", "lang": "en"})
    assert answer.status_code == 200
    results = answer.json()
    assert [result["status"] for result in results] == [
        "accepted", "refused", "rejected", "repeated", "rejected", "rejected", "unchanged", "accepted", "rejected",
    ]  # fmt: skip
    at = results[0]["position"]
    positions = [result.get("position") for result in results]
    assert positions == [at, at + 1, None, at + 2, None, None, at + 3, at + 4, None], "only what is taken has one"
    refused, unknown = results[1], results[4]
    assert refused["reason"] == "contact-id-open" and kinds(refused) == ["command-refused"]
    assert "c1" in refused["message"], "a sentence for a person"
    assert (unknown["reason"], unknown["field"]) == ("unknown-pool", "pool")
    assert results[2]["field"] == "source" and results[5]["field"] == "data.queue_id"
    assert results[3]["first"] == {"position": at, "status": "accepted"}
    assert results[6]["events"] == []
    assert pool.post([]).json() == []


def test_a_refusal_is_told_in_the_language_that_is_asked_for(pool):
    said = {}
    for language in ("en", "zh-CN"):
        ask = pool.command("end-contact", contact_id="c9", by="customer")
        said[language] = pool.post(ask, params={"lang": language}).json()
        ask = pool.command("end-contact", contact_id="c9", by="customer")
        assert pool.post(ask, headers={"Accept-Language": language}).json()["message"] == said[language]["message"]
    assert said["en"]["reason"] == said["zh-CN"]["reason"] == "unknown-contact"
    assert said["en"]["message"].startswith("No contact") and "没有" in said["zh-CN"]["message"]


def test_who_is_turned_away_is_told_what_to_do_next_in_the_language_that_is_asked_for(tmp_path):
    (tmp_path / "desk.toml").write_text(
        rules_of("desk") + '\n[[queues]]\nid = "gate"\nname = "Gate"\nmost_waiting = 1\nalternatives = ["sales/chat"]\n'
    )
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as server, server.client() as client:
        desk = Pool(client, "desk")
        assert desk.do("route-contact", contact_id="c1", channel="call", queue_id="gate")["status"] == "accepted"
        ask = desk.command("route-contact", contact_id="c2", channel="call", queue_id="gate")
        told = desk.post(ask).json()
        assert (told["status"], told["reason"]) == ("turned-away", "full")
        assert told["message"] == (
            "So many are waiting for Gate that nobody more is let in. Open now: Sales by chat. "
            "Please try again in a while."
        )
        again = desk.post(ask, params={"lang": "zh-CN"}).json()
        assert (again["status"], again["reason"]) == ("repeated", "full") and "请稍后再试" in again["message"]
        contact = desk.get("contacts/c2")["contact"]
        assert (contact["status"], contact["outcome"]) == ("finished", "turned-away")
        assert desk.get("figures")["total"]["turned_away"] == 1
        server.stop()


def test_a_cloudevent_is_taken_as_the_same_command(pool):
    def cloud_event(id: str, kind: str, **data: Any) -> tuple[dict[str, str], bytes]:
        attributes = {"id": id, "source": "crm", "type": kind, "pool": pool.name, "subject": "whatever"}
        message = to_structured_event(CloudEvent(attributes, data))
        return dict(message.headers), message.body

    headers, body = cloud_event("1", "waitline.route-contact", contact_id="c1", channel="sms", queue_id="sales")
    assert headers["content-type"].startswith("application/cloudevents+json")
    answer = pool.client.post("/v1/commands", content=body, headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "accepted"), answer.text
    as_envelope = command("route-contact", "1", "crm", pool.name, contact_id="c1", channel="sms", queue_id="sales")
    assert pool.post(as_envelope).json()["status"] == "repeated", "by (source, id), in whatever dress"
    more = [json.loads(cloud_event(str(i), "end-contact", contact_id="c1", by="adapter")[1]) for i in (1, 2, 3)]
    batch = {"Content-Type": "application/cloudevents-batch+json; charset=utf-8"}
    results = pool.client.post("/v1/commands", content=json.dumps(more), headers=batch).json()
    assert [result["status"] for result in results] == ["repeated", "accepted", "refused"]


def test_the_same_source_and_id_has_one_effect_and_is_told_what_the_first_did(pool):
    ask = pool.command("route-contact", contact_id="c1", channel="call", queue_id="sales")
    no = pool.command("route-contact", contact_id="c1", channel="call", queue_id="sales")
    first, refused = (pool.post(each, params={"wait": "decided"}).json() for each in (ask, no))
    for each, before, status in ((ask, first, "accepted"), (no, refused, "refused")):
        for again in (pool.post(each, params={"wait": "decided"}).json(), *pool.post([each] * 3).json()):
            assert again["status"] == "repeated"
            assert again["position"] > before["position"] == again["first"]["position"]
            assert again["first"]["status"] == status
            assert again.get("events", before["events"]) == before["events"], "under the ids they had"
    assert again["first"]["reason"] == again["reason"] == "contact-id-open" and again["message"] == refused["message"]
    assert pool.post({**ask, "source": "pbx-2"}).json()["status"] == "refused", "another source's id is another command"
    (queue, _) = pool.get("queues")["queues"]
    assert queue["waiting"] == 1


def test_commands_that_arrive_together_on_many_connections_are_all_decided_once(pool, server):
    results: list[dict[str, Any]] = []

    def adapter(number: int) -> None:
        with server.client() as own:
            for i in range(25):
                ask = command("route-contact", str(i), f"pbx-{number}", pool.name, contact_id=f"c{number}-{i}")
                ask["data"] |= {"channel": "call", "queue_id": "sales"}
                results.append(own.post("/v1/commands", json=ask).json())

    threads = [threading.Thread(target=adapter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {result["status"] for result in results} == {"accepted"} and len(results) == 200
    assert len({result["position"] for result in results}) == 200
    assert pool.get("queues")["queues"][0]["waiting"] == 200


# ---- what is no command


def envelope(**said: Any) -> bytes:
    return json.dumps(
        {**command("route-contact", "id", contact_id="c", channel="call", queue_id="sales"), **said}
    ).encode()


def with_data(**said: Any) -> bytes:
    data = {"contact_id": "c", "channel": "call", "queue_id": "sales", **said}
    return envelope(data={key: value for key, value in data.items() if value is not ...})


DEEP = 100_000
NO_COMMANDS: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, ""),
    "no JSON": (b"hello", 400, ""),
    "half of it": (envelope()[:40], 400, ""),
    "two": (envelope() + envelope(), 400, ""),
    "not UTF-8": (envelope().replace(b'"id": "id"', b'"id": "\xff\xfe"'), 400, ""),
    "half a surrogate": (envelope().replace(b'"id": "id"', b'"id": "\\ud800"'), 400, ""),
    "a byte order mark": (b"\xef\xbb\xbf" + envelope(), 400, ""),
    "msgpack": (b"\x81\xa2id\xa1x", 400, ""),
    "null": (b"null", 400, ""),
    "a number": (b"17", 400, ""),
    "NaN": (with_data(skills={"a": "NaN"}).replace(b'"NaN"', b"NaN"), 400, ""),
    "no id": (envelope(id=None), 400, "id"),
    "an empty id": (envelope(id=""), 400, "id"),
    "an id of 1 MB": (envelope(id="x" * 1_000_000), 400, "id"),
    "a source of 1 MB": (envelope(source="x" * 1_000_000), 400, "source"),
    "a number as id": (envelope(id=1), 400, "id"),
    "NUL in an id": (envelope(id="a\0b"), 400, "id"),
    "a line break in a source": (envelope(source="a\nb"), 400, "source"),
    "an unknown type": (envelope(type="call-mum"), 400, "type"),
    "no data": (envelope(data=None), 400, "data"),
    "data that is a list": (envelope(data=[]), 400, "data"),
    "an unknown field": (envelope(priority=1), 400, "priority"),
    "an unknown field in data": (with_data(vpi=True), 400, "data.vpi"),
    "a missing field in data": (with_data(queue_id=...), 400, "data.queue_id"),
    "a text that is a number": (with_data(queue_id=7), 400, "data.queue_id"),
    "a truth that is a text": (with_data(vip="yes"), 400, "data.vip"),
    "no such channel": (with_data(channel="fax"), 400, "data.channel"),
    "NUL in data": (with_data(contact_id="c\0"), 400, "data.contact_id"),
    "NUL in an attribute": (with_data(attributes={"note": "a\0b"}), 400, "data.attributes.note"),
    "a level of 10^30": (with_data(skills={"a": 10**30}), 400, "data.skills[...]"),
    "a level of -1": (with_data(skills={"a": -1}), 400, "data.skills[...]"),
    "a level of 1.5": (with_data(skills={"a": 1.5}), 400, "data.skills[...]"),
    "a number of 5,000 digits": (
        with_data(skills={"a": 7}).replace(b": 7}", b": " + b"7" * 5000 + b"}"),
        400,
        "data.skills[...]",
    ),
    "1e999": (with_data(skills={"a": 7}).replace(b": 7}", b": 1e999}"), 400, "data.skills[...]"),
    "100 skills": (with_data(skills={f"s{i}": 1 for i in range(100)}), 400, "data.skills"),
    "100,000 attributes": (with_data(attributes={f"a{i}": "" for i in range(100_000)}), 400, "data.attributes"),
    "a text of 2 kB": (with_data(attributes={"a": "x" * 2048}), 400, "data.attributes[...]"),
    "more than 64 KiB in all": (with_data(attributes={f"a{i}": "x" * 1024 for i in range(64)}), 400, ""),
    "a version to come": (envelope(version=2), 400, "version"),
    "an unknown pool": (envelope(pool="nowhere"), 404, "pool"),
    "a tick": (envelope(type="tick", data={}), 400, "type"),
    "rules": (envelope(type="publish-rules", data={"rules": {"pool": "desk", "queues": []}}), 400, "type"),
    "the host's own name": (envelope(source="waitline"), 400, "source"),
    "a CloudEvent of no version": (envelope(specversion="0.3"), 400, "specversion"),
    "a CloudEvent with a stray field": (envelope(specversion="1.0", priority=1), 400, "priority"),
    "lists in lists": (b"[" * DEEP + b"]" * DEEP, 400, ""),
    "objects in objects": (envelope(data=7).replace(b": 7", b": " + b'{"a":' * 10_000 + b"1" + b"}" * 10_000), 400, ""),
    "10 MB": (envelope(actor="x" * 10_000_000), 413, ""),
    "10,000 commands": (b"[" + b",".join([envelope()] * 10_000) + b"]", 413, ""),
}


@pytest.mark.parametrize("name", NO_COMMANDS)
def test_what_is_no_command_is_rejected_by_name_and_disturbs_nothing(quiet, name):
    body, status, field = NO_COMMANDS[name]
    body = body.replace(b'"pool": "desk"', b'"pool": "%s"' % quiet.name.encode())
    before = quiet.position()
    answer = quiet.client.post("/v1/commands", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert said["status"] == "rejected" and said["reason"] and said["message"], said
    assert said.get("field", "") == field, said
    assert len(answer.content) < 1000, "what was sent is not sent back whole"
    assert quiet.position() == before + 1, "nothing was taken"
    if status == 400 and body and body[:1] != b"[":
        listed = quiet.client.post("/v1/commands", content=b"[" + body + b"]", headers=JSON)
        assert listed.status_code in (200, 400) and "rejected" in listed.text
        assert quiet.position() == before + 2


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/msgpack", "json"])
def test_what_does_not_say_that_it_is_json_is_not_taken(quiet, kind):
    before = quiet.position()
    answer = quiet.client.post("/v1/commands", content=envelope(pool=quiet.name), headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (415, "not-json")
    assert quiet.position() == before + 1


def test_a_body_whose_length_nobody_said_is_cut_off_where_it_becomes_too_long(quiet):
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * (1 << 16)

    before = quiet.position()
    try:
        answer = quiet.client.post("/v1/commands", content=endless(), headers=JSON)
        assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")
    except httpx.WriteError:
        pass  # the answer came, and the connection was closed, before all was sent
    assert quiet.position() == before + 1


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=200)
    | st.sampled_from([*COMMANDS, "call", "sales", "c", "pool-23", "\0", "0", "waitline"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("id", "source", "pool", "type", "data", "actor", "version", "causation", "time", "specversion")
DATA = ("contact_id", "channel", "queue_id", "agent_id", "by", "skills", "attributes", "silence_ms", "ready", "queues")


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(DATA), VALUES, max_size=4),
    st.sampled_from([name for name in COMMANDS if name not in INTERNAL]),
)
def test_whatever_is_sent_is_answered_by_name_and_never_with_a_fault(client, changed, data, kind):
    sent = {**command(kind, "i", "s", "pool-22", **data), **changed}
    answer = client.post("/v1/commands", content=json.dumps(sent), headers=JSON)
    assert answer.status_code in (200, 400, 404), answer.text
    assert answer.json()["status"] in ("accepted", "refused", "rejected", "repeated", "unchanged")
    if answer.status_code != 200:
        assert answer.json()["message"]


# ---- what is not there, and what is not meant so


@pytest.mark.parametrize(
    ("method", "path", "status", "reason", "field"),
    [
        ("GET", "/nothing", 404, "not-found", ""),
        ("GET", "/v1", 404, "not-found", ""),
        ("GET", "/static/../door.py", 404, "not-found", ""),
        ("GET", "/static/%2e%2e/door.py", 404, "not-found", ""),
        ("GET", "/v1/commands", 405, "method-not-allowed", ""),
        ("OPTIONS", "/v1/commands", 405, "method-not-allowed", ""),
        ("PUT", "/v1/commands", 405, "method-not-allowed", ""),
        ("POST", "/v1/pools", 405, "method-not-allowed", ""),
        ("DELETE", "/v1/pools/pool-00/contacts/c1", 405, "method-not-allowed", ""),
        ("POST", "/static/page.js", 405, "method-not-allowed", ""),
        ("GET", "/v1/events", 400, "bad-query", "pool"),
        ("GET", "/v1/events?pool=nowhere", 404, "unknown-pool", "pool"),
        ("GET", "/v1/events?pool=pool-00&type=call-mum", 400, "bad-query", "type"),
        ("GET", "/v1/events?pool=pool-00&from=yesterday", 400, "bad-query", "from"),
        ("GET", "/v1/events?pool=pool-00&last_event_id=x", 400, "bad-query", "Last-Event-ID"),
        ("GET", "/v1/events?pool=pool-00&last_event_id=9/1/1", 400, "bad-query", "Last-Event-ID"),
        ("GET", "/v1/events?pool=pool-00&last_event_id=0/-1/0", 400, "bad-query", "Last-Event-ID"),
        ("GET", "/v1/events?pool=pool-00&last_event_id=0/99999999/0", 400, "bad-query", "Last-Event-ID"),
        ("GET", "/v1/events?pool=pool-00&last_event_id=0/" + "9" * 5000 + "/0", 400, "bad-query", "Last-Event-ID"),
        ("GET", "/v1/pools/nowhere/queues", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/agents", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/figures", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/decisions", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/contacts?source=pbx", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/contacts/c1", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/nowhere/live", 404, "unknown-pool", "pool"),
        ("GET", "/v1/pools/pool-00/contacts", 400, "bad-query", "source"),
        ("GET", "/v1/pools/pool-00/contacts/nobody", 404, "unknown-contact", ""),
        ("GET", "/v1/pools/pool-00/contacts/" + "x" * 5000, 404, "unknown-contact", ""),
        ("GET", "/v1/pools/pool-00/decisions?limit=0", 400, "bad-query", "limit"),
        ("GET", "/v1/pools/pool-00/decisions?limit=%C2%B2", 400, "bad-query", "limit"),
        ("GET", "/v1/pools/pool-00/decisions?limit=" + "9" * 5000, 400, "bad-query", "limit"),
    ],
)
def test_every_error_is_json_that_says_what_is_wrong(client, method, path, status, reason, field):
    answer = client.request(method, path)
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert (said["status"], said["reason"], said.get("field", "")) == ("rejected", reason, field)
    assert said["message"] and len(said["message"]) < 300
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/", "/livez", "/readyz", "/openapi.json", "/v1/pools", "/v1/pools/pool-00/queues", "/v1/events?pool=pool-00",
     "/v1/pools/pool-00/live", "/static/page.js"],
)  # fmt: skip
def test_head_is_answered_with_the_head_alone_and_at_once(server, path):
    with server.client() as own:
        for _ in range(2):  # the connection can be used again
            answer = own.head(path, timeout=5)
            assert (answer.status_code, answer.content) == (200, b"")


def test_the_page_and_its_files_are_served_and_may_load_nothing_from_elsewhere(client):
    page = client.get("/")
    assert (
        page.headers["content-type"].startswith("text/html")
        and "default-src 'self'" in page.headers["content-security-policy"]
    )
    assert client.get("/static/page.js").status_code == 200


# ---- who may come in


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("127.0.0.1:8484", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:8484", 200),
        ("[::1]", 200), ("rebound.example", 421), ("rebound.example:8484", 421), ("127.0.0.1.example", 421),
        ("localhost.example", 421), ("", 421), ("192.168.1.7:8484", 421), ("[::2]:80", 421),
    ],
)  # fmt: skip
def test_without_a_token_only_names_of_this_machine_are_answered(client, host, status):
    for path in ("/", "/v1/pools", "/livez", "/static/page.js"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status
        if status != 200:
            assert answer.json()["reason"] == "wrong-host"
    answer = client.post("/v1/commands", content=b"{}", headers={"Host": host, **JSON})
    assert answer.status_code == (400 if status == 200 else 421)


TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "desk.toml").write_text(RULES)
    (folder / "token").write_text(TOKEN + "\n")
    with Server(
        folder / "data", folder / "desk.toml", "--token-file", str(folder / "token"), "--host", "0.0.0.0"
    ) as it:
        it.start()
        it.url = it.url.replace("0.0.0.0", "127.0.0.1")
        yield it


CALLS = ["/v1/pools", "/v1/pools/desk/queues", "/v1/events?pool=desk", "/v1/pools/desk/live", "/openapi.json",
         "/readyz", "/livez", "/nothing"]  # fmt: skip


def test_with_a_token_every_call_needs_it(guarded):
    with guarded.client() as client:
        for path in CALLS:
            for headers in (
                {},
                {"Authorization": f"Bearer {TOKEN}x"},
                {"Authorization": "Bearer"},
                {"Authorization": TOKEN},
                {"Authorization": f"Basic {TOKEN}"},
                {"Cookie": "waitline_token=guess"},
                {"Cookie": "waitline_token="},
            ):
                answer = client.get(path, headers=headers)
                assert (answer.status_code, answer.json()["reason"]) == (401, "token-needed"), (path, headers)
                assert answer.headers["www-authenticate"] == "Bearer"
            answer = client.get(path, params={"token": TOKEN})
            assert answer.status_code == 401, "a token in an address would be seen in logs"
        assert client.post("/v1/commands", json=[]).status_code == 401
        for scheme in ("Bearer", "bearer"):
            mine = {"Authorization": f"{scheme} {TOKEN}"}
            assert client.get("/v1/pools", headers=mine).json()["pools"][0]["pool"] == "desk"
            assert client.post("/v1/commands", json=[], headers=mine).json() == []
            assert client.get("/v1/pools", headers={**mine, "Host": "desk.example:8484"}).status_code == 200


def test_a_browser_shows_the_token_once_and_has_a_cookie_from_then_on(guarded):
    with guarded.client() as client:
        assert client.get("/").status_code == 200, "the page itself is empty"
        assert client.get("/static/page.js").status_code == 200
        assert "set-cookie" not in client.get("/", params={"token": "guess"}).headers
        welcome = client.get("/", params={"token": TOKEN})
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
        assert {"HttpOnly", "SameSite=strict"} <= set(welcome.headers["set-cookie"].split("; "))
        assert client.get("/v1/pools").status_code == 200, "the client kept the cookie"
        strange = {"Cookie": f'a,b=c; other="x; waitline_token={TOKEN}; {{}}=1'}
        assert httpx.get(f"{guarded.url}/v1/pools", headers=strange, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "env", "said"),
    [
        (["--host", "0.0.0.0"], {}, "needs a token"),
        (["--host", "::"], {}, "needs a token"),
        (["--host", "0.0.0.0"], {"WAITLINE_TOKEN": "short"}, "too short"),
        (["--host", "0.0.0.0"], {"WAITLINE_TOKEN": "sixteen-letters-ä"}, "ASCII"),
        (["--token-file", "nowhere"], {}, "cannot be read"),
    ],
)
def test_another_address_without_a_good_token_refuses_to_start(tmp_path, arguments, env, said):
    (tmp_path / "desk.toml").write_text(RULES)
    with Server(tmp_path / "data", tmp_path / "desk.toml", *arguments, env=env).start(wait=False) as server:
        assert not server.listening() and server.ended() == 2
        assert said in server.text()
    assert not (tmp_path / "data").exists()


# ---- events


def numbers(id: str) -> tuple[int, int]:
    partition, position, ordinal = map(int, id.split("/"))
    assert partition == 0
    return position, ordinal


def work(pool: Pool, contacts: range) -> list[str]:
    """Contacts come and go, several events to a turn; the ids of all events."""
    ids = []
    for number in contacts:
        batch = [
            pool.command("route-contact", contact_id=f"c{number}", channel="call", queue_id="sales"),
            pool.command("accept-offer", contact_id=f"c{number}", agent_id="ann"),
            pool.command("end-contact", contact_id=f"c{number}", by="customer"),
            pool.command("complete-wrap-up", contact_id=f"c{number}", agent_id="ann"),
        ]
        results = pool.post(batch, params={"wait": "decided"}).json()
        ids += [event["id"] for result in results for event in result["events"]]
    return ids


def test_events_come_as_they_happen_each_a_cloudevent_under_its_id(pool, server):
    pool.do("source-heartbeat")
    now, start = Listener(server, pool=pool.name), Listener(server, pool=pool.name, **{"from": "start"})
    assert now.connected.wait(WAIT_S)
    done = pool.do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"])
    assert now.has(lambda seen: len(seen) == 2, 2), "at once"
    assert now.ids == [event["id"] for event in done["events"]]
    for seen, event in zip(now.seen, done["events"], strict=True):
        read = JSONFormat().read(None, json.dumps(seen))
        assert read.get_id() == event["id"] and read.get_source() == f"/waitline/{pool.name}"
        assert read.get_type() == f"waitline.{event['type']}"
        assert round(read.get_time().timestamp() * 1000) == seen["at"] == done["at"]
        assert seen["data"] == {key: value for key, value in event.items() if key not in ("id", "type")}
        assert (seen["pool"], seen["position"]) == (pool.name, done["position"])
    assert start.has(lambda seen: len(seen) == 4)
    assert [seen["type"] for seen in start.seen[:2]] == ["waitline.rules-published", "waitline.source-heard"]
    for listener in (now, start):
        listener.stop()


def test_events_can_be_asked_for_by_type_contact_and_queue(pool, server):
    pool.do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"])
    work(pool, range(3))
    pool.do("route-contact", contact_id="c7", channel="call", queue_id="repairs")
    pool.do("route-contact", contact_id="c8", channel="call", queue_id="sales")
    pool.do("accept-offer", contact_id="c8", agent_id="ann")
    pool.do("transfer-contact", contact_id="c8", agent_id="ann", queue_id="repairs")
    last = pool.do("end-contact", contact_id="c8", by="customer")["events"][-1]["id"]
    everything = Listener(server, pool=pool.name, **{"from": "start"})
    assert everything.has(lambda seen: bool(seen) and seen[-1]["id"] == last)

    def of(**wanted: str) -> list[str]:
        heard = Listener(server, pool=pool.name, **{"from": "start"}, **wanted)
        expected = [
            seen["id"]
            for seen in everything.seen
            if seen["type"].removeprefix("waitline.") == wanted.get("type", seen["type"]).removeprefix("waitline.")
            or "type" not in wanted
            if seen["data"].get("contact_id") == wanted.get("contact", seen["data"].get("contact_id"))
            if "queue" not in wanted
            or wanted["queue"] in (seen["data"].get("queue_id"), seen["data"].get("from_queue_id"))
        ]
        assert heard.has(lambda seen: len(seen) >= len(expected)), (wanted, expected, heard.ids)
        heard.stop()
        assert heard.ids == expected and expected
        return [seen["type"].removeprefix("waitline.") for seen in heard.seen]

    assert of(type="offer-accepted") == of(type="waitline.offer-accepted") == ["offer-accepted"] * 4
    assert of(contact="c7") == ["contact-queued"]
    assert of(contact="c8", queue="repairs") == ["contact-transferred", "contact-abandoned"]
    assert of(contact="c8", queue="sales", type="contact-transferred") == ["contact-transferred"]
    assert "agent-signed-in" not in of(queue="sales")
    everything.stop()


@pytest.mark.thorough
def test_whoever_breaks_off_anywhere_and_resumes_has_every_event_once_while_load_goes_on_and_over_a_crash(tmp_path):
    (tmp_path / "desk.toml").write_text(RULES)
    dice = random.Random(5)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as server:
        with server.client() as client:
            Pool(client, "desk").do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"])
        hasty = Listener(server, lambda: dice.randint(1, 9), pool="desk", **{"from": "start"})
        steady = Listener(server, pool="desk", **{"from": "start"})
        ids: list[str] = []
        for lap in range(3):
            with server.client() as client:
                ids += work(Pool(client, "desk"), range(lap * 40, lap * 40 + 40))
            if lap < 2:
                server.kill()
                server.start()
        for listener in (hasty, steady):
            assert listener.has(lambda seen: bool(seen) and seen[-1]["id"] == ids[-1])
            listener.stop()
        assert hasty.breaks > 60 and len({numbers(id)[1] for id in ids}) >= 2, "also in the middle of turns"
        server.stop()
    log = SqliteLog.open(tmp_path / "data", read_only=True)
    turns = [read_turn(record.body) for record in log.turns(-1, 1 << 20)]
    log.close()
    expected = [f"0/{turn.position}/{ordinal}" for turn in turns for ordinal in range(len(turn.events))]
    assert hasty.ids == steady.ids == expected
    assert set(ids) < set(expected)


def test_an_event_can_be_resumed_behind_each_single_event_of_a_turn(pool, server):
    pool.do("route-contact", contact_id="c1", channel="call", queue_id="sales")
    done = pool.do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"])
    ids = [event["id"] for event in done["events"]]
    assert len(ids) == 3
    after = pool.do("accept-offer", contact_id="c1", agent_id="ann")["events"][0]["id"]
    beyond = f"{pool.partition}/{done['position']}/77"
    for behind, rest in ((ids[0], ids[1:]), (ids[1], ids[2:]), (ids[2], []), (beyond, [])):
        for how in ({"headers": {"Last-Event-ID": behind}}, {"params": {"last_event_id": behind}}):
            params = {"pool": pool.name, **how.get("params", {})}
            with pool.client.stream("GET", "/v1/events", params=params, headers=how.get("headers", {})) as stream:
                heard = []
                for field, value in fields(stream):
                    if field == "id":
                        heard.append(value)
                        if value == after:
                            break
            assert heard == [*rest, after]


@pytest.mark.thorough
def test_a_listener_who_takes_nothing_holds_up_nobody_and_costs_no_memory(tmp_path):
    (tmp_path / "desk.toml").write_text(RULES)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as server, server.client() as client:
        pool = Pool(client, "desk")
        pool.do("route-contact", contact_id="c1", channel="call", queue_id="sales")
        stalled = [
            stall(server, path) for path in ["/v1/events?pool=desk&from=start"] * 4 + ["/v1/pools/desk/live"] * 4
        ]
        steady = Listener(server, pool="desk", type="contact-updated")
        assert steady.connected.wait(WAIT_S)
        before, slowest = resident(server), 0.0
        for number in range(200):  # 50 kB to each listener: 40 MB in all
            long = {f"a{i}": f"{number}-{i}-" + "x" * 1000 for i in range(50)}
            began = time.monotonic()
            last = pool.do("update-contact", contact_id="c1", attributes=long)
            slowest = max(slowest, time.monotonic() - began)
        assert steady.has(lambda seen: len(seen) == 200)
        assert resident(server) - before < 16 << 20, (before, resident(server))
        assert slowest < 2
        stalled[0].settimeout(5)  # and if one of them takes it after all, it is all there, and at once
        end, tail = f"id: {last['events'][-1]['id']}\n".encode(), b""
        while end not in tail:
            tail = tail[-len(end) :] + stalled[0].recv(1 << 20)
        began = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - began < 5
        steady.stop()
        for each in stalled:
            each.close()


def stall(server: Server, path: str) -> socket.socket:
    """Asks, and never reads the answer."""
    address = urlsplit(server.url)
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect((address.hostname, address.port))
    stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
    return stalled


def resident(server: Server) -> int:
    """Bytes of memory that the server has."""
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("what a process has in memory is read from /proc")
    return int(next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:")).split()[1]) << 10


def test_the_view_comes_again_when_something_has_changed_and_says_its_position(pool):
    with pool.client.stream("GET", f"/v1/pools/{pool.name}/live", params={"lang": "zh-CN"}) as stream:
        told = fields(stream)
        views = []
        began = time.monotonic()
        with httpx.Client(base_url=pool.client.base_url, trust_env=False) as other:
            for field, value in told:
                if field == "event":
                    assert value == "view"
                elif field == "id":
                    position = int(value)
                elif field == "data":
                    view = json.loads(value)
                    assert view["position"] == position and view["pool"] == pool.name and view["time"] == "real"
                    views.append(view["queues"][0]["waiting"])
                    if len(views) == 1:
                        mine = Pool(other, pool.name)
                        for i in range(30):
                            mine.do("route-contact", contact_id=f"c{i}", channel="call", queue_id="sales")
                    if views[-1] == 30:
                        break
    assert views[0] == 0 and views == sorted(views) and len(views) <= 3 + 4 * (time.monotonic() - began)


# ---- views


def test_every_view_says_the_position_it_stands_at(pool):
    pool.do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"])
    done = pool.do("route-contact", contact_id="c1", channel="call", queue_id="sales")
    views = {path: pool.get(path) for path in ("queues", "agents", "figures", "decisions", "contacts/c1")}
    views["contacts"] = pool.get("contacts", source="pbx")
    pools = pool.client.get("/v1/pools").json()
    (mine,) = [each for each in pools["pools"] if each["pool"] == pool.name]
    views["pools"] = {**pools, **mine}
    for path, view in views.items():
        assert view["position"] == done["position"] and view["at"] >= done["at"], path
        assert view.get("pool", pool.name) == pool.name
    assert views["queues"]["queues"][0]["offered"] == 1
    assert views["agents"]["counts"]["offered"] == 1 and views["agents"]["agents"][0]["state"] == "offered"
    assert views["contacts/c1"]["contact"]["agent_id"] == "ann"
    assert views["figures"]["total"]["arrived"] == 1
    (decision,) = views["decisions"]["decisions"]
    assert decision["id"] == done["events"][1]["id"] and "ann" in decision["sentence"]
    assert pool.get("decisions", lang="zh-CN", limit=1)["decisions"][0]["sentence"] != decision["sentence"]
    assert pools["position"] >= mine["position"], "the greatest of all partitions"
    names = [each["pool"] for each in pools["pools"]]
    assert names == sorted(names) and len(names) == POOLS


def test_an_adapter_finds_its_own_contacts_after_a_crash(tmp_path):
    (tmp_path / "desk.toml").write_text(RULES)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as server:
        with server.client() as client:
            for source, id in (("pbx", "c1"), ("web", "w1"), ("pbx", "c2"), ("pbx", "c3/ä b?")):
                ask = command("route-contact", id, source, contact_id=id, channel="chat", queue_id="sales")
                assert client.post("/v1/commands", json=ask).json()["status"] == "accepted"
            client.post("/v1/commands", json=command("end-contact", "e", contact_id="c2", by="customer"))
        server.kill()
        server.start()
        with server.client() as client:
            pool = Pool(client, "desk")
            mine = pool.get("contacts", source="pbx", open="")
            assert [contact["contact_id"] for contact in mine["contacts"]] == ["c1", "c3/ä b?"]
            assert {contact["source"] for contact in mine["contacts"]} == {"pbx"}
            every = pool.get("contacts", source="pbx")
            assert [contact["outcome"] for contact in every["contacts"]] == [None, "abandoned", None]
            assert pool.get("contacts", source="nobody", open="")["contacts"] == []
            again = command("route-contact", "c1", "pbx", contact_id="c1", channel="chat", queue_id="sales")
            answer = client.post("/v1/commands", json=again, params={"wait": "decided"}).json()
            assert (answer["status"], answer["first"]) == ("repeated", {"position": 1, "status": "accepted"})
            assert kinds(answer) == ["contact-queued"]
            finished = pool.get("contacts/c2")["contact"]
            assert (finished["outcome"], finished["source"]) == ("abandoned", "pbx") and finished["ended_at"]
            assert pool.get("contacts/c3%2F%C3%A4%20b%3F")["contact"]["status"] == "waiting"


def test_the_description_is_valid_and_real_answers_are_as_it_says(pool, client):
    description = client.get("/openapi.json").json()
    validate(description)

    def fits(answer: httpx.Response, path: str, method: str = "get") -> None:
        documented = description["paths"][path][method]["responses"]
        said = documented.get(str(answer.status_code), documented.get("default"))
        schema = said["content"]["application/json"]["schema"]
        whole = {**schema, "components": description["components"]}
        assert jsonschema.Draft202012Validator(whole).is_valid(answer.json()), (path, answer.text)

    pool.do("sign-in-agent", agent_id="ann", ready=True, queues=["sales"], skills={"technical": 1})
    work(pool, range(2))
    pool.do("route-contact", contact_id="c7", channel="call", queue_id="sales", attributes={"a": "b"})
    pool.do("route-contact", contact_id="c8", channel="chat", queue_id="repairs", tier="today", vip=True)
    values = {"{pool}": pool.name, "{contact_id}": "c7"}
    queries = {"/v1/pools/{pool}/contacts": {"source": "pbx"}}
    seen = set()
    for path, methods in description["paths"].items():
        seen.add(path)
        if path in ("/v1/commands", "/v1/events", "/v1/pools/{pool}/live"):
            continue
        assert methods.keys() == {"get"}
        address = path
        for name, value in values.items():
            address = address.replace(name, value)
        answer = client.get(address, params=queries.get(path, {}))
        assert answer.status_code == 200
        fits(answer, path)
        fits(client.get(address.replace(pool.name, "nowhere").replace("c7", "nobody")), path)
    for name in ("queues", "agents", "decisions", "contacts"):
        answer = client.get(f"/v1/pools/{pool.name}/{name}", params={"source": "pbx"})
        assert answer.json()[name], "an empty list would fit anything"
    assert {"/v1/commands", "/v1/events", "/livez", "/readyz"} <= seen and len(seen) >= 11

    asks = [
        pool.command("route-contact", contact_id="c9", channel="sms", queue_id="sales", customer="k1"),
        pool.command("end-contact", contact_id="nobody", by="agent"),
        pool.command("sign-in-agent", agent_id="bob", limits={"chat": 2}, addresses={"call": "sip:bob"}),
    ]
    any_command = {**description["components"]["schemas"]["AnyCommand"], "components": description["components"]}
    for ask in asks:
        assert jsonschema.Draft202012Validator(any_command).is_valid(ask), ask
        for wait in ("", "decided"):
            fits(pool.post(ask, params={"wait": wait}), "/v1/commands", "post")
    for body, *_ in NO_COMMANDS.values():
        fits(client.post("/v1/commands", content=body, headers=JSON), "/v1/commands", "post")
    fits(pool.post([*asks, {}]), "/v1/commands", "post")
    documented = description["components"]["schemas"]["AnyCommand"]["oneOf"]
    assert len(documented) == len(COMMANDS) - len(INTERNAL)
    for name, (body, status, _) in NO_COMMANDS.items():
        with suppress(ValueError, RecursionError):  # what is not even JSON
            wrong = json.loads(body.decode())
            if status == 400 and name not in BEYOND_A_SCHEMA:
                assert not jsonschema.Draft202012Validator(any_command).is_valid(wrong), name


BEYOND_A_SCHEMA = {"half a surrogate", "NUL in an id", "a line break in a source", "NUL in data", "NUL in an attribute",
                   "more than 64 KiB in all", "the host's own name"}  # fmt: skip


def test_a_server_that_is_alive_and_ready_says_so(client):
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready") and ready.json()["position"] > 0


def test_who_leaves_without_waiting_for_the_answer_leaves_nothing_undone(pool, server):
    address = urlsplit(server.url)
    for number in range(20):
        body = json.dumps(
            [
                pool.command("route-contact", contact_id=f"c{number}-{i}", channel="chat", queue_id="sales")
                for i in range(9)
            ]
        ).encode()
        head = f"POST /v1/commands HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        with socket.create_connection((address.hostname, address.port)) as hasty:
            hasty.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) - 5 * (number % 2)])
    until = time.monotonic() + WAIT_S
    while pool.get("queues")["queues"][0]["waiting"] < 90 and time.monotonic() < until:
        time.sleep(0.02)
    assert pool.get("queues")["queues"][0]["waiting"] == 90, "those who sent all of it, whole batches only"


# ---- starting


def queues(client: httpx.Client, pool: str) -> list[str]:
    return [queue["queue_id"] for queue in Pool(client, pool).get("queues")["queues"]]


def test_rules_that_have_changed_are_published_and_those_with_mistakes_refused_while_the_old_are_kept(tmp_path):
    config, data = tmp_path / "pools", tmp_path / "data"
    config.mkdir()
    (config / "a.toml").write_text(rules_of("a"))
    (config / "b.toml").write_text(rules_of("b"))
    with Server(data, config).start() as server:
        assert [said["pool"] for said in server.told("rules-published")] == ["a", "b"]
        with server.client() as client:
            Pool(client, "b").do("route-contact", contact_id="c1", channel="call", queue_id="repairs")
        assert server.stop() == 0

    with Server(data, config).start() as server:
        assert server.told("rules-published") == [], "nothing has changed"
        server.stop()

    (config / "a.toml").write_text(rules_of("a") + '\n[[queues]]\nid = "returns"\n')
    (config / "b.toml").write_text(rules_of("b").replace("offer = 600", "ofer = 600"))
    (config / "c.toml").write_text(rules_of("c"))
    with Server(data, config).start() as server, server.client() as client:
        assert [said["pool"] for said in server.told("rules-published")] == ["a", "c"]
        assert "b.toml" in server.text() and "ofer" in server.text(), "the mistake is said"
        assert queues(client, "a") == ["sales", "repairs", "returns"]
        assert queues(client, "b") == ["sales", "repairs"], "the old rules are kept"
        assert Pool(client, "b").do("source-heartbeat")["status"] == "accepted"
        assert queues(client, "c") == ["sales", "repairs"]
        server.stop()

    without = rules_of("b").split("[[queues]]")
    (config / "b.toml").write_text("[[queues]]".join(without[:2]))  # somebody waits in the other queue
    (config / "c.toml").unlink()
    with Server(data, config).start() as server, server.client() as client:
        (refused,) = server.told("rules-refused")
        assert (refused["pool"], refused["reason"], refused["seen"]) == ("b", "queue-in-use", ["repairs"])
        assert queues(client, "b") == ["sales", "repairs"]
        assert [pool["pool"] for pool in client.get("/v1/pools").json()["pools"]] == ["a", "b", "c"]
        server.stop()


@pytest.mark.parametrize("rules", ["pool = 7", "", None])
def test_a_new_log_without_rules_that_hold_is_not_served(tmp_path, rules):
    if rules is not None:
        (tmp_path / "desk.toml").write_text(rules)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start(wait=False) as server:
        assert not server.listening() and server.ended() == 1
        assert "nothing can be served" in server.text() and "Traceback" not in server.text()


def test_a_second_process_on_the_same_folder_is_refused_by_name(tmp_path):
    (tmp_path / "desk.toml").write_text(RULES)
    with Server(tmp_path / "data", tmp_path / "desk.toml").start() as first:
        with Server(tmp_path / "data", tmp_path / "desk.toml").start(wait=False) as second:
            assert not second.listening() and second.ended() == 1
            assert f"process {first.process.pid}" in second.text() and str(tmp_path / "data") in second.text()
            assert "Traceback" not in second.text()
        with first.client() as client:
            assert Pool(client, "desk").do("source-heartbeat")["position"] == 1, "the first goes on"


def test_a_port_that_is_taken_is_named_and_the_log_left_closed(tmp_path):
    (tmp_path / "desk.toml").write_text(RULES)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with Server(tmp_path / "data", tmp_path / "desk.toml", "--port", port).start(wait=False) as server:
            assert not server.listening() and server.ended() == 1
            assert f"Port {port}" in server.text() and "Traceback" not in server.text()
    with Server(tmp_path / "data", tmp_path / "desk.toml", "--port", port).start() as server:
        assert server.url.endswith(f":{port}") and os.listdir(tmp_path / "data")

"""What comes in from outside: every command survives the journey, and what is no command is refused by the field."""

import json

import msgpack
import msgspec
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from engine.core import messages as m
from engine.streams.codec import BadCommand, Envelope, envelope_of, pack_encode, read_command, write_command
from tests.streams.strategies import TEXTS, cleaned, commands, events, message, turns

GOOD = {
    "id": "1",
    "source": "pbx",
    "pool": "desk",
    "type": "accept-offer",
    "data": {"contact_id": "c", "agent_id": "a"},
}
NINES = b": %s}" % (b"9" * 5000)
ROUTE = {"contact_id": "c", "channel": "call", "queue_id": "q"}
codes = TEXTS.map(lambda text: "".join("_" if c < " " else c for c in text)[:128])
ids = codes.map(lambda text: text or "x")
addresses = st.fixed_dictionaries(
    {"id": ids, "source": ids, "pool": ids}, optional={"actor": codes, "causation": codes, "time": codes}
)


def body(**changed):
    return json.dumps({name: value for name, value in (GOOD | changed).items() if value is not ...}).encode()


def refusal(data):
    """The (field, problem) that these bytes are refused with; any other exception fails the test."""
    with pytest.raises(BadCommand) as caught:
        read_command(data)
    assert caught.value.field in str(caught.value) and len(str(caught.value)) < 500
    return caught.value.field, caught.value.problem


# ---- every command survives the journey


@given(commands.map(cleaned), addresses)
def test_a_command_comes_out_of_our_json_as_it_went_in(command, address):
    envelope = envelope_of(command, address["id"], address["source"], address["pool"], address.get("actor", ""))
    read, same = read_command(write_command(envelope))
    assert same == command and type(same) is type(command)
    assert msgspec.structs.astuple(read) == msgspec.structs.astuple(envelope)


@given(commands.map(cleaned), addresses, st.booleans())
def test_a_command_comes_out_of_anybodys_json_as_it_went_in(command, address, ascii_only):
    document = address | {"type": m.TYPE_OF[type(command)], "data": msgspec.to_builtins(command)}
    read, same = read_command(json.dumps(document, ensure_ascii=ascii_only, indent=1).encode())
    assert same == command
    assert {name: getattr(read, name) for name in address} == address


@given(commands.map(cleaned), addresses)
def test_a_command_comes_out_of_anybodys_msgpack_as_it_went_in(command, address):
    document = address | {"type": m.TYPE_OF[type(command)], "data": msgspec.to_builtins(command)}
    read, same = read_command(msgpack.packb(document))
    assert same == command
    assert {name: getattr(read, name) for name in address} == address


@given(turns)
def test_another_msgpack_library_reads_what_we_write(turn):
    assert msgpack.unpackb(pack_encode(turn)) == json.loads(msgspec.json.encode(turn))


@given(events)
def test_events_come_out_of_json_and_msgpack_as_they_went_in(event):
    assert msgspec.json.decode(msgspec.json.encode(event), type=m.AnyEvent) == event
    assert msgspec.msgpack.decode(pack_encode(event), type=m.AnyEvent) == event


@given(message(m.RouteContact).map(cleaned), ids, ids, ids, codes, st.sampled_from(["", "waitline."]))
def test_a_cloud_event_made_by_its_own_library_is_lifted_to_the_same_envelope(command, id, source, pool, actor, prefix):
    data = {name: value for name, value in msgspec.to_builtins(command).items() if name != "type"}
    event = CloudEvent(
        {"id": id, "source": source, "type": f"{prefix}route-contact", "pool": pool, "actor": actor}, data
    )
    read, same = read_command(JSONFormat().write(event))
    assert same == command
    assert (read.id, read.source, read.pool, read.actor, read.type) == (id, source, pool, actor, "route-contact")
    assert read.version == 1


def test_what_cloud_events_carry_besides_is_kept_or_let_go():
    attributes = {
        "id": "1", "source": "/pbx", "type": "accept-offer", "pool": "desk", "subject": "c", "causationid": "0/17/1",
        "correlationid": "x", "traceparent": "00-0-0-00", "tracestate": "a=b", "dataschema": "https://example.org/schema",
        "schemaversion": 1,
    }  # fmt: skip
    envelope, command = read_command(JSONFormat().write(CloudEvent(attributes, GOOD["data"])))
    assert envelope.causation == "0/17/1" and command == m.AcceptOffer("c", "a")


def test_data_that_is_all_defaults_may_be_left_out():
    envelope, command = read_command(body(type="tick", data=...))
    assert command == m.Tick() and bytes(envelope.data) == b"{}"


def test_data_may_say_its_type_once_more_and_must_then_be_right():
    assert read_command(body(data=GOOD["data"] | {"type": "accept-offer"}))[1] == m.AcceptOffer("c", "a")
    assert refusal(body(data=GOOD["data"] | {"type": "decline-offer"}))[0] == "data.type"


def test_of_a_field_that_is_said_twice_the_last_counts():
    text = b'{"id":"0","id":"1","source":"pbx","pool":"desk","type":"tick"}'
    assert read_command(text)[0].id == "1"


def test_texts_may_have_line_breaks_and_any_script():
    attributes = {"note": "one\ntwo\t三 \u202e", "tab\u3000key": "x"}
    assert read_command(body(type="route-contact", data=ROUTE | {"attributes": attributes}))[1].attributes == attributes


# ---- what is no command is refused by the field


@pytest.mark.parametrize(
    ("data", "field"),
    [
        # not JSON, or not an object
        (b"", ""),
        (b"   ", ""),
        (b"{", ""),
        (b"nonsense", ""),
        (b"[]", ""),
        (b"null", ""),
        (b'"text"', ""),
        (b"42", ""),
        (b"\xff\xfe{\x00}\x00", ""),
        (b"\xef\xbb\xbf" + body(), ""),
        (body() + b"x", ""),
        (body() + body(), ""),
        (body()[:-1], ""),
        (body().replace(b'"c"', b"NaN"), ""),
        (body().replace(b'"c"', b"'c'"), ""),
        (b"[" + body() + b"]", ""),
        # the envelope
        (body(id=...), "id"),
        (body(source=...), "source"),
        (body(pool=...), "pool"),
        (body(type=...), "type"),
        (body(id=""), "id"),
        (body(id=17), "id"),
        (body(id=None), "id"),
        (body(id="x" * 129), "id"),
        (body(id="x" * 1_000_000), "id"),
        (body(source={"name": "pbx"}), "source"),
        (body(pool=["desk"]), "pool"),
        (body(actor=False), "actor"),
        (body(time=1.5), "time"),
        (body(causation="x" * 129), "causation"),
        (body(type="accept-offers"), "type"),
        (body(type="AcceptOffer"), "type"),
        (body(type="offer-accepted"), "type"),
        (body(type=""), "type"),
        (body(type="x" * 1_000_000), "type"),
        (body(type="accept\0offer"), "type"),
        (body(version=2), "version"),
        (body(version=0), "version"),
        (body(version=-(10**30)), "version"),
        (body(version="1"), "version"),
        (body(version=1.5), "version"),
        (body(priority=1), "priority"),
        (body(**{"x" * 1_000_000: 1}), "x" * 64),
        # the data
        (body(data=None), "data"),
        (body(data=[]), "data"),
        (body(data="{}"), "data"),
        (body(data=...), "data.contact_id"),
        (body(data={"contact_id": "c"}), "data.agent_id"),
        (body(data=GOOD["data"] | {"agent": "a"}), "data.agent"),
        (body(data=GOOD["data"] | {"y" * 1_000_000: 1}), "data." + "y" * 64),
        (body(data={"contact_id": 1, "agent_id": "a"}), "data.contact_id"),
        (body(data={"contact_id": "x" * 1_000_000, "agent_id": "a"}), "data.contact_id"),
        (body(data={"contact_id": "", "agent_id": "a"}), "data.contact_id"),
        (body(type="end-contact", data={"contact_id": "c", "by": "nobody"}), "data.by"),
        (body(type="route-contact", data=ROUTE | {"channel": "fax"}), "data.channel"),
        (body(type="route-contact", data=ROUTE | {"vip": 1}), "data.vip"),
        (body(type="route-contact", data=ROUTE | {"vip": "true"}), "data.vip"),
        (body(type="route-contact", data=ROUTE | {"skills": ["german"]}), "data.skills"),
        (body(type="route-contact", data=ROUTE | {"skills": {"german": 0}}), "data.skills[...]"),
        (body(type="route-contact", data=ROUTE | {"skills": {"german": 101}}), "data.skills[...]"),
        (body(type="route-contact", data=ROUTE | {"skills": {"german": 2.5}}), "data.skills[...]"),
        (body(type="route-contact", data=ROUTE | {"skills": {"": 2}}), "data.skills"),
        (body(type="route-contact", data=ROUTE | {"skills": {f"s{i}": 1 for i in range(65)}}), "data.skills"),
        (body(type="route-contact", data=ROUTE | {"attributes": {"a": 1}}), "data.attributes[...]"),
        (body(type="route-contact", data=ROUTE | {"attributes": {"a": "x" * 1025}}), "data.attributes[...]"),
        (body(type="route-contact", data=ROUTE | {"attributes": {"x" * 65: "a"}}), "data.attributes"),
        (body(type="sign-in-agent", data={"agent_id": "a", "queues": [1]}), "data.queues[0]"),
        (body(type="sign-in-agent", data={"agent_id": "a", "queues": ["q"] * 501}), "data.queues"),
        (body(type="sign-in-agent", data={"agent_id": "a", "limits": {"fax": 1}}), "data.limits"),
        (body(type="sign-in-agent", data={"agent_id": "a", "limits": {"call": -1}}), "data.limits[...]"),
        (body(type="publish-rules", data={"rules": {"pool": "p", "queues": [{"id": 1}]}}), "data.rules.queues[0].id"),
        (body(type="publish-rules", data={"rules": {"pool": "p", "queue": []}}), "data.rules.queue"),
        # absurd numbers
        (body(type="source-heartbeat", data={"silence_ms": -1}), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": 10**100}), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": 5000.5}), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": True}), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": "5000"}), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": 0}).replace(b": 0}", b": 1e999}"), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": 0}).replace(b": 0}", NINES), "data.silence_ms"),
        (body(type="source-heartbeat", data={"silence_ms": float("nan")}), ""),
        # signs that cannot be shown, logged or stored
        (body(id="a\0b"), "id"),
        (body(source="a\nb"), "source"),
        (body(pool="\x1b[2J"), "pool"),
        (body(actor="\t"), "actor"),
        (body(data={"contact_id": "a\0b", "agent_id": "a"}), "data.contact_id"),
        (body(data={"contact_id": "c", "agent_id": "a\x1fb"}), "data.agent_id"),
        (body(type="route-contact", data=ROUTE | {"skills": {"a\nb": 1}}), "data.skills"),
        (body(type="route-contact", data=ROUTE | {"attributes": {"a": "\0"}}), "data.attributes.a"),
        (body(type="route-contact", data=ROUTE | {"attributes": {"a\n": "x"}}), "data.attributes"),
        (body(type="sign-in-agent", data={"agent_id": "a", "queues": ["q", "\n"]}), "data.queues[1]"),
        (body(id="\ud800"), ""),
        (body(data={"contact_id": "\udc00", "agent_id": "a"}), ""),
        (body().replace(b'"1"', b'"\xff"'), ""),
        (body().replace(b'"1"', b'"\xed\xa0\x80"'), ""),
        (body().replace(b'"c"', b'"\xc3("'), "data"),
        (body().replace(b'"source"', b'"sour\xffce"'), ""),
        # nesting
        (b'{"id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "id"),
        (body(data="X").replace(b'"X"', b"[" * 100_000 + b"]" * 100_000), ""),
        (body(data="X").replace(b'"X"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000), ""),
        # CloudEvents
        (body(specversion="0.3"), "specversion"),
        (body(specversion="1.0", data_base64="e30="), "data_base64"),
        (body(specversion="1.0", datacontenttype="application/xml"), "datacontenttype"),
        (body(specversion="1.0", schemaversion=2), "version"),
        (body(specversion="1.0", type="com.example.accept-offer"), "type"),
        (body(specversion="1.0", pool=...), "pool"),
        (body(specversion="1.0", data={"contact_id": "c"}), "data.agent_id"),
    ],
    ids=lambda value: repr(value)[:70] if isinstance(value, bytes) else "",
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(data, field):
    assert refusal(data)[0] == field


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({1: 2}, ""),
        (GOOD | {"id": b"1"}, "id"),
        (GOOD | {"id": "a\0"}, "id"),
        (GOOD | {"data": b"{}"}, "data"),
        (GOOD | {"data": {"contact_id": float("nan"), "agent_id": "a"}}, "data.contact_id"),
        (GOOD | {"data": {"contact_id": "a\nb", "agent_id": "a"}}, "data.contact_id"),
        (GOOD | {"type": "source-heartbeat", "data": {"silence_ms": float("inf")}}, "data.silence_ms"),
        (GOOD | {"type": "source-heartbeat", "data": {"silence_ms": (1 << 64) - 1}}, "data.silence_ms"),
        (GOOD | {"data": msgpack.ExtType(5, b"x")}, "data"),
        (GOOD | {"id": msgpack.Timestamp(1, 2)}, "id"),
        (GOOD | {"priority": 1}, "priority"),
    ],
    ids=lambda value: repr(value)[:70],
)
def test_what_is_wrong_in_msgpack_is_named_by_its_field(document, field):
    assert refusal(msgpack.packb(document))[0] == field


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\x81",
        b"\xde\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        msgpack.packb(GOOD) + b"\0",
        msgpack.packb(GOOD)[:-1],
        msgpack.packb(GOOD | {"id": "abc"}).replace(b"\xa3abc", b"\xa3\xed\xa0\x80"),
        msgpack.packb(GOOD)[:-1] + b"\xc1",
        b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0",
        msgpack.packb(GOOD | {"data": 0})[:-1] + b"\x91" * 100_000 + b"\xc0",
        msgpack.packb(GOOD | {"data": 0})[:-1] + b"\xc6\xff\xff\xff\xff",
    ],
    ids=lambda value: repr(value[:20]),
)
def test_torn_msgpack_is_refused(data):
    refusal(data)


def test_a_refusal_says_what_would_have_been_right():
    assert refusal(body(version=2)) == ("version", "this engine reads version 1, not 2")
    assert refusal(body(type="acept-offer")) == ("type", "there is no command 'acept-offer'")
    assert "length <= 128" in refusal(body(id="x" * 129))[1]
    assert "<= 100" in refusal(body(type="route-contact", data=ROUTE | {"skills": {"german": 101}}))[1]
    assert refusal(body(id="a\0"))[1] == "holds a control character"


# ---- whatever comes


def read_or_refuse(data):
    try:
        envelope, command = read_command(data)
    except BadCommand as bad:
        assert isinstance(bad.field, str) and bad.problem and len(str(bad)) < 500
        return
    assert isinstance(envelope, Envelope) and type(command) in m.TYPE_OF


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    read_or_refuse(data)
    read_or_refuse(b"{" + data)
    read_or_refuse(b"\x84" + data)


@given(commands.map(cleaned), st.data(), st.booleans())
def test_a_command_with_a_changed_byte_is_read_or_refused(command, draw, packed):
    document = GOOD | {"type": m.TYPE_OF[type(command)], "data": msgspec.to_builtins(command)}
    data = bytearray(msgpack.packb(document) if packed else json.dumps(document).encode())
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    read_or_refuse(bytes(data))


@given(
    st.dictionaries(st.sampled_from(list(Envelope.__struct_fields__)) | TEXTS, anything),
    anything,
    st.sampled_from(list(m.COMMANDS)),
)
def test_any_values_in_any_fields_are_read_or_refused(envelope, data, kind):
    read_or_refuse(json.dumps(envelope).encode())
    read_or_refuse(json.dumps(GOOD | envelope).encode())
    read_or_refuse(json.dumps(GOOD | {"type": kind, "data": data}).encode())
    read_or_refuse(json.dumps(GOOD | {"specversion": "1.0", "type": kind} | envelope).encode())


@given(st.data(), st.sampled_from(list(m.COMMANDS)))
def test_a_command_with_one_wrong_value_is_refused_by_that_field_or_was_right(draw, kind):
    command = cleaned(draw.draw(message(m.COMMANDS[kind])))
    data = msgspec.to_builtins(command)
    fields = [name for name in m.COMMANDS[kind].__struct_fields__ if name != "rules"]
    if not fields:
        return
    field = draw.draw(st.sampled_from(fields))
    data[field] = draw.draw(anything)
    try:
        read_command(json.dumps(GOOD | {"type": kind, "data": data}).encode())
    except BadCommand as bad:
        assert bad.field == "" or bad.field.startswith(f"data.{field}")

"""Bytes <-> messages. JSON by default; msgpack where a log says so; CloudEvents in structured JSON are lifted on the
way in.

A message that older senders wrote is lifted to today's here and nowhere else (today there is one version, 1).
"""

import re
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from engine.core.messages import COMMANDS, TYPE_OF, Command, Turn
from engine.core.words import Id, Key

VERSION = 1
BODY_MOST = 1 << 20  # bytes of one command
BACKSLASH = ord("\\")  # a byte is found twenty times as fast as bytes are
Encoding = Literal["json", "msgpack"]


class Envelope(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What every command travels in. (source, id) names it within its pool; actor: who asked, as the door has it;
    time: the sender's clock, as information only. answer: somebody waits to hear what became of it, so a turn is
    written also where it says nothing."""

    id: Id
    source: Id
    pool: Id
    type: str
    data: Raw = Raw(b"{}")
    actor: Key = ""
    version: int = 1
    causation: Key = ""
    time: Key = ""
    answer: bool = False


class CloudEvent(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The same as a CloudEvent in structured JSON; attributes that mean nothing to us are read and let go."""

    specversion: Literal["1.0"]
    id: Id
    source: Id
    type: str
    pool: Id
    data: Raw = Raw(b"{}")
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = ""
    subject: str = ""
    time: Key = ""
    actor: Key = ""
    schemaversion: int = 1
    causationid: Key = ""
    correlationid: str = ""
    traceparent: str = ""
    tracestate: str = ""


class BadCommand(ValueError):
    """Bytes that are no command. field: where, as a dotted path ("" for the whole); the text is for a person."""

    def __init__(self, field: str, problem: str):
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


_json_envelope = msgspec.json.Decoder(Envelope).decode
_json_cloud_event = msgspec.json.Decoder(CloudEvent).decode
_pack_envelope = msgspec.msgpack.Decoder(Envelope).decode
_json_data = {name: msgspec.json.Decoder(kind).decode for name, kind in COMMANDS.items()}
_pack_data = {name: msgspec.msgpack.Decoder(kind).decode for name, kind in COMMANDS.items()}
json_encode = msgspec.json.Encoder().encode
pack_encode = msgspec.msgpack.Encoder().encode
json_turn = msgspec.json.Decoder(Turn).decode
pack_turn = msgspec.msgpack.Decoder(Turn).decode

_CONTROL = re.compile(r"[\x00-\x1f]")
_PATH = re.compile(r"^(?P<problem>.*?)(?: - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_FIELD = re.compile(r"(?:unknown|required) field `(?P<field>[^`]*)`", re.DOTALL)
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_MAP_BYTES = frozenset([*range(0x80, 0x90), 0xDE, 0xDF])  # how a msgpack map begins; no JSON text does


def read_command(body: bytes) -> tuple[Envelope, Command]:
    """One command. BadCommand says which field is wrong, and why."""
    decoders: Any
    if body and body[0] in _MAP_BYTES:
        decoders, plain = _pack_data, False
        try:
            envelope = _pack_envelope(body)
        except _UNREADABLE as error:
            raise _bad(error, "") from None
    else:
        decoders, plain = _json_data, BACKSLASH not in body  # JSON holds control characters only as escapes
        try:
            envelope = _json_envelope(body)
        except _UNREADABLE as error:
            envelope = _cloud_event(body, error)
    if envelope.version != VERSION:
        raise BadCommand("version", f"this engine reads version {VERSION}, not {envelope.version}")
    decode = decoders.get(envelope.type)
    if decode is None:
        raise BadCommand("type", f"there is no command {envelope.type[:64]!r}")
    try:
        command: Command = decode(envelope.data)
    except _UNREADABLE as error:
        raise _bad(error, "data") from None
    if not plain:
        _refuse_control(envelope, command)
    return envelope, command


def write_command(envelope: Envelope) -> bytes:
    return json_encode(envelope)


def envelope_of(command: Command, id: str, source: str, pool: str, actor: str = "") -> Envelope:
    """The envelope of a command that we make ourselves."""
    return Envelope(id, source, pool, TYPE_OF[type(command)], Raw(json_encode(command)), actor)


def _cloud_event(body: bytes, error: Exception) -> Envelope:
    if b'"specversion"' not in body:
        raise _bad(error, "") from None
    try:
        event = _json_cloud_event(body)
    except _UNREADABLE as ours:
        raise _bad(ours, "") from None
    return Envelope(
        event.id,
        event.source,
        event.pool,
        event.type.removeprefix("waitline."),
        event.data,
        event.actor,
        event.schemaversion,
        event.causationid,
        event.time,
    )


def _bad(error: Exception, prefix: str) -> BadCommand:
    if isinstance(error, UnicodeDecodeError):
        return BadCommand(prefix, "this is not UTF-8")
    if isinstance(error, RecursionError):
        return BadCommand(prefix, "this is nested too deeply")
    match = _PATH.match(str(error))
    assert match is not None, "every text matches"
    problem = match["problem"]
    field = _FIELD.search(problem)
    path = ".".join(part for part in (prefix, match["path"] or "", field["field"][:64] if field else "") if part)
    return BadCommand(path[:200], problem if len(problem) <= 200 else f"{problem[:200]}…")


def _refuse_control(envelope: Envelope, command: Command) -> None:
    """Ids and codes are shown, logged and put into URLs: no control characters. Texts may have line breaks, but no
    NUL."""
    for field in ("id", "source", "pool", "actor", "causation", "time"):
        if _CONTROL.search(getattr(envelope, field)):
            raise BadCommand(field, "holds a control character")
    for path, text, free in _texts(msgspec.to_builtins(command), "data", False):
        if "\0" in text or (not free and _CONTROL.search(text)):
            raise BadCommand(path, "holds a control character")


def _texts(value: Any, path: str, free: bool) -> Any:
    if isinstance(value, str):
        yield path, value, free
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, key, False
            yield from _texts(item, f"{path}.{key}", free or key in ("attributes", "addresses", "rules"))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _texts(item, f"{path}[{i}]", free)

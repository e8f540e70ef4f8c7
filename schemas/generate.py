"""Writes schemas/ anew from the messages: `python -m schemas.generate`; with --check it only says what is out of date.

Made are a JSON Schema (2020-12) and an example of each command, event and journal record, examples of what is refused,
the AsyncAPI document, the glossary, and the golden messages of this version. Written by hand are words.toml, day.txt
(what comes of its commands is filled in) and refusals.py.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import msgspec
from msgspec import Struct, inspect

from engine import __version__
from engine.core import messages as m
from engine.core import reasons, rules
from engine.streams import board, status
from engine.streams.codec import BadCommand, Envelope, read_command
from engine.streams.journal import GENESIS, Marker, Reader, read_turn, write_marker, write_turn
from engine.streams.log import Record
from engine.streams.partition import Partition
from engine.streams.topics import murmur2, partition_of
from engine.streams.transcript import Told, parse, retold, tell

from . import asyncapi
from .refusals import BAD, REFUSED, ROUTE

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "tests" / "golden" / __version__
MADE = ("commands", "events", "journal", "examples")  # folders in which nothing is written by hand
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ZERO = 1_795_428_000_000  # 2026-11-23 10:00:00 UTC, when the stories begin
REF = "#/$defs/{name}"
CONTROL = "^[^\\u0000-\\u001f]*$"
NUL = "^[^\\u0000]*$"
RULES = {name: kind for name, kind in vars(rules).items() if isinstance(kind, type) and issubclass(kind, rules.Rule)}
del RULES["Rule"]
WORDS: dict[str, Any] = tomllib.loads((HERE / "words.toml").read_text(encoding="utf-8"))
Schema = dict[str, Any]
BARE_ENVELOPE = msgspec.defstruct(  # msgspec has no schema for a Raw with a default
    "Envelope",
    [
        (field.name, get_type_hints(Envelope, include_extras=True)[field.name], field.default)
        for field in msgspec.structs.fields(Envelope)
        if field.name != "data"
    ],
    forbid_unknown_fields=True,
)


def files() -> dict[Path, str]:
    """All that is made, by path."""
    day = parse((HERE / "day.txt").read_text(encoding="utf-8"), zero=ZERO)
    told = list(tell(day, zero=ZERO))
    made: dict[str, str] = {"day.txt": retold(day, ZERO), "glossary.md": glossary()}
    made["partition-vectors.json"] = pretty(partition_vectors())
    made |= {f"commands/{name}.json": pretty(command_schema(name)) for name in m.COMMANDS}
    made |= {f"events/{name}.json": pretty(event_schema(name)) for name in m.EVENTS}
    made |= {"journal/marker.json": pretty(marker_schema()), "journal/turn.json": pretty(turn_schema())}
    made |= {f"examples/{name}": text for name, text in examples(told)}
    made["asyncapi.json"] = pretty(asyncapi.document(asyncapi_parts(), commands_of_adapters(made), told))
    made |= {f"examples/refused/{name}.json": pretty(document) for name, document in refused_examples()}
    return {HERE / name: text for name, text in made.items()} | {GOLDEN / name: text for name, text in golden(told)}


def pretty(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def partition_vectors() -> dict[str, Any]:
    """For those who choose the partition of a command in another language, or wish to check that their client does."""
    pools = ["a", "ab", "abc", "shop", "desk", "0", "sales.eu-west_1", "Sales", "a pool with spaces", "客服中心",
             "上海-售后", "zürich", "☎", "\U0001f4de", "long-" * 40]  # fmt: skip
    return {
        "what": "partition = (murmur2(UTF-8 of the pool's id) & 0x7fffffff) % partitions; the hash is Kafka's own "
        "(seed 0x9747b28c), here as an unsigned number. A record whose key is the pool's id is put there by Java "
        "clients, kafkajs and aiokafka by themselves, by librdkafka with partitioner=murmur2_random. No id is empty.",
        "pools": [
            {
                "pool": pool,
                "utf8": pool.encode().hex(),
                "murmur2": murmur2(pool.encode()),
                "partition_of": {str(n): partition_of(pool, n) for n in (1, 2, 3, 4, 6, 12, 16, 50, 128, 1000)},
            }
            for pool in pools
        ],
    }


# ---- schemas


def command_schema(name: str) -> Schema:
    """Of the envelope with its data."""
    kind = m.COMMANDS[name]
    _, components = msgspec.json.schema_components([kind, BARE_ENVELOPE], ref_template=REF)
    envelope = components.pop("Envelope")
    described(envelope, Envelope)
    parts = {other: described(schema, type_named(other)) for other, schema in components.items()}
    data = parts[kind.__name__]
    data["required"] = [field for field in data["required"] if field != "type"]  # the envelope has said it
    if not data["required"]:
        del data["required"]
    restrict(data, parts, False)
    restrict(envelope, {}, False)
    envelope["properties"]["type"] = {"const": name, "description": WORDS["fields"]["type"]}
    envelope["properties"]["version"]["const"] = 1
    envelope["properties"]["data"] = {"$ref": REF.format(name=kind.__name__)}
    envelope["required"] = ["id", "source", "pool", "type", *(["data"] if "required" in data else [])]
    return {"$schema": DIALECT, "$id": f"urn:waitline:command:{name}"} | envelope | {
        "title": kind.__name__,
        "description": data["description"],
        "$defs": parts,
    }  # fmt: skip


def event_schema(name: str) -> Schema:
    """Fields that a schema does not name are a newer engine's, and may be passed over."""
    kind = m.EVENTS[name]
    _, components = msgspec.json.schema_components([kind], ref_template=REF)
    parts = {other: described(schema, type_named(other)) for other, schema in components.items()}
    own = parts.pop(kind.__name__)
    head = {"$schema": DIALECT, "$id": f"urn:waitline:event:{name}"} | own
    return head | {"$defs": parts} if parts else head


def asyncapi_parts() -> dict[str, Schema]:
    """What adapters and readers need of all that, under the names by which the AsyncAPI document points at it."""
    parts: dict[str, Schema] = {}

    def takes(name: str, schema: Schema) -> None:
        schema = json.loads(json.dumps(schema).replace(REF.format(name=""), asyncapi.REF.format(name="")))
        for kept in ("$schema", "$id"):
            schema.pop(kept, None)
        for other, part in schema.pop("$defs", {}).items():
            takes(other, part)
        assert parts.setdefault(name, schema) == schema, f"two schemas are called {name}"

    for name, kind in m.COMMANDS.items():
        if name not in m.INTERNAL:
            takes(f"{kind.__name__}Command", command_schema(name))
    for name, event in m.EVENTS.items():
        schema = event_schema(name)
        del schema["properties"]["type"]  # the headers have said it
        schema["required"] = [field for field in schema["required"] if field != "type"]
        takes(event.__name__, schema)
    for told in asyncapi.STATUSES.values():
        _, components = msgspec.json.schema_components([told], ref_template=REF)
        for other, schema in components.items():
            takes(other, described(schema, type_named(other)))
    return parts


def commands_of_adapters(made: dict[str, str]) -> dict[str, Schema]:
    names = [name for name in m.COMMANDS if name not in m.INTERNAL]
    return {name: json.loads(made[f"examples/commands/{name}.json"]) for name in names}


def marker_schema() -> Schema:
    _, components = msgspec.json.schema_components([Marker], ref_template=REF)
    own = described(components["Marker"], Marker)
    own["required"] = list(own["properties"])
    return {
        "$schema": DIALECT,
        "$id": "urn:waitline:journal:marker",
        "title": "MarkerRecord",
        "description": own["description"],
        "type": "object",
        "properties": {"marker": own},
        "required": ["marker"],
    }


def turn_schema() -> Schema:
    _, components = msgspec.json.schema_components([m.Turn], ref_template=REF)
    parts = {other: described(schema, type_named(other)) for other, schema in components.items()}
    turn = parts.pop("Turn")
    own = {
        "owner": {"type": "integer", "minimum": 0, "description": WORDS["fields"]["owner"]},
        "chain": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": WORDS["fields"]["chain"]},
    }
    return {"$schema": DIALECT, "$id": "urn:waitline:journal:turn"} | turn | {
        "title": "TurnRecord",
        "properties": own | turn["properties"],
        "required": [*own, *turn["required"]],
        "$defs": parts,
    }  # fmt: skip


def type_named(name: str) -> type[Struct]:
    for known in (m, rules, status):
        if name in vars(known):
            return vars(known)[name]  # type: ignore[no-any-return]
    raise KeyError(name)


def described(schema: Schema, kind: type[Struct]) -> Schema:
    """With a sentence for it and each of its fields, and what msgspec leaves unsaid."""
    schema["description"] = sentence_of(kind)
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    types = {field.encode_name: field.type for field in info.fields}
    for name, field in schema["properties"].items():
        if len(field.get("enum", ())) == 1:
            field["const"] = field.pop("enum")[0]
        if name in types:
            name_keys(field, types[name])
        if "$ref" not in field:
            field["description"] = field_sentence(kind, name)
    return schema


def name_keys(schema: Schema, kind: inspect.Type) -> None:
    """msgspec does not say which keys a dict[Literal, …] has."""
    if isinstance(kind, inspect.UnionType):
        for schema_of_one, one in zip(schema["anyOf"], kind.types, strict=True):
            name_keys(schema_of_one, one)
    elif isinstance(kind, inspect.DictType) and isinstance(kind.key_type, inspect.LiteralType):
        schema["propertyNames"] = {"enum": list(kind.key_type.values)}


def restrict(schema: Schema, parts: dict[str, Schema], free: bool) -> None:
    """The codec takes no control characters in ids and codes, and no NUL in texts."""
    if "$ref" in schema:
        restrict(parts[schema["$ref"].removeprefix("#/$defs/")], parts, free)
    elif schema.get("type") == "string":
        schema.setdefault("pattern", NUL if free else CONTROL)
    for each in schema.get("anyOf", ()):
        restrict(each, parts, free)
    if isinstance(schema.get("items"), dict):
        restrict(schema["items"], parts, free)
    if isinstance(schema.get("additionalProperties"), dict):
        names = schema.setdefault("propertyNames", {})
        if "enum" not in names:
            names["pattern"] = CONTROL
        restrict(schema["additionalProperties"], parts, free)
    for name, field in schema.get("properties", {}).items():
        restrict(field, parts, free or name in ("attributes", "addresses", "rules"))


def sentence_of(kind: type[Struct]) -> str:
    text = WORDS["types"].get(kind.__name__) or kind.__doc__ or ""
    if not text or text.startswith(f"{kind.__name__}("):
        raise click.ClickException(f"{kind.__name__} has neither a docstring nor a sentence in words.toml")
    return re.sub(r"\s+", " ", text).strip()


def field_sentence(kind: type[Struct], field: str) -> str:
    words = WORDS["rules"].get(kind.__name__, {}) if issubclass(kind, rules.Rule) else WORDS["fields"]
    if kind in STATUSES:
        words = words | WORDS["status"]
    if field not in words:
        raise click.ClickException(f"words.toml has no sentence for the field {field} of {kind.__name__}")
    return str(words[field])


# ---- examples


def examples(told: list[Told]) -> Iterator[tuple[str, str]]:
    """Of each type that which says most, of all that happens in day.txt."""
    commands: dict[str, bytes] = {}
    events: dict[str, bytes] = {}
    turns: list[bytes] = []
    for each in told:
        name = m.TYPE_OF[type(each.said.command)]
        commands[name] = max(commands.get(name, b""), each.body, key=len)
        for event in [*each.decided.events, *failed(told)]:
            name = m.TYPE_OF[type(event)]
            events[name] = max(events.get(name, b""), msgspec.json.encode(event), key=len)
        if each.decided.record is not None:
            turns.append(each.decided.record)
    for name in m.COMMANDS:
        yield f"commands/{name}.json", pretty(as_sent(commands[name]))
    for name in m.EVENTS:
        yield f"events/{name}.json", pretty(json.loads(events[name]))
    yield "journal/marker.json", pretty(json.loads(write_marker(marker())))
    yield "journal/turn.json", pretty(json.loads(max((turn for turn in turns if b'"rules"' not in turn), key=len)))
    cloud = {"specversion": "1.0", "datacontenttype": "application/json"} | as_sent(commands["route-contact"])
    yield "cloudevents/route-contact.json", pretty(cloud | {"type": "waitline.route-contact"})


def as_sent(body: bytes) -> Schema:
    """A command as others send it: what stands in the envelope is not said again in the data."""
    document: Schema = json.loads(body)
    del document["data"]["type"]
    return document


def failed(told: list[Told]) -> list[m.Event]:
    """No command should bring this one about, so it is not part of the day."""
    envelope, _ = read_command(told[-1].body)
    return Partition().fail(envelope, len(told), told[-1].said.at, "AssertionError: one offer at a time").events


def marker() -> Marker:
    return Marker(worker="host-1", log="01JD8ZQ4", time="simulated", at=ZERO)


def refused_examples() -> Iterator[tuple[str, Schema]]:
    missing = reasons.REFUSALS - REFUSED.keys()
    if missing:
        raise click.ClickException(f"refusals.py has no story for {', '.join(sorted(missing))}")
    for reason, story in REFUSED.items():
        *given, last = tell(parse(story, zero=ZERO), zero=ZERO)
        yield (
            reason,
            {
                "about": WORDS["reasons"][reason],
                "given": [{"at": ZERO + each.said.at, "command": as_sent(each.body)} for each in given],
                "at": ZERO + last.said.at,
                "command": as_sent(last.body),
                "refused_by": ["engine"],
                "event": json.loads(msgspec.json.encode(last.decided.events[0])),
            },
        )
    for name, bad in BAD.items():
        document: Schema = {"about": bad.about}
        if bad.text:
            document["text"] = bad.text
            body = bad.text.encode()
        else:
            good = {"id": "42", "source": "pbx-1", "pool": "desk", "type": "route-contact", "data": ROUTE} | bad.changed
            document["command"] = {field: value for field, value in good.items() if value is not None}
            body = json.dumps(document["command"]).encode()
        field, message = complaint(body)
        by = ["schema", "door"] if bad.schema and not bad.text else ["door"]
        yield name, document | {"refused_by": by, "field": field, "message": message}


def complaint(body: bytes) -> tuple[str, str]:
    try:
        Partition().decide(*read_command(body), 0, ZERO)
    except BadCommand as bad:
        return bad.field, bad.problem
    raise click.ClickException(f"this should have been refused: {body.decode()}")


# ---- golden messages


def golden(told: list[Told]) -> Iterator[tuple[str, str]]:
    """What this version writes, byte for byte, with what it means: {"bytes" or "hex", "means"} a line."""
    commands = [line(each.body, meaning_of_command(each.body), at=ZERO + each.said.at) for each in told]
    happened: dict[bytes, m.Event] = {}
    for each in told:
        for event in [*each.decided.events, *failed(told)]:
            happened.setdefault(msgspec.json.encode(event), event)
    yield "commands.jsonl", "".join(commands)
    yield "events.jsonl", "".join(line(body, meaning(event)) for body, event in happened.items())
    for encoding in ("json", "msgpack"):
        records = [write_marker(msgspec.structs.replace(marker(), encoding=encoding))]
        chain = GENESIS
        for each in told:
            if each.decided.record is not None:
                record, chain = write_turn(0, chain, read_turn(each.decided.record), encoding)  # type: ignore[arg-type]
                records.append(record)
        yield f"journal-{encoding}.jsonl", "".join(map(journal_line, journal(records)))


def journal(records: list[bytes]) -> Iterator[tuple[bytes, Any]]:
    reader = Reader()
    for offset, record in enumerate(records):
        yield record, reader.read(Record(offset, None, record))


def journal_line(pair: tuple[bytes, Any]) -> str:
    record, said = pair
    return line(record, meaning(said))


def line(body: bytes, means: Any, **more: Any) -> str:
    try:
        document = {"bytes": body.decode(), **more, "means": means}
    except UnicodeDecodeError:
        document = {"hex": body.hex(), **more, "means": means}
    return json.dumps(document, ensure_ascii=False) + "\n"


def meaning_of_command(body: bytes) -> Schema:
    envelope, command = read_command(body)
    return {name: value for name, value in meaning(envelope).items() if name != "data"} | {"data": meaning(command)}


def meaning(value: Any) -> Any:
    """Every field, also those left out of the bytes: a default that changes would change what old bytes mean."""
    if isinstance(value, Struct):
        kind = {"type": m.TYPE_OF[type(value)]} if type(value) in m.TYPE_OF else {}
        return kind | {name: meaning(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: meaning(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [meaning(each) for each in value]
    return value.hex() if isinstance(value, bytes) else None if isinstance(value, msgspec.Raw) else value


# ---- glossary


def glossary() -> str:
    return "\n".join(
        [
            "# Glossary",
            "",
            "The words of messages, rules and prose, made from docstrings and words.toml: `make schemas`.",
            "",
            *section("Words", WORDS["general"]),
            *section("Commands", {both_names(name, kind): sentence_of(kind) for name, kind in m.COMMANDS.items()}),
            *section("Events", {both_names(name, kind): sentence_of(kind) for name, kind in m.EVENTS.items()}),
            *section("Around them", {f"`{kind.__name__}`": sentence_of(kind) for kind in AROUND}),
            *section(
                "Fields of messages", {f"`{name}`": field_sentence_of_messages(name) for name in message_fields()}
            ),
            *section("Statuses", {f"`{kind.__name__}`": sentence_of(kind) for kind in STATUSES}),
            *section("Fields of statuses", {f"`{name}`": text for name, text in WORDS["status"].items()}),
            *section("Reasons", {f"`{name}`": reason_sentence(name) for name in sorted(reasons.REASONS)}),
            *rules_sections(),
        ]
    )


STATUSES: tuple[type[Struct], ...] = (*asyncapi.STATUSES.values(), status.AssignmentStatus, board.DoorView)
AROUND: tuple[type[Struct], ...] = (Envelope, m.CommandRef, m.Turn, Marker)


def section(title: str, entries: dict[str, str]) -> list[str]:
    return [f"## {title}", "", *(f"- **{name}**: {text}" for name, text in entries.items()), ""]


def message_fields() -> list[str]:
    kinds = [*m.COMMANDS.values(), *m.EVENTS.values(), *AROUND]
    return sorted({"type", "owner", "chain", *(field for kind in kinds for field in kind.__struct_fields__)})


def field_sentence_of_messages(name: str) -> str:
    return field_sentence(Envelope, name)


def reason_sentence(name: str) -> str:
    if name not in WORDS["reasons"]:
        raise click.ClickException(f"words.toml has no sentence for the reason {name}")
    return str(WORDS["reasons"][name])


def both_names(name: str, kind: type[Struct]) -> str:
    """On the wire, and in code."""
    return f"`{name}`, `{kind.__name__}`"


def rules_sections() -> list[str]:
    lines = []
    for name, kind in RULES.items():
        fields = {f"`{field}`": field_sentence(kind, field) for field in kind.__struct_encode_fields__}
        head, *entries = section(f"Rules: `{name}`", fields)
        lines += [head, "", sentence_of(kind), *entries]
    return lines


# ---- writing and checking


def differences() -> list[str]:
    """What is not as it should be, as sentences."""
    made = files()
    found = [f"{path} is missing" for path in made if not path.exists()]
    found += [f"{path} is out of date" for path, text in made.items() if path.exists() and old(path) != text]
    return found + [f"{path} is made by nothing" for path in strangers(made)]


def old(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def strangers(made: dict[Path, str]) -> list[Path]:
    folders = [*(HERE / name for name in MADE), GOLDEN]
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path not in made)


@click.command(help=__doc__)
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if anything is out of date.")
def main(check: bool) -> None:
    if check:
        found = differences()
        click.echo("\n".join([*found, "Run: python -m schemas.generate"]) if found else "All is up to date.")
        sys.exit(1 if found else 0)
    made = files()
    for path in strangers(made):
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    click.echo(f"{len(made)} files written.")


if __name__ == "__main__":
    main()

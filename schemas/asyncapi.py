"""The AsyncAPI 3.1 document of the public topics: what travels on them, under which key, with which headers.

`document` makes all of it from the code: the messages' structs, words.toml, and the topics as engine/streams/topics.py
has them. The journal and the snapshots are private, and named as such.
"""

import json
from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from engine import __version__
from engine.core import messages as m
from engine.streams import topics
from engine.streams.cloud_events import CONTENT_TYPE, attributes
from engine.streams.journal import GENESIS, Marker, read_turn, write_marker, write_turn
from engine.streams.log import Record
from engine.streams.status import READ_TO, AgentStatus, ContactStatus, QueueStatus
from engine.streams.topics import COMMANDS, EVENTS, JOURNAL, REJECTED, SNAPSHOTS, STATUS, Shape, Topic
from engine.streams.transcript import Told
from engine.streams.views import Views

Schema = dict[str, Any]
REF = "#/components/schemas/{name}"
STATUSES: dict[str, type[Struct]] = {"contact": ContactStatus, "agent": AgentStatus, "queue": QueueStatus}
POOL_KEY = {"type": "string", "minLength": 1, "description": "The pool's id, in UTF-8."}
SHAPE = Shape()
BINDING = "0.5.0"

ABOUT = f"""\
What Waitline says to others and takes from them over Apache Kafka. Read `events` to know what happens, and `status` to
know how everybody stands; write `commands` to ask for something.

- A pool is in the same partition of every topic: murmur2 over its id's UTF-8 bytes, as Kafka's Java client does it by
  itself for a record whose key is the pool's id (schemas/partition-vectors.json has examples to check others by).
- Records come at least once and in order within a partition. Drop repeats of events by `ce_id`; of a status, what has
  a lower `position` than the one that you have for its key (compare its three numbers).
- New fields and new types of events may come with any version: pass over what you do not know.
- `{SHAPE.named(JOURNAL)}` and `{SHAPE.named(SNAPSHOTS)}` are private to the engine and its auditors: their bytes may
  change, and not every record of the journal counts.
- `{topics.PREFIX}` is the usual prefix of the topics' names; an installation may have another.
"""


def document(parts: dict[str, Schema], commands: dict[str, Schema], told: Iterable[Told]) -> Schema:
    """parts: JSON Schemas by name, which point at each other by REF; commands: an example of each that adapters send;
    told: what happens in the day of the examples."""
    events, statuses = examples(told)
    messages = {f"command-{name}": command(name, commands[name]) for name in commands}
    messages |= {f"event-{name}": event(name, events[name]) for name in m.EVENTS}
    messages |= {f"status-{name}": status(name, kind, statuses[name]) for name, kind in STATUSES.items()}
    messages["rejection"] = REJECTION
    named = {kind: [name for name in messages if name.startswith(kind)] for kind in ("command-", "event-", "status-")}
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Waitline",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {"host": "localhost:9092", "protocol": "kafka", "description": "A broker of the installation."}
        },
        "channels": {
            "commands": channel(COMMANDS, named["command-"]),
            "events": channel(EVENTS, named["event-"]),
            "status": channel(STATUS, named["status-"]),
            "rejected": channel(REJECTED, ["rejection"]),
        },
        "operations": {
            "takeCommands": operation("receive", "commands", "Decides what adapters, agents and others ask for."),
            "tellEvents": operation("send", "events", "Tells every accepted event."),
            "tellStatus": operation("send", "status", "Tells how each contact, agent and queue stands now."),
            "tellRejected": operation("send", "rejected", "Tells what was no command, and why."),
        },
        "components": {
            "messages": messages,
            "messageTraits": {"cloudEvent": CLOUD_EVENT},
            "schemas": dict(sorted(parts.items())),
        },
    }


def channel(topic: Topic, messages: list[str]) -> Schema:
    settings = SHAPE.settings(topic)
    return {
        "address": SHAPE.named(topic),
        "description": f"{topic.carries[0].upper()}{topic.carries[1:]}. Key: {topic.key}.",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "kafka": {
                "topic": SHAPE.named(topic),
                "partitions": SHAPE.partitions,
                "replicas": SHAPE.replication,
                "topicConfiguration": {
                    "cleanup.policy": [settings["cleanup.policy"]],
                    "retention.ms": int(settings["retention.ms"]),
                    "retention.bytes": int(settings["retention.bytes"]),
                    "max.message.bytes": int(settings["max.message.bytes"]),
                },
                "bindingVersion": BINDING,
            }
        },
    }


def operation(action: str, name: str, summary: str) -> Schema:
    return {"action": action, "channel": {"$ref": f"#/channels/{name}"}, "summary": summary}


def message(name: str, payload: str, key: Schema, examples: list[Schema], **more: Any) -> Schema:
    return {
        "name": name,
        **more,
        "payload": {"$ref": REF.format(name=payload)},
        "bindings": {"kafka": {"key": key, "bindingVersion": BINDING}},
        "examples": examples,
    }


def command(name: str, example: Schema) -> Schema:
    title = m.COMMANDS[name].__name__
    return message(name, f"{title}Command", POOL_KEY, [{"payload": example}], title=title)


def event(name: str, example: Schema) -> Schema:
    title = m.EVENTS[name].__name__
    return message(
        f"waitline.{name}",
        title,
        POOL_KEY,
        [example],
        title=title,
        traits=[{"$ref": "#/components/messageTraits/cloudEvent"}],
    )


def status(name: str, kind: type[Struct], example: Schema) -> Schema:
    return message(
        f"status-{name}",
        kind.__name__,
        {
            "type": "string",
            "pattern": f"^{name}/[^/]+/.+$",
            "description": f"`{name}/{{pool}}/{{{name} id}}`, in UTF-8.",
        },
        [example],
        title=kind.__name__,
        headers={
            "type": "object",
            "required": [READ_TO],
            "properties": {
                READ_TO: {
                    "type": "string",
                    "pattern": "^-?[0-9]+$",
                    "description": "The position of the last command that its writer knew of; tombstones too.",
                }
            },
        },
        description="A record without a value takes back what its key told: a contact that finished an hour ago, a "
        "queue that is no more.",
    )


def examples(told: Iterable[Told]) -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Of each event, and of each kind of status, that which says most."""
    views, chain, events, statuses = Views(0), GENESIS, dict[str, Schema](), dict[str, Schema]()
    views.fold(Record(0, None, write_marker(Marker(worker="host-1", log="01JD8ZQ4", time="simulated", at=0))))
    turns = [read_turn(each.decided.record) for each in told if each.decided.record is not None]
    last = turns[-1]
    turns.append(replace(last, position=last.position + 1, events=[m.CommandFailed("tick", "AssertionError")]))
    for offset, turn in enumerate(turns, 1):
        record, chain = write_turn(0, chain, turn)
        made = views.publish([Record(offset, None, record)])
        for one in made.events:
            headers = {name: value.decode() for name, value in one.headers}
            longest(events, headers["ce_type"].removeprefix("waitline."), headers, one.value)
        for key, value in made.status.items():
            if value is not None:
                headers = {READ_TO: str(views.place.position)}
                longest(statuses, key.partition("/")[0], headers, value)
    return events, statuses


def longest(found: dict[str, Schema], name: str, headers: dict[str, str], value: bytes) -> None:
    example = {"headers": headers, "payload": json.loads(value)}
    found[name] = max(found.get(name, {}), example, key=lambda each: len(str(each)))


CLOUD_EVENT: Schema = {
    "headers": {
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary mode: every header is text in UTF-8, the value is the data.",
        "required": [*(f"ce_{name}" for name in attributes(0, "desk", 0, 0, 0, "")), "content-type"],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {
                "type": "string",
                "pattern": "^[0-9]+/[0-9]+/[0-9]+$",
                "description": "`{partition}/{position}/{ordinal}`: unique for ever; drop repeats by it.",
            },
            "ce_source": {"type": "string", "pattern": "^/waitline/.+$", "description": "`/waitline/{pool}`."},
            "ce_type": {"type": "string", "description": "`waitline.` and the event's type."},
            "ce_time": {"type": "string", "format": "date-time", "description": "Of the log."},
            "ce_pool": {"type": "string", "description": "The pool's id."},
            "ce_position": {"type": "string", "pattern": "^[0-9]+$", "description": "The position of its command."},
            "ce_at": {
                "type": "string",
                "pattern": "^[0-9]+$",
                "description": "ce_time in milliseconds since the epoch.",
            },
            "content-type": {"type": "string", "const": CONTENT_TYPE},
        },
    }
}
REJECTION: Schema = {
    "name": "rejection",
    "title": "Rejection",
    "payload": {
        "type": "object",
        "required": ["partition", "position", "at", "reason", "field", "problem", "body"],
        "properties": {
            "partition": {"type": "integer", "minimum": 0},
            "position": {"type": "integer", "minimum": 0, "description": "Of the record in `commands`."},
            "at": {"type": "integer", "description": "When it came, in milliseconds since the epoch."},
            "reason": {"type": "string", "description": "A code."},
            "field": {"type": "string", "description": "What is wrong, as a dotted path; empty for the whole."},
            "problem": {"type": "string", "description": "Why, in words."},
            "body": {"type": "string", "contentEncoding": "base64", "description": "Its first 64 KiB."},
        },
    },
    "bindings": {
        "kafka": {
            "key": {"type": "string", "description": "`{partition}/{position}`: drop repeats by it."},
            "bindingVersion": BINDING,
        }
    },
}

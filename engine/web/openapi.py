"""The door's description in OpenAPI 3.1, made from the same structs that it reads and writes."""

from functools import cache
from typing import Any

import msgspec

from engine import __version__
from engine.core.messages import COMMANDS, EVENTS, INTERNAL
from engine.streams import board
from engine.streams.host import Standing

from .answers import Result

REF = "#/components/schemas/{name}"
VIEWS = (board.QueueView, board.AgentView, board.ContactView, board.DecisionView, board.DayFigures)
STAND = {
    "position": {
        "type": "integer",
        "description": "Position of the last command that said something; of several partitions, the greatest.",
    },
    "at": {"type": "integer", "description": "Log time, milliseconds since the epoch."},
}
OF_POOL = {"pool": {"type": "string"}, **STAND}
RESULT = {"$ref": REF.format(name="Result")}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}, "description": "Agents by state."}
POOL = {
    "type": "object",
    "required": ["pool", "time_zone", "partition", "position"],
    "properties": {
        "pool": {"type": "string"},
        "time_zone": {"type": "string"},
        "partition": {"type": "integer", "description": "Of the log; the first part of its events' ids."},
        "position": {"type": "integer", "description": "Of the last command in it that said something."},
    },
}


def envelope(name: str) -> dict[str, Any]:
    """The schema of a command of this type in its envelope."""
    text = {"type": "string", "maxLength": 128}
    return {
        "type": "object",
        "required": ["id", "source", "pool", "type", "data"],
        "additionalProperties": False,
        "properties": {
            "id": {**text, "minLength": 1, "description": "Unique with source; a repeat has no second effect."},
            "source": {**text, "minLength": 1},
            "pool": {**text, "minLength": 1},
            "type": {"const": name},
            "data": {"$ref": REF.format(name=COMMANDS[name].__name__)},
            "actor": text,
            "version": {"type": "integer", "const": 1},
            "causation": text,
            "time": {**text, "description": "The sender's clock, as information only."},
        },
    }


@cache
def document() -> dict[str, Any]:
    public = [name for name in COMMANDS if name not in INTERNAL]
    types = [COMMANDS[name] for name in public]
    _, found = msgspec.json.schema_components([*types, *EVENTS.values(), *VIEWS, Result, Standing], ref_template=REF)
    components = msgspec.json.decode(msgspec.json.encode(found))  # defaults that are tuples become lists
    for kind in types:  # the type stands in the envelope
        components[kind.__name__]["properties"].pop("type")
        components[kind.__name__]["required"].remove("type")
    commands = {f"{COMMANDS[name].__name__}Command": envelope(name) for name in public}
    any_command = {"oneOf": [{"$ref": REF.format(name=name)} for name in commands]}
    components |= commands | {"AnyCommand": any_command}
    pool = {"name": "pool", "in": "path", "required": True, "schema": {"type": "string"}}
    contact = {"name": "contact_id", "in": "path", "required": True, "schema": {"type": "string"}}
    one_or_more = {"oneOf": [any_command, {"type": "array", "maxItems": 5000, "items": any_command}]}
    answers = {
        "200": _answer("What became of it; a list where a list was sent", {"oneOf": [RESULT, _list(RESULT)]}),
        **{
            status: _answer(text, RESULT)
            for status, text in {
                "400": "Not a command; `field` and `message` say what is wrong",
                "404": "No such pool",
                "413": "Too large",
                "415": "Not JSON",
                "503": "The log cannot be written at present. Nothing was taken; or, where the reason is "
                "`unknown-outcome`, some of it may have been: repeat it with the same ids",
                "507": "No room for the log; nothing was taken",
                "default": "What is wrong",
            }.items()
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Waitline",
            "version": __version__,
            "description": "Commands in, events and views out. Every answer says the log position it stands at.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/commands": {
                "post": {
                    "summary": "Ask for something: one command or a batch; answered once durable",
                    "description": "Behind a broker the answer is `logged` where one does not wait for the decision, "
                    "or it does not come within ten seconds; (source, id) asked again is told what became of it.",
                    "operationId": "command",
                    "parameters": [
                        _query("wait", "`decided`: answer when it is decided, with the events", {"const": "decided"}),
                        _query("lang", "Language of messages", {"enum": ["en", "zh-CN"]}),
                    ],
                    "requestBody": {
                        "required": True,
                        "content": {
                            "application/json": {"schema": one_or_more},
                            "application/cloudevents+json": {"schema": {"type": "object"}},
                            "application/cloudevents-batch+json": {"schema": _list({"type": "object"})},
                        },
                    },
                    "responses": answers,
                }
            },
            "/v1/events": {
                "get": {
                    "summary": "What happened, as server-sent events; Last-Event-ID resumes without loss or repetition",
                    "operationId": "events",
                    "parameters": [
                        _query("pool", "Of which pool", {"type": "string"}, True),
                        _query("type", "Only this type", {"enum": list(EVENTS)}),
                        _query("contact", "Only of this contact", {"type": "string"}),
                        _query("queue", "Only of this queue", {"type": "string"}),
                        _query("from", "Where to begin without Last-Event-ID", {"enum": ["start", "now"]}),
                        {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
                    ],
                    "responses": _stream("CloudEvents, one per event"),
                }
            },
            "/v1/pools": _get("pools", "The pools of this server", [], {**STAND, "pools": _list(POOL)}),
            "/v1/pools/{pool}/queues": _get(
                "queues", "Queues, now", [pool], {**OF_POOL, "queues": _views("QueueView")}
            ),
            "/v1/pools/{pool}/agents": _get(
                "agents", "Agents, now", [pool], {**OF_POOL, "counts": COUNTS, "agents": _views("AgentView")}
            ),
            "/v1/pools/{pool}/figures": _get(
                "figures", "Today, by the pool's time zone", [pool], OF_POOL, "DayFigures"
            ),
            "/v1/pools/{pool}/decisions": _get(
                "decisions",
                "The last offers, each with its reason, newest first",
                [
                    pool,
                    _query("limit", "How many", {"type": "integer", "minimum": 1, "maximum": 50, "default": 20}),
                    _query("lang", "Language of sentences", {"enum": ["en", "zh-CN"]}),
                ],
                {**OF_POOL, "decisions": _views("DecisionView")},
            ),
            "/v1/pools/{pool}/contacts": _get(
                "contacts",
                "Contacts that a source brought",
                [pool, _query("source", "Whose", {"type": "string"}, True), _query("open", "Only open ones", {})],
                {**OF_POOL, "source": {"type": "string"}, "contacts": _views("ContactView")},
            ),
            "/v1/pools/{pool}/contacts/{contact_id}": _get(
                "contact",
                "One contact, open or finished within the hour",
                [pool, contact],
                {**OF_POOL, "contact": {"$ref": REF.format(name="ContactView")}},
            ),
            "/v1/pools/{pool}/live": {
                "get": {
                    "summary": "All that the live page shows, as server-sent events named `view`",
                    "operationId": "live",
                    "parameters": [pool, _query("lang", "Language of sentences", {"enum": ["en", "zh-CN"]})],
                    "responses": _stream("Views, at most four a second"),
                }
            },
            "/livez": _get("livez", "Is the process there", [], {"status": {"type": "string"}}),
            "/readyz": _get(
                "readyz",
                "Can it take commands; 503 where not",
                [],
                {**STAND, "partitions": _views("Standing"), "status": {"type": "string"}},
            ),
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _views(name: str) -> dict[str, Any]:
    return _list({"$ref": REF.format(name=name)})


def _query(name: str, description: str, schema: dict[str, Any], required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, "required": required}


def _stream(description: str) -> dict[str, Any]:
    content = {"text/event-stream": {"schema": {"type": "string"}}}
    return {"200": {"description": description, "content": content}, "default": _answer("What is wrong", RESULT)}


def _get(
    id: str, summary: str, parameters: list[dict[str, Any]], properties: dict[str, Any], also: str = ""
) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "required": list(properties), "properties": properties}
    if also:
        schema = {"allOf": [schema, {"$ref": REF.format(name=also)}]}
    return {
        "get": {
            "summary": summary,
            "operationId": id,
            "parameters": parameters,
            "responses": {"200": _answer(summary, schema), "default": _answer("What is wrong", RESULT)},
        }
    }

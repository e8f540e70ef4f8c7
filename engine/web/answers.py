"""What the door says: the shapes of its answers, and their bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from engine.core.messages import CommandFailed, CommandRefused, Event
from engine.embedded import Outcome, status_of
from engine.streams.cloud_events import structured
from engine.streams.codec import BadCommand

from .words import Language, refusal

PARTITION = 0  # the embedded host has one


class First(Struct, frozen=True, omit_defaults=True):
    """What became of the command that a repeat repeats."""

    position: int
    status: str
    reason: str = ""


class Result(Struct, frozen=True, omit_defaults=True):
    """What became of one command. status: accepted, refused (by the rules of the pool; it is in the log), rejected (not
    a command this door takes; it is not in the log), repeated, unchanged, failed."""

    status: str
    position: int | None = None
    at: int | None = None
    reason: str = ""
    field: str = ""
    message: str = ""
    first: First | None = None
    events: list[dict[str, Any]] | None = None


class JSON(Response):
    """Any of our structs, or plain data."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return msgspec.json.encode(content)


def problem(status: int, reason: str, message: str, field: str = "", **headers: str) -> JSON:
    """An answer that says what is wrong, as one Result."""
    return JSON(Result("rejected", reason=reason, message=message, field=field), status, headers=headers or None)


def result_of(outcome: Outcome, language: Language, with_events: bool) -> Result:
    if outcome.problem is not None:
        return rejected(outcome.problem, "unknown-pool")
    reason = message = ""
    first = None
    head = outcome.events[0] if outcome.events else None
    if isinstance(head, CommandRefused):
        reason, message = head.reason, refusal(head.reason, head.subject, head.seen, language)
    elif isinstance(head, CommandFailed):
        reason, message = "engine-fault", head.error
    position = outcome.position
    if outcome.first is not None:
        first = First(outcome.first, status_of(outcome.events), reason)
        position = outcome.first
    events = list(events_of(position, outcome.events)) if with_events else None
    return Result(outcome.status, outcome.position, outcome.at, reason, "", message, first, events)


def rejected(bad: BadCommand, reason: str = "bad-command") -> Result:
    return Result("rejected", reason=reason, field=bad.field, message=str(bad))


def events_of(position: int, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for ordinal, event in enumerate(events):
        yield {"id": f"{PARTITION}/{position}/{ordinal}", **msgspec.to_builtins(event)}


def cloud_event(pool: str, position: int, ordinal: int, at: int, event: dict[str, Any]) -> bytes:
    """One accepted event as a CloudEvent in structured JSON. `event` is as it stands in the turn."""
    return structured(PARTITION, pool, position, ordinal, at, event)

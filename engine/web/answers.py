"""What the door says: the shapes of its answers, and their bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from engine.core.messages import CommandFailed, CommandRefused, ContactTurnedAway, Event
from engine.core.rules import Rules
from engine.streams.codec import BadCommand
from engine.streams.host import Outcome, status_of

from .words import Language, refusal, say, turned_away


class First(Struct, frozen=True, omit_defaults=True):
    """What became of the command that a repeat repeats."""

    position: int
    status: str
    reason: str = ""


class Result(Struct, frozen=True, omit_defaults=True):
    """What became of one command. status: accepted, refused (by the rules of the pool; it is in the log), turned-away
    (the contact was not let in: `message` tells the customer why and what to do next), rejected (not a command that is
    taken; without a position it is not in the log), repeated, unchanged, failed, logged (it is in the log, and not
    decided yet). position: in the log of its partition."""

    status: str
    position: int | None = None
    at: int | None = None
    partition: int = 0
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


def result_of(outcome: Outcome, language: Language, with_events: bool, rules: Rules | None = None) -> Result:
    """rules: of the pool that was asked, for the names of queues and the time of day there."""
    if outcome.problem is not None:
        return rejected(outcome.problem, "unknown-pool")
    status, reason, message = str(outcome.status), "", ""
    first = None
    head = outcome.events[0] if outcome.events else None
    if isinstance(head, CommandRefused):
        reason, message = head.reason, refusal(head.reason, head.subject, head.seen, language)
    elif isinstance(head, CommandFailed):
        reason, message = "engine-fault", head.error
    elif isinstance(head, ContactTurnedAway):
        reason, message = head.reason, turned_away(head, rules, language)
        status = "turned-away" if outcome.first is None else status
    elif outcome.status == "rejected":
        reason, message = "bad-command", say(language, "answer.rejected")
    elif outcome.status == "logged" and with_events:  # it was waited for
        message = say(language, "answer.logged")
    position, partition = outcome.position, outcome.partition
    if outcome.first is not None:
        first = First(outcome.first, status_of(outcome.events), reason)
        position = outcome.first
    decided = outcome.status not in ("logged", "rejected")
    events = list(events_of(partition, position, outcome.events)) if with_events and decided else None
    at = outcome.at if decided else None
    return Result(status, outcome.position, at, partition, reason, "", message, first, events)


def rejected(bad: BadCommand, reason: str = "bad-command") -> Result:
    return Result("rejected", reason=reason, field=bad.field, message=str(bad))


def events_of(partition: int, position: int, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    for ordinal, event in enumerate(events):
        yield {"id": f"{partition}/{position}/{ordinal}", **msgspec.to_builtins(event)}

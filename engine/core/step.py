"""One turn: decide, evolve, offer until quiet. The only call a host makes."""

from . import messages as m
from .deadlines import NONE
from .decide import DECIDE
from .evolve import EVOLVE
from .matching import settle
from .offers import offers
from .restore import lay_indexes_aside, make_indexes
from .tables import Tables, View


def step(tables: Tables, command: m.Command, source: str, id: str, position: int, at: int) -> list[m.Event]:
    """The events of the command at `position`, written into the tables. Time never runs backwards: an earlier `at`
    counts as the last one. A command that had events before (same source and id) says nothing: `repeated` tells which
    it was."""
    tables.position = position
    if at > tables.at:
        tables.at = at
    if not tables.indexed:
        make_indexes(tables)
    kind = type(command)
    own = kind is m.Tick  # the host's own: never repeated by a sender
    key = f"{source}\n{id}"
    seen = tables.seen
    if (key in seen.young or key in seen.old) and not own:
        return []
    events = DECIDE[kind](tables, command, source)
    if not events:
        return events
    for event in events:
        EVOLVE[type(event)](tables, event)
    offers(tables, events, EVOLVE[m.OfferIssued])
    if tables.freed:
        settle(tables)
    if not own:
        seen.note(key, position, tables.at)
    return events


def fold(tables: Tables, turn: m.Turn) -> None:
    """Writes an accepted turn into the rows, as `step` did when it was decided. Turns are mostly folded many in a row,
    so the indexes are laid aside until somebody asks for them: whoever steps or asks for the next deadline."""
    if tables.indexed:
        lay_indexes_aside(tables)
    tables.position = turn.position
    tables.at = turn.at
    for event in turn.events:
        EVOLVE[type(event)](tables, event)
    command = turn.command
    if command.type != "tick" and turn.events:
        tables.seen.note(f"{command.source}\n{command.id}", turn.position, turn.at)


def repeated(view: View, source: str, id: str) -> int | None:
    """The position of the command of this source with this id, if it had events and is still kept."""
    return view.seen.get(f"{source}\n{id}")


def next_due(tables: Tables) -> int:
    """When the next tick is due: the earliest deadline, or deadlines.NONE."""
    if not tables.indexed:
        make_indexes(tables)
    return min(
        NONE,
        tables.offers.next(),
        tables.wraps.next(),
        tables.talks.next(),
        tables.waits.next(),
        tables.declines.next(),
        tables.silences.next(),
        tables.openings.next(),
        tables.listings.next(),
        tables.prefers.next(),
        tables.relaxes.next(),
        tables.overflows.next(),
    )

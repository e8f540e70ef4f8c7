"""What accepted turns ask of other pools: a contact to be taken over, the answer to that, a contact to be let go.

A host sends these commands once the turns are accepted, in their order, and after a start those that may not have been
sent before (`outstanding`). Each is named by the event that asks for it, so a repeat has no second effect.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from engine.core.messages import (
    CommandRefused,
    ConfirmOverflow,
    ContactOverflowing,
    ContactQueued,
    EndContact,
    OverflowRecalled,
    TakeOver,
    Turn,
)
from engine.core.tables import RECENT_MS, Contact, Tables

from .codec import BadCommand, Envelope, envelope_of, read_command
from .partition import Partition

HOST = "waitline"  # the source of all of them
TAKE_OVER = "take-over"


def errands(partition: Partition, turn: Turn) -> list[Envelope]:
    """What this accepted turn asks for. The partition stands at it, or further on."""
    tables = partition.pools.get(turn.command.pool)
    if tables is None:
        return []
    asked = []
    for ordinal, event in enumerate(turn.events):
        if type(event) is ContactOverflowing:
            contact = tables.contacts.get(event.contact_id)
            if contact is not None and contact.status == "overflowing":
                asked.append(take_over(partition, tables, contact))
        elif type(event) is OverflowRecalled:
            id = f"{partition.number}/{turn.position}/{ordinal}"
            asked.append(envelope_of(EndContact(event.contact_id, event.by), id, HOST, event.to_pool))
    if turn.command.type == TAKE_OVER:
        asked.append(answer(tables, turn))
    return asked


def take_over(partition: Partition, tables: Tables, contact: Contact) -> Envelope:
    errand, pool, queue_id = contact.away
    id = f"{partition.number}/{errand}"
    channel: Any = contact.need[1]
    tier: Any = contact.tier
    of: Any = contact.customer_class
    command = TakeOver(
        contact.id,
        channel,
        queue_id,
        contact.source,
        id,
        tables.rules.rules.pool,
        contact.deadline_at,
        contact.due_at,
        contact.first_queued_at,
        contact.hops + 1,
        contact.customer,
        dict(contact.asked or contact.need[2]),
        tier,
        contact.attributes,
        of,
        contact.allowed,
    )
    return replace(envelope_of(command, id, HOST, pool, tables.rules.rules.pool), answer=True)


def answer(tables: Tables, turn: Turn) -> Envelope:
    """To the pool that asked, which is the command's actor. A repeat is answered by what is known of the first."""
    ref, contact_id, reason = turn.command, "", ""
    for event in turn.events[:1]:
        if type(event) is ContactQueued:
            contact_id = event.contact_id
        elif type(event) is CommandRefused:
            reason = event.reason
    accepted = bool(contact_id) or tables.taken.get(ref.id) is not None
    return confirmation(ref.id, ref.actor, ref.pool, accepted, contact_id, "" if accepted else reason)


def confirmation(id: str, to: str, pool: str, accepted: bool, contact_id: str = "", reason: str = "") -> Envelope:
    """id: the errand's, with the number of the partition that it left in front."""
    errand = id.partition("/")[2]
    return envelope_of(ConfirmOverflow(errand, pool, accepted, contact_id, reason), id, HOST, to)


def not_taken(body: bytes) -> list[Envelope]:
    """The answer to a command that no pool could decide, where it was a contact to be taken over."""
    try:
        envelope, command = read_command(body)
    except BadCommand:
        return []
    if type(command) is not TakeOver or envelope.source != HOST:
        return []
    return [confirmation(envelope.id, command.from_pool, envelope.pool, False, command.contact_id, "unknown-pool")]


def outstanding(partition: Partition) -> Iterator[Envelope]:
    """What may not have been sent before a start: contacts that wait for an answer, and answers about contacts that
    have been taken over of late and are still here."""
    for pool, tables in partition.pools.items():
        for contact in tables.contacts.values():
            if contact.status == "overflowing":
                yield take_over(partition, tables, contact)
            if contact.came and contact.since > tables.at - RECENT_MS:
                errand, from_pool = contact.came
                yield confirmation(errand, from_pool, pool, True, contact.id)

"""Turn records: how they are written and chained, and the one rule of which records count.

A turn is one record: {"owner":…, "chain":"…", "position":…, "at":…, "command":{…}, "events":[…]}. `chain` is the
SHA-256 over the last accepted turn's chain and this turn's bytes without owner and chain. Whoever takes the journal
first writes a marker; the marker's offset is the owner's number. Used by every writer and every reader, on every host.
"""

import re
from binascii import hexlify, unhexlify
from hashlib import sha256
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from engine import __version__
from engine.core.messages import Turn

from .codec import Encoding, json_encode, json_turn, pack_encode, pack_turn
from .log import Record

FORMAT = 1
GENESIS = bytes(32)
TimeKind = Literal["real", "simulated", "recorded"]


class Marker(Struct, frozen=True):
    """Who takes the journal, and what the log is. Its offset is the owner's number. base: what is added to the offset
    of a command to give its position; chain: what the first turn continues, in hex (other than zeros only where an
    archive comes before it); journal_id, commands_id: which topics these are, where topics have ids."""

    worker: str
    log: str
    time: TimeKind
    at: int
    engine: str = __version__
    format: int = FORMAT
    encoding: Encoding = "json"
    base: int = 0
    partition: int = 0
    partitions: int = 1
    chain: str = GENESIS.hex()
    journal_id: str = ""
    commands_id: str = ""


class _MarkerRecord(Struct):
    marker: Marker


class _PackRecord(Struct, frozen=True, gc=False):
    owner: int
    chain: bytes
    turn: Raw


class Place(Struct, frozen=True):
    """Where a reader or a writer stands: the last record that counted. Saved with everything that is made from the
    journal."""

    offset: int = -1
    owner: int = -1
    position: int = -1
    chain: bytes = GENESIS


class Void(Struct, frozen=True):
    """A record that does not count, and why. alarm: it is of the newest owner, which should never happen."""

    offset: int
    why: Literal["older-owner", "unknown-owner", "position-not-later", "chain-broken", "not-a-record", "read-again"]
    alarm: bool


class JournalBroken(Exception):
    """The journal cannot be read on; the text says where and why."""


_read_marker = msgspec.json.Decoder(_MarkerRecord).decode
_read_pack = msgspec.msgpack.Decoder(_PackRecord).decode
# As it is written, to the byte: what reads the same but is written otherwise is no record.
_read_head = re.compile(rb'\{"owner":(0|-?[1-9][0-9]*),"chain":"([0-9a-f]{64})",').match


def write_marker(marker: Marker) -> bytes:
    return json_encode(_MarkerRecord(marker))


def write_turn(owner: int, chain: bytes, turn: Turn, encoding: Encoding = "json") -> tuple[bytes, bytes]:
    """(the record, the new chain). The turn is encoded once; owner and chain are put in front of it."""
    if encoding == "json":
        body = json_encode(turn)
        chain = sha256(chain + body).digest()
        return b'{"owner":%d,"chain":"%s",%s' % (owner, hexlify(chain), body[1:]), chain
    body = pack_encode(turn)
    chain = sha256(chain + body).digest()
    return pack_encode(_PackRecord(owner, chain, Raw(body))), chain


def split_turn(record: bytes) -> tuple[int, bytes, bytes]:
    """(owner, chain, the turn's bytes). ValueError: not a turn record."""
    if record[:1] != b"{":
        packed = _read_pack(record)
        return packed.owner, packed.chain, bytes(packed.turn)
    head = _read_head(record)
    if head is None:
        raise ValueError("not a turn record")
    owner, chain = head.groups()
    return int(owner), unhexlify(chain), b"{" + record[head.end() :]


def handed_over(record: bytes, owner: int) -> bytes:
    """The same turn under another owner, as copies have it: its chain is over what stays."""
    _, chain, body = split_turn(record)
    if body[:1] == b"{":
        return b'{"owner":%d,"chain":"%s",%s' % (owner, chain.hex().encode(), body[1:])
    return pack_encode(_PackRecord(owner, chain, Raw(body)))


def read_turn(record: bytes) -> Turn:
    """A turn record that is known to count."""
    _, _, body = split_turn(record)
    return json_turn(body) if body[:1] == b"{" else pack_turn(body)


class Reader:
    """Follows a journal and says of each record whether it counts.

    A record counts only if its owner is the newest marker's, its position is past the last accepted one, and its chain,
    recomputed over the raw bytes, continues the last accepted chain. All else is void and has no effect on anyone.
    """

    def __init__(self, place: Place | None = None, marker: Marker | None = None) -> None:
        self.place = place or Place()
        self.marker = marker
        self.first: Marker | None = marker

    def read(self, record: Record) -> Turn | Marker | Void:
        offset, _, body = record
        if body.startswith(b'{"marker":'):
            return self._take(offset, body)
        place = self.place
        if place.owner < 0:
            raise JournalBroken(f"journal offset {offset}: a turn before any owner's marker")
        try:
            owner, said, turn_bytes = split_turn(body)
        except (ValueError, msgspec.MsgspecError):
            return Void(offset, "not-a-record", True)
        if owner != place.owner:
            return Void(offset, "older-owner", False) if owner < place.owner else Void(offset, "unknown-owner", True)
        if sha256(place.chain + turn_bytes).digest() != said:
            return Void(offset, "chain-broken", True)
        try:
            turn = json_turn(turn_bytes) if turn_bytes[:1] == b"{" else pack_turn(turn_bytes)
        except msgspec.MsgspecError as error:
            raise JournalBroken(f"journal offset {offset}: a turn of a newer engine? {error}") from None
        if turn.position <= place.position:
            return Void(offset, "position-not-later", True)
        self.place = Place(offset, owner, turn.position, said)
        return turn

    def _take(self, offset: int, body: bytes) -> Marker:
        try:
            marker = _read_marker(body).marker
        except msgspec.MsgspecError as error:
            raise JournalBroken(f"journal offset {offset}: an owner's marker that cannot be read: {error}") from None
        if marker.format > FORMAT:
            raise JournalBroken(
                f"journal offset {offset}: written by engine {marker.engine} in format {marker.format}; "
                f"this is engine {__version__}, which reads up to format {FORMAT}"
            )
        first = self.place.owner < 0
        try:
            chain = bytes.fromhex(marker.chain) if first else self.place.chain
            assert len(chain) == len(GENESIS)
        except (ValueError, AssertionError):
            raise JournalBroken(f"journal offset {offset}: an owner's marker whose chain is none") from None
        position = self.place.position
        if first and chain != GENESIS:  # what comes before the base is in the archive that this chain continues
            position = marker.base - 1
        self.place = Place(offset, offset, position, chain)
        self.marker = marker
        self.first = self.first or marker
        return marker

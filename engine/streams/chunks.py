"""Rows of several pools as sealed chunks and back: what every snapshot is made of.

A snapshot is a cache, so each piece has a SHA-256 in front of it and is thrown away when a byte has changed. Its
manifest holds, beside what its maker says, the rows' structs with their long tables empty (`heads`) and how long those
were (`counts`).
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

R = TypeVar("R", bound=Struct)
Counts = dict[str, dict[str, int]]  # by pool and table


class _Part(Struct, frozen=True, array_like=True):
    pool: str
    table: str
    rows: bytes


_read_part = msgspec.msgpack.Decoder(_Part).decode


class Chunks(Generic[R]):
    """How rows of one kind are cut. tables: its long fields; size: rows of a chunk, so that one stays under the 900 kB
    that every log and broker takes."""

    def __init__(self, rows: type[R], tables: Iterable[str], size: int) -> None:
        self.size = size
        self._decode = {table: msgspec.msgpack.Decoder(rows.__annotations__[table]).decode for table in tables}

    def heads(self, pools: dict[str, R]) -> dict[str, R]:
        return {pool: replace(rows, **{table: [] for table in self._decode}) for pool, rows in pools.items()}

    def counts(self, pools: dict[str, R]) -> Counts:
        return {pool: {table: len(getattr(rows, table)) for table in self._decode} for pool, rows in pools.items()}

    def write(self, pools: dict[str, R]) -> Iterator[bytes]:
        for pool, rows in pools.items():
            for table in self._decode:
                found = getattr(rows, table)
                for start in range(0, len(found), self.size):
                    part = _Part(pool, table, msgspec.msgpack.encode(found[start : start + self.size]))
                    yield sealed(msgspec.msgpack.encode(part))

    def read(self, heads: dict[str, R], counts: Counts, chunks: Iterable[bytes]) -> dict[str, R]:
        """The rows, whole again. ValueError: they are not."""
        gathered: dict[str, dict[str, list[Any]]] = {pool: {table: [] for table in self._decode} for pool in heads}
        try:
            for chunk in chunks:
                part = _read_part(unsealed(chunk))
                gathered[part.pool][part.table].extend(self._decode[part.table](part.rows))
        except (msgspec.MsgspecError, KeyError) as error:
            raise ValueError(f"cannot be read: {error}") from None
        if counts != {pool: {table: len(rows) for table, rows in found.items()} for pool, found in gathered.items()}:
            raise ValueError("is not whole")
        return {pool: replace(head, **gathered[pool]) for pool, head in heads.items()}


def sealed(body: bytes) -> bytes:
    return sha256(body).digest() + body


def unsealed(bytes_: bytes) -> bytes:
    """ValueError: a byte has changed."""
    body = bytes_[32:]
    if sha256(body).digest() != bytes_[:32]:
        raise ValueError("has been changed")
    return body

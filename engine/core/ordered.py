"""Entries kept in order, in short blocks: nothing is ever rebuilt, and nothing dead is kept.

Adding and removing cost two binary searches and one short move; no operation touches more than one block. (A heap with
lazy deletion is faster by a little on average, but its clean-up of a million entries is a pause of half a second.)
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any

Entry = tuple[Any, ...]
NEVER: Entry = (1 << 63,)  # later than every entry


class Ordered:
    """A sorted multiset of tuples. `first` is the smallest entry, or NEVER."""

    __slots__ = ("blocks", "first", "lasts", "size")
    LENGTH = 512  # a block is split at twice this

    def __init__(self) -> None:
        self.blocks: list[list[Entry]] = []
        self.lasts: list[Entry] = []  # the greatest entry of each block
        self.first: Entry = NEVER
        self.size = 0

    def add(self, entry: Entry) -> int:
        """The number of the block that took it, or -1 where that has been split."""
        blocks, lasts = self.blocks, self.lasts
        self.size += 1
        if entry < self.first:
            self.first = entry
        if not blocks:
            blocks.append([entry])
            lasts.append(entry)
            self.opened()
            return 0
        last = len(lasts) - 1
        if entry > lasts[last]:
            i = last
            block = blocks[i]
            block.append(entry)
            lasts[i] = entry
        else:
            i = bisect_left(lasts, entry) if last else 0
            block = blocks[i]
            insort(block, entry)
        if len(block) < 2 * self.LENGTH:
            return i
        half = len(block) // 2
        blocks.insert(i + 1, block[half:])
        lasts.insert(i, block[half - 1])
        del block[half:]
        self.split(i)
        return -1

    def remove(self, entry: Entry) -> int:
        """The number of the block that had it, or -1 where nothing is left of that. The entry must be there."""
        blocks, lasts = self.blocks, self.lasts
        self.size -= 1
        if entry is self.first or entry == self.first:
            i = j = 0
            block = blocks[0]
        else:
            i = bisect_left(lasts, entry) if len(lasts) > 1 else 0
            block = blocks[i]
            j = bisect_left(block, entry)
        assert block[j] == entry, "only what was added is removed"
        del block[j]
        if not block:
            del blocks[i], lasts[i]
            self.closed(i)
            if i == 0:
                self.first = blocks[0][0] if blocks else NEVER
            return -1
        if j == len(block):
            lasts[i] = block[-1]
        if j == 0 and i == 0:
            self.first = block[0]
        return i

    def after(self, entry: Entry) -> Entry:
        """The smallest entry that is greater, or NEVER."""
        i = bisect_right(self.lasts, entry)
        if i == len(self.lasts):
            return NEVER
        block = self.blocks[i]
        return block[bisect_right(block, entry)]

    def __iter__(self) -> Iterator[Entry]:
        for block in self.blocks:
            yield from block

    def __len__(self) -> int:
        return self.size

    # What happens to blocks, for those who keep something beside them.
    def opened(self) -> None: ...
    def split(self, i: int) -> None: ...
    def closed(self, i: int) -> None: ...


class Lineup(Ordered):
    """Entries (key…, kind) in order, with a set of the kinds present in each block, so that the first entry of certain
    kinds is found without walking past long stretches of others: blocks/2 tests of a bit mask and one short walk at
    worst."""

    __slots__ = ("counts", "kinds", "masks", "present")
    LENGTH = 64

    def __init__(self) -> None:
        super().__init__()
        self.kinds: dict[int, int] = {}  # how many of each kind there are,
        self.present = 0  # and the kinds that there are, as bits
        self.masks: list[int] = []  # bit k: an entry of kind k is in the block
        self.counts: list[dict[int, int]] = []

    def first_of(self, mask: int, kinds: frozenset[int] | set[int], without: tuple[str, ...], but: int = 0) -> Entry:
        """The smallest entry whose kind is in `kinds` (`mask` holds the same as bits) and not in `but` (bits too), and
        whose name is not in `without`; or NEVER."""
        mask &= ~but
        blocks = self.blocks
        for i, present in enumerate(self.masks):
            if present & mask:
                for entry in blocks[i]:
                    if entry[2] in kinds and entry[1] not in without and not (but and but >> entry[2] & 1):
                        return entry
        return NEVER

    def add(self, entry: Entry) -> int:
        i, kind = super().add(entry), entry[2]
        if i >= 0:
            self.count(i, kind)
        if kind in self.kinds:
            self.kinds[kind] += 1
        else:
            self.kinds[kind] = 1
            self.present |= 1 << kind
        return i

    def remove(self, entry: Entry) -> int:
        i, kind = super().remove(entry), entry[2]
        if self.kinds[kind] > 1:
            self.kinds[kind] -= 1
        else:
            del self.kinds[kind]
            self.present ^= 1 << kind
        if i >= 0:
            counts = self.counts[i]
            if counts[kind] > 1:
                counts[kind] -= 1
            else:
                del counts[kind]
                self.masks[i] ^= 1 << kind
        return i

    def count(self, i: int, kind: int) -> None:
        counts = self.counts[i]
        if kind in counts:
            counts[kind] += 1
        else:
            counts[kind] = 1
            self.masks[i] |= 1 << kind

    def opened(self) -> None:
        self.masks.append(0)
        self.counts.append({})

    def split(self, i: int) -> None:
        self.masks[i : i + 1] = [0, 0]
        self.counts[i : i + 1] = [{}, {}]
        for k in (i, i + 1):
            for entry in self.blocks[k]:
                self.count(k, entry[2])

    def closed(self, i: int) -> None:
        del self.masks[i], self.counts[i]

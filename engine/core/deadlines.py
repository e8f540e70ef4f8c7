"""When things are due, and when the next tick is.

Each kind of deadline has an agenda of its own: buckets of a quarter of a second, so that setting and clearing one costs
a dictionary entry whatever their number, dead ones are never left behind, and no clean-up is ever needed.
"""

from .ordered import Ordered

NONE = 1 << 62  # later than every deadline


class Agenda:
    """Ids with a due time each, at most one per id."""

    __slots__ = ("buckets", "order")

    def __init__(self) -> None:
        self.buckets: dict[int, dict[str, int]] = {}
        self.order = Ordered()  # (bucket number,)

    def put(self, due_at: int, id: str) -> None:
        number = due_at >> 8
        bucket = self.buckets.get(number)
        if bucket is None:
            bucket = self.buckets[number] = {}
            self.order.add((number,))
        bucket[id] = due_at

    def drop(self, due_at: int, id: str) -> None:
        """The deadline must have been put."""
        number = due_at >> 8
        bucket = self.buckets[number]
        del bucket[id]
        if not bucket:
            del self.buckets[number]
            self.order.remove((number,))

    def next(self) -> int:
        """The earliest due time, or NONE."""
        return min(self.buckets[self.order.first[0]].values()) if self.buckets else NONE

    def due(self, at: int, bound: int) -> list[tuple[int, str]]:
        """The earliest `bound` that are due at `at`, in order of (due time, id)."""
        found: list[tuple[int, str]] = []
        for (number,) in self.order:
            if number > at >> 8 or len(found) >= bound:
                break
            found += sorted((due_at, id) for id, due_at in self.buckets[number].items() if due_at <= at)
        return found[:bound]


class Unkept(Agenda):
    """Stands in for an agenda while nobody looks at one."""

    def put(self, due_at: int, id: str) -> None: ...
    def drop(self, due_at: int, id: str) -> None: ...

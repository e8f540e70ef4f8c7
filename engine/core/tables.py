"""What is known: rows by id, and the indexes that are kept beside them.

Rows are frozen and replaced by assignment, and no row points at another row. Everything that is not a row is derived
from the rows (matching.py) and made anew on restore. Who takes a `View` only reads; who takes `Tables` writes.
"""

from typing import Literal

from msgspec import Struct

from .deadlines import Agenda
from .ordered import Lineup, Ordered
from .rules import INDEX, Compiled, Repeats, Rules, compile_rules
from .words import Channel

Status = Literal["waiting", "offered", "overflowing", "talking", "wrap-up"]
Wanted = tuple[tuple[str, int], ...]  # skills with levels, sorted
Groups = tuple[str, ...]  # queues, and teams as "\nteam", which is no queue's id
Need = tuple[str, str, Wanted, Groups]  # queue, channel, skills, sorted: whose agents may serve it, too
ProfileKey = tuple[Groups, Wanted, tuple[int, int, int]]  # what one belongs to, skills, limits by channel
Load = tuple[int, int, int]  # contacts by channel: call, chat, sms


class Contact(Struct, frozen=True, gc=False, array_like=True):
    """An open contact. seq: position of the command that brought it, which breaks ties among equal due times.

    declined_by: who is not asked: first those who never are (`not_agents`), then those who have declined. step: how
    many steps of widening it has gone; asked: the skills that it needed before them, where there is a difference.
    prefer: the one agent who is asked until prefer_until (0: it waits for whoever can serve it)."""

    id: str
    source: str
    customer: str
    need: Need
    tier: str
    vip: bool
    seq: int
    first_queued_at: int
    queued_at: int
    due_at: int
    give_up_at: int
    status: Status
    since: int
    agent_id: str = ""
    deadline_at: int = 0  # of the offer, the talk or the wrap-up
    declined_by: tuple[str, ...] = ()
    retry_at: int = 0  # when the declines lapse; 0: none
    attributes: dict[str, str] = {}
    customer_class: str = "unknown"
    allowed: bool = False
    not_agents: tuple[str, ...] = ()
    prefer: str = ""
    prefer_until: int = 0
    step: int = 0
    asked: Wanted = ()
    relax_at: int = 0  # when the next step of widening is due; 0: none
    away: tuple[str, ...] = ()  # the errand by which it last left for another pool, that pool, the queue there
    hops: int = 0  # how many pools have passed it on
    came: tuple[str, ...] = ()  # the errand by which it came from another pool, and that pool


class Agent(Struct, frozen=True, gc=False, array_like=True):
    """A signed-in agent. bench: number of their profile's; contacts: those they talk to or wrap up; offered: the one
    held out to them."""

    id: str
    bench: int
    ready: bool
    reason: str
    since: int
    idle_since: int
    load: Load = (0, 0, 0)
    contacts: tuple[str, ...] = ()
    offered: str = ""
    room: int = 0  # the channels that fit, as bits; 0: stands nowhere
    team: str = ""
    addresses: dict[str, str] = {}


class Source(Struct, frozen=True, gc=False, array_like=True):
    """An adapter that has said it is alive. deadline_at: when it counts as silent or, if silent, as lost."""

    id: str
    deadline_at: int
    silent: bool = False


class Door(Struct, frozen=True, gc=False, array_like=True):
    """A channel of a queue that has hours. shut: its queue keeps places until it opens, and nobody is asked for them.
    next_at: when to look again, at the next edge of its hours or at once; 0: never."""

    queue_id: str
    channel: Channel
    open: bool
    shut: bool
    next_at: int


class Listed(Struct, frozen=True, gc=False, array_like=True):
    """A customer on the block-list, or on the allow-list. until: 0 for good."""

    customer: str
    blocked: bool
    until: int


class Line(Ordered):
    """Contacts with one need, earliest due first, as (due_at, seq, contact id), and who can serve them."""

    __slots__ = ("index", "need", "profiles", "who")

    def __init__(self, need: Need) -> None:
        super().__init__()
        self.need = need
        self.index = INDEX[need[1]]
        self.profiles: set[int] = set()  # numbers of the profiles that can serve it; never iterated
        self.who = 0  # the same as bits


class Bench:
    """Agents with one profile: what they can serve. `lines` by channel."""

    __slots__ = ("key", "lines", "number", "ready", "rooms", "signed_in")

    def __init__(self, number: int, key: ProfileKey) -> None:
        self.number = number
        self.key = key
        self.lines: tuple[list[Line], list[Line], list[Line]] = ([], [], [])
        self.rooms: dict[Load, int] = {}  # room by load, filled as met
        self.signed_in = 0
        self.ready = 0


RECENT_MS = 1_800_000
RECENT_MOST = 100_000


class Recent:
    """Values kept for at least half an hour, or until 100,000 newer ones have come. Two generations; the older is
    dropped whole."""

    __slots__ = ("old", "since", "young")

    def __init__(self) -> None:
        self.young: dict[str, int] = {}
        self.old: dict[str, int] = {}
        self.since = 0

    def note(self, key: str, value: int, at: int) -> None:
        if at - self.since >= RECENT_MS or len(self.young) >= RECENT_MOST:
            self.old = self.young
            self.young = {}
            self.since = at
        self.young[key] = value

    def forget(self, key: str) -> None:
        self.young.pop(key, None)
        self.old.pop(key, None)

    def get(self, key: str) -> int | None:
        value = self.young.get(key)
        return self.old.get(key) if value is None else value


class Visits:
    """When each customer was last let in: as many times as the rules ask about. Two generations of a window each, the
    older of which is dropped whole."""

    __slots__ = ("old", "since", "young")

    def __init__(self) -> None:
        self.young: dict[str, tuple[int, ...]] = {}
        self.old: dict[str, tuple[int, ...]] = {}
        self.since = 0

    def note(self, customer: str, at: int, repeats: Repeats) -> None:
        window_ms = repeats.window * 1000
        if at - self.since >= window_ms:
            self.old = self.young
            self.young = {}
            self.since = at
        self.young[customer] = (*self.within(customer, at - window_ms), at)[-repeats.most :]

    def within(self, customer: str, since: int) -> list[int]:
        """When the customer was let in after `since`, the earliest first."""
        times = self.young.get(customer) or self.old.get(customer, ())
        return [time for time in times if time > since]


NO_RULES = compile_rules(Rules("", ()))


class Tables:
    """One pool."""

    __slots__ = (
        "agents",
        "at",
        "benches",
        "by_source",
        "channel_bits",
        "contacts",
        "crowd",
        "crowds",
        "declines",
        "doors",
        "errands",
        "finished",
        "free_numbers",
        "freed",
        "hash",
        "heads",
        "idle_benches",
        "idle_lines",
        "indexed",
        "lines",
        "lineups",
        "listed",
        "listings",
        "numbers",
        "offers",
        "openings",
        "overflows",
        "passed_over",
        "personal",
        "position",
        "prefers",
        "queue_benches",
        "queue_bits",
        "queue_lines",
        "recalled",
        "relaxes",
        "released",
        "rules",
        "seen",
        "shut",
        "silences",
        "skill_bits",
        "sources",
        "taken",
        "talks",
        "version",
        "visits",
        "waits",
        "wraps",
    )

    def __init__(self) -> None:
        self.at = 0
        self.position = -1
        self.rules: Compiled = NO_RULES
        self.version = 0  # 0: no rules yet
        self.hash = ""
        self.contacts: dict[str, Contact] = {}
        self.agents: dict[str, Agent] = {}
        self.sources: dict[str, Source] = {}
        self.doors: dict[str, Door] = {}  # by "queue\nchannel"
        self.listed: dict[str, Listed] = {}  # by customer
        self.visits = Visits()
        self.seen = Recent()  # "source\nid" of a command that had events -> its position
        self.finished = Recent()  # contact id -> position at which it ended
        self.taken = Recent()  # errand -> position at which its contact was taken over from another pool
        self.recalled = Recent()  # errand -> position at which its contact ended here, another pool perhaps having it
        self.indexed = True  # False: many turns are being folded, and what is derived waits until somebody asks for it
        # derived
        self.lines: dict[Need, Line] = {}
        self.benches: dict[ProfileKey, Bench] = {}
        self.numbers: list[Bench] = []  # benches by number; a free number's is stale
        self.free_numbers: list[int] = []
        self.queue_benches: dict[str, dict[int, Bench]] = {}  # by group, and by number
        self.queue_lines: dict[str, dict[Need, Line]] = {}  # by group: a line whose match is relaxed stands in several
        self.queue_bits: dict[str, int] = {}  # the numbers of the benches that belong to a group, as bits; likewise
        self.channel_bits = [0, 0, 0]
        self.skill_bits: dict[str, dict[int, int]] = {}  # by level
        self.idle_lines: dict[Need, None] = {}  # empty ones, the longest empty first
        self.idle_benches: dict[ProfileKey, None] = {}  # those nobody is signed in with
        self.lineups: list[Lineup] = [
            Lineup() for _ in range(8)
        ]  # standing agents by room: (idle_since, agent id, bench number)
        self.freed: dict[str, None] = {}  # who has come to stand in this turn and is in no lineup yet
        # Of every line in which somebody waits, by channel: its first entry, and the line.
        self.heads = (Ordered(), Ordered(), Ordered())
        self.passed_over: dict[str, Line] = {}  # those of them whom somebody has declined, and their lines
        # What has left a line's head in this turn: channel, who could have had it, due, and due of the next.
        self.released: list[tuple[int, int, int, int]] = []
        self.personal: dict[str, Ordered] = {}  # by agent: those who wait for this one, as a line has them
        self.errands: dict[str, str] = {}  # contact by errand: those who have left for another pool, or came back
        self.by_source: dict[str, dict[str, None]] = {}  # open contacts by who brought them
        self.crowds: dict[str, int] = {}  # by queue: contacts that wait or are held out to an agent
        self.crowd = 0  # the same of all queues
        self.shut: dict[tuple[str, str], None] = {}  # doors that are: queue, channel
        self.offers = Agenda()
        self.talks = Agenda()
        self.wraps = Agenda()
        self.waits = Agenda()
        self.declines = Agenda()
        self.silences = Agenda()
        self.openings = Agenda()
        self.listings = Agenda()
        self.prefers = Agenda()
        self.relaxes = Agenda()
        self.overflows = Agenda()


View = Tables  # by convention: who takes a View only reads

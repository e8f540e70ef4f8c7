"""Rows out of the tables and back: what a snapshot holds. Everything that is derived from them is made anew."""

from sys import intern

from msgspec import Struct
from msgspec.structs import replace

from .deadlines import Agenda, Unkept
from .evolve import count, hang
from .matching import enter_line, join_bench, line_for, settle, stand
from .ordered import Lineup, Ordered
from .rules import Rules, compile_rules
from .tables import Agent, Contact, Door, Listed, ProfileKey, Recent, Source, Tables, View

Kept = tuple[str, int]  # key, value


class Rows(Struct, frozen=True):
    """One pool. Agents' `bench` is an index into `profiles`; seen, finished and visits: the older generation, a break
    ("", since), the younger."""

    rules: Rules
    version: int
    hash: str
    sources: list[Source]
    profiles: list[ProfileKey]
    contacts: list[Contact]
    agents: list[Agent]
    seen: list[Kept]
    finished: list[Kept]
    doors: list[Door] = []
    listed: list[Listed] = []
    visits: list[tuple[str, tuple[int, ...]]] = []
    taken: list[Kept] = []
    recalled: list[Kept] = []


def rows_of(view: View) -> Rows:
    """The rows as they stand; they are frozen, so what is done later to the tables does not show in them."""
    numbers: dict[int, int] = {}
    agents = [
        replace(agent, bench=numbers.setdefault(agent.bench, len(numbers)), room=0) for agent in view.agents.values()
    ]
    return Rows(
        view.rules.rules,
        view.version,
        view.hash,
        list(view.sources.values()),
        [view.numbers[number].key for number in numbers],
        list(view.contacts.values()),
        agents,
        kept(view.seen),
        kept(view.finished),
        list(view.doors.values()),
        list(view.listed.values()),
        [*view.visits.old.items(), ("", (view.visits.since,)), *view.visits.young.items()],
        kept(view.taken),
        kept(view.recalled),
    )


def restored(rows: Rows, position: int, at: int) -> Tables:
    """position, at: of the last turn that the rows hold."""
    tables = Tables()
    lay_indexes_aside(tables)
    tables.position, tables.at = position, at
    tables.rules, tables.version, tables.hash = compile_rules(rows.rules), rows.version, rows.hash
    for door in rows.doors:
        hang(tables, door, door.next_at)
        if door.shut:
            tables.shut[door.queue_id, door.channel] = None
    for agent in rows.agents:
        tables.agents[agent.id] = replace(agent, bench=join_bench(tables, rows.profiles[agent.bench]))
    for row in rows.contacts:  # equal needs and sources are one object again
        contact = tables.contacts[row.id] = replace(
            row, need=line_for(tables, row.need).need, source=intern(row.source)
        )
        tables.by_source.setdefault(contact.source, {})[contact.id] = None
        if contact.away:
            tables.errands[contact.away[0]] = contact.id
        if contact.status in ("waiting", "offered", "overflowing"):
            count(tables, contact.need[0], 1)
    tables.sources = {source.id: source for source in rows.sources}
    tables.listed = {row.customer: row for row in rows.listed}
    generation = tables.visits.old
    for customer, times in rows.visits:
        if customer:
            generation[customer] = times
        else:
            tables.visits.since = times[0]
            generation = tables.visits.young
    give_back(tables.seen, rows.seen)
    give_back(tables.finished, rows.finished)
    give_back(tables.taken, rows.taken)
    give_back(tables.recalled, rows.recalled)
    return tables


def lay_indexes_aside(tables: Tables) -> None:
    """From here on only rows are kept, and the benches that they name; all else that is derived waits."""
    tables.indexed = False
    tables.lines, tables.queue_lines, tables.idle_lines = {}, {}, {}
    for bench in tables.benches.values():
        bench.lines = ([], [], [])
        bench.ready = 0
    tables.lineups = [Lineup() for _ in tables.lineups]
    tables.heads, tables.passed_over = (Ordered(), Ordered(), Ordered()), {}
    tables.offers = tables.talks = tables.wraps = tables.waits = tables.declines = tables.silences = Unkept()
    tables.openings = tables.listings = tables.prefers = tables.relaxes = tables.overflows = Unkept()
    tables.personal = {}


def make_indexes(tables: Tables) -> None:
    """Everything that is derived, from the rows: the same as if it had been kept all along."""
    tables.indexed = True
    tables.lines = {}
    agents, tables.agents = tables.agents, {}
    for agent in agents.values():
        stand(tables, agent)
    settle(tables)
    tables.offers, tables.talks, tables.wraps = Agenda(), Agenda(), Agenda()
    tables.waits, tables.declines, tables.silences = Agenda(), Agenda(), Agenda()
    tables.prefers, tables.relaxes, tables.overflows = Agenda(), Agenda(), Agenda()
    agendas = {"offered": tables.offers, "talking": tables.talks, "wrap-up": tables.wraps}
    agendas["overflowing"] = tables.overflows
    for contact in sorted(tables.contacts.values(), key=lambda contact: (contact.due_at, contact.seq)):
        if contact.status == "waiting":
            enter_line(tables, contact)
        else:
            agendas[contact.status].put(contact.deadline_at, contact.id)
        if contact.status in ("waiting", "offered", "overflowing"):
            tables.waits.put(contact.give_up_at, contact.id)
        if contact.retry_at:
            tables.declines.put(contact.retry_at, contact.id)
        if contact.prefer_until:
            tables.prefers.put(contact.prefer_until, contact.id)
        if contact.relax_at:
            tables.relaxes.put(contact.relax_at, contact.id)
    for source in tables.sources.values():
        tables.silences.put(source.deadline_at, source.id)
    tables.openings, tables.listings = Agenda(), Agenda()
    for row in tables.listed.values():
        if row.until:
            tables.listings.put(row.until, row.customer)
    for id, door in tables.doors.items():
        if door.next_at:
            tables.openings.put(door.next_at, id)


def kept(recent: Recent) -> list[Kept]:
    return [*recent.old.items(), ("", recent.since), *recent.young.items()]


def give_back(recent: Recent, rows: list[Kept]) -> None:
    generation = recent.old
    for key, value in rows:
        if key:
            generation[key] = value
        else:
            recent.since = value
            generation = recent.young

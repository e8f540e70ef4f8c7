"""What the core keeps beside its rows, made anew by brute force from the rows and compared."""

from collections import Counter
from functools import lru_cache
from typing import Any

from engine.core import matching
from engine.core.deadlines import Agenda
from engine.core.ordered import NEVER, Lineup, Ordered
from engine.core.step import next_due
from engine.core.tables import Tables

CHANNELS = ("call", "chat", "sms")
AGENDAS = {"offered": "offers", "talking": "talks", "wrap-up": "wraps", "overflowing": "overflows"}
QUEUEING = ("waiting", "offered", "overflowing")


def check_indexes(tables: Tables) -> None:
    """AssertionError: an index says something else than the rows, or keeps what it should have let go. Indexes that a
    fold has laid aside are asked for first."""
    next_due(tables)
    assert tables.indexed
    check_lines(tables)
    check_benches(tables)
    check_bits(tables)
    check_lineups(tables)
    check_agendas(tables)
    check_doors(tables)
    by_source: dict[str, list[str]] = {}
    assert tables.errands == {contact.away[0]: contact.id for contact in tables.contacts.values() if contact.away}
    for contact in tables.contacts.values():
        by_source.setdefault(contact.source, []).append(contact.id)
    assert {source: list(ids) for source, ids in tables.by_source.items()} == by_source


@lru_cache(100_000)
def able(key: Any, need: Any) -> bool:
    groups, skills, limits = key
    queue, channel, wanted, also = need
    levels = dict(skills)
    return (
        any(group in groups for group in (queue, *also))
        and limits[CHANNELS.index(channel)] > 0
        and all(levels.get(skill, 0) >= level for skill, level in wanted)
    )


def check_lines(tables: Tables) -> None:
    waiting: dict[Any, list[Any]] = {}
    personal: dict[str, list[Any]] = {}
    for contact in tables.contacts.values():
        if contact.prefer_until:
            assert contact.status in ("waiting", "offered") and contact.prefer in tables.agents
            if contact.status == "waiting":
                personal.setdefault(contact.prefer, []).append((contact.due_at, contact.seq, contact.id))
        elif contact.status == "waiting":
            waiting.setdefault(contact.need, []).append((contact.due_at, contact.seq, contact.id))
    assert {id: list(own) for id, own in tables.personal.items()} == {id: sorted(of) for id, of in personal.items()}
    for own in tables.personal.values():
        check_ordered(own)
    assert not waiting.keys() - tables.lines.keys(), "whoever waits stands in a line"
    for need, line in tables.lines.items():
        assert line.need == need
        assert list(line) == sorted(waiting.get(need, [])), need
        check_ordered(line)
        serving = {bench.number for key, bench in tables.benches.items() if able(key, need)}
        if need[:2] in tables.shut:
            serving = set()
        assert line.profiles == serving and line.who == sum(1 << number for number in serving), need
    heads: list[list[Any]] = [[], [], []]
    for need, line in tables.lines.items():
        if line.size:
            heads[CHANNELS.index(need[1])].append((*line.first, line))
    for kept, expected in zip(tables.heads, heads, strict=True):
        assert list(kept) == sorted(expected)
        check_ordered(kept)
    passed_over = {head[2]: head[3] for of in heads for head in of if tables.contacts[head[2]].declined_by}
    assert tables.passed_over == passed_over and not tables.released
    empty = [need for need in tables.lines if need not in waiting]
    assert sorted(tables.idle_lines) == sorted(empty) and len(empty) <= matching.KEPT


def check_benches(tables: Tables) -> None:
    signed_in = Counter(agent.bench for agent in tables.agents.values())
    ready = Counter(agent.bench for agent in tables.agents.values() if agent.ready)
    for key, bench in tables.benches.items():
        assert bench.key == key and tables.numbers[bench.number] is bench
        assert (bench.signed_in, bench.ready) == (signed_in[bench.number], ready[bench.number]), key
        for channel, lines in zip(CHANNELS, bench.lines, strict=True):
            asked = [need for need in tables.lines if need[1] == channel and need[:2] not in tables.shut]
            serves = [need for need in asked if able(key, need)]
            assert sorted(line.need for line in lines) == sorted(serves), key
            assert all(tables.lines[line.need] is line for line in lines)
        for load, room in bench.rooms.items():
            assert room == room_by_hand(tables, key, load), (key, load)
    in_use = [bench.number for bench in tables.benches.values()]
    assert sorted(in_use + tables.free_numbers) == list(range(len(tables.numbers))), "each number is used or free"
    idle = [key for key, bench in tables.benches.items() if not bench.signed_in]
    assert sorted(tables.idle_benches) == sorted(idle) and len(idle) <= matching.KEPT


def check_bits(tables: Tables) -> None:
    """Which benches serve a queue, a channel, have a skill at a level; and the lines and benches by queue."""
    queues: dict[str, int] = {}
    channels = [0, 0, 0]
    skills: dict[str, dict[int, int]] = {}
    benches: dict[str, list[int]] = {}
    lines: dict[str, list[Any]] = {}
    for key, bench in tables.benches.items():
        bit = 1 << bench.number
        for queue in key[0]:
            queues[queue] = queues.get(queue, 0) | bit
            benches.setdefault(queue, []).append(bench.number)
        for skill, level in key[1]:
            levels = skills.setdefault(skill, {})
            levels[level] = levels.get(level, 0) | bit
        channels = [bits | bit * (limit > 0) for bits, limit in zip(channels, key[2], strict=True)]
    for need in tables.lines:
        for group in (need[0], *need[3]):
            lines.setdefault(group, []).append(need)
    assert (tables.queue_bits, tables.channel_bits, tables.skill_bits) == (queues, channels, skills)
    for queue, found in tables.queue_benches.items():
        assert sorted(found) == sorted(benches.pop(queue, []))
        assert all(tables.numbers[number] is bench for number, bench in found.items())
    for queue, of in tables.queue_lines.items():
        assert sorted(of) == sorted(lines.pop(queue, []))
        assert all(tables.lines[need] is line for need, line in of.items())
    assert not benches and not lines


def room_by_hand(tables: Tables, key: Any, load: Any) -> int:
    weights = tables.rules.weights
    free = 100 - sum(weights[i] * load[i] for i in range(3))
    return sum(1 << i for i in range(3) if weights[i] <= free and load[i] < key[2][i])


def check_lineups(tables: Tables) -> None:
    assert not tables.freed, "between turns everybody who stands is in a lineup"
    standing: list[list[Any]] = [[] for _ in range(8)]
    for agent in tables.agents.values():
        load = Counter(tables.contacts[id].need[1] for id in agent.contacts)
        assert agent.load == tuple(load[channel] for channel in CHANNELS), agent
        assert all(tables.contacts[id].agent_id == agent.id for id in agent.contacts), agent
        key = tables.numbers[agent.bench].key
        room = room_by_hand(tables, key, agent.load) if agent.ready and not agent.offered else 0
        assert agent.room == room, agent
        if room:
            standing[room].append((agent.idle_since, agent.id, agent.bench))
    for lineup, expected in zip(tables.lineups, standing, strict=True):
        assert list(lineup) == sorted(expected)
        check_ordered(lineup)


def check_agendas(tables: Tables) -> None:
    expected: dict[str, list[tuple[int, str]]] = {
        name: [] for name in (*AGENDAS.values(), "waits", "declines", "prefers", "relaxes")
    }
    for contact in tables.contacts.values():
        assert (contact.deadline_at > 0) == (contact.status != "waiting"), contact
        if contact.deadline_at:
            expected[AGENDAS[contact.status]].append((contact.deadline_at, contact.id))
        if contact.status in QUEUEING:
            expected["waits"].append((contact.give_up_at, contact.id))
        if contact.retry_at:
            expected["declines"].append((contact.retry_at, contact.id))
        if contact.prefer_until:
            expected["prefers"].append((contact.prefer_until, contact.id))
        if contact.relax_at:
            expected["relaxes"].append((contact.relax_at, contact.id))
        asked_once = contact.declined_by[len(contact.not_agents) :]
        assert contact.declined_by == (*contact.not_agents, *asked_once), contact
        assert bool(contact.retry_at) == bool(asked_once), contact
    expected["silences"] = [(source.deadline_at, source.id) for source in tables.sources.values()]
    expected["listings"] = [(row.until, row.customer) for row in tables.listed.values() if row.until]
    expected["openings"] = [(door.next_at, id) for id, door in tables.doors.items() if door.next_at]
    for name, entries in expected.items():
        check_agenda(getattr(tables, name), entries)


def check_doors(tables: Tables) -> None:
    crowds = Counter(c.need[0] for c in tables.contacts.values() if c.status in QUEUEING)
    assert {queue: count for queue, count in tables.crowds.items() if count} == crowds
    assert tables.crowd == crowds.total()
    for id, door in tables.doors.items():
        assert id == f"{door.queue_id}\n{door.channel}" and not (door.open and (door.shut or not door.next_at))
    assert sorted(tables.shut) == sorted((door.queue_id, door.channel) for door in tables.doors.values() if door.shut)


def check_agenda(agenda: Agenda, entries: list[tuple[int, str]]) -> None:
    kept = [(due_at, id) for bucket in agenda.buckets.values() for id, due_at in bucket.items()]
    assert sorted(kept) == sorted(entries)
    assert all(due_at >> 8 == number for number, bucket in agenda.buckets.items() for due_at in bucket.values())
    assert list(agenda.order) == sorted((number,) for number in agenda.buckets), "no bucket is left behind"
    check_ordered(agenda.order)


def check_ordered(ordered: Ordered) -> None:
    """Blocks in order, none empty or too long, and all that is kept beside them."""
    entries = [entry for block in ordered.blocks for entry in block]
    assert entries == sorted(entries) and len(ordered) == len(entries) == ordered.size
    assert ordered.first == (entries[0] if entries else NEVER)
    assert ordered.lasts == [block[-1] for block in ordered.blocks]
    assert all(0 < len(block) < 2 * ordered.LENGTH for block in ordered.blocks)
    if isinstance(ordered, Lineup):
        assert ordered.kinds == Counter(entry[2] for entry in entries)
        assert ordered.present == sum(1 << kind for kind in ordered.kinds)
        counts = [Counter(entry[2] for entry in block) for block in ordered.blocks]
        assert ordered.counts == counts
        assert ordered.masks == [sum(1 << kind for kind in count) for count in counts]

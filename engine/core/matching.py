"""Which agents can serve which needs, and who stands where: the indexes that offers are read from.

Whether a profile can serve a need is worked out once per pair, when either is first met. Needs that nobody waits with
and profiles that nobody is signed in with are kept for a while (they mostly come back) and then forgotten, oldest
first.
"""

from typing import Any

from msgspec.structs import replace

from .ordered import NEVER
from .rules import FULL, INDEX, ROOMS_WITH
from .tables import Agent, Bench, Contact, Line, Load, Need, ProfileKey, Tables, View

KEPT = 1024  # empty lines, and benches nobody is signed in with


def need_of(queue_id: str, channel: str, skills: dict[str, int]) -> Need:
    """skills must be sorted."""
    return queue_id, channel, tuple(skills.items())


def who_can_serve(view: View, need: Need) -> int:
    """The numbers of the benches that can, as bits."""
    queue_id, channel, wanted = need
    who = view.queue_bits.get(queue_id, 0) & view.channel_bits[INDEX[channel]]
    for skill, level in wanted:
        enough = 0
        for theirs, bits in view.skill_bits.get(skill, {}).items():
            if theirs >= level:
                enough |= bits
        who &= enough
    return who


def line_for(tables: Tables, need: Need) -> Line:
    line = tables.lines.get(need)
    if line is None:
        line = tables.lines[need] = Line(need)
        if not tables.indexed:  # it is only the one need that many contacts share
            return line
        line.who = who_can_serve(tables, need)
        tables.queue_lines.setdefault(need[0], {})[need] = line
        can = line.who.to_bytes(len(tables.numbers) // 8 + 1, "little")  # quicker to look into than a long integer
        for number, bench in tables.queue_benches.get(need[0], {}).items():
            if can[number >> 3] >> (number & 7) & 1:
                line.profiles.add(number)
                bench.lines[line.index].append(line)
    return line


def bench_for(tables: Tables, key: ProfileKey) -> Bench:
    bench = tables.benches.get(key)
    if bench is None:
        number = tables.free_numbers.pop() if tables.free_numbers else len(tables.numbers)
        bench = tables.benches[key] = Bench(number, key)
        tables.numbers[number : number + 1] = [bench]
        mark(tables, bench)
        queues, skills, limits = key
        have = dict(skills)
        for queue_id in queues:
            tables.queue_benches.setdefault(queue_id, {})[number] = bench
            for line in tables.queue_lines.get(queue_id, {}).values():
                wanted = line.need[2]
                if limits[line.index] and all(have.get(skill, 0) >= level for skill, level in wanted):
                    line.profiles.add(number)
                    line.who |= 1 << number
                    bench.lines[line.index].append(line)
    return bench


def mark(tables: Tables, bench: Bench) -> None:
    """Sets the bench's bit wherever it belongs, or clears it there."""
    bit = 1 << bench.number
    queues, skills, limits = bench.key
    for queue_id in queues:
        flip(tables.queue_bits, queue_id, bit)
    for i in range(3):
        if limits[i]:
            tables.channel_bits[i] ^= bit
    for skill, level in skills:
        levels = tables.skill_bits.setdefault(skill, {})
        flip(levels, level, bit)
        if not levels:
            del tables.skill_bits[skill]


def flip(bits: dict[Any, int], key: str | int, bit: int) -> None:
    bits[key] = bits.get(key, 0) ^ bit
    if not bits[key]:
        del bits[key]


def enter_line(tables: Tables, contact: Contact) -> None:
    if not tables.indexed:
        return
    line = line_for(tables, contact.need)
    if not line.size:
        tables.idle_lines.pop(contact.need, None)
    line.add((contact.due_at, contact.seq, contact.id))


def leave_line(tables: Tables, contact: Contact) -> None:
    if not tables.indexed:
        return
    line = tables.lines[contact.need]
    line.remove((contact.due_at, contact.seq, contact.id))
    if not line.size:
        tables.idle_lines[contact.need] = None
        if len(tables.idle_lines) > KEPT:
            forget_line(tables, next(iter(tables.idle_lines)))


def forget_line(tables: Tables, need: Need) -> None:
    line = tables.lines.pop(need)
    del tables.idle_lines[need], tables.queue_lines[need[0]][need]
    for number, bench in tables.queue_benches.get(need[0], {}).items():
        if number in line.profiles:
            bench.lines[line.index].remove(line)


def join_bench(tables: Tables, key: ProfileKey) -> int:
    bench = bench_for(tables, key)
    if not bench.signed_in:
        tables.idle_benches.pop(key, None)
    bench.signed_in += 1
    return bench.number


def leave_bench(tables: Tables, number: int) -> None:
    bench = tables.numbers[number]
    bench.signed_in -= 1
    if not bench.signed_in:
        tables.idle_benches[bench.key] = None
        if len(tables.idle_benches) > KEPT:
            forget_bench(tables, next(iter(tables.idle_benches)))


def forget_bench(tables: Tables, key: ProfileKey) -> None:
    bench = tables.benches.pop(key)
    del tables.idle_benches[key]
    mark(tables, bench)
    for queue_id in key[0]:
        del tables.queue_benches[queue_id][bench.number]
    for lines in bench.lines:
        for line in lines:
            line.profiles.discard(bench.number)
            line.who ^= 1 << bench.number
    tables.free_numbers.append(bench.number)


def room_of(view: View, bench: Bench, load: Load) -> int:
    """The channels of which one more fits, as bits. Worked out once per profile and load."""
    rooms = bench.rooms
    room = rooms.get(load)
    if room is None:
        weights, limits = view.rules.weights, bench.key[2]
        free = FULL - sum(weight * count for weight, count in zip(weights, load, strict=True))
        room = sum(1 << i for i in range(3) if weights[i] <= free and load[i] < limits[i])
        rooms[load] = room
    return room


def stand(tables: Tables, agent: Agent) -> None:
    """Stores an agent's new row and puts them where their room now belongs: nowhere while not ready or offered
    something."""
    id = agent.id
    if not tables.indexed:
        tables.agents[id] = agent
        return
    former = tables.agents.get(id)
    bench = tables.numbers[agent.bench]
    room = 0
    if agent.ready:
        bench.ready += 1
        if not agent.offered:
            room = room_of(tables, bench, agent.load)
    if agent.room != room:
        agent = replace(agent, room=room)
    tables.agents[id] = agent
    if former is not None:
        if former.ready:
            tables.numbers[former.bench].ready -= 1
        if former.room:
            if id in tables.freed:
                if not room:
                    del tables.freed[id]
                return
            if former.room == room and former.idle_since == agent.idle_since and former.bench == agent.bench:
                return
            tables.lineups[former.room].remove((former.idle_since, id, former.bench))
    if room:
        tables.freed[id] = None


def settle(tables: Tables) -> None:
    """Those who have come to stand join their lineups. (Most are offered something at once and never need to.)"""
    for id in tables.freed:
        agent = tables.agents[id]
        tables.lineups[agent.room].add((agent.idle_since, id, agent.bench))
    tables.freed.clear()


def longest_idle(view: View, contact: Contact) -> str:
    """Of the agents who stand, have room and can serve the contact: the longest idle; ties by id. Empty: nobody."""
    line = view.lines[contact.need]
    who = line.who
    if not who:
        return ""
    best = NEVER
    for room in ROOMS_WITH[contact.need[1]]:
        lineup = view.lineups[room]
        if lineup.first < best:
            found = lineup.first_of(who, line.profiles, contact.declined_by)
            if found < best:
                best = found
    return best[1] if best is not NEVER else ""


def earliest_due(view: View, agent: Agent) -> str:
    """Of the waiting contacts that this standing agent has room for and can serve: the earliest due; ties by arrival.
    Empty: none."""
    lines = view.numbers[agent.bench].lines
    first = NEVER
    room = agent.room
    for i in range(3):
        if room >> i & 1:
            for line in lines[i]:
                head = line.first
                if head < first:
                    first = head
    if first is NEVER:
        return ""
    contacts, id = view.contacts, agent.id
    contact_id: str = first[2]
    if id not in contacts[contact_id].declined_by:
        return contact_id
    first = NEVER  # declined: the first of each line that the agent has not declined
    for i in range(3):
        if room >> i & 1:
            for line in lines[i]:
                for entry in line:
                    if entry >= first:
                        break
                    if id not in contacts[entry[2]].declined_by:
                        first = entry
                        break
    return first[2] if first is not NEVER else ""

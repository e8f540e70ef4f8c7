"""Which agents can serve which needs, and who stands where: the indexes that offers are read from.

Whether a profile can serve a need is worked out once per pair, when either is first met. Needs that nobody waits with
and profiles that nobody is signed in with are kept for a while (they mostly come back) and then forgotten, oldest
first.
"""

from heapq import merge
from typing import Any

from msgspec.structs import replace

from .deadlines import NONE
from .ordered import NEVER, Entry, Ordered
from .rules import BIT, EVERY, FITTING, FULL, INDEX, NEEDS_MORE, PART, ROOMS_WITH
from .tables import Agent, Bench, Contact, Groups, Line, Load, Need, ProfileKey, Tables, View

KEPT = 1024  # empty lines, and benches nobody is signed in with


def need_of(queue_id: str, channel: str, skills: dict[str, int], also: Groups = ()) -> Need:
    """skills and also must be sorted."""
    return queue_id, channel, tuple(skills.items()), also


def groups_of(queues: tuple[str, ...], teams: tuple[str, ...]) -> Groups:
    """Sorted, if queues and teams are: a team's group comes before every queue's."""
    return (*[f"\n{team}" for team in teams], *queues) if teams else queues


def profile_key(queues: tuple[str, ...], skills: dict[str, int], limits: dict[str, int], team: str) -> ProfileKey:
    return (
        groups_of(queues, (team,) if team else ()),
        tuple(skills.items()),
        (limits.get("call", 0), limits.get("chat", 0), limits.get("sms", 0)),
    )


def who_can_serve(view: View, need: Need) -> int:
    """The numbers of the benches that can, as bits."""
    queue_id, channel, wanted, also = need
    if view.shut and (queue_id, channel) in view.shut:
        return 0
    who = view.queue_bits.get(queue_id, 0)
    for group in also:
        who |= view.queue_bits.get(group, 0)
    who &= view.channel_bits[INDEX[channel]]
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
        for group in (need[0], *need[3]):
            tables.queue_lines.setdefault(group, {})[need] = line
        join(tables, line)
        if len(tables.idle_lines) >= max(KEPT, 1):
            forget_line(tables, next(iter(tables.idle_lines)))
        tables.idle_lines[need] = None  # until somebody enters it
    return line


def join(tables: Tables, line: Line) -> None:
    """The line and the benches that can serve it learn of each other."""
    need = line.need
    line.who = who_can_serve(tables, need)
    can = line.who.to_bytes(len(tables.numbers) // 8 + 1, "little")  # quicker to look into than a long integer
    for group in (need[0], *need[3]):
        for number, bench in tables.queue_benches.get(group, {}).items():
            if can[number >> 3] >> (number & 7) & 1 and number not in line.profiles:
                line.profiles.add(number)
                bench.lines[line.index].append(line)


def shut(tables: Tables, queue_id: str, channel: str) -> None:
    """Who waits at these doors stays in line, and until `unshut` nobody is asked for them. O(lines of the queue)."""
    tables.shut[queue_id, channel] = None
    for line in lines_at(tables, queue_id, channel):
        for number in sorted(line.profiles):
            tables.numbers[number].lines[line.index].remove(line)
        if line.size:  # room that was kept for them is so no longer
            tables.released.append((line.index, line.who, line.first[0], NEVER[0]))
        line.profiles.clear()
        line.who = 0


def unshut(tables: Tables, queue_id: str, channel: str) -> None:
    del tables.shut[queue_id, channel]
    for line in lines_at(tables, queue_id, channel):
        join(tables, line)


def lines_at(view: View, queue_id: str, channel: str) -> list[Line]:
    door = (queue_id, channel)
    return [line for line in view.queue_lines.get(queue_id, {}).values() if line.need[:2] == door]


def bench_for(tables: Tables, key: ProfileKey) -> Bench:
    bench = tables.benches.get(key)
    if bench is None:
        number = tables.free_numbers.pop() if tables.free_numbers else len(tables.numbers)
        bench = tables.benches[key] = Bench(number, key)
        tables.numbers[number : number + 1] = [bench]
        mark(tables, bench)
        groups, skills, limits = key
        have = dict(skills)
        for group in groups:
            tables.queue_benches.setdefault(group, {})[number] = bench
            for line in tables.queue_lines.get(group, {}).values():
                wanted = line.need[2]
                if number in line.profiles or line.need[:2] in tables.shut:
                    continue
                if limits[line.index] and all(have.get(skill, 0) >= level for skill, level in wanted):
                    line.profiles.add(number)
                    line.who |= 1 << number
                    bench.lines[line.index].append(line)
    return bench


def mark(tables: Tables, bench: Bench) -> None:
    """Sets the bench's bit wherever it belongs, or clears it there."""
    bit = 1 << bench.number
    groups, skills, limits = bench.key
    for group in groups:
        flip(tables.queue_bits, group, bit)
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
    if contact.prefer_until:
        tables.personal.setdefault(contact.prefer, Ordered()).add((contact.due_at, contact.seq, contact.id))
        return
    line = line_for(tables, contact.need)
    if not line.size:
        tables.idle_lines.pop(contact.need, None)
    former = line.first
    line.add((contact.due_at, contact.seq, contact.id))
    if line.first is not former:
        behead(tables, line, former)


def leave_line(tables: Tables, contact: Contact) -> None:
    if not tables.indexed:
        return
    if contact.prefer_until:
        own = tables.personal[contact.prefer]
        own.remove((contact.due_at, contact.seq, contact.id))
        if not own.size:
            del tables.personal[contact.prefer]
        return
    line = tables.lines[contact.need]
    former = line.first
    line.remove((contact.due_at, contact.seq, contact.id))
    if line.first is not former:
        behead(tables, line, former)
    first = line.first
    hidden = first is not NEVER and first[2] in tables.passed_over  # who declined the first may wait for one behind it
    if hidden or first is not former:
        tables.released.append((line.index, line.who, contact.due_at, NEVER[0] if hidden else first[0]))
    if not line.size:
        tables.idle_lines[contact.need] = None
        if len(tables.idle_lines) > KEPT:
            forget_line(tables, next(iter(tables.idle_lines)))


def behead(tables: Tables, line: Line, former: Entry) -> None:
    """Another contact, or none, is first in the line."""
    heads, first = tables.heads[line.index], line.first
    if former is not NEVER:
        heads.remove((*former, line))
        tables.passed_over.pop(former[2], None)
    if first is not NEVER:
        heads.add((*first, line))
        if tables.contacts[first[2]].declined_by:
            tables.passed_over[first[2]] = line


def forget_line(tables: Tables, need: Need) -> None:
    line = tables.lines.pop(need)
    del tables.idle_lines[need]
    for group in (need[0], *need[3]):
        del tables.queue_lines[group][need]
    for number in sorted(line.profiles):
        tables.numbers[number].lines[line.index].remove(line)


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
    for group in key[0]:
        del tables.queue_benches[group][bench.number]
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
    """Of the agents who stand, have room that is not kept for another, and can serve the contact: the longest idle;
    ties by id. Empty: nobody."""
    if contact.prefer_until:
        return contact.prefer if preferred_can(view, contact) else ""
    line = view.lines[contact.need]
    who = line.who
    if not who:
        return ""
    best = NEVER
    before = contact.due_at - view.rules.grace_ms
    for room in ROOMS_WITH[contact.need[1]]:
        lineup = view.lineups[room]
        if lineup.first < best:
            if room == EVERY:
                found = lineup.first_of(who, line.profiles, contact.declined_by)
            else:
                found = first_with_room(view, contact, line, room, before)
            if found < best:
                best = found
    return best[1] if best is not NEVER else ""


def first_with_room(view: View, contact: Contact, line: Line, room: int, before: int) -> Entry:
    """The longest idle in the line-up of a room in which some channels do not fit, but for those whose room is kept for
    a contact of such a channel that is due before `before`."""
    lineup = view.lineups[room]
    able = line.who & lineup.present
    if not able:
        return NEVER
    free = able
    for i in NEEDS_MORE[room]:
        for head in view.heads[i]:
            if head[0] >= before or not free:
                break
            free &= ~head[3].who
    found = lineup.first_of(free, line.profiles, contact.declined_by, able & ~free) if free else NEVER
    for id, other in view.passed_over.items():  # nothing is kept for a contact that the agent has declined
        if other.first[0] < before and other.index in NEEDS_MORE[room] and other.who & able:
            for agent_id in view.contacts[id].declined_by:
                agent = view.agents.get(agent_id)
                if (
                    agent is not None
                    and agent.room == room
                    and agent.bench in line.profiles
                    and agent_id not in contact.declined_by
                    and not is_kept(view, agent, before)
                ):
                    found = min(found, (agent.idle_since, agent_id, agent.bench))
    return found


def is_kept(view: View, agent: Agent, before: int) -> bool:
    """Whether the room that this standing agent has left is kept: a contact that they can serve, that needs more, and
    that they have not declined, is due before `before`."""
    lines = view.numbers[agent.bench].lines
    for i in NEEDS_MORE[agent.room]:
        for line in lines[i]:
            if line.first[0] < before and first_not_declined(view, line, agent.id)[0] < before:
                return True
    return False


def first_not_declined(view: View, line: Line, agent_id: str) -> Entry:
    for entry in line:
        if agent_id not in view.contacts[entry[2]].declined_by:
            return entry
    return NEVER


def preferred_can(view: View, contact: Contact) -> bool:
    """Whether the one agent that the contact waits for stands, can serve it and has room that is not kept."""
    agent = view.agents.get(contact.prefer)
    if agent is None or not agent.room & BIT[contact.need[1]] or not can_serve(view, agent, contact.need):
        return False
    return agent.room == EVERY or not is_kept(view, agent, contact.due_at - view.rules.grace_ms)


def can_serve(view: View, agent: Agent, need: Need) -> bool:
    return who_can_serve(view, need) >> agent.bench & 1 == 1


def first_personal(view: View, agent: Agent) -> Entry:
    """Of those who wait for this standing agent alone, and whom they have room for and can serve: the first."""
    for entry in view.personal.get(agent.id, ()):
        need = view.contacts[entry[2]].need
        if agent.room & BIT[need[1]] and can_serve(view, agent, need):
            return entry
    return NEVER


def earliest_due(view: View, agent: Agent) -> str:
    """Of the waiting contacts that this standing agent has room for and can serve: the earliest due; ties by arrival.
    Empty: none, or the room is kept for one that is due earlier."""
    lines = view.numbers[agent.bench].lines
    own = first = first_personal(view, agent) if view.personal else NEVER
    room = agent.room
    for i in range(3):
        if room >> i & 1:
            for line in lines[i]:
                head = line.first
                if head < first:
                    first = head
    if first is NEVER:
        return ""
    id = agent.id
    if id in view.contacts[first[2]].declined_by:  # the first of each line that the agent has not declined
        first = own
        for i in range(3):
            if room >> i & 1:
                for line in lines[i]:
                    if line.first < first:
                        first = min(first, first_not_declined(view, line, id))
        if first is NEVER:
            return ""
    if room != EVERY and is_kept(view, agent, first[0] - view.rules.grace_ms):
        return ""
    contact_id: str = first[2]
    return contact_id


def let_go(view: Tables) -> list[Entry]:
    """Of the lines for which room may have been kept no longer since the heads in `released` have left: each one's
    first. Theirs are due later than what has left, by more than the grace, and not later than what now comes first
    there; and somebody stands who could have had either."""
    released, view.released = view.released, []
    rooms = [room for room in PART if view.lineups[room].present]
    if not rooms:
        return []  # nobody stands with room for some channels only
    grace_ms, found = view.rules.grace_ms, []
    for index, who, due_at, next_at in released:
        after, until = (due_at + grace_ms, NONE), next_at + grace_ms
        able = 0
        for room in rooms:
            if index in NEEDS_MORE[room]:
                standing = who & view.lineups[room].present
                if standing:
                    able |= standing
                    found += behind_kept_room(view, room, standing, after, until)
        if able:
            for other in view.passed_over.values():  # who declined its first may be able to serve one behind it
                if other.index != index and other.who & able:
                    behind = other.after(after)
                    if behind is not NEVER and behind[0] <= until:
                        found.append(behind)
    for agent_id in view.personal:
        agent = view.agents[agent_id]
        if agent.room not in (0, EVERY):
            own = first_personal(view, agent)
            if own is not NEVER:
                found.append(own)
    return found


def behind_kept_room(view: View, room: int, able: int, after: Entry, until: int) -> list[Entry]:
    """Firsts of lines that come behind `after`, are due until then, and for which somebody in that room may be free:
    one of `able`, for whom no head that needs more is due earlier by more than the grace. (One that somebody has
    declined is left out here: it may keep no room.)"""
    found = []
    grace_ms = view.rules.grace_ms
    for i in FITTING[room]:
        keepers = merge(*(view.heads[j] for j in NEEDS_MORE[room]))
        keeper, free = next(keepers, NEVER), able
        head = view.heads[i].after(after)
        while head is not NEVER and head[0] <= until:
            while free and keeper[0] < head[0] - grace_ms:
                if keeper[2] not in view.passed_over:
                    free &= ~keeper[3].who
                keeper = next(keepers, NEVER)
            if not free:
                break
            if head[3].who & free:
                found.append(head[:3])
            head = view.heads[i].after(head)
    return found

"""A replay read back from its log: what became of each call, how long agents were there, what must not have happened.

Only accepted turns are looked at, and nothing of what the replay meant to do is known here.
"""

from typing import Literal

from engine.core import messages as m
from engine.streams.journal import Place, Reader, Void
from engine.streams.log import Log

from .bank import KINDS, Call
from .bank_figures import Fate, Side, side


class Seen:
    """What the accepted turns say, and what in them must not be. Knows nothing of what the replay meant to do."""

    def __init__(self, calls: list[Call], thresholds_ms: dict[str, int]) -> None:
        self.thresholds_ms = thresholds_ms
        self.calls = {call.contact_id: call for call in calls}
        self.state: dict[str, Literal["waiting", "talking", "over"]] = {}
        self.fates: dict[str, Fate] = {}
        self.waits: dict[str, int] = {}
        self.agents: dict[str, Watched] = {}
        self.present_ms = dict.fromkeys(KINDS, 0)
        self.all_present_ms = 0
        self.overtime_ms = 0
        self.turns = 0
        self.events = 0
        self.place = Place()
        self.violations: list[str] = []

    def wrong(self, sentence: str) -> None:
        self.violations.append(sentence)

    def read(self, log: Log) -> None:
        reader = Reader()
        for record in log.journal():
            turn = reader.read(record)
            if isinstance(turn, Void):
                self.wrong(f"journal offset {turn.offset} does not count: {turn.why}")
            elif isinstance(turn, m.Turn):
                self.turns += 1
                for event in turn.events:
                    self.events += 1
                    self.see(turn.at, event)
        self.place = reader.place
        for contact_id in self.calls:
            if self.state.get(contact_id) != "over":
                self.wrong(f"{contact_id} has no final state: {self.state.get(contact_id, 'never queued')}")
        for agent_id, agent in self.agents.items():
            if agent.ready or agent.with_contact:
                self.wrong(f"{agent_id} is still there when all is over")

    def see(self, at: int, event: m.Event) -> None:
        match event:
            case m.ContactQueued(contact_id=id):
                self.step(id, None, "waiting")
            case m.OfferAccepted(contact_id=id, agent_id=agent_id, waited_ms=waited_ms):
                self.step(id, "waiting", "talking")
                self.waits[id] = waited_ms
                agent = self.agents[agent_id]
                if agent.with_contact:
                    self.wrong(f"{agent_id} has two calls: {agent.with_contact} and {id}")
                self.clock(at, agent)
                agent.with_contact = id
            case m.ContactEnded(contact_id=id, agent_id=agent_id, talked_ms=talked_ms):
                self.step(id, "talking", "over")
                agent = self.agents[agent_id]
                if agent.with_contact != id:
                    self.wrong(f"{agent_id} ends {id}, but is with {agent.with_contact or 'nobody'}")
                self.clock(at, agent)
                agent.with_contact = ""
                self.fate(id, "answered", self.waits[id], talked_ms)
            case m.ContactAbandoned(contact_id=id, waited_ms=waited_ms):
                self.step(id, "waiting", "over")
                self.fate(id, "abandoned", waited_ms, 0)
            case m.ContactTimedOut(contact_id=id, waited_ms=waited_ms):
                self.step(id, "waiting", "over")
                self.fate(id, "timed-out", waited_ms, 0)
            case m.AgentSignedIn(agent_id=agent_id, skills=skills):
                self.agents[agent_id] = Watched(tuple(skills), at)
            case m.AgentBecameReady(agent_id=agent_id):
                self.clock(at, self.agents[agent_id])
                self.agents[agent_id].ready = True
            case m.AgentBecameNotReady(agent_id=agent_id) | m.AgentSignedOut(agent_id=agent_id):
                self.clock(at, self.agents[agent_id])
                self.agents[agent_id].ready = False
            case m.CommandRefused(command=command, subject=subject, reason=reason):
                self.wrong(f"{command} of {subject} was refused: {reason}")
            case m.CommandFailed(command=command, error=error):
                self.wrong(f"{command} failed: {error}")

    def step(self, id: str, before: str | None, after: Literal["waiting", "talking", "over"]) -> None:
        if self.state.get(id) != before or id not in self.calls:
            self.wrong(f"{id} becomes '{after}' from '{self.state.get(id, 'nothing')}'")
        self.state[id] = after

    def fate(
        self, id: str, outcome: Literal["answered", "abandoned", "timed-out"], wait_ms: int, service_ms: int
    ) -> None:
        call = self.calls[id]
        self.fates[id] = Fate(call.kind, call.priority, outcome, wait_ms, service_ms, self.thresholds_ms[call.kind])

    def side(self, calls: list[Call]) -> Side:
        return side(
            [self.fates[call.contact_id] for call in calls if call.contact_id in self.fates],
            lambda kind: self.all_present_ms if kind is None else self.present_ms[kind],
        )

    def clock(self, at: int, agent: "Watched") -> None:
        """Adds what has passed since this agent's last change: there when ready or with a caller."""
        passed = at - agent.since if agent.ready or agent.with_contact else 0
        agent.since = at
        self.all_present_ms += passed
        self.overtime_ms += passed if not agent.ready else 0
        for kind in agent.kinds:
            self.present_ms[kind] += passed


class Watched:
    """An agent as the turns show them."""

    __slots__ = ("kinds", "ready", "since", "with_contact")

    def __init__(self, kinds: tuple[str, ...], at: int) -> None:
        self.kinds = kinds
        self.since = at
        self.ready = False
        self.with_contact = ""

"""What is refused, and why: for each reason a small story whose last command is refused; and bytes that are none."""

from typing import NamedTuple

SMALL = """
rules small:
| pool = "desk"
| [[queues]]
| id = "sales"
| [[queues]]
| id = "letters"
| channels = ["sms"]
0.0 > publish-rules rules=small
"""
ANN = SMALL + "1.0 > sign-in-agent agent_id=ann ready=true queues=sales\n"
OFFERED = ANN + "2.0 > route-contact contact_id=c1 channel=call queue_id=sales\n"
TALKING = OFFERED + "3.0 > accept-offer contact_id=c1 agent_id=ann\n"
LISTED = """
rules listed:
| pool = "desk"
| roster = "rules"
| [[queues]]
| id = "sales"
| [[agents]]
| id = "ann"
| queues = ["sales"]
0.0 > publish-rules rules=listed
"""
WEIGHTS = """
rules light:
| pool = "desk"
| [[queues]]
| id = "sales"
rules heavy:
| pool = "desk"
| weights.chat = 100
| [[queues]]
| id = "sales"
0.0 > publish-rules rules=light
1.0 > sign-in-agent agent_id=ann ready=true queues=sales
2.0 > route-contact contact_id=c1 channel=chat queue_id=sales
3.0 > accept-offer contact_id=c1 agent_id=ann
4.0 > route-contact contact_id=c2 channel=chat queue_id=sales
5.0 > publish-rules rules=heavy
6.0 > accept-offer contact_id=c2 agent_id=ann
"""
DROPPED = """
rules with-letters:
| pool = "desk"
| [[queues]]
| id = "sales"
| [[queues]]
| id = "letters"
rules without-letters:
| pool = "desk"
| [[queues]]
| id = "sales"
0.0 > publish-rules rules=with-letters
1.0 > route-contact contact_id=c1 channel=sms queue_id=letters
2.0 > publish-rules rules=without-letters
"""
CLOSED = """
rules hours:
| pool = "desk"
| [[queues]]
| id = "sales"
| [[queues]]
| id = "letters"
| hours = "morning"
| most_waiting = 1
| [[hours]]
| id = "morning"
| open = ["2026-11-23 10:00-10:01"]
0.0 > publish-rules rules=hours
1.0 > sign-in-agent agent_id=ann ready=true queues=sales
2.0 > route-contact contact_id=c1 channel=sms queue_id=sales
3.0 > accept-offer contact_id=c1 agent_id=ann
"""
ELSEWHERE = """
rules here:
| pool = "desk"
| [[queues]]
| id = "sales"
rules elsewhere:
| pool = "branch"
| [[queues]]
| id = "sales"
0.0 > publish-rules rules=here
1.0 > publish-rules rules=elsewhere pool=desk
"""
FULL = "attributes={" + ",".join(f"a{i}:x" for i in range(64)) + "}"

# reason -> the story
REFUSED = {
    "agent-has-contacts": TALKING + "4.0 > sign-out-agent agent_id=ann",
    "already-ended": TALKING + "4.0 > end-contact contact_id=c1 by=agent\n5.0 > end-contact contact_id=c1 by=customer",
    "already-not-ready": ANN
    + "2.0 > set-agent-not-ready agent_id=ann reason=lunch\n3.0 > set-agent-not-ready agent_id=ann reason=lunch",
    "already-ready": ANN + "2.0 > set-agent-ready agent_id=ann",
    "already-signed-in": ANN + "2.0 > sign-in-agent agent_id=ann queues=letters",
    "channel-not-served": SMALL + "1.0 > route-contact contact_id=c1 channel=call queue_id=letters",
    "contact-gone": OFFERED
    + "3.0 > end-contact contact_id=c1 by=customer\n4.0 > accept-offer contact_id=c1 agent_id=ann",
    "contact-id-open": OFFERED + "3.0 > route-contact contact_id=c1 channel=chat queue_id=sales",
    "contact-id-used": OFFERED
    + "3.0 > end-contact contact_id=c1 by=customer\n4.0 > route-contact contact_id=c1 channel=call queue_id=sales",
    "no-wrap-up": TALKING + "4.0 > complete-wrap-up contact_id=c1 agent_id=ann",
    "not-in-roster": LISTED + "1.0 > sign-in-agent agent_id=bob",
    "not-listed": SMALL + "1.0 > unlist-customer customer=k17",
    "not-talking": OFFERED + "3.0 > transfer-contact contact_id=c1 agent_id=ann queue_id=letters",
    "not-waiting": OFFERED + "3.0 > update-contact contact_id=c1 skills={german:1}",
    "not-with-agent": TALKING + "4.0 > transfer-contact contact_id=c1 agent_id=bob queue_id=sales",
    "nothing-to-serve": SMALL + "1.0 > sign-in-agent agent_id=ann",
    "offer-expired": OFFERED + "17.0 > accept-offer contact_id=c1 agent_id=ann",
    "offer-gone": OFFERED + "3.0 > accept-offer contact_id=c1 agent_id=bob",
    "over-capacity": WEIGHTS,
    "queue-closed": CLOSED + "61.0 > transfer-contact contact_id=c1 agent_id=ann queue_id=letters",
    "queue-full": CLOSED
    + "4.0 > route-contact contact_id=c2 channel=sms queue_id=letters\n"
    + "5.0 > transfer-contact contact_id=c1 agent_id=ann queue_id=letters",
    "queue-in-use": DROPPED,
    "roster-in-rules": LISTED + "1.0 > sign-in-agent agent_id=ann queues=sales",
    "too-late": SMALL
    + "1.0 > take-over contact_id=c1 channel=call queue_id=sales source=pbx errand=1/7/3 from_pool=bureau until=0.5 "
    + "due_at=0.0 first_queued_at=0.0",
    "too-many-attributes": SMALL
    + f"1.0 > route-contact contact_id=c1 channel=call queue_id=sales {FULL}\n"
    + "2.0 > update-contact contact_id=c1 attributes={one-more:x}",
    "unknown-agent": SMALL + "1.0 > set-agent-ready agent_id=ann",
    "unknown-contact": SMALL + "1.0 > end-contact contact_id=c1 by=customer",
    "unknown-errand": SMALL + "1.0 > confirm-overflow errand=7/3 by_pool=bureau accepted=true",
    "unknown-queue": SMALL + "1.0 > route-contact contact_id=c1 channel=call queue_id=sale",
    "wrong-pool": ELSEWHERE,
}


class Bad(NamedTuple):
    """changed: what is put into a good command, None takes a field out. text: bytes that are no JSON instead."""

    about: str
    changed: dict[str, object]
    text: str = ""
    schema: bool = True  # whether the schema refuses it too


ROUTE = {"contact_id": "c1", "channel": "call", "queue_id": "sales"}
BAD = {
    "malformed-json": Bad("JSON that breaks off.", {}, '{"id": "42", "source": "pbx-1", "pool": "de'),
    "not-an-object": Bad("A command is an object; several travel as a list of objects.", {}, '"route-contact"'),
    "missing-source": Bad("Without its source a command has no name by which a repeat is known.", {"source": None}),
    "empty-id": Bad("An id has at least one character.", {"id": ""}),
    "long-id": Bad("An id has at most 128 characters.", {"id": "x" * 129}),
    "number-as-id": Bad("An id is a text, also where it looks like a number.", {"id": 42}),
    "control-character": Bad("Ids are shown and logged: no control characters.", {"source": "pbx\u0000"}),
    "unknown-type": Bad("There is no such command; types are in kebab case.", {"type": "RouteContact"}),
    "event-as-command": Bad("Events are told by the engine alone.", {"type": "contact-queued"}),
    "newer-version": Bad("A schema version that this engine does not know.", {"version": 2}),
    "unknown-field": Bad("A misspelt field is refused rather than silently lost.", {"prio": 1}),
    "unknown-data-field": Bad("So is one in the data.", {"data": ROUTE | {"queue": "sales"}}),
    "missing-data-field": Bad("A contact needs a queue.", {"data": {"contact_id": "c1", "channel": "call"}}),
    "unknown-channel": Bad("Channels are call, chat and sms.", {"data": ROUTE | {"channel": "fax"}}),
    "level-out-of-range": Bad("Levels go from 1 to 100.", {"data": ROUTE | {"skills": {"german": 0}}}),
    "skills-as-list": Bad("Skills have levels, also where one is enough.", {"data": ROUTE | {"skills": ["german"]}}),
    "fraction": Bad("Numbers that decide are integers.", {"data": ROUTE | {"skills": {"german": 2.5}}}),
    "text-as-flag": Bad("A flag is true or false.", {"data": ROUTE | {"vip": "yes"}}),
    "long-text": Bad("A text has at most 1024 characters.", {"data": ROUTE | {"attributes": {"note": "x" * 1025}}}),
    "unknown-pool": Bad("A pool exists once its rules are published.", {"pool": "dask"}, schema=False),
}  # fmt: skip

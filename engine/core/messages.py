"""All commands and events, as two closed unions of frozen structs.

Commands ask, events tell. On every wire a type is written in kebab case: `OfferIssued` is `offer-issued`.
Times ending in `_at` are milliseconds since the epoch, from the log; `_ms` are milliseconds. Stored names are for
years: new fields get defaults, nothing is renamed.
"""

from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from .rules import OnClose, Rules
from .words import Channel, CustomerClass, Id, Key, Skills, Text, Tier

By = Literal["customer", "agent", "adapter"]
Lasting = Annotated[int, Meta(ge=1_000, le=3_660 * 86_400_000)]
Attributes = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=64)], Text], Meta(max_length=64)]


def kebab(name: str) -> str:
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")


class Command(
    Struct, frozen=True, gc=False, tag_field="type", tag=kebab, omit_defaults=True, forbid_unknown_fields=True
):
    """What somebody asks. Unknown fields are refused, so that a misspelt one is not silently lost."""


class Event(Struct, frozen=True, gc=False, tag_field="type", tag=kebab, omit_defaults=True):
    """What happened. A reader that is older than the writer skips the fields it does not know."""


# ---- commands: contacts


class RouteContact(Command, frozen=True):
    """A contact arrives and wants an agent of a queue. `customer` is a key, never a number or a name; vip means
    customer_class vip.

    prefer: the agent who is asked first, alone, for as long as the rules say. not_agents: who is never asked."""

    contact_id: Id
    channel: Channel
    queue_id: Id
    customer: Key = ""
    skills: Skills = {}
    tier: Tier = "now"
    vip: bool = False
    attributes: Attributes = {}
    customer_class: CustomerClass = "unknown"
    prefer: Key = ""
    not_agents: Annotated[tuple[Id, ...], Meta(max_length=16)] = ()


class UpdateContact(Command, frozen=True):
    """Changes what is known of a waiting contact: `skills` replaces all, `attributes` replaces those named (""
    removes)."""

    contact_id: Id
    skills: Skills | None = None
    attributes: Attributes = {}


class AcceptOffer(Command, frozen=True):
    """The agent takes the contact that is held out to them."""

    contact_id: Id
    agent_id: Id


class DeclineOffer(Command, frozen=True):
    """The agent does not take it; the contact goes back to its place and to somebody else first."""

    contact_id: Id
    agent_id: Id
    reason: Key = ""


class EndContact(Command, frozen=True):
    """The contact is over. Ended by the customer (or by an adapter that lost them) before an agent answered, it is
    abandoned."""

    contact_id: Id
    by: By


class CompleteWrapUp(Command, frozen=True):
    """The agent has finished the work after a contact."""

    contact_id: Id
    agent_id: Id


class TransferContact(Command, frozen=True):
    """The agent who has the contact passes it to a queue. `skills`, where given, replaces what the contact needs."""

    contact_id: Id
    agent_id: Id
    queue_id: Id
    skills: Skills | None = None


# ---- commands: customers


class BlockCustomer(Command, frozen=True):
    """No contact of this customer is let in, for for_ms or until the customer is unlisted. Off the allow-list."""

    customer: Id
    for_ms: Lasting | None = None
    reason: Key = ""


class AllowCustomer(Command, frozen=True):
    """This customer is let in however often, and is due earlier by the allow-list's head start, for for_ms or until
    unlisted. Off the block-list."""

    customer: Id
    for_ms: Lasting | None = None
    reason: Key = ""


class UnlistCustomer(Command, frozen=True):
    """Takes the customer off the list they are on."""

    customer: Id


# ---- commands: other pools


class TakeOver(Command, frozen=True):
    """A contact of another pool comes to a queue of this one, due when it was. Only hosts send this.

    errand: the id of the event by which it left. until: log time after which its own pool has it again. hops: how many
    pools have passed it on.
    """

    contact_id: Id
    channel: Channel
    queue_id: Id
    source: Id
    errand: Id
    from_pool: Id
    until: int
    due_at: int
    first_queued_at: int
    hops: int = 1
    customer: Key = ""
    skills: Skills = {}
    tier: Tier = "now"
    attributes: Attributes = {}
    customer_class: CustomerClass = "unknown"
    allowed: bool = False


class ConfirmOverflow(Command, frozen=True):
    """Whether the other pool has taken over the contact that left by this errand. Only hosts send this."""

    errand: Id
    by_pool: Id
    accepted: bool
    contact_id: Key = ""
    reason: Key = ""


# ---- commands: agents


class SignInAgent(Command, frozen=True):
    """An agent comes to work, not ready unless `ready`. Queues, skills and limits come from here or from the rules'
    roster."""

    agent_id: Id
    ready: bool = False
    queues: Annotated[tuple[Id, ...], Meta(max_length=500)] | None = None
    skills: Skills | None = None
    limits: dict[Channel, Annotated[int, Meta(ge=0, le=100)]] | None = None
    team: Key = ""
    addresses: dict[Channel, Text] = {}


class SetAgentReady(Command, frozen=True):
    """The agent can be offered contacts from now on."""

    agent_id: Id


class SetAgentNotReady(Command, frozen=True):
    """The agent is not offered contacts until ready again; those they have stay with them."""

    agent_id: Id
    reason: Key = ""


class SignOutAgent(Command, frozen=True):
    """The agent leaves. Refused while they are talking to a contact."""

    agent_id: Id


# ---- commands: sources, rules, time


class SourceHeartbeat(Command, frozen=True):
    """The sending adapter is alive. Once it has said so, silence_ms (else the rules' `times.silence`) without another
    heartbeat makes it silent; commands of other types do not count."""

    silence_ms: Annotated[int, Meta(ge=1_000, le=86_400_000)] | None = None


class PublishRules(Command, frozen=True):
    """New rules for the pool; only hosts and operators send this, after `waitline check`."""

    rules: Rules


class Tick(Command, frozen=True):
    """A deadline has passed. Only the host that owns the log sends this."""


AnyCommand = (
    RouteContact
    | UpdateContact
    | AcceptOffer
    | DeclineOffer
    | EndContact
    | CompleteWrapUp
    | TransferContact
    | BlockCustomer
    | AllowCustomer
    | UnlistCustomer
    | TakeOver
    | ConfirmOverflow
    | SignInAgent
    | SetAgentReady
    | SetAgentNotReady
    | SignOutAgent
    | SourceHeartbeat
    | PublishRules
    | Tick
)

# ---- events: contacts


class ContactQueued(Event, frozen=True):
    """It waits. due_at = queued_at + target_ms - head_start_ms orders the line; `reason` says why (codes: the tier, the
    customer's class, allow-listed). allowed: whether the customer is on the allow-list. prefer_until: until
    then it is held out to agent `prefer` alone; 0: it waits for nobody in particular. relax_at: when its match is next
    relaxed; 0: never. from_pool: another pool has passed it on by this errand; it first queued at first_queued_at, 0:
    now."""

    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    due_at: int
    give_up_at: int
    target_ms: int
    reason: tuple[str, ...]
    tier: Tier = "now"
    vip: bool = False
    customer: str = ""
    skills: dict[str, int] = {}
    head_start_ms: int = 0
    attributes: dict[str, str] = {}
    customer_class: CustomerClass = "unknown"
    allowed: bool = False
    prefer: str = ""
    prefer_until: int = 0
    not_agents: tuple[str, ...] = ()
    relax_at: int = 0
    first_queued_at: int = 0
    from_pool: str = ""
    errand: str = ""
    hops: int = 0


class ContactTurnedAway(Event, frozen=True):
    """The doors did not let it in, or let it go when they closed; final, and its id counts as used.

    reason: closed, closing (it waited when the queue closed, and the rules say to tell it), full, blocked, too-often
    (the customer was let in as often as the rules allow; again at welcome_at). action: what the
    customer is given instead: message, form or self-service. opens_at: when the queue opens; 0: it is open, or nobody
    knows. alternatives: `queue/channel`, those of the rules that are open now and have room.
    """

    contact_id: str
    channel: Channel
    queue_id: str
    source: str
    reason: str
    action: str
    opens_at: int = 0
    alternatives: tuple[str, ...] = ()
    customer: str = ""
    waited_ms: int = 0
    tier: Tier = "now"
    welcome_at: int = 0


class ContactKept(Event, frozen=True):
    """Its queue is closed and keeps its place: the limit on its wait moves behind the opening."""

    contact_id: str
    queue_id: str
    give_up_at: int


class ContactUpdated(Event, frozen=True):
    """What is known of a waiting contact changed; `attributes` are all it has now, `skills` all it needs now. asked:
    all it would need if its match were not relaxed, where it is."""

    contact_id: str
    queue_id: str
    skills: dict[str, int] = {}
    attributes: dict[str, str] = {}
    asked: dict[str, int] | None = None


class ContactMatchRelaxed(Event, frozen=True):
    """It has waited so long that more agents may serve it; its place in the line is what it was.

    step: how many steps of its queue's widening it has gone. skills, queues, teams: what it needs now, and whose agents
    may serve it besides those of its own queue. next_at: when the next step is due, 0: there is none. reason: what has
    changed, as codes: skills-dropped, skills-lowered, queues-added, teams-added; other-pool (the step leads to one, for
    whom it is open to); rules-changed where new rules say
    another widening; as-before where the step makes no difference to this contact.
    """

    contact_id: str
    queue_id: str
    step: int
    reason: tuple[str, ...]
    skills: dict[str, int] = {}
    queues: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    next_at: int = 0


class PreferenceLapsed(Event, frozen=True):
    """It waits for agent `agent_id` no longer, but for whoever can serve it. reason: time, declined, no-answer or
    signed-out; and from the start not-here, not-able, or excluded (the agent is in its `not_agents`)."""

    contact_id: str
    queue_id: str
    agent_id: str
    reason: str


class ContactOverflowing(Event, frozen=True):
    """It leaves for a queue of another pool, and is held out to nobody until that has answered, or until `until`."""

    contact_id: str
    queue_id: str
    to_pool: str
    to_queue_id: str
    errand: str
    until: int
    waited_ms: int = 0


class ContactOverflowed(Event, frozen=True):
    """The other pool has it under the same id; here it is over. Who speaks for it speaks to that pool from now on."""

    contact_id: str
    queue_id: str
    to_pool: str
    to_queue_id: str
    waited_ms: int


class ContactReturned(Event, frozen=True):
    """The other pool does not take it: it waits in its old place. reason: what that pool said (unknown-queue,
    channel-not-served, queue-closed, queue-full, contact-id-open, too-late), unknown-pool, or no-answer."""

    contact_id: str
    queue_id: str
    to_pool: str
    to_queue_id: str
    reason: str


class OverflowRecalled(Event, frozen=True):
    """The other pool is to let it go, if it has it: it ended here on its way there, or an agent here has it."""

    contact_id: str
    to_pool: str
    errand: str
    by: By


class OfferIssued(Event, frozen=True):
    """Held out to one agent until expires_at.

    reason: `longest-idle` (the contact came free, and of the agents who can serve it this one had been idle longest),
    `earliest-due` (the agent came free, and of the contacts they can serve this one was due first), `room-released`
    (the room had been kept for one that was due earlier, and is so no longer) or `preferred` (it waits for this agent);
    then `after-decline` where agents are left out who have declined the contact, or passed it on.
    """

    contact_id: str
    agent_id: str
    queue_id: str
    expires_at: int
    waited_ms: int
    idle_ms: int
    reason: tuple[str, ...]


class OfferAccepted(Event, frozen=True):
    """The agent has the contact. waited_ms: from entering the queue to this moment; talk_until: the backstop on the
    talk."""

    contact_id: str
    agent_id: str
    queue_id: str
    waited_ms: int
    talk_until: int


class OfferDeclined(Event, frozen=True):
    """The agent said no; not offered to them again before retry_at, or until all able agents have declined.

    Whether all have is judged when one declines; who leaves without declining changes nothing before retry_at."""

    contact_id: str
    agent_id: str
    queue_id: str
    retry_at: int
    reason: str = ""


class OfferExpired(Event, frozen=True):
    """The agent did not answer in time (RONA)."""

    contact_id: str
    agent_id: str
    queue_id: str


class OfferRevoked(Event, frozen=True):
    """Taken back: customer-left, adapter-lost, wait-limit, agent-not-ready, agent-signed-out, over-capacity or
    source-lost."""

    contact_id: str
    agent_id: str
    queue_id: str
    reason: str


class DeclinesLapsed(Event, frozen=True):
    """Who declined this contact may be offered it again: `all-declined` or `time`."""

    contact_id: str
    queue_id: str
    reason: str


class ContactTransferred(Event, frozen=True):
    """Agent agent_id passed it to queue_id; it keeps the time it first queued, so it is due as if it had waited
    there."""

    contact_id: str
    agent_id: str
    from_queue_id: str
    queue_id: str
    due_at: int
    give_up_at: int
    target_ms: int
    reason: tuple[str, ...]
    skills: dict[str, int] = {}
    head_start_ms: int = 0
    talked_ms: int = 0
    retry_at: int = 0
    relax_at: int = 0


class ContactAbandoned(Event, frozen=True):
    """It left before an agent answered. by: customer, or adapter (the line was lost, or the source fell silent)."""

    contact_id: str
    queue_id: str
    waited_ms: int
    by: By


class ContactTimedOut(Event, frozen=True):
    """It waited as long as the rules allow and leaves the line unanswered. action, alternatives: what the customer is
    given, as in ContactTurnedAway; no action: nothing."""

    contact_id: str
    queue_id: str
    waited_ms: int
    action: str = ""
    alternatives: tuple[str, ...] = ()


class ContactEnded(Event, frozen=True):
    """The talk is over. by: customer, agent, adapter, or limit (the backstop on talks). wrap_up: whether the agent
    has it to wrap up next."""

    contact_id: str
    agent_id: str
    queue_id: str
    talked_ms: int
    by: Literal["customer", "agent", "adapter", "limit"]
    wrap_up: bool = False


class WrapUpStarted(Event, frozen=True):
    """The agent works after the contact, until `until` at the latest."""

    contact_id: str
    agent_id: str
    queue_id: str
    until: int


class WrapUpEnded(Event, frozen=True):
    """reason: done, limit, or signed-out."""

    contact_id: str
    agent_id: str
    queue_id: str
    wrapped_ms: int
    reason: Literal["done", "limit", "signed-out"]


# ---- events: customers


class CustomerBlocked(Event, frozen=True):
    """No contact of this customer is let in until `until`; 0: until unlisted."""

    customer: str
    until: int = 0
    reason: str = ""


class CustomerAllowed(Event, frozen=True):
    """This customer is on the allow-list until `until`; 0: until unlisted."""

    customer: str
    until: int = 0
    reason: str = ""


class CustomerUnlisted(Event, frozen=True):
    """The customer is on no list any more. reason: lifted, or time."""

    customer: str
    reason: str


# ---- events: agents


class AgentSignedIn(Event, frozen=True):
    """The agent is here, not ready, with these queues (sorted), skills (sorted) and greatest numbers of contacts by
    channel."""

    agent_id: str
    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    team: str = ""
    addresses: dict[str, str] = {}


class AgentProfileChanged(Event, frozen=True):
    """New rules changed what a signed-in agent serves."""

    agent_id: str
    queues: tuple[str, ...]
    skills: dict[str, int]
    limits: dict[str, int]
    team: str = ""
    addresses: dict[str, str] = {}


class AgentBecameReady(Event, frozen=True):
    agent_id: str


class AgentBecameNotReady(Event, frozen=True):
    """reason: what the agent gave, or `no-answer` after an offer expired."""

    agent_id: str
    reason: str = ""


class AgentSignedOut(Event, frozen=True):
    agent_id: str


# ---- events: doors


class QueueOpened(Event, frozen=True):
    """The queue lets contacts of this channel in, until closes_at; 0: for good."""

    queue_id: str
    channel: Channel
    closes_at: int = 0


class QueueClosed(Event, frozen=True):
    """The queue lets no contact of this channel in before opens_at; 0: for good. on_close: what becomes of those who
    wait there; with `keep` they are offered to nobody meanwhile."""

    queue_id: str
    channel: Channel
    opens_at: int = 0
    on_close: OnClose = "serve"


# ---- events: sources, rules, failures


class SourceHeard(Event, frozen=True):
    """The adapter is alive; without another word by silent_at it counts as silent."""

    source: str
    silent_at: int


class SourceFellSilent(Event, frozen=True):
    """Nothing was heard in time; at lost_at its contacts are given up unless it speaks again."""

    source: str
    lost_at: int


class SourceLost(Event, frozen=True):
    """It stayed silent; all contacts that it brought have been ended."""

    source: str


class RulesPublished(Event, frozen=True):
    """These rules hold from the next command on. hash: SHA-256 over their bytes."""

    version: int
    hash: str
    rules: Rules


class CommandRefused(Event, frozen=True):
    """Nothing was done. command: its type; subject: the id it was about; reason: a code; seen: what is so instead, as
    codes."""

    command: str
    subject: str
    reason: str
    seen: tuple[str, ...] = ()


class CommandFailed(Event, frozen=True):
    """The engine itself failed on this command and set it aside; everything else goes on. Report it as a bug."""

    command: str
    error: str


AnyEvent = (
    ContactQueued
    | ContactTurnedAway
    | ContactKept
    | ContactUpdated
    | ContactMatchRelaxed
    | PreferenceLapsed
    | ContactOverflowing
    | ContactOverflowed
    | ContactReturned
    | OverflowRecalled
    | OfferIssued
    | OfferAccepted
    | OfferDeclined
    | OfferExpired
    | OfferRevoked
    | DeclinesLapsed
    | ContactTransferred
    | ContactAbandoned
    | ContactTimedOut
    | ContactEnded
    | WrapUpStarted
    | WrapUpEnded
    | CustomerBlocked
    | CustomerAllowed
    | CustomerUnlisted
    | AgentSignedIn
    | AgentProfileChanged
    | AgentBecameReady
    | AgentBecameNotReady
    | AgentSignedOut
    | QueueOpened
    | QueueClosed
    | SourceHeard
    | SourceFellSilent
    | SourceLost
    | RulesPublished
    | CommandRefused
    | CommandFailed
)

COMMANDS: dict[str, type[Command]] = {kebab(kind.__name__): kind for kind in get_args(AnyCommand)}
EVENTS: dict[str, type[Event]] = {kebab(kind.__name__): kind for kind in get_args(AnyEvent)}
TYPE_OF: dict[type[Any], str] = {kind: name for name, kind in (COMMANDS | EVENTS).items()}
INTERNAL = frozenset({"publish-rules", "tick", "take-over", "confirm-overflow"})  # what no adapter may send


class CommandRef(Struct, frozen=True, gc=False, omit_defaults=True):
    """Which command brought a turn about."""

    pool: str
    source: str
    id: str
    type: str
    actor: str = ""


class Turn(Struct, frozen=True, gc=False, omit_defaults=True):
    """What one command brought about, without its owner: these bytes are what the chain is taken over. repeats: of a
    turn without events, the position of the earlier command that this one repeats."""

    position: int
    at: int
    command: CommandRef
    events: list[AnyEvent]
    repeats: int | None = None

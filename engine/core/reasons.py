"""Every reason code that an event may carry. Sentences for them, in zh-CN and en, are made at the edge (engine/web)."""

REFUSALS = frozenset(
    {
        "agent-has-contacts",  # signing out while talking
        "already-ended",  # the talk is over, only wrap-up is left
        "already-not-ready",
        "already-ready",
        "already-signed-in",
        "channel-not-served",  # the queue does not take this channel
        "contact-gone",  # it was here and has left
        "contact-id-open",  # a contact with this id is here
        "contact-id-used",  # a contact with this id was here and has left
        "no-wrap-up",  # this agent has no wrap-up of this contact
        "not-in-roster",  # the rules name all agents, and not this one
        "not-listed",  # the customer is on no list
        "not-talking",  # only a contact in talk can be transferred
        "not-waiting",  # only a waiting contact can be updated
        "not-with-agent",  # another agent has it, or none
        "nothing-to-serve",  # signing in without a queue
        "offer-expired",  # its time had passed when the answer came
        "offer-gone",  # not offered to this agent now
        "over-capacity",  # the rules have since left no room for it
        "queue-closed",  # a transfer to a queue that lets nobody in now
        "queue-full",  # a transfer to a queue where as many wait as may
        "queue-in-use",  # new rules drop a queue that has contacts
        "roster-in-rules",  # queues, skills and limits are said by the rules, not at sign-in
        "too-late",  # the contact's own pool has it again
        "too-many-attributes",  # an update would leave the contact with more than 64
        "unknown-agent",  # not signed in
        "unknown-contact",  # never seen, or gone for longer than ids are kept
        "unknown-errand",  # no contact has left for another pool by it, or it has been answered
        "unknown-queue",
        "wrong-pool",  # rules made for another pool
    }
)
OFFERS = frozenset({"earliest-due", "longest-idle", "room-released", "preferred", "after-decline"})
QUEUED = frozenset({"tier-now", "tier-today", "tier-follow-up", "vip", "known", "prospect", "allow-listed", "kept-due"})
TURNED_AWAY = frozenset({"closed", "closing", "full", "blocked", "too-often"})
UNLISTED = frozenset({"lifted", "time"})
ACTIONS = frozenset({"message", "form", "self-service"})
REVOKES = frozenset(
    {
        "customer-left",
        "adapter-lost",
        "wait-limit",
        "agent-not-ready",
        "agent-signed-out",
        "over-capacity",
        "overflowed",
        "source-lost",
    }
)
LAPSES = frozenset({"all-declined", "time"})
PREFERENCE_LAPSES = frozenset({"declined", "excluded", "no-answer", "not-able", "not-here", "signed-out", "time"})
RELAXED = frozenset(
    {"skills-dropped", "skills-lowered", "queues-added", "teams-added", "other-pool", "rules-changed", "as-before"}
)
RETURNED = frozenset(
    {
        "channel-not-served",
        "contact-id-open",
        "no-answer",
        "queue-closed",
        "queue-full",
        "too-late",
        "unknown-pool",
        "unknown-queue",
    }
)
NOT_READY = frozenset({"no-answer"})  # besides what agents say themselves
WRAP_UP_ENDS = frozenset({"done", "limit", "signed-out"})
REASONS = (
    REFUSALS
    | OFFERS
    | QUEUED
    | TURNED_AWAY
    | UNLISTED
    | ACTIONS
    | REVOKES
    | LAPSES
    | PREFERENCE_LAPSES
    | RELAXED
    | RETURNED
    | NOT_READY
    | WRAP_UP_ENDS
)

"""Each Kafka topic once: name, key, what it carries, how long it is kept; and which partition a pool is in.

All topics have the same number of partitions, and everything of a pool is in the partition of that number in each of
them. The commands' partition is chosen by their key, which is the pool's id, in the way of Kafka's own Java client; all
other topics have other keys and are written to that same partition by number.
"""

from functools import lru_cache

from msgspec import Struct

PREFIX = "waitline."
PARTITIONS = 12  # of a new cluster; can be shared out evenly among 1, 2, 3, 4, 6 or 12 workers, and never changes
RETENTION_DAYS = 7  # of commands
EVENTS_DAYS = 30
DAY_MS = 86_400_000
MIB = 1 << 20


class Topic(Struct, frozen=True):
    """kind: its name after the prefix; key, carries: for people; largest: bytes of a batch, and so of a record, at
    most; kept_ms: None for ever; compacted: only the newest record of a key is kept."""

    kind: str
    key: str
    carries: str
    largest: int
    kept_ms: int | None = None
    compacted: bool = False


COMMANDS = Topic(
    "commands",
    "the pool's id, in UTF-8",
    "what adapters, agents and the clock ask for: one command a record",
    2 * MIB,  # adapters' commands have at most 64 KiB each, but come in batches; rules of a large pool have up to 1 MiB
    RETENTION_DAYS * DAY_MS,  # a partition that nobody serves for longer stops loudly, and loses nothing silently
)
JOURNAL = Topic(
    "journal",
    "none",
    "turns and owners' markers: the truth, of which all else can be made again; private to the engine and its auditors",
    8 * MIB,  # the turn of one command is one record, however much it brings about
)
EVENTS = Topic(
    "events",
    "the pool's id",
    "one CloudEvent for each accepted event: what CRMs follow",
    2 * MIB,
    EVENTS_DAYS * DAY_MS,
)
STATUS = Topic(
    "status",
    "`contact/{pool}/{id}`, `agent/{pool}/{id}` or `queue/{pool}/{id}`",
    "how each contact, agent and queue stands now",
    1 * MIB,
    compacted=True,
)
REJECTED = Topic(
    "rejected",
    "`{partition}/{position}` of what was no command",
    "what was no command, with its place in `commands` and the reason",
    4 * MIB,  # as large as what it was made of, and the reason beside it
    30 * DAY_MS,
)
SNAPSHOTS = Topic(
    "snapshots",
    "slot of a chunk: two generations, each of so many chunks and a manifest",
    "a cache of the journal's fold, so that a start is short",
    1 * MIB,
    compacted=True,
)
TOPICS = (COMMANDS, JOURNAL, EVENTS, STATUS, REJECTED, SNAPSHOTS)


class Shape(Struct, frozen=True):
    """What is chosen for one installation. Outside development three copies, of which two must have a record before it
    counts as written; a single broker does not survive a loss of power without flushing.

    retention_days: of commands, in place of the topic's own."""

    prefix: str = PREFIX
    partitions: int = PARTITIONS
    replication: int = 3
    min_insync: int = 2
    retention_days: int = RETENTION_DAYS

    def named(self, topic: Topic) -> str:
        return self.prefix + topic.kind

    def settings(self, topic: Topic) -> dict[str, str]:
        """Kafka's topic settings by their names there. What is not in here is left to the cluster."""
        kept_ms = self.retention_days * DAY_MS if topic is COMMANDS else topic.kept_ms
        return {
            "cleanup.policy": "compact" if topic.compacted else "delete",
            "retention.ms": "-1" if kept_ms is None else str(kept_ms),
            "retention.bytes": "-1",  # by time alone: bytes would throw away what has not been read yet
            "message.timestamp.type": "LogAppendTime",  # time comes from the log, in retention too: not from senders
            "max.message.bytes": str(topic.largest),
            "min.insync.replicas": str(self.min_insync),
            "unclean.leader.election.enable": "false",  # a copy that lags must never become the truth
        }


DEVELOPMENT = Shape(partitions=4, replication=1, min_insync=1)


@lru_cache(maxsize=65_536)  # the hash takes some microseconds, and a worker asks for every command
def partition_of(pool: str, partitions: int) -> int:
    """The partition of a pool, 0 to partitions - 1: Kafka's default for records with a key, murmur2 over the id's UTF-8
    bytes. So a record whose key is the pool's id is put there by any Java client, kafkajs, aiokafka, and librdkafka
    with `partitioner=murmur2_random`, without knowing of this function (schemas/partition-vectors.json has examples).
    ValueError: no pool, or no partition."""
    if not pool or partitions < 1:
        raise ValueError("a pool's id has at least one character, and a topic at least one partition")
    return (murmur2(pool.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """32-bit MurmurHash2 with the seed of Kafka's Utils.murmur2, as an unsigned number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15

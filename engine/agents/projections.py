"""The Faust app of the projections: the journal's partitions shared out among its instances, and two tables.

An app of its own, so that no table and no slow receiver ever delays routing. Each partition is a task of its own
(publishing.py); this is what they have around them. The tables `queue_view` and `agent_view` (key `{pool}/{id}`, values
as in the topic `status`) are for who builds on Faust: small, written once per batch and key, and to be made again from
the journal. Nothing is ever deleted from them: a changelog whose last records are deletions may shrink behind the
offset that Faust's recovery waits for.
"""

import asyncio
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import faust
import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from faust.streams import _current_event
from faust.types import TP
from yarl import URL

from engine.streams.codec import json_encode
from engine.streams.status import AgentStatus, QueueStatus
from engine.streams.topics import JOURNAL, Shape
from engine.streams.views import Views

from .app import HEARTBEAT_S, METADATA_MS, SESSION_S, until_stopped
from .batching import BatchConsumer, BatchTransport, _Thread
from .connection import Connection
from .publishing import ROUND, SNAPSHOT_TURNS, Projection, Saved

AGENT_GONE: dict[str, Any] = {"presence": "gone", "state": "gone", "reason": "", "since": 0, "assignments": []}
QUEUE_GONE: dict[str, Any] = {"gone": True}
REMEMBERED = 4_096  # places of a partition that may be committed next: some seconds of them

log_ = structlog.get_logger("waitline.projections")
_saved = msgspec.json.Decoder(Saved).decode


class _PlacesThread(_Thread):
    """Commits each offset with the place that belongs to it."""

    consumer: "PlacesConsumer"

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        said = {
            TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, self.consumer.place_at(tp, offset))
            for tp, offset in offsets.items()
            if tp in self.assignment()
        }
        try:
            await self._ensure_consumer().commit(said)
        except (CommitFailedError, IllegalStateError) as problem:  # the group is being shared out anew
            log_.info("commit-refused", reason=str(problem))
            return False
        except KafkaError as problem:
            log_.warning("commit-failed", reason=str(problem) or type(problem).__name__)
            return False
        return True


class PlacesConsumer(BatchConsumer):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._places: dict[TP, dict[int, str]] = {}
        super().__init__(*arguments, **named)

    def _new_consumer_thread(self) -> _PlacesThread:
        return _PlacesThread(self, loop=self.loop, beacon=self.beacon)

    def remember(self, tp: TP, saved: Saved) -> None:
        places = self._places.setdefault(tp, {})
        places[saved.offset] = json_encode(saved).decode()
        if len(places) > REMEMBERED:
            del places[next(iter(places))]

    def place_at(self, tp: TP, offset: int) -> str:
        return self._places.get(tp, {}).get(offset, "")


class PlacesTransport(BatchTransport):
    Consumer = PlacesConsumer


def projections_app(connection: Connection, shape: Shape, group: str, folder: str) -> faust.App:
    """folder: Faust insists on one for its files; nothing of ours is in it."""
    said = connection.for_faust()
    app = faust.App(
        group,
        **said,
        datadir=folder,
        store="memory://",
        topic_partitions=shape.partitions,  # of the tables' changelogs, which are the only topics that Faust makes
        topic_replication_factor=shape.replication,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_max_poll_records=ROUND,
        consumer_metadata_max_age_ms=METADATA_MS,
        stream_wait_empty=False,  # what is in hand is dropped at a rebalance, and read again by whoever is next
        stream_buffer_maxsize=64,
        worker_redirect_stdouts=False,
    )
    app.transport = PlacesTransport([URL(url) for url in said["broker"]], app, [shape.named(JOURNAL)])
    return app


class Projections:
    """One instance. group: Kafka's, whose members share the partitions; changelogs' names begin with it too."""

    def __init__(
        self, connection: Connection, shape: Shape, group: str = "", *, snapshot_turns: int = SNAPSHOT_TURNS
    ) -> None:
        self.connection = connection
        self.shape = shape
        self.group = group or f"{shape.prefix}projections"
        self.snapshot_turns = snapshot_turns
        self.topic = shape.named(JOURNAL)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. A broker that is away is waited for."""
        await until_stopped(self._once)

    async def _once(self, stop: asyncio.Event) -> None:
        """A Faust app from its start to its stop or its crash."""
        with tempfile.TemporaryDirectory(prefix="waitline-") as folder:
            app = projections_app(self.connection, self.shape, self.group, folder)
            around = _Around(self, app)
            self._processor(app, around)
            try:
                async with app:
                    app.producer.buffer.max_messages = ROUND  # a round's table writes are no reason to wait
                    await app.wait(stop.wait())
            finally:
                await around.revoked()

    def _processor(self, app: faust.App, around: "_Around") -> None:
        journal = app.topic(self.topic, key_serializer="raw", value_serializer="raw")

        @app.on_partitions_assigned.connect(weak=False)
        async def assigned(app: faust.App, assigned: set[TP], **_: Any) -> None:
            await around.assigned({tp.partition for tp in assigned if tp.topic == self.topic})

        @app.on_partitions_revoked.connect(weak=False)
        async def revoked(app: faust.App, revoked: set[TP], **_: Any) -> None:
            await around.revoked()

        @app.on_rebalance_complete.connect(weak=False)
        async def recovered(app: faust.App, **_: Any) -> None:
            around.recovered.set()

        @app.agent(journal, name="project")
        async def project(stream: Any) -> None:
            async for event in stream.noack().events():
                around.hand(event)


class _At:
    """Stands for the event that a stream is at: a table asks it for its partition, and nothing else."""

    def __init__(self, topic: str, number: int) -> None:
        self.message = _AtMessage(topic, number)


class _AtMessage(NamedTuple):
    topic: str
    partition: int


class _Around:
    """What the projections of an app have around them."""

    def __init__(self, projections: Projections, app: faust.App) -> None:
        self.connection = projections.connection
        self.shape = projections.shape
        self.snapshot_turns = projections.snapshot_turns
        self._app = app
        self._group = projections.group
        self._topic = projections.topic
        self.recovered = asyncio.Event()
        self._stands: dict[int, _At] = {}
        self._tasks: dict[int, tuple[Projection, asyncio.Task[None]]] = {}
        said: dict[str, Any] = {"extra_topic_configs": {"min.insync.replicas": str(self.shape.min_insync)}}
        self.queue_view = app.Table("queue_view", partitions=self.shape.partitions, **said)
        self.agent_view = app.Table("agent_view", partitions=self.shape.partitions, **said)
        tables: list[Any] = [self.queue_view, self.agent_view]
        for table in tables:
            # Faust compares the changelog's partitions with the journal's by what its client has last heard: for
            # minutes, that a changelog which has just been made has none. We have said how many it gets.
            table._verified_source_topics_for_partitions.add(self._topic)

    # ---- partitions come and go

    async def assigned(self, numbers: set[int]) -> None:
        await self.revoked()
        self.recovered.clear()
        for number in sorted(numbers):
            projection = Projection(self, number)
            self._tasks[number] = projection, asyncio.create_task(projection.run(), name=f"publish-{number}")

    async def revoked(self) -> None:
        tasks = [task for _, task in self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def hand(self, event: Any) -> None:
        if event.message.partition in self._tasks:  # else it was polled before it went to somebody else
            self._tasks[event.message.partition][0].hand(event)

    @property
    def _consumer(self) -> PlacesConsumer:
        consumer = self._app.consumer
        assert isinstance(consumer, PlacesConsumer)
        return consumer

    def hold(self, number: int) -> None:
        self._consumer.hold(TP(self._topic, number))

    def let_go(self, number: int) -> None:
        self._consumer.let_go(TP(self._topic, number))

    # ---- what has been published

    def save(self, number: int, saved: Saved) -> None:
        self._consumer.remember(TP(self._topic, number), saved)

    async def saved(self, number: int) -> Saved:
        partition = TopicPartition(self._topic, number)
        admin = AIOKafkaAdminClient(**self.connection.for_client())
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self._group, partitions=[partition])
        finally:
            await admin.close()
        committed = found.get(partition, OffsetAndMetadata(-1, ""))
        with suppress(msgspec.MsgspecError):
            saved = _saved(committed.metadata)
            if saved.offset == committed.offset:
                return saved
        return Saved(max(committed.offset, 0))  # an operator has set it

    # ---- the tables

    def show(self, number: int, agents: Mapping[str, AgentStatus], queues: Mapping[str, QueueStatus | None]) -> None:
        self._turn_to(number)
        for key, agent in agents.items():
            self.agent_view[_id(key)] = _plain(agent)
        for key, queue in queues.items():
            self.queue_view[_id(key)] = (
                _plain(queue) if queue else {**(self.queue_view.get(_id(key)) or {}), **QUEUE_GONE}
            )

    def _turn_to(self, number: int) -> None:
        """What is written to tables from now on is in that partition."""
        at: Any = self._stands.setdefault(number, _At(self._topic, number))  # kept, for the variable does not
        _current_event.set(weakref.ref(at))

    def show_all(self, number: int, views: Views) -> None:
        """Mends what differs: after a crash, what was written to the changelogs last may be missing there."""
        agents, queues = views.agents_and_queues()
        here = tuple(f"{pool}/" for pool in views.boards)
        gone_agents = [
            id
            for id, shown in list(self.agent_view.items())
            if id.startswith(here) and f"agent/{id}" not in agents and shown["presence"] != "gone"
        ]
        changed: dict[str, QueueStatus | None] = {
            f"queue/{id}": None
            for id, shown in list(self.queue_view.items())
            if id.startswith(here) and f"queue/{id}" not in queues and not shown.get("gone")
        }
        self.show(
            number,
            {key: agent for key, agent in agents.items() if _differ(self.agent_view.get(_id(key)), agent)},
            changed | {key: queue for key, queue in queues.items() if _differ(self.queue_view.get(_id(key)), queue)},
        )
        self._turn_to(number)
        for id in gone_agents:
            self.agent_view[id] = self.agent_view[id] | AGENT_GONE


def _id(key: str) -> str:
    """Of a status key: `{pool}/{id}`, without its kind."""
    return key.partition("/")[2]


def _plain(status: AgentStatus | QueueStatus) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.json.decode(json_encode(status))
    return plain


def _differ(shown: Any, status: AgentStatus | QueueStatus) -> bool:
    if not shown:
        return True
    return {**_plain(status), "position": "", "at": 0} != {**shown, "position": "", "at": 0}

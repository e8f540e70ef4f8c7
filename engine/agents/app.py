"""The Faust app of the routing worker: settings, the processor, and a process that outlives its broker's absences."""

import asyncio
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP
from yarl import URL

from engine.core.rules import Rules
from engine.service import spare_the_collector, take_turns_soon
from engine.streams.topics import COMMANDS, Shape

from .batching import BatchConsumer, BatchTransport
from .connection import Connection
from .routing import ROUND, Router, Worker, producer_of

SESSION_S = 6  # how long a worker may say nothing before its partitions go to others,
HEARTBEAT_S = 1  # and how often it says something
METADATA_MS = 5_000  # how old news of the topics may be: a leader who has heard nothing of them shares nothing out
AGAIN_S = 1.0

log_ = structlog.get_logger("waitline.worker")


def routing_app(connection: Connection, shape: Shape, group: str, folder: str) -> faust.App:
    """folder: Faust insists on one for its files; nothing of ours is in it."""
    said = connection.for_faust()
    app = faust.App(
        group,
        **said,
        datadir=folder,
        store="memory://",
        table_standby_replicas=0,  # with any, Faust's own assignor comes in, which leaves a third worker of four idle
        topic_allow_declare=False,  # topics are made by `waitline topics apply`, with settings that matter
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",  # where polling begins does not matter: every owner seeks
        broker_session_timeout=SESSION_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_max_poll_records=ROUND,
        consumer_metadata_max_age_ms=METADATA_MS,
        stream_wait_empty=False,  # what is in hand is dropped at a rebalance, and decided by the next owner
        stream_buffer_maxsize=64,
        worker_redirect_stdouts=False,
    )
    app.transport = BatchTransport([URL(url) for url in said["broker"]], app, [shape.named(COMMANDS)])
    return app


async def until_stopped(once: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """`once` is an app from its start to its stop, which the event asks for, or its crash; after that, it is started
    again. Until SIGTERM or SIGINT."""
    spare_the_collector()
    take_turns_soon()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    said = ""
    while not stop.is_set():
        try:
            await once(stop)
        except (KafkaError, OSError) as problem:
            if str(problem) != said:
                log_.warning("broker-away", reason=str(problem) or type(problem).__name__, again_every_s=AGAIN_S)
            said = str(problem)
        except Exception:
            log_.exception("worker-stumbled", again_in_s=AGAIN_S)
        if not stop.is_set():
            await asyncio.wait([asyncio.create_task(stop.wait())], timeout=AGAIN_S)


class RoutingWorker:
    """connection, shape: where; name: as it stands in markers; group: Kafka's, whose members share the partitions."""

    def __init__(
        self,
        connection: Connection,
        shape: Shape,
        rules: Sequence[Rules] = (),
        *,
        name: str = "worker",
        group: str = "",
        **settings: Any,
    ) -> None:
        self.connection = connection
        self.shape = shape
        self.rules = rules
        self.name = name
        self.group = group or f"{shape.prefix}worker"
        self.settings = settings

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. A broker that is away is waited for."""
        await until_stopped(self._once)

    async def _once(self, stop: asyncio.Event) -> None:
        """A Faust app from its start to its stop or its crash."""
        with tempfile.TemporaryDirectory(prefix="waitline-") as folder:
            app = routing_app(self.connection, self.shape, self.group, folder)
            others = producer_of(self.connection)
            router = Router(self._worker(app, others))
            self._processor(app, router)
            try:
                await others.start()
                async with app:
                    await app.wait(stop.wait())
                    await router.stop()
            finally:  # also after a crash: owners that outlive their app would fight with those of the next
                await router.revoked()
                await others.stop()

    def _worker(self, app: faust.App, others: Any) -> Worker:
        topic = self.shape.named(COMMANDS)

        def consumer() -> BatchConsumer:
            found = app.consumer
            assert isinstance(found, BatchConsumer)
            return found

        return Worker(
            self.name,
            self.connection,
            self.shape,
            self.rules,
            others,
            seek=lambda number, offset: consumer().seek_from(TP(topic, number), offset),
            read_to=lambda number: consumer().read_to(TP(topic, number)),
            hold=lambda number: consumer().hold(TP(topic, number)),
            let_go=lambda number: consumer().let_go(TP(topic, number)),
            **self.settings,
        )

    def _processor(self, app: faust.App, router: Router) -> None:
        name = self.shape.named(COMMANDS)
        commands = app.topic(name, key_serializer="raw", value_serializer="raw")

        @app.on_partitions_assigned.connect(weak=False)
        async def assigned(app: faust.App, assigned: set[TP], **_: Any) -> None:
            await router.assigned({tp.partition for tp in assigned if tp.topic == name})

        @app.on_partitions_revoked.connect(weak=False)
        async def revoked(app: faust.App, revoked: set[TP], **_: Any) -> None:
            await router.revoked()

        @app.agent(commands, name="route")
        async def route(stream: Any) -> None:
            async for event in stream.noack().events():
                router.hand(event)

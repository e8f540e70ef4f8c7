"""What the cluster's topics are, beside what they should be: checked, created, altered; never shrunk nor deleted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String
from msgspec import Struct
from msgspec.structs import replace

from engine.streams.topics import COMMANDS, JOURNAL, TOPICS, Shape, Topic

from .connection import Connection

TIMEOUT_MS = 10_000  # of a request; who cannot be reached in that time cannot be reached
ON_THE_TOPIC = 1  # DescribeConfigs' word for: set on this topic, not a default of the brokers
FOR_EVER = "-1"
AT_LEAST = ("retention.ms", "max.message.bytes", "min.insync.replicas")  # more than is wanted is left alone


class Unreachable(Exception):
    """No broker has answered, or they have refused us; why, in a sentence for a person."""


class Difference(Struct, frozen=True):
    """One thing that is not as wanted. topic: its name, empty for the cluster; what: the setting, or `topic`,
    `partitions`, `replication`, `brokers`; remedy: what `apply` would do, or that a person must; blocks: with it a
    worker must not start; text: a sentence, with what to do where it is for a person."""

    topic: str
    what: str
    found: str
    wanted: str
    remedy: Literal["create", "alter", "person"]
    blocks: bool
    text: str


class Found(Struct, frozen=True):
    """A topic as it is. replication: of the partition with the fewest copies; settings: name -> (value, whether it is
    set on the topic itself)."""

    partitions: int
    replication: int
    settings: dict[str, tuple[str, bool]]


class Cluster(Struct, frozen=True):
    """brokers: how many live; topics: those of ours that exist, by name."""

    brokers: int
    topics: dict[str, Found]


@asynccontextmanager
async def admin_of(connection: Connection) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client. Unreachable: also for what goes wrong while it is in use."""
    said: list[str] = []
    listener = _Listener(said)
    logger = logging.getLogger("aiokafka")
    logger.addHandler(listener)  # aiokafka says only there why it could not connect
    admin = AIOKafkaAdminClient(**connection.for_client(), client_id="waitline-admin", request_timeout_ms=TIMEOUT_MS)
    try:
        try:
            await admin.start()
        except (KafkaError, OSError, TimeoutError) as error:
            why = said[0] if said else str(error)
            raise Unreachable(f"Kafka cannot be reached at {connection.brokers}. {why}") from None
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {TIMEOUT_MS // 1000} s"
        raise Unreachable(f"Kafka at {connection.brokers} refuses: {why}") from None
    finally:
        await admin.close()
        logger.removeHandler(listener)


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


# ---- what there is


async def look(admin: AIOKafkaAdminClient, shape: Shape) -> Cluster:
    """The topics of this prefix as they are."""
    ours = {shape.named(topic) for topic in TOPICS}
    there = [each for each in await admin.describe_topics() if each["topic"] in ours and each["error_code"] == 0]
    resources = [ConfigResource(ConfigResourceType.TOPIC, each["topic"]) for each in there]
    settings: dict[str, dict[str, tuple[str, bool]]] = {}
    for answer in await admin.describe_configs(resources) if resources else []:
        for resource in answer.to_object()["resources"]:
            _refused(resource["error_code"], resource["error_message"])
            settings[resource["resource_name"]] = {
                each["config_names"]: (each["config_value"], each["config_source"] == ON_THE_TOPIC)
                for each in resource["config_entries"]
            }
    topics = {
        each["topic"]: Found(
            len(each["partitions"]),
            min(len(partition["replicas"]) for partition in each["partitions"]),
            settings[each["topic"]],
        )
        for each in there
    }
    return Cluster(len((await admin.describe_cluster())["brokers"]), topics)


def partitions_there(cluster: Cluster, shape: Shape) -> int | None:
    """How many partitions this installation has: the journal's, whose first marker holds the number, else those of
    another of its topics; None where there is none yet."""
    for topic in (JOURNAL, *TOPICS):
        if found := cluster.topics.get(shape.named(topic)):
            return found.partitions
    return None


# ---- what differs


def differences(cluster: Cluster, shape: Shape) -> list[Difference]:
    """Topic by topic, all that is not as wanted."""
    found = [each for topic in TOPICS for each in _of_topic(topic, cluster, shape)]
    if cluster.brokers < shape.replication and any(each.remedy == "create" for each in found):
        text = (
            f"The cluster has {_count(cluster.brokers, 'broker')} and {shape.replication} copies of each partition are "
            "wanted. Start more brokers, or say --development where nothing needs to be safe."
        )
        found.insert(0, Difference("", "brokers", str(cluster.brokers), str(shape.replication), "person", True, text))
    return found


def _of_topic(topic: Topic, cluster: Cluster, shape: Shape) -> Iterable[Difference]:
    name = shape.named(topic)
    truth = topic in (COMMANDS, JOURNAL)  # all else can be made again from these two
    found = cluster.topics.get(name)
    if found is None:
        made = f"with {_count(shape.partitions, 'partition')} and {_count(shape.replication, 'copy', 'copies')} of each"
        yield Difference(
            name, "topic", "none", "there", "create", True, f"{name} does not exist: to be created, {made}."
        )
        return

    copies = _count(found.replication, "copy", "copies")
    if found.partitions != shape.partitions:
        yield Difference(
            name,
            "partitions",
            str(found.partitions),
            str(shape.partitions),
            "person",
            True,
            f"{name} has {_count(found.partitions, 'partition')}, not {shape.partitions}. The number never changes, "
            "since pools would change places. If nothing of worth is in it, delete the topic and apply again; else "
            "begin anew under another --prefix, and move the logs there.",
        )
    if found.replication < shape.replication:
        yield Difference(
            name,
            "replication",
            str(found.replication),
            str(shape.replication),
            "person",
            truth,
            f"{name} has {copies} of a partition, and {shape.replication} are wanted. Add copies with Kafka's "
            "kafka-reassign-partitions.sh; it can be done while all goes on.",
        )
    for setting, wanted in shape.settings(topic).items():
        value, on_topic = found.settings.get(setting, ("", False))
        too_many = setting == "min.insync.replicas" and int(value or 0) > found.replication
        if (value == wanted and on_topic and not too_many) or (
            setting in AT_LEAST and _more(value, wanted) and not too_many
        ):
            continue
        remedy: Literal["alter", "person"] = "alter"
        what = f"{name}: {setting} is {value}"
        if setting == "min.insync.replicas" and shape.min_insync > found.replication:
            remedy, text = "person", f"{what}, to be {wanted} once there are more copies than {found.replication}."
        elif too_many:
            text = f"{what} with {copies} of each partition, so that nothing can be written; to be {wanted}."
        elif value == wanted:
            text = f"{what} only by the brokers' default; to be set on the topic, so that it stays."
        elif setting == "cleanup.policy" and topic is not JOURNAL:  # a journal of unlimited retention loses nothing
            remedy = "person"
            text = (
                f"{what}, not {wanted}, and changing it throws records away. If that is meant: kafka-configs.sh "
                f"--alter --entity-type topics --entity-name {name} --add-config {setting}={wanted}"
            )
        else:
            text = f"{what}, to be {wanted}."
        # Without these the log could lose what it has, or have no time of its own; a smaller record or a shorter stay
        # of commands only wants quicker people.
        harmless = setting == "max.message.bytes" or (topic is COMMANDS and setting.startswith("retention."))
        yield Difference(name, setting, value, wanted, remedy, truth and value != wanted and not harmless, text)


def _more(value: str, wanted: str) -> bool:
    """Whether a number is larger, -1 being for ever."""
    if not value.lstrip("-").isdecimal():
        return False
    return wanted != FOR_EVER and (value == FOR_EVER or int(value) > int(wanted))


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


async def check_topics(connection: Connection, shape: Shape, any_partitions: bool = True) -> list[Difference]:
    """What differs, for a worker that refuses to start while anything of it `blocks`, and for people.
    any_partitions: the number is taken from the topics that are there."""
    async with admin_of(connection) as admin:
        cluster = await look(admin, shape)
    if any_partitions:
        shape = replace(shape, partitions=partitions_there(cluster, shape) or shape.partitions)
    return differences(cluster, shape)


# ---- what is done


async def apply(admin: AIOKafkaAdminClient, shape: Shape, found: list[Difference]) -> Cluster:
    """Creates and alters what `differences` has found. The cluster as it is then: controller and brokers tell one
    another a moment later, which is waited for. KafkaError: the cluster has refused."""
    create = {each.topic for each in found if each.remedy == "create"}
    if create:
        answer = await admin.create_topics(
            [
                NewTopic(name, shape.partitions, shape.replication, topic_configs=shape.settings(topic))
                for topic in TOPICS
                if (name := shape.named(topic)) in create
            ]
        )
        for each in answer.to_object()["topic_errors"]:
            if each["error_code"] != TopicAlreadyExistsError.errno:  # else somebody else was as quick
                _refused(each["error_code"], each.get("error_message"))
    alter: dict[str, list[tuple[str, int, str]]] = {}
    for difference in found:
        if difference.remedy == "alter":
            alter.setdefault(difference.topic, []).append((difference.what, _SET, difference.wanted))
    if alter:
        resources = [(int(ConfigResourceType.TOPIC), name, settings) for name, settings in alter.items()]
        response: Any = await admin._send_to_controller(_IncrementalAlterConfigs(resources))
        for each in response.to_object()["responses"]:
            _refused(each["error_code"], each["error_message"])
    async with asyncio.timeout(TIMEOUT_MS / 1000):
        while True:
            cluster = await look(admin, shape)
            left = {(each.topic, each.what) for each in differences(cluster, shape) if each.remedy != "person"}
            if not left & {(each.topic, each.what) for each in found} and await _led(admin, create):
                return cluster
            await asyncio.sleep(0.02)


async def _led(admin: AIOKafkaAdminClient, names: set[str]) -> bool:
    """Whether each partition has a leader, so that it can be written."""
    there = [each for each in await admin.describe_topics() if each["topic"] in names] if names else []
    return all(partition["leader"] >= 0 for each in there for partition in each["partitions"])


def _refused(code: int, message: str | None) -> None:
    if code:
        raise for_code(code)(message or "")


_SET = 0  # IncrementalAlterConfigs' word for it


class _IncrementalAlterConfigsResponse(Response):
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _IncrementalAlterConfigsStruct(RequestStruct):
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _IncrementalAlterConfigsResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _IncrementalAlterConfigs(Request[_IncrementalAlterConfigsStruct]):
    """Sets the named settings and leaves the others. aiokafka has only AlterConfigs, which takes away from a topic
    every setting that the request does not repeat, also those that a person has made."""

    API_KEY = 44

    def __init__(self, resources: list[tuple[int, str, list[tuple[str, int, str]]]]) -> None:
        self.resources = resources

    def build(self, request_struct_class: type[_IncrementalAlterConfigsStruct]) -> _IncrementalAlterConfigsStruct:
        return request_struct_class(self.resources, False)

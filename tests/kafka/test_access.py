"""Each role on a real broker with authorizer, SCRAM and TLS switched on: it does its work, and nothing beyond it.

The adapter comes by SASL_PLAINTEXT, the engine by SASL_SSL, the reader by SSL with a certificate of its own, the
auditor by SASL_PLAINTEXT again. Rights are given by the very commands that `waitline topics acl` writes.
"""

import asyncio
import json
import shlex
import socket
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)
from click.testing import CliRunner

from engine.agents.admin import Unreachable, admin_of, apply, check_topics, differences, look
from engine.agents.broker import fetch_jars, find_java
from engine.agents.connection import Connection, read_connection
from engine.commands_topics import acl_command
from engine.streams.topics import COMMANDS, EVENTS, JOURNAL, SNAPSHOTS, STATUS, TOPICS, Shape
from tests.kafka.brokers import Breakable
from tests.kafka.load import begin, go_on, pools, send
from tests.kafka.oracle import check
from tests.kafka.test_copies import waitline
from tests.kafka.workers import WORKER, WorkerProcess

SHAPE = Shape("waitline.", 2, 1, 1)
USERS = {"pbx": "SCRAM-SHA-512", "worker": "SCRAM-SHA-256", "audit": "SCRAM-SHA-512"}
SECRET = "correct-horse-battery-staple"
PRINCIPALS = {"adapter": "User:pbx", "engine": "User:worker", "reader": "User:CN=crm", "auditor": "User:audit"}


class Secured:
    """A broker with three guarded listeners, and the settings with which each role comes."""

    def __init__(self, folder):
        self.folder = folder
        self.certificates()
        sasl, sasl_tls, tls = (free_port() for _ in range(3))
        listeners = f"SASL_PLAINTEXT://127.0.0.1:{sasl},SASL_SSL://127.0.0.1:{sasl_tls},SSL://127.0.0.1:{tls}"
        jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        settings = {
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(folder / "broker.pem"),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(folder / "ca.crt"),
            "listener.name.ssl.ssl.client.auth": "required",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # the plain listener is the administrator's, and the broker's own
        }
        for listener in ("sasl_plaintext", "sasl_ssl"):
            for mechanism in ("scram-sha-256", "scram-sha-512"):
                settings[f"listener.name.{listener}.{mechanism}.sasl.jaas.config"] = jaas
        users = [f"{mechanism}=[name={name},password={SECRET}]" for name, mechanism in USERS.items()]
        self.broker = Breakable(folder / "kafka", settings, [word for user in users for word in ("--add-scram", user)])
        self.broker.up(0)
        self.admin = Connection(self.broker.address)
        (folder / "password").write_text(SECRET + "\n")
        self.addresses = {"pbx": sasl, "worker": sasl_tls, "crm": tls, "audit": sasl}

    def certificates(self):
        """A CA of our own, the broker's certificate, the reader's, and another CA that signed nothing."""
        key = "-nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        made = [
            f"req -x509 {key} -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt",
            f"req -x509 {key} -days 2 -subj /CN=other-ca -keyout other.key -out other.crt",
        ]
        for name in ("broker", "crm"):
            made += [
                f"req {key} -subj /CN={name} -keyout {name}.key -out {name}.csr",
                f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names "
                f"-out {name}.crt",
            ]
        (self.folder / "names").write_text("subjectAltName = IP:127.0.0.1\n")
        for arguments in made:
            subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)
        pem = (self.folder / "broker.key").read_text() + (self.folder / "broker.crt").read_text()
        (self.folder / "broker.pem").write_text(pem)

    def connection(self, user, **other):
        """As a person writes it: a TOML file beside the certificates and the password."""
        said = {"brokers": f"127.0.0.1:{self.addresses[user]}"}
        if user in USERS:
            said |= {
                "protocol": "SASL_PLAINTEXT",
                "mechanism": USERS[user],
                "username": user,
                "password_file": "password",
            }
        if user == "worker":
            said |= {"protocol": "SASL_SSL", "ca_file": "ca.crt"}
        if user == "crm":
            said |= {"protocol": "SSL", "ca_file": "ca.crt", "cert_file": "crm.crt", "key_file": "crm.key"}
        file = self.folder / f"{user}.toml"
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in (said | other).items()))
        return read_connection(file=file)

    def give_rights(self):
        """Runs what `waitline topics acl` writes, by Kafka's own tool."""
        (self.folder / "admin.properties").write_text("request.timeout.ms=20000\n")
        tool = [find_java(), "-XX:TieredStopAtLevel=1", "-cp", f"{fetch_jars()}/*", "org.apache.kafka.tools.AclCommand"]
        for role, principal in PRINCIPALS.items():
            arguments = ["--role", role, "--principal", principal, "--broker", self.broker.address]
            written = CliRunner().invoke(acl_command, [*arguments, "--group", "crm."], catch_exceptions=False).output
            for line in written.splitlines():
                name, *rest = shlex.split(line)
                assert name == "kafka-acls.sh"
                done = subprocess.run(
                    [*tool, *rest], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
                )
                assert done.returncode == 0, done.stdout + done.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def with_topics(secured):
    async with admin_of(secured.admin) as admin:
        await apply(admin, SHAPE, differences(await look(admin, SHAPE), SHAPE))
        await admin.create_topics([NewTopic("payroll", 1, 1)])


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    one = Secured(tmp_path_factory.mktemp("secured"))
    try:
        one.give_rights()
        asyncio.run(with_topics(one))
        yield one
    finally:
        one.broker.kill()


pytestmark = pytest.mark.broker


@asynccontextmanager
async def started(client):
    """Stopped also where it could not be started, unlike with the client's own `async with`."""
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


async def write(connection, name):
    async with started(AIOKafkaProducer(**connection.for_client(), enable_idempotence=True)) as producer:
        await producer.send_and_wait(name, b"{}", key=b"shop")


async def read(connection, name):
    """Reads the topic without a group, from the start. (Subscribed: aiokafka tells nobody that a topic which was
    assigned by hand is forbidden, and waits.)"""
    said = connection.for_client() | {"group_id": None, "auto_offset_reset": "earliest"}
    async with started(AIOKafkaConsumer(name, **said)) as consumer:
        return [each for records in (await consumer.getmany(timeout_ms=300)).values() for each in records]


async def read_in_group(connection, name, group):
    said = connection.for_client() | {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False}
    async with started(AIOKafkaConsumer(name, **said)) as consumer:
        record = await consumer.getone()
        await consumer.commit()
        return record


async def may(action):
    """Whether the broker lets it through."""
    try:
        async with asyncio.timeout(20):
            await action
    except (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError):
        return False  # of the cluster: an idempotent producer with no right to write anything
    return True


EVERY = {topic.kind for topic in TOPICS}


async def topics_that(secured, user, action, among=EVERY | {"payroll"}):
    """Those of our topics, and one that is not ours, with which the user may do it."""
    connection = secured.connection(user)
    names = {kind: kind if kind == "payroll" else SHAPE.prefix + kind for kind in among}
    return {kind for kind, name in names.items() if await may(action(connection, name))}


async def test_a_worker_routes_what_an_adapter_sends_and_an_auditor_finds_all_in_order(secured, tmp_path):
    adapter, names = secured.connection("pbx"), pools(SHAPE)
    await send(adapter, SHAPE, begin(names))
    await send(adapter, SHAPE, go_on(names, 400))
    address = secured.connection("worker").brokers
    program = [*WORKER, "--kafka-config", str(secured.folder / "worker.toml")]
    worker = WorkerProcess(tmp_path, address, SHAPE, "one", program)
    try:
        checked = await check(secured.connection("audit"), SHAPE.prefix)
        assert await asyncio.to_thread(worker.stop) == 0
    finally:
        worker.kill()
    assert checked.commands >= 400
    assert checked.accepted_offers > 10
    assert checked.alarms == 0
    auditor = ["--kafka-config", secured.folder / "audit.toml"]
    report = json.loads(waitline("doctor", *auditor, "--development", "--json", code=1))
    assert {each["what"] for each in report["findings"]} == {"no-owner", "clock"}, "it may write no probe"
    exported = json.loads(waitline("export", *auditor, "--partition", 0, "--to", tmp_path / "out", "--json"))
    assert exported["turns"] > 10 and exported["chain"] in waitline("log", "verify", tmp_path / "out", "--redecide")


async def test_an_adapter_writes_commands_and_nothing_else(secured):
    assert await topics_that(secured, "pbx", write) == {COMMANDS.kind}
    assert await topics_that(secured, "pbx", read) == set()


async def test_the_engine_reads_and_writes_its_own_topics_and_no_others(secured):
    # It is the worker above that writes the others, which a foreign record would spoil.
    harmless = {EVENTS.kind, STATUS.kind, SNAPSHOTS.kind}
    assert await topics_that(secured, "worker", write, harmless | {"payroll"}) == harmless
    assert await topics_that(secured, "worker", read) == EVERY
    await write(secured.connection("pbx"), SHAPE.named(COMMANDS))
    worker = secured.connection("worker")
    assert await may(read_in_group(worker, SHAPE.named(COMMANDS), "waitline.routing"))
    assert not await may(read_in_group(worker, SHAPE.named(COMMANDS), "crm.sync"))


async def test_the_engine_cannot_delete_or_alter_a_topic(secured):
    worker = secured.connection("worker")
    assert await check_topics(worker, SHAPE) == [], "it can see that all is as wanted"
    async with admin_of(worker) as admin:
        answer = await admin.delete_topics([SHAPE.named(JOURNAL)])
    assert answer.to_object()["topic_error_codes"][0]["error_code"] == TopicAuthorizationFailedError.errno
    with pytest.raises(Unreachable, match="refuses"):
        shorter = Shape(SHAPE.prefix, 2, 1, 1, retention_days=30)
        async with admin_of(worker) as admin:
            await apply(admin, shorter, differences(await look(admin, shorter), shorter))
    assert await check_topics(secured.admin, SHAPE) == []


async def test_a_reader_reads_what_is_public_in_groups_of_its_own(secured):
    for topic in (EVENTS, STATUS):
        await write(secured.connection("worker"), SHAPE.named(topic))
    assert await topics_that(secured, "crm", read) == {EVENTS.kind, STATUS.kind}
    assert await topics_that(secured, "crm", write) == set()
    crm = secured.connection("crm")
    assert (await read_in_group(crm, SHAPE.named(EVENTS), "crm.sync")).value == b"{}"
    assert not await may(read_in_group(crm, SHAPE.named(EVENTS), "waitline.routing")), "no worker's partition is taken"


async def test_an_auditor_reads_everything_and_writes_nothing(secured):
    assert await topics_that(secured, "audit", read) == EVERY
    assert await topics_that(secured, "audit", write) == set()
    audit = secured.connection("audit")
    assert await check_topics(audit, SHAPE) == []
    async with admin_of(audit) as admin:
        assert await admin.list_consumer_group_offsets("waitline.routing") is not None
    assert not await may(read_in_group(audit, SHAPE.named(EVENTS), "waitline.routing"))


def test_a_faust_app_with_a_table_makes_what_it_needs_with_the_engines_rights(secured):
    program = """
        import faust, sys
        from pathlib import Path
        from engine.agents.connection import read_connection

        app = faust.App("waitline.faust", **read_connection(file=Path(sys.argv[1])).for_faust(), store="memory://",
                        web_enabled=False, topic_partitions=2, value_serializer="raw", worker_redirect_stdouts=False,
                        datadir=sys.argv[2])
        events = app.topic("waitline.events")
        seen = app.Table("seen", default=int, partitions=2)

        @app.agent(events)
        async def count(stream):
            async for value in stream:
                seen["all"] += 1
                if value == b"the last":
                    print("HEARD", flush=True)

        @app.task
        async def speak():
            await events.send(key=b"shop", value=b"the last")

        app.finalize()
        faust.Worker(app, loglevel="warning").execute_from_commandline()
    """
    secured.connection("worker")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), secured.folder / "worker.toml", secured.folder / "faust"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as worker:
        said = []
        for line in worker.stdout:
            said.append(line)
            if line == "HEARD\n":
                break
        worker.terminate()
    assert said[-1:] == ["HEARD\n"], "".join(said)


@pytest.mark.parametrize(
    ("user", "other", "why"),
    [
        ("pbx", {"password_file": "names"}, "Authentication failed"),
        ("pbx", {"mechanism": "SCRAM-SHA-256"}, "Authentication failed"),
        ("worker", {"ca_file": "other.crt"}, "certificate verify failed"),
        ("crm", {"cert_file": "other.crt", "key_file": "other.key"}, ""),
        ("crm", {"protocol": "PLAINTEXT"}, ""),
    ],
)
async def test_who_cannot_show_who_they_are_does_not_come_in(secured, user, other, why):
    with pytest.raises(Unreachable, match=f"cannot be reached at 127.0.0.1.*{why}") as refused:
        await check_topics(secured.connection(user, **other), SHAPE)
    assert SECRET not in str(refused.value)

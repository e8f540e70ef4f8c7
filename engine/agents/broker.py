"""A development broker: one Apache Kafka node in KRaft mode, out of Maven Central's jars, with its data in one folder.

No Docker, no ZooKeeper, no installation: Java 17 runs it, Maven fetches the jars once. It listens on 127.0.0.1 without
any security and keeps one copy of everything: for trying out, developing and testing, never for business.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

POM = Path(__file__).with_name("kafka-pom.xml")
KAFKA_VERSION = "4.1.1"
JARS = (f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-tools-{KAFKA_VERSION}.jar")  # what the folder is known by
HOST = "127.0.0.1"
START_S = 60.0  # a loaded machine of two cores needs ten; who waits for a minute waits for nothing
STOP_S = 20.0  # Kafka closes its segments on SIGTERM in about two
INSTALL = "On Debian and Ubuntu: apt install openjdk-17-jre-headless maven; on a Mac: brew install openjdk maven."
JVM = ["-Xms256m", "-Xmx512m", "-XX:+UseSerialGC"]  # under 400 MB resident; other collectors want more cores
LOGGING = {
    "defaultLogLevel": "warn",
    "showDateTime": "true",
    "dateTimeFormat": "yyyy-MM-dd'T'HH:mm:ss.SSS",
    "showThreadName": "false",
}
SETTINGS = {  # of server.properties; addresses, folder and the caller's own come on top
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",  # a misspelt topic is a mistake, not a topic with one partition
    # One broker keeps one copy of what Kafka itself needs, and few partitions of it start faster.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",  # 3 s by default, for fleets that start one worker after another
    "num.io.threads": "2",
    "num.network.threads": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",  # 128 MiB by default, a quarter of this heap
}


class BrokerProblem(Exception):
    """Why there is no broker, and what to do, in sentences for a person."""


class Running(Struct, frozen=True):
    """What is known of a broker's process. answers: whether it takes part: it has just answered a Kafka request."""

    pid: int
    port: int
    data: str
    answers: bool

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


def silent(_sentence: str) -> None:
    """Says nothing."""


class Broker:
    """The broker whose data is in a folder, running or not.

    settings: of server.properties, over those here. format_arguments: of Kafka's StorageTool at the first start, such
    as `--add-scram` with a user. BrokerProblem is raised by all that cannot be done.
    """

    def __init__(self, data: Path, settings: Mapping[str, str] | None = None, format_arguments: Sequence[str] = ()):
        self.data = data.resolve()
        self.settings = dict(settings or {})
        self.format_arguments = list(format_arguments)
        self.cluster_id = "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]  # a dash first would be an option
        self.properties = self.data / "server.properties"
        self.output = self.data / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None  # only where this object has started it

    def running(self) -> Running | None:
        """None where no process of this folder is left, whatever a file may say."""
        try:
            pid, port = (int(each) for each in (self.data / "pid").read_text().split())
        except (OSError, ValueError):
            return None
        if self._process is not None and self._process.pid == pid:
            lives = self._process.poll() is None  # also takes leave of a child that has died
        else:
            lives = str(self.properties) in _command_line(pid)  # else its number may be somebody else's by now
        if not lives:
            return None
        return Running(pid, port, str(self.data), answers(port))

    def up(self, port: int | None = None, say: Callable[[str], None] = silent) -> Running:
        """Starts the broker unless it runs, and returns when it answers. port: 0 takes a free one; None the one it had
        the last time, at first 9092. The jars are fetched if they are not there."""
        with self._alone():
            running = self.running()
            if running is not None:
                if port not in (None, 0, running.port):
                    raise BrokerProblem(
                        f"The broker in {self.data} already runs on port {running.port}. "
                        f"Stop it first (waitline kafka down), then start it on {port}."
                    )
                return self._wait(running.pid, running.port)
            java = find_java()
            jars = fetch_jars(say)
            port = self._free_port(port)
            self._configure(port)
            if not (self.data / "log" / "meta.properties").exists():
                self._format(java, jars)
            say(f"Starting Apache Kafka {KAFKA_VERSION} on {HOST}:{port} …")
            with self.output.open("ab") as output:
                self._process = subprocess.Popen(
                    _java(java, jars, "kafka.Kafka", str(self.properties)),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,  # Ctrl-C in the terminal that started it is not meant for it
                )
            (self.data / "pid").write_text(f"{self._process.pid} {port}\n")
            return self._wait(self._process.pid, port)

    def down(self) -> bool:
        """Stops it: kindly, and after 20 s without mercy (nothing that was acknowledged is lost by that, the next start
        takes longer). False: it did not run."""
        running = self.running()
        if running is None:
            return False
        os.kill(running.pid, signal.SIGTERM)
        if not self._gone(running.pid, STOP_S):
            os.kill(running.pid, signal.SIGKILL)
            if not self._gone(running.pid, STOP_S):
                raise BrokerProblem(f"The process {running.pid} cannot be ended, not even by SIGKILL.")
        return True

    def last_words(self, lines: int = 20) -> list[str]:
        """The end of what the broker has written to its log."""
        try:
            with self.output.open("rb") as output:
                size = output.seek(0, os.SEEK_END)
                output.seek(max(0, size - lines * 500))
                return output.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    # ---- the steps

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two that start the same broker at the same moment: the second waits and finds it running."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            lock = (self.data / "lock").open("w")
        except OSError as error:
            raise BrokerProblem(
                f"The folder {self.data} cannot be written: {error.strerror}. Choose another with --data."
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _free_port(self, port: int | None) -> int:
        if port is None:
            try:
                port = int((self.data / "pid").read_text().split()[1])
            except (OSError, ValueError, IndexError):
                port = 9092
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before may linger
            try:
                probe.bind((HOST, port))
            except OSError:
                raise BrokerProblem(
                    f"Port {port} of {HOST} is taken by another program. Choose another with --port (0: a free one)."
                ) from None
            taken: int = probe.getsockname()[1]
            return taken

    def _configure(self, port: int) -> None:
        controller = self._free_port(0)
        listeners = f"PLAINTEXT://{HOST}:{port}"
        settings = SETTINGS | {
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "listeners": listeners,
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self.data / "log"),
        }
        for name, value in self.settings.items():
            # A listener of the caller's own stands beside ours, by which we see whether the broker answers.
            adds = name in ("listeners", "advertised.listeners", "listener.security.protocol.map")
            settings[name] = f"{settings[name]},{value}" if adds else value
        if "CONTROLLER://" not in settings["listeners"]:
            settings["listeners"] += f",CONTROLLER://{HOST}:{controller}"
        self.properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))

    def _format(self, java: str, jars: Path) -> None:
        arguments = [
            "format",
            "-t",
            self.cluster_id,
            "-c",
            str(self.properties),
            "--ignore-formatted",
            *self.format_arguments,
        ]
        done = subprocess.run(
            _java(java, jars, "kafka.tools.StorageTool", *arguments), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BrokerProblem(f"Kafka cannot prepare the folder {self.data}:\n{(done.stdout + done.stderr).strip()}")

    def _wait(self, pid: int, port: int) -> Running:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if answers(port):
                return Running(pid, port, str(self.data), True)
            if self.running() is None:
                said = "\n".join(self.last_words())
                raise BrokerProblem(f"The broker ended while it started. The end of {self.output}:\n{said}")
            time.sleep(0.05)
        raise BrokerProblem(
            f"The broker (process {pid}) does not answer on port {port} after {START_S:.0f} s. "
            f"{self.output} may say why."
        )

    def _gone(self, pid: int, within_s: float) -> bool:
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            if self.running() is None:
                return True
            time.sleep(0.05)
        return False


# ---- Java and the jars


def find_java() -> str:
    """Path of a `java` of version 17 or newer: JAVA_HOME's, else the PATH's."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if java is None:
        where = f"in JAVA_HOME ({home})" if home else "on the PATH"
        raise BrokerProblem(f"Kafka runs on Java 17 or newer, and there is no `java` {where}. {INSTALL}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < 17:
        raise BrokerProblem(
            f"Kafka needs Java 17 or newer; {java} says: {(said.splitlines() or ['nothing'])[0]}. {INSTALL}"
        )
    return java


def jars_folder() -> Path:
    """Where the jars are kept once they are fetched: of this user, for all data folders and checkouts."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "waitline" / f"kafka-{KAFKA_VERSION}"


def fetch_jars(say: Callable[[str], None] = silent) -> Path:
    """The folder with the jars. Maven copies them into a folder beside it, which gets the name only when it is whole: a
    fetch that broke off leaves nothing that looks like a broker."""
    folder = jars_folder()
    if _whole(folder):
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerProblem(
            f"The jars of Apache Kafka are not in {folder}, and there is no `mvn` on the PATH to fetch them. {INSTALL}"
        )
    say(f"Fetching Apache Kafka {KAFKA_VERSION} (43 MB, once) into {folder} …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.part-") as part:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}/jars"]
        done = subprocess.run(
            [maven, "-q", "-B", "-C", "-f", str(POM), *goal],  # -C: a jar with another checksum is a failure
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[:5])
            raise BrokerProblem(f"Maven could not fetch the jars. Is there a way to its repository?\n{said}")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            os.rename(f"{part}/jars", folder)
        except OSError:
            if not _whole(folder):  # else somebody else was as quick
                raise
    return folder


def _whole(folder: Path) -> bool:
    return all((folder / jar).exists() for jar in JARS)


def _java(java: str, jars: Path, main: str, *arguments: str) -> list[str]:
    logging = [f"-Dorg.slf4j.simpleLogger.{name}={value}" for name, value in LOGGING.items()]
    return [java, *JVM, *logging, "-cp", f"{jars}/*", main, *arguments]


# ---- the process and its port


def _command_line(pid: int) -> str:
    """Of a living process; empty where there is none (also of one that has died and is not yet buried)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    done = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout


def answers(port: int, within_s: float = 2.0) -> bool:
    """Whether a broker that takes part in its cluster answers there: asked for metadata, it names a living broker."""
    body = struct.pack(">hhih8si", 3, 1, 1, 8, b"waitline", 0)  # Metadata, version 1, of no topic
    try:
        with socket.create_connection((HOST, port), timeout=within_s) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = b""
            while len(answer) < 12:  # size, number of the request, count of brokers
                more = connection.recv(4096)
                if not more:
                    return False
                answer += more
    except OSError:
        return False
    _, number, brokers = struct.unpack_from(">iii", answer)
    return number == 1 and bool(brokers > 0)

"""`waitline serve` and `waitline demo`: a host behind the HTTP door, for real or with simulated people."""

import asyncio
import os
import signal
import socket
import sys
import time
import uuid
import webbrowser
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from math import inf
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import click
import structlog
import uvicorn

from engine.agents.connection import Connection
from engine.commands_options import kafka_options
from engine.core.deadlines import NONE
from engine.core.messages import CommandRefused, Turn
from engine.core.rules import Rules
from engine.embedded import Embedded
from engine.live import Live
from engine.logs import set_up_logs
from engine.planning.day import Day, still_there
from engine.service import run, spare_the_collector
from engine.streams.codec import envelope_of, write_command
from engine.streams.host import Host
from engine.streams.hours import WARN_DAYS, Renewal, SaidRules, ends_at
from engine.streams.journal import TimeKind
from engine.streams.log import LogForeign, LogProblem
from engine.streams.mistakes import Lang, render
from engine.streams.rules_file import read_pools
from engine.streams.sqlite_log import SqliteLog
from engine.streams.topics import PREFIX, Shape
from engine.web.door import LOOPBACK, app

log_ = structlog.get_logger("waitline.serve")
HERE = Path(__file__).parent
DESKS = HERE / "desks" if (HERE / "desks").exists() else HERE.parent / "deploy" / "desks"  # in a wheel, in a checkout
DESK = DESKS / "service-desk.toml"
BEGINS_AT = timedelta(hours=9, minutes=40)  # a new demo: twenty minutes of usual traffic, then the rush
AGAIN_S = 2.0  # between two tries to reach a cluster that does not answer
RENEW_S = 60  # between two looks whether the hours of the rules have to be worked out again
STEP_S = 0.05  # of real time, between two looks at the simulated people
LANGUAGES = click.Choice(["en", "zh-CN"])


@click.command("serve")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="Rules: one pool's file, or a folder with a file a pool.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of the log; made if missing.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; others than loopback need a token."
)
@click.option(
    "--port", default=8484, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token that every call must show; or set WAITLINE_TOKEN.",
)
@click.option("--lang", type=LANGUAGES, default="en", show_default=True, help="Language of what is printed.")
@partial(kafka_options, needed=False)
def serve_command(
    connection: Connection | None,
    prefix: str,
    config: Path | None,
    data: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
    lang: Lang,
) -> None:
    """Serve pools over HTTP: adapters post commands, CRMs and the live page read what happens.

    \b
        waitline serve --config deploy/desks/shop.toml --data var/shop
        waitline serve --broker localhost:9092

    With --config and --data, from one process and one log in a folder. Rules that have changed since the last start
    are published; rules with mistakes are refused, and the pool goes on under the ones it had. The log holds real
    time; a log of simulated or recorded time is left alone.

    With --broker, from a log on Kafka, where `waitline worker` decides and publishes the rules. Several such doors may
    run at once; none of them keeps anything of its own.

    \b
    Commands in    POST /v1/commands
    Events out     GET  /v1/events?pool=…     (server-sent events)
    Views          GET  /v1/pools/…           (queues, agents, figures, contacts)
    Description    GET  /openapi.json
    Live page      GET  /

    Exit status: 0 stopped by a signal, 1 the log or the rules do not allow a start, 2 wrong use of the command.
    """
    token = _token(token_file)
    if host not in LOOPBACK and host != "::1" and not token:
        raise click.UsageError(
            f"Listening on {host} needs a token, since others can reach it: --token-file FILE, or WAITLINE_TOKEN."
        )
    set_up_logs()
    if connection is not None:
        if config or data:
            raise click.UsageError(
                "With --broker the log is on Kafka, and workers publish the rules: leave out --config and --data; or "
                "leave out --broker, to serve a log in a folder."
            )
        return _serve_kafka(connection, prefix, host, port, token)
    if config is None or data is None or prefix != PREFIX:
        raise click.UsageError(
            "Say which log: --config FILE|FOLDER and --data DIR for one in a folder, or --broker HOST:PORT (with "
            "--prefix) for one on Kafka."
        )
    renewal = Renewal(_rules(config, lang))
    engine = _open(data, lambda: time.time_ns() // 1_000_000, "real")
    _publish(engine, renewal.due(engine.at))
    if not engine.partition.pools:
        engine.close()
        _fail("No pool has rules that hold, and the log has none from before: nothing can be served.")

    async def main() -> None:
        live = Live(engine)
        await _serve(live, host, port, token, [live.run(), renew(live, renewal)])

    run(main())


def _serve_kafka(connection: Connection, prefix: str, host: str, port: int, token: str) -> None:
    from engine.agents.door_host import KafkaHost  # an embedded log needs nothing of Kafka

    async def opened() -> KafkaHost:
        said = ""
        while True:
            door = KafkaHost(connection, Shape(prefix))
            try:
                await door.start()
                return door
            except LogProblem as problem:
                await door.close()
                if isinstance(problem, LogForeign):
                    raise
                if str(problem) != said:
                    log_.warning("broker-away", reason=str(problem), again_every_s=AGAIN_S)
                said = str(problem)
                await asyncio.sleep(AGAIN_S)

    async def main() -> None:
        door = await opened()
        await _serve(door, host, port, token, [door.run()])

    try:
        run(main())
    except LogProblem as problem:
        _fail(str(problem))


@click.command("demo")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("var/demo"), show_default=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DESK,
    metavar="FILE",
    help="Rules of the desk; the built-in service desk of a dozen agents by default.",
)
@click.option(
    "--speed",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0, 3600),
    help="Simulated seconds in a second; 0 stands still.",
)
@click.option("--seed", default=2, show_default=True, help="Another seed, another day.")
@click.option(
    "--port", default=8484, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option("--lang", type=LANGUAGES, default="en", show_default=True, help="Language of what is printed.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
def demo_command(data: Path, config: Path, speed: float, seed: int, port: int, lang: Lang, open_page: bool) -> None:
    """Watch a busy synthetic day of a small service desk being routed, on a live page.

    Calls, chats and SMS of simulated customers, answered by simulated agents; a peak overloads them for an hour. The
    log in DATA says that its time is simulated. Stop with Ctrl-C; started again, the day goes on where it stood.
    """
    set_up_logs()
    rules = _rules(config, lang)
    if not rules:
        sys.exit(1)
    clock = Clock()
    engine = _open(data, lambda: clock.now, "simulated")
    clock.now = engine.at or _morning(rules[0])
    renewal = Renewal(rules)
    _publish(engine, renewal.due(clock.now))
    pool = rules[0].pool

    async def main() -> None:
        live = Live(engine)
        url = "http://127.0.0.1:{port}/?lang=" + lang

        async def announced(at_port: int) -> None:
            address = url.format(port=at_port)
            click.echo(f"{_SAID[lang]}\n\n    {address}\n", err=True)
            if open_page:
                webbrowser.open(address)

        await _serve(live, "127.0.0.1", port, "", [simulate(live, pool, clock, speed, seed, renewal)], announced)

    run(main())


_SAID = {
    "en": "A simulated day of a service desk is being routed. Ctrl-C stops it; started again, it goes on from there.",
    "zh-CN": "正在为一个服务台的模拟工作日分配联络。按 Ctrl-C 停止；再次启动时从原处继续。",
}


class Clock:
    """Simulated log time."""

    def __init__(self) -> None:
        self.now = 0


async def simulate(live: Live, pool: str, clock: Clock, speed: float, seed: int, renewal: Renewal) -> None:
    """Lets simulated people use the pool: every command at its moment, every tick when it is due, at `speed`."""
    host = live.host
    tables = host.partition.pools[pool]
    contacts, agents = still_there(tables)
    day = Day(tables.rules.rules, seed, clock.now, host.position + 1, contacts=contacts, agents=agents)
    host.listeners.append(lambda turns: _let_see(day, turns, pool))
    began, began_at = time.monotonic(), clock.now
    refused = 0
    while not live.closing.is_set():
        target = began_at + int((time.monotonic() - began) * speed * 1000)
        while not live.closing.is_set():
            coming = day.next_at()
            due = host.next_due()
            moment = min(NONE if coming is None else coming, due)
            if moment > target:
                break
            clock.now = max(clock.now, moment)
            try:
                if due <= moment:
                    host.tick()
                for asked in day.take(clock.now):
                    envelope = envelope_of(asked.command, asked.id, asked.source, pool)
                    outcomes = await live.submit([(envelope, asked.command, write_command(envelope))])
                    refused += sum(type(event) is CommandRefused for event in outcomes[0].events)
            except LogProblem as problem:
                log_.warning("demo-held-up", reason=str(problem))
                await asyncio.sleep(2)
        if day.quiet and speed:  # a night with nobody there is passed over
            coming = day.next_at()
            if coming is not None and min(coming, host.next_due()) > clock.now + 60_000:
                began, began_at = time.monotonic(), min(coming, host.next_due()) - 1000
                clock.now = max(clock.now, began_at)
        clock.now = max(clock.now, target)
        _publish_again(host, renewal, clock.now)
        live.keep_snapshot()
        await asyncio.sleep(STEP_S)


def _let_see(day: Day, turns: list[Turn], pool: str) -> None:
    for turn in turns:
        if turn.command.pool == pool:
            day.see(turn)


def _morning(rules: Rules) -> int:
    """A morning of the next working day, in the pool's zone."""
    zone = ZoneInfo(rules.time_zone)
    day = datetime.now(zone).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return int((day + BEGINS_AT).astimezone(UTC).timestamp() * 1000)


async def renew(live: Live, renewal: Renewal) -> None:
    """Publishes the rules anew whenever their hours have to be worked out further; says so where that cannot be done,
    since a pool's file has mistakes and the pool goes on under the rules it had."""
    host = live.host
    warned_at = -inf
    while not live.closing.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(live.closing.wait(), RENEW_S)
        _publish_again(host, renewal, host.at)
        if time.monotonic() - warned_at > 86_400:
            warned_at = time.monotonic()
            for pool, tables in host.partition.pools.items():
                end_s = ends_at(tables.rules.rules)
                if end_s is not None and end_s * 1000 - host.at < WARN_DAYS * 86_400_000:
                    log_.warning("hours-end-soon", pool=pool, at=datetime.fromtimestamp(end_s, UTC).isoformat())


# ---- what both need


def _token(file: Path | None) -> str:
    token = os.environ.get("WAITLINE_TOKEN", "")
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"The token file {file} cannot be read: {error}") from None
    if token and len(token) < 16:
        raise click.UsageError("The token is too short to be safe: 16 characters at least.")
    if not (token.isascii() and token.isprintable()):
        raise click.UsageError("The token cannot travel in a header: letters, digits and signs of ASCII only.")
    return token


def _rules(path: Path, lang: Lang) -> list[SaidRules]:
    """The rules that hold; what is wrong with the others is said."""
    readings = read_pools(path)
    mistakes = [mistake for reading in readings for mistake in reading.mistakes]
    if mistakes:
        click.echo(render(mistakes, lang, sys.stderr.isatty()), err=True)
    return [reading.said for reading in readings if reading.said is not None]


def _open(data: Path, clock: Callable[[], int], kind: TimeKind) -> Embedded:
    spare_the_collector()  # in the recovery already,
    try:
        log = SqliteLog.open(data)
        try:
            engine = Embedded(log, clock, kind, name=str(uuid.uuid4()), worker=f"embedded-{os.getpid()}")
        except BaseException:
            log.close()
            raise
    except LogProblem as problem:
        _fail(str(problem))
    spare_the_collector()  # and of what it has brought
    return engine


def _publish(engine: Embedded, rules: list[Rules]) -> None:
    try:
        _publish_each(engine, rules)
    except LogProblem as problem:
        engine.close()
        _fail(str(problem))


def _publish_again(engine: Embedded, renewal: Renewal, at: int) -> None:
    try:
        _publish_each(engine, renewal.due(at))
    except LogProblem as problem:
        log_.warning("rules-not-published", reason=str(problem))
        renewal.forget()


def _publish_each(engine: Embedded, rules: list[Rules]) -> None:
    for each in rules:
        outcome = engine.publish(each)
        if outcome.status == "failed":
            log_.error("rules-refused", pool=each.pool, reason="engine-fault")
        elif outcome.status == "refused":
            refusal = outcome.events[0]
            assert isinstance(refusal, CommandRefused)
            log_.error("rules-refused", pool=each.pool, reason=refusal.reason, seen=refusal.seen)
        elif outcome.status == "accepted":
            log_.info("rules-published", pool=each.pool, position=outcome.position)


def _fail(said: str) -> NoReturn:
    click.echo(said, err=True)
    sys.exit(1)


async def _serve(
    live: Host,
    host: str,
    port: int,
    token: str,
    tasks: list[Coroutine[None, None, None]],
    announce: Callable[[int], Awaitable[None]] | None = None,
) -> None:
    """Until a signal comes; then streams are ended, the log closed."""
    config = uvicorn.Config(app(live, token), log_config=None, access_log=False, timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn raises it once more when it has ended: for us, no more news
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        listener = _listen(host, port)
        running.append(asyncio.ensure_future(server.serve([listener])))
        while not server.started and not server.should_exit:
            await asyncio.sleep(0.01)
        at_port = listener.getsockname()[1]
        name = f"[{host}]" if ":" in host else host
        log_.info("serving", url=f"http://{name}:{at_port}/", positions=[each.position for each in live.standings()])
        if announce:
            await announce(at_port)
        while not server.should_exit and not any(task.done() for task in running):
            await asyncio.sleep(0.1)
        live.stop()
        server.should_exit = True
        await running[-1]
        for task in running:
            if task.done():
                task.result()
    finally:
        for task in running:
            task.cancel()
        await live.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        _fail(f"Port {port} of {host} cannot be had ({error.strerror}). --port chooses another.")

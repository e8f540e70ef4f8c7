"""The HTTP door: commands in, events and views out. Adapters, CRMs and the live page all come through here."""

import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Raw
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.core.messages import EVENTS, INTERNAL
from engine.core.rules import Rules
from engine.streams.board import Board
from engine.streams.codec import BadCommand, read_command, write_command
from engine.streams.host import Asked, Host
from engine.streams.log import LogFull, LogProblem, LogUnsure

from .answers import JSON, Result, problem, rejected, result_of
from .openapi import document
from .streams import BadPlace, events, place_of, views
from .words import Language, language_of, told

BODY_MOST = 4 << 20  # bytes of a request
COMMAND_MOST = 64 << 10  # bytes of one command
BATCH_MOST = 5_000
VIEW_MS = 250  # so long a view of the same position may be told again: its time is that of now
AGENTS_SHOWN = 200  # by the live view; the counts are of all
COOKIE = "waitline_token"
OWN = "waitline"  # the source of the host's own commands
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
PORT = re.compile(r":\d+$")

_list = msgspec.json.Decoder(list[Raw]).decode


def app(host: Host, token: str = "", started: Callable[[], Awaitable[None]] | None = None) -> ASGIApp:
    """The whole door. token: every call needs it, but for the empty page itself; without one only loopback names are
    answered."""
    door = Door(host)
    static = files("engine.web") / "static"
    routes = [
        Route("/v1/commands", door.commands, methods=["POST"]),
        Route("/v1/events", door.events),
        Route("/v1/pools", door.pools),
        Route("/v1/pools/{pool}/queues", door.queues),
        Route("/v1/pools/{pool}/agents", door.agents),
        Route("/v1/pools/{pool}/figures", door.figures),
        Route("/v1/pools/{pool}/decisions", door.decisions),
        Route("/v1/pools/{pool}/contacts", door.contacts),
        Route("/v1/pools/{pool}/contacts/{contact_id:path}", door.contact),
        Route("/v1/pools/{pool}/live", door.live_views),
        Route("/livez", door.livez),
        Route("/readyz", door.readyz),
        Route("/openapi.json", door.openapi),
        Route("/", door.page),
        Mount("/static", StaticFiles(directory=str(static))),
    ]
    handlers: Any = {HTTPException: said, LogProblem: troubled, Exception: fault}
    return Gate(Starlette(routes=routes, exception_handlers=handlers), token)


class NoPool(HTTPException):
    """404, as for a command that names no pool of ours."""


async def said(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, NoPool):
        return problem(404, "unknown-pool", error.detail, "pool")
    reason = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    return problem(error.status_code, reason, error.detail, **dict(error.headers or {}))


async def fault(request: Request, error: Exception) -> Response:
    return problem(500, "engine-fault", "The server failed on this request; its log says more.")


class Gate:
    """Who may come in. Without a token, a page of another site must not reach us by a name that it controls."""

    def __init__(self, inner: ASGIApp, token: str) -> None:
        self.inner = inner
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        answer = self._stop(scope, headers)
        await (self.inner if answer is None else answer)(scope, receive, send)

    def _stop(self, scope: Scope, headers: dict[bytes, str]) -> Response | None:
        if not self.token:
            if PORT.sub("", headers.get(b"host", "")).lower() not in LOOPBACK:
                return problem(
                    421, "wrong-host", "Without a token this server answers only to 127.0.0.1 and localhost."
                )
            return None
        path = scope["path"]
        request = Request(scope)
        if path == "/" and (offered := request.query_params.get("token", "")) and self._is_it(offered):
            rest = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
            answer = RedirectResponse(f"/?{urlencode(rest)}" if rest else "/", 303)
            answer.set_cookie(COOKIE, offered, httponly=True, samesite="strict")
            return answer
        if path == "/" or path.startswith("/static/"):
            return None
        scheme, _, offered = headers.get(b"authorization", "").partition(" ")
        if (scheme.lower() == "bearer" and self._is_it(offered)) or self._is_it(request.cookies.get(COOKIE, "")):
            return None
        return problem(401, "token-needed", "This call needs the server's token: Authorization: Bearer …", **BEARER)

    def _is_it(self, offered: str) -> bool:
        return hmac.compare_digest(offered.encode(), self.token.encode())


BEARER = {"WWW-Authenticate": "Bearer"}


class Door:
    """The handlers. Every answer about a pool says the position and the log time it stands at."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._views: dict[tuple[str, Language], tuple[int, int, bytes]] = {}

    # ---- commands

    async def commands(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json"):
            return problem(415, "not-json", "Send JSON, and say so: Content-Type: application/json.")
        try:
            body = await self._body(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return problem(413, "too-large", f"A request has at most {BODY_MOST >> 20} MiB.")
        language = language_of(request.query_params.get("lang") or request.headers.get("accept-language"))
        wait = request.query_params.get("wait", "")
        if wait not in ("", "decided"):
            return problem(400, "bad-query", "wait can only be `decided`.", "wait")
        batch = body.lstrip()[:1] == b"["
        try:
            bodies = [bytes(raw) for raw in _list(body)] if batch else [body]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return problem(400, "bad-json", f"This is not JSON: {error}"[:300])
        if len(bodies) > BATCH_MOST:
            return problem(413, "too-many", f"A batch has at most {BATCH_MOST} commands.")
        results: list[Result | None] = []
        asked: list[Asked] = []
        for each in bodies:
            try:
                asked.append(self._admitted(each))
                results.append(None)
            except BadCommand as bad:
                results.append(rejected(bad))
        try:
            outcomes = iter(await self.host.submit(asked, bool(wait)) if asked else [])
        except LogProblem as trouble:
            return trouble_of(trouble)
        envelopes = iter(asked)
        told = [
            result_of(next(outcomes), language, bool(wait), self._rules(next(envelopes)[0].pool))
            if result is None
            else result
            for result in results
        ]
        if batch:
            return JSON(told)
        taken = told[0].status != "rejected" or told[0].position is not None
        status = 200 if taken else 404 if told[0].reason == "unknown-pool" else 400
        return JSON(told[0], status)

    def _rules(self, pool: str) -> Rules | None:
        board = self.host.boards.get(pool)
        return board.rules if board else None

    def _admitted(self, body: bytes) -> Asked:
        if body.lstrip()[:1] != b"{":  # the log may hold msgpack; the door takes what it asks for
            raise BadCommand("", "a command is a JSON object")
        envelope, command = read_command(body)
        if len(body) > COMMAND_MOST:
            raise BadCommand("", f"a command has at most {COMMAND_MOST >> 10} KiB; this has {len(body) >> 10}")
        if envelope.type in INTERNAL:
            raise BadCommand("type", f"{envelope.type} is for the host alone")
        if envelope.source == OWN:
            raise BadCommand("source", f"{OWN!r} is the host itself")
        return envelope, command, write_command(envelope)

    async def _body(self, request: Request) -> bytes | None:
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said[:18]) > BODY_MOST:
            return None
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > BODY_MOST:
                return None
            parts.append(part)
        return b"".join(parts)

    # ---- events

    async def events(self, request: Request) -> Response:
        query = request.query_params
        pool = query.get("pool", "")
        if not pool:
            return problem(400, "bad-query", "Say of which pool: ?pool=…", "pool")
        await self._board(pool)
        kind, contact, queue = query.get("type"), query.get("contact"), query.get("queue")
        if kind is not None and kind.removeprefix("waitline.") not in EVENTS:
            return problem(400, "bad-query", f"There is no event {kind[:64]!r}.", "type")
        kind = kind and kind.removeprefix("waitline.")
        last = request.headers.get("last-event-id") or query.get("last_event_id")
        start = query.get("from", "now")
        if start not in ("start", "now"):
            return problem(400, "bad-query", "from can be `start` or `now`.", "from")
        partition = self.host.partition_of(pool)
        if last:
            try:
                after = place_of(last, partition)
            except BadPlace as bad:
                return problem(400, "bad-query", str(bad), "Last-Event-ID")
            if after[0] > self.host.stand(partition).position:
                await self.host.catch_up()  # another door may be ahead of this one
            if after[0] > self.host.stand(partition).position:
                text = f"The log has not come to {last[:64]} yet: it was an event of another log."
                return problem(400, "bad-query", text, "Last-Event-ID")
        else:
            after = (0, -1) if start == "start" else (self.host.stand(partition).position + 1, -1)

        def wanted(event: dict[str, Any]) -> bool:
            return (
                (kind is None or event["type"] == kind)
                and (contact is None or event.get("contact_id") == contact)
                and (queue is None or event.get("queue_id") == queue or event.get("from_queue_id") == queue)
            )

        return stream(request, events(self.host, pool, after, wanted))

    # ---- views

    async def pools(self, request: Request) -> Response:
        pools = [
            {
                "pool": pool,
                "time_zone": board.rules.time_zone if board.rules else "UTC",
                "partition": (partition := self.host.partition_of(pool)),
                "position": self.host.stand(partition).position,
            }
            for pool, board in sorted(self.host.boards.items())
        ]
        return JSON({**self._furthest(), "pools": pools})

    async def queues(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        stand = self._stand(board)
        return JSON({**stand, "queues": board.queues(stand["at"])})

    async def agents(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        found = board.agents()
        return JSON({**self._stand(board), "counts": found.counts, "agents": found.agents})

    async def figures(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        stand = self._stand(board)
        return JSON({**stand, **msgspec.to_builtins(board.figures(stand["at"]))})

    async def decisions(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        said = request.query_params.get("limit", "20")
        if not said.isdecimal() or not 1 <= int(said[:9]) <= 50:
            return problem(400, "bad-query", "limit is a number from 1 to 50.", "limit")
        return JSON({**self._stand(board), "decisions": told(board.decisions(int(said)), self._language(request))})

    async def contacts(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        source = request.query_params.get("source")
        if not source:
            return problem(400, "bad-query", "Say whose contacts: ?source=…", "source")
        open_only = request.query_params.get("open", "no") not in ("no", "false", "0")
        stand = self._stand(board)
        found = board.contacts_of(source, stand["at"], open_only=open_only)
        return JSON({**stand, "source": source, "contacts": found})

    async def contact(self, request: Request) -> Response:
        board = await self._board(request.path_params["pool"])
        stand = self._stand(board)
        found = board.contact(request.path_params["contact_id"], stand["at"])
        if found is None:
            return problem(404, "unknown-contact", "No such contact is open, or has finished within the last hour.")
        return JSON({**stand, "contact": found})

    async def live_views(self, request: Request) -> Response:
        pool, language = request.path_params["pool"], self._language(request)
        await self._board(pool)
        partition = self.host.partition_of(pool)
        return stream(request, views(self.host, partition, lambda: self._view(pool, language)))

    def _view(self, pool: str, language: Language) -> tuple[int, bytes]:
        position, at = self.host.stand(self.host.partition_of(pool))
        cached = self._views.get((pool, language))
        if cached is not None and cached[0] == position and at - cached[1] < VIEW_MS:
            return position, cached[2]
        board = self.host.boards[pool]
        agents = board.agents()
        data = msgspec.json.encode(
            {
                "pool": pool,
                "position": position,
                "at": at,
                "time": self.host.time,
                "queues": board.queues(at),
                "agents": {"counts": agents.counts, "agents": agents.agents[:AGENTS_SHOWN]},
                "figures": board.figures(at),
                "decisions": told(board.decisions(12), language),
            }
        )
        self._views[pool, language] = position, at, data
        return position, data

    # ---- the rest

    async def livez(self, request: Request) -> Response:
        return JSON({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        trouble = self.host.trouble
        stand = {**self._furthest(), "partitions": self.host.standings()}
        if trouble is None:
            return JSON({**stand, "status": "ready"})
        return JSON({**stand, "status": code_of(trouble), "message": str(trouble)}, 503)

    async def openapi(self, request: Request) -> Response:
        return JSON(document())

    async def page(self, request: Request) -> Response:
        return FileResponse(str(files("engine.web") / "static" / "index.html"), headers=PAGE_HEADERS)

    async def _board(self, pool: str) -> Board:
        if pool not in self.host.boards:
            await self.host.catch_up()  # it may be a moment old
        board = self.host.boards.get(pool)
        if board is None:
            known = ", ".join(sorted(self.host.boards)[:10])
            raise NoPool(404, f"There is no pool {pool[:64]!r}; there is: {known or 'none yet'}.")
        return board

    def _stand(self, board: Board) -> dict[str, Any]:
        return {"pool": board.pool, **self.host.stand(self.host.partition_of(board.pool))._asdict()}

    def _furthest(self) -> dict[str, int]:
        """Of all partitions: the greatest position, the latest time."""
        standings = self.host.standings()
        return {"position": max(each.position for each in standings), "at": max(each.at for each in standings)}

    def _language(self, request: Request) -> Language:
        return language_of(request.query_params.get("lang") or request.headers.get("accept-language"))


PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def code_of(trouble: LogProblem) -> str:
    if isinstance(trouble, LogUnsure):
        return "unknown-outcome"
    return "no-room" if isinstance(trouble, LogFull) else "log-trouble"


def trouble_of(trouble: LogProblem) -> Response:
    """The log cannot be reached or written at present."""
    status = 507 if isinstance(trouble, LogFull) else 503
    return problem(status, code_of(trouble), str(trouble), **{"Retry-After": "5"})


async def troubled(request: Request, trouble: Exception) -> Response:
    assert isinstance(trouble, LogProblem)
    return trouble_of(trouble)


def stream(request: Request, chunks: AsyncIterator[bytes]) -> Response:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":  # there is a body, and no end to it
        return Response(media_type="text/event-stream", headers=headers)
    return StreamingResponse(chunks, media_type="text/event-stream", headers=headers)

"""The live page as a person meets it: real servers, a real browser, and every number held against what the API says."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from engine.streams.board import STATES
from engine.web.words import LANGUAGES, Language, catalog
from tests.hosts.server import WAIT_S, Server, command
from tests.kafka.doors import KafkaDoor
from tests.kafka.workers import WorkerProcess

pytestmark = pytest.mark.browser

CHROMIUM = "/usr/bin/chromium"
QUIETLY = [  # no update, no report, no first page: it is here for our pages alone
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
DESKTOP = {"width": 1600, "height": 1000}
PHONE = {"width": 390, "height": 844}
DECISIONS = 12  # that the page shows
TOKEN = "a-token-of-some-length"

POOL, SHOP = "客服", "网店"  # what the pool's people have named is in no language of ours
QUEUES = {"orders": "订单", "repairs": "维修", "quick": "急件", "evening": "晚班"}
AGENTS = {
    "an": "安娜",
    "bo": "博文",
    "cai": "彩云",
    "da": "大勇",
    "en": "恩雅",
    "fu": "福生",
    "ge": "歌乐",
    "hao": "浩然",
}
BUSY = "正忙"
THEIRS = [POOL, SHOP, BUSY, *QUEUES.values(), *AGENTS.values()]
RULES = f"""
pool = "{POOL}"
time_zone = "Asia/Shanghai"
roster = "rules"

[times]
offer = 600
wrap_up = 600
decline = 600

[[queues]]
id = "orders"
name = "{QUEUES["orders"]}"
service_level = 1

[[queues]]
id = "repairs"
name = "{QUEUES["repairs"]}"
skills = {{ technical = 2 }}
service_level = 30

[[queues]]
id = "quick"
name = "{QUEUES["quick"]}"
channels = ["chat"]
offer = 1
wait = 2

[[queues]]
id = "evening"
name = "{QUEUES["evening"]}"
""" + "".join(
    f'\n[[agents]]\nid = "{id}"\nname = "{AGENTS[id]}"\nqueues = ["{queue}"]\n{rest}\n'
    for id, queue, rest in [
        ("an", "orders", ""),
        ("bo", "orders", "limits = { chat = 2, sms = 0 }"),
        ("cai", "repairs", "skills = { technical = 2 }"),
        ("da", "repairs", "skills = { technical = 3 }"),
        ("en", "evening", ""),
        ("fu", "orders", ""),
        ("ge", "quick", ""),
        ("hao", "orders", ""),
    ]
)


# ---- servers


class Demo(Server):
    """`waitline demo` on a free port."""

    def start(self, *_: object) -> Self:
        before = len(self.said)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", "demo", "--data", str(self.data), "--port", "0", *self.arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            env=self.env,
        )
        self._reading = threading.Thread(target=self._read, args=(self.process.stderr, before), daemon=True)
        self._reading.start()
        assert self.listening(before), self.text()
        return self


class Desk:
    """Somebody who asks a pool for things, and somebody who reads what the API says of it."""

    def __init__(self, client: httpx.Client, pool: str) -> None:
        self.client = client
        self.pool = pool
        self.sent = 0

    def ask(self, kind: str, **data: Any) -> None:
        self.sent += 1
        envelope = command(kind, f"{self.pool}-{self.sent}", pool=self.pool, **data)
        answer = self.client.post("/v1/commands", json=envelope).json()
        assert answer["status"] == "accepted", answer

    def route(self, contact_id: str, channel: str, queue_id: str, **data: Any) -> None:
        self.ask("route-contact", contact_id=contact_id, channel=channel, queue_id=queue_id, **data)

    def accept(self, contact_id: str, agent_id: str) -> None:
        self.ask("accept-offer", contact_id=contact_id, agent_id=agent_id)

    def read(self, what: str, **query: str | int) -> dict[str, Any]:
        answer = self.client.get(f"/v1/pools/{quote(self.pool)}/{what}", params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def state(self, contact_id: str) -> tuple[str, str]:
        contact = self.read(f"contacts/{contact_id}")["contact"]
        return contact["status"], contact["outcome"] or contact["agent_id"]

    def until(self, contact_id: str, state: tuple[str, str]) -> None:
        end = time.monotonic() + WAIT_S
        while self.state(contact_id) != state:
            assert time.monotonic() < end, (self.state(contact_id), state)
            time.sleep(0.05)


def live_through_a_bit_of_everything(desk: Desk) -> None:
    """Agents in every state, contacts that came to every end; then nothing is due for ten minutes."""
    desk.ask("sign-in-agent", agent_id="en", ready=True)
    desk.ask("sign-in-agent", agent_id="fu")
    desk.ask("set-agent-not-ready", agent_id="fu", reason="break")
    desk.ask("sign-in-agent", agent_id="ge", ready=True)
    desk.route("2001", "chat", "quick")  # offered to ge, who does not answer
    desk.route("1001", "call", "orders", vip=True)
    desk.route("1002", "call", "orders")
    desk.route("1003", "call", "orders")
    desk.ask("end-contact", contact_id="1003", by="customer")  # within the second of its service level
    desk.until("2001", ("finished", "timed-out"))  # and with that the second is over for the others
    desk.ask("end-contact", contact_id="1002", by="customer")
    desk.ask("sign-in-agent", agent_id="an", ready=True)
    desk.accept("1001", "an")

    desk.ask("sign-in-agent", agent_id="bo", ready=True)
    desk.route("1004", "chat", "orders")
    desk.ask("decline-offer", contact_id="1004", agent_id="bo", reason=BUSY)
    desk.ask("sign-in-agent", agent_id="hao", ready=True)
    desk.accept("1004", "hao")
    desk.ask("set-agent-not-ready", agent_id="hao", reason="lunch")
    desk.route("1005", "chat", "orders")
    desk.accept("1005", "bo")
    desk.ask("transfer-contact", contact_id="1005", agent_id="bo", queue_id="repairs")
    desk.route("1006", "chat", "orders")
    desk.accept("1006", "bo")
    desk.route("1007", "chat", "orders")  # stays offered: bo talks and is offered another

    desk.ask("sign-in-agent", agent_id="cai", ready=True)
    assert desk.state("1005") == ("offered", "cai")
    desk.ask("end-contact", contact_id="1005", by="customer")
    desk.ask("sign-in-agent", agent_id="da", ready=True)
    desk.route("3001", "call", "repairs")
    desk.accept("3001", "cai")
    desk.ask("end-contact", contact_id="3001", by="agent")
    desk.route("3002", "call", "repairs")
    assert desk.state("3002") == ("offered", "da")

    desk.route("1011", "call", "orders")
    desk.route("1012", "call", "orders", vip=True)
    desk.route("1013", "chat", "orders", tier="today")
    desk.route("1014", "sms", "orders", tier="follow-up")
    desk.route("3003", "call", "repairs")


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """Two pools. That of POOL has lived through a bit of everything; that of SHOP is each test's to change."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "pools").mkdir()
    (folder / "pools" / "1.toml").write_text(RULES, encoding="utf-8")
    (folder / "pools" / "2.toml").write_text(RULES.replace(POOL, SHOP), encoding="utf-8")
    with Server(folder / "data", folder / "pools").start() as server:
        with server.client() as client:
            live_through_a_bit_of_everything(Desk(client, POOL))
        yield server
        assert server.stop() == 0
        assert "Traceback" not in server.text(), server.text()


@pytest.fixture
def desk(server) -> Iterator[Desk]:
    with server.client() as client:
        yield Desk(client, POOL)


@pytest.fixture
def shop(server) -> Iterator[Desk]:
    with server.client() as client:
        yield Desk(client, SHOP)


# ---- the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=WAIT_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield browser
        browser.close()


class Visit:
    """A person with a browser of their own. troubles: what the console or a request complained of."""

    def __init__(self, browser: Browser, url: str, **settings: Any) -> None:
        self.url = url
        self.context = browser.new_context(
            **{"viewport": DESKTOP, "locale": "en-GB", "reduced_motion": "reduce", **settings}
        )
        self.context.set_default_timeout(WAIT_S * 1000)
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.page = self.another()

    def another(self) -> Page:
        page = self.context.new_page()
        page.on("console", lambda said: said.type in ("error", "warning") and self.troubles.append(said.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        page.on("response", lambda answer: answer.status >= 400 and self.troubles.append(f"{answer.status}"))
        return page

    def _failed(self, url: str, why: str) -> None:
        if not (why == "net::ERR_ABORTED" and "/live?" in url):  # a stream that the page itself has closed
            self.troubles.append(f"{why} {url}")

    def go(self, path: str = "/") -> Page:
        self.page.goto(self.url + path)
        return self.page

    def elsewhere(self) -> list[str]:
        own = urlsplit(self.url).netloc
        return [url for url in self.asked if urlsplit(url).netloc != own]


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Visit]]:
    visits: list[Visit] = []

    def begin(server: Server, **settings: Any) -> Visit:
        visits.append(Visit(browser, server.url, **settings))
        return visits[-1]

    yield begin
    for one in visits:
        one.context.close()


def pool_path(pool: str, lang: Language = "en") -> str:
    return f"/?pool={quote(pool)}&lang={lang}"


# ---- what the page shows, and what it ought to show

SHOWN = """() => [...document.querySelectorAll('[data-value]')].map((e) => ({
  name: e.dataset.value, queue: e.dataset.queue ?? '', agent: e.dataset.agent ?? '', raw: e.dataset.raw,
  text: e.textContent, since: Number(e.dataset.since ?? NaN), at: Date.parse(document.getElementById('at').dateTime),
}))"""
AGENT_CARDS = """() => [...document.querySelectorAll('.agent')].map((e) => ({
  id: e.dataset.agent, name: e.querySelector('.agent-name').textContent,
  state: e.querySelector('.agent-state .label').textContent,
  notes: e.querySelector('.agent-reason')?.textContent ?? '',
  since: Number(e.querySelector('.agent-since').dataset.since),
  contacts: [...e.querySelectorAll('.held')].map((held) => [
    held.querySelector('span').textContent, ...[...held.querySelectorAll('svg')].map((svg) => svg.ariaLabel)]),
}))"""
DECISION_ROWS = """() => [...document.querySelectorAll('.decision')].map((e) => ({
  id: e.dataset.decision, outcome: e.querySelector('.outcome').textContent,
  sentence: e.querySelector('.sentence').textContent.replaceAll('\u00a0', ' '),
  about: ['.contact', '.queue'].map((part) => e.querySelector(part).textContent),
  channel: e.querySelector('.about svg').ariaLabel,
  when: Date.parse(e.querySelector('.when').dateTime),
}))"""
Key = tuple[str, str, str]  # the number's name, its queue or "", its agent or ""


def clock(ms: int) -> str:
    minutes, seconds = divmod(max(0, ms) // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def raw_of(value: Any) -> str:
    """As JavaScript writes it."""
    return "" if value is None else str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def text_of(name: str, value: Any) -> str:
    if value is None:
        return "–"
    return clock(value) if name.endswith("_ms") else f"{value:.1f}%" if name.endswith("percent") else f"{value:,}"


def settled(page: Page, desk: Desk) -> list[dict[str, Any]]:
    """Queues, agents, figures and decisions, all of the position at which the page stands, too."""
    for _ in range(10):
        position = desk.read("queues")["position"]
        page.wait_for_selector(f'[data-position="{position}"]', state="attached")
        lang = page.locator("html").get_attribute("lang") or ""
        found = [desk.read(what) for what in ("queues", "agents", "figures")]
        found += [desk.read("decisions", limit=DECISIONS, lang=lang)]
        if all(answer["position"] == position for answer in found):
            return found
    raise AssertionError("the pool does not stand still")


def numbers(queues: Any, agents: Any, figures: Any) -> dict[Key, Any]:
    """Every number that the page has to show, but for the longest waits, as the API says it."""
    total = figures["total"]
    found: dict[Key, Any] = {
        ("waiting", "", ""): sum(queue["waiting"] for queue in queues["queues"]),
        ("offered", "", ""): sum(queue["offered"] for queue in queues["queues"]),
        ("agents.counts", "", ""): sum(agents["counts"].values()),
    }
    for name in ("arrived", "answered", "abandoned", "timed_out", "turned_away", "mean_wait_ms"):
        found[f"figures.total.{name}", "", ""] = total[name]
    for name in ("answered_within", "answered", "abandoned_after", "percent"):
        found[f"figures.total.service_level.{name}", "", ""] = total["service_level"][name]
    for state in STATES:
        found[f"agents.counts.{state}", "", ""] = agents["counts"][state]
    for agent in agents["agents"]:
        found["state", "", agent["agent_id"]] = agent["state"]
    for queue in queues["queues"]:
        for name in ("waiting", "talking", "agents_ready", "agents_idle"):
            found[name, queue["queue_id"], ""] = queue[name]
        for channel, n in queue["waiting_by_channel"].items():
            found[f"waiting_by_channel.{channel}", queue["queue_id"], ""] = n
    for queue in figures["queues"]:
        for name in ("answered", "abandoned", "mean_wait_ms"):
            found[f"figures.{name}", queue["queue_id"], ""] = queue[name]
        found["figures.service_level.percent", queue["queue_id"], ""] = queue["service_level"]["percent"]
    return found


def longest_waits(queues: Any) -> dict[str, int | None]:
    """By queue, and of all under ""; None where nobody waits."""
    found = {queue["queue_id"]: queue["longest_wait_ms"] if queue["waiting"] else None for queue in queues["queues"]}
    return {"": max((wait for wait in found.values() if wait is not None), default=None), **found}


def notes_on(agent: dict[str, Any], words: dict[str, str]) -> str:
    """What stands beside an agent's state."""
    if agent["state"] == "not-ready":
        return words[f"not-ready.{agent['reason']}"] if agent["reason"] else ""
    return words["agents.not-ready-after"] if agent["presence"] == "not-ready" else ""


def assert_it_shows_what_the_api_says(page: Page, desk: Desk) -> None:
    """Every number, every agent, every decision; longest waits, which go on, by the moment at which they began."""
    queues, agents, figures, decisions = settled(page, desk)
    words = catalog("zh-CN" if page.locator("html").get_attribute("lang") == "zh-CN" else "en")
    shown = {(item["name"], item["queue"], item["agent"]): item for item in page.evaluate(SHOWN)}
    after = desk.read("queues")
    assert after["position"] == queues["position"]

    running = {key[1]: shown.pop(key) for key in list(shown) if key[0] == "longest_wait_ms"}
    expected = numbers(queues, agents, figures)
    assert {key: item["raw"] for key, item in shown.items()} == {key: raw_of(value) for key, value in expected.items()}
    texts = {key: text_of(key[0], value) for key, value in expected.items() if key[0] != "state"}
    assert {key: shown[key]["text"] for key in texts} == texts

    assert set(running) == set(longest_waits(queues))
    for queue_id, wait in longest_waits(queues).items():
        item = running[queue_id]
        if wait is None:
            assert item["raw"] == "0" and item["text"] == ("–" if queue_id else "0:00"), item
            continue
        began = item["since"]
        assert 0 <= began - (queues["at"] - wait) < 100, "the API reads its clock twice for an answer"
        assert 0 <= int(item["raw"]) <= after["at"] - began
        assert item["text"] == clock(item["at"] - began), "by the moment that the page shows"

    names = {queue["queue_id"]: queue["name"] for queue in queues["queues"]}
    cards = {card["id"]: card for card in page.evaluate(AGENT_CARDS)}
    assert cards == {
        agent["agent_id"]: {
            "id": agent["agent_id"],
            "name": agent["name"],
            "state": words[f"state.{agent['state']}"],
            "notes": notes_on(agent, words),
            "since": agent["since"],
            "contacts": [
                [names[contact["queue_id"]], words[f"channel.one.{contact['channel']}"]]
                + [words[f"state.{contact['status']}"]] * (contact["status"] != agent["state"])
                for contact in agent["contacts"]
            ],
        }
        for agent in agents["agents"]
    }
    assert page.evaluate(DECISION_ROWS) == [
        {
            "id": decision["id"],
            "outcome": words[f"outcome.{decision['outcome']}"],
            "sentence": decision["sentence"],
            "about": [decision["contact_id"], decision["queue_name"]],
            "channel": words[f"channel.one.{decision['channel']}"],
            "when": decision["at"],
        }
        for decision in decisions["decisions"]
    ]


# ---- numbers


def test_each_number_on_the_page_is_what_the_api_says_at_that_position(server, desk, visit):
    queues, agents, figures = (desk.read(what) for what in ("queues", "agents", "figures"))
    total = figures["total"]
    assert all(agents["counts"].values()), "agents in every state"
    assert {decision["outcome"] for decision in desk.read("decisions", limit=50)["decisions"]} == {
        "offered",
        "accepted",
        "declined",
        "expired",
        "revoked",
    }
    assert min(total["answered"], total["abandoned"], total["timed_out"], total["transferred_in"]) > 0
    level = total["service_level"]
    assert 0 < level["answered_within"] < level["answered"] and 0 < level["abandoned_after"] < total["abandoned"]
    assert len([queue for queue in queues["queues"] if queue["waiting"]]) >= 2

    someone = visit(server)
    page = someone.go(pool_path(POOL))
    assert_it_shows_what_the_api_says(page, desk)
    expect(page.locator("#numerator")).to_have_text(f"{level['answered_within']} answered within T")
    expect(page.locator("#denominator")).to_have_text(
        f"{level['answered']} answered + {level['abandoned_after']} abandoned after T"
    )
    expect(page.locator("#formula-hint")).to_contain_text("T is each queue's own threshold.")
    expect(page.locator("#day")).to_contain_text("in Asia/Shanghai")
    expect(page.locator("#simulated")).to_be_hidden()
    assert page.title() == f"({sum(queue['waiting'] for queue in queues['queues'])}) · {POOL} · Waitline"
    assert someone.troubles == [] and someone.elsewhere() == []


def test_a_command_changes_the_page_without_a_reload(server, shop, visit):
    someone = visit(server)
    page = someone.go(pool_path(SHOP))
    assert_it_shows_what_the_api_says(page, shop)
    page.evaluate("window.mark = 'the same page'")
    loaded = []
    page.on("load", lambda: loaded.append(page.url))
    waiting = page.locator('[data-value="waiting"]:not([data-queue])')
    before = int(waiting.get_attribute("data-raw") or 0)

    shop.route("5001", "call", "orders")
    shop.route("5002", "sms", "orders", vip=True)
    expect(waiting).to_have_attribute("data-raw", str(before + 2))
    assert_it_shows_what_the_api_says(page, shop)
    shop.ask("sign-in-agent", agent_id="an", ready=True)
    expect(page.locator('.agent[data-agent="an"]')).to_have_attribute("data-state", "offered")
    assert_it_shows_what_the_api_says(page, shop)
    shop.accept("5002", "an")
    expect(page.locator('.agent[data-agent="an"]')).to_have_attribute("data-state", "talking")
    shop.ask("end-contact", contact_id="5002", by="customer")
    shop.ask("end-contact", contact_id="5001", by="customer")
    expect(waiting).to_have_attribute("data-raw", str(before))
    shop.ask("complete-wrap-up", contact_id="5002", agent_id="an")
    shop.ask("sign-out-agent", agent_id="an")
    expect(page.locator('.agent[data-agent="an"]')).to_have_count(0)
    assert_it_shows_what_the_api_says(page, shop)
    assert page.evaluate("window.mark") == "the same page" and loaded == []
    assert someone.troubles == [] and someone.elsewhere() == []


def test_waits_go_on_between_two_views(server, desk, visit):
    page = visit(server).go(pool_path(POOL))
    settled(page, desk)
    wait = page.locator('[data-value="longest_wait_ms"][data-queue="orders"]')
    before, shown = wait.get_attribute("data-raw"), wait.inner_text()
    expect(wait).not_to_have_text(shown)
    assert wait.get_attribute("data-raw") == before, "nobody has sent another view"


def test_a_page_opened_on_a_quiet_pool_shows_the_time_of_now(server, desk, visit):
    someone = visit(server)
    settled(someone.go(pool_path(POOL)), desk)
    time.sleep(1.5)
    page = someone.another()
    page.goto(server.url + pool_path(POOL))
    settled(page, desk)
    shown = page.evaluate("Date.parse(document.getElementById('at').dateTime)")
    assert abs(desk.read("queues")["at"] - shown) < 1_000


def test_who_chooses_another_pool_sees_that_pool_and_no_other(server, desk, shop, visit):
    someone = visit(server)
    page = someone.go()
    chooser = page.get_by_label("Pool")
    expect(chooser.locator("option")).to_have_text(sorted([POOL, SHOP]))
    for one in (desk, shop, desk):
        chooser.select_option(one.pool)
        expect(page).to_have_title(re.compile(one.pool))
        assert_it_shows_what_the_api_says(page, one)
    page.reload()
    expect(chooser).to_have_value(POOL)
    assert someone.troubles == []


def test_only_the_agents_in_a_state_are_shown_when_that_is_asked_for(server, desk, visit):
    page = visit(server).go(pool_path(POOL))
    _, agents, *_ = settled(page, desk)
    button = page.get_by_role("button", name="Not ready")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-pressed", "true")
    wanted = {agent["agent_id"] for agent in agents["agents"] if agent["state"] == "not-ready"}
    assert {card["id"] for card in page.evaluate(AGENT_CARDS)} == wanted
    page.keyboard.press("Enter")
    assert len(page.evaluate(AGENT_CARDS)) == len(agents["agents"])


# ---- the server goes away and comes back


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_the_page_goes_on_by_itself_where_the_log_stands_when_the_server_was_killed(tmp_path, visit):
    config = tmp_path / "desk.toml"
    config.write_text(RULES, encoding="utf-8")
    with Server(tmp_path / "data", config, "--port", str(free_port())).start() as server, server.client() as client:
        desk = Desk(client, POOL)
        desk.route("1", "call", "orders")
        desk.ask("sign-in-agent", agent_id="an", ready=True)
        desk.accept("1", "an")
        desk.route("2", "chat", "orders")
        someone = visit(server)
        page = someone.go(pool_path(POOL))
        assert_it_shows_what_the_api_says(page, desk)
        page.evaluate("window.mark = 'the same page'")
        before = page.locator("[data-position]").get_attribute("data-position")
        assert someone.troubles == []

        server.kill()
        connection = page.locator("#connection")
        expect(connection).to_have_attribute("data-state", "lost")
        expect(connection).to_contain_text("Reconnecting since")
        expect(page.locator("#stale")).to_contain_text("The numbers below are those of")
        expect(page.locator('[data-value="waiting"]:not([data-queue])')).to_have_text("1")
        assert faint(page) == []
        page.get_by_label("Language").select_option("zh-CN")
        expect(page.get_by_label("Language")).to_have_value("en")  # its words are away, too

        server.start()
        expect(connection).to_have_attribute("data-state", "live")
        expect(page.locator("#stale")).to_be_hidden()
        assert page.locator("[data-position]").get_attribute("data-position") == before
        assert_it_shows_what_the_api_says(page, desk)
        assert someone.troubles, "a browser says so when a server is away"
        down = re.compile(r"ERR_(CONNECTION_REFUSED|INCOMPLETE_CHUNKED_ENCODING|CONNECTION_RESET|EMPTY_RESPONSE)")
        assert [trouble for trouble in someone.troubles if not down.search(trouble)] == []

        someone.troubles.clear()
        desk.sent += 1_000  # ids that the log has not seen
        desk.route("3", "call", "orders")
        assert_it_shows_what_the_api_says(page, desk)
        assert page.evaluate("window.mark") == "the same page"
        assert someone.troubles == [] and someone.elsewhere() == []


# ---- languages

TEXTS = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (!element.checkVisibility({ visibilityProperty: true }) || element.closest('option, head')) continue;
    if (node === element) {
      for (const name of ['title', 'aria-label', 'alt', 'placeholder', 'data-label']) {
        if (element.getAttribute(name)) found.push(element.getAttribute(name));
      }
    } else if (node.data.trim()) found.push(node.data.trim());
  }
  return found;
}"""
WORDS = """(kind) => [...document.querySelectorAll(`[${kind}]`)].map((e) => [e.getAttribute(kind),
  {'data-word': e.textContent, 'data-word-title': e.title, 'data-word-label': e.getAttribute('aria-label'),
   'data-label-word': e.dataset.label}[kind]])"""
SAME_EVERYWHERE = {"Waitline", "VIP", "Asia", "Shanghai"}


def left_over(page: Page, language: Language) -> list[str]:
    """Texts of the page that are in the other language, names that its people have given left aside."""
    found = []
    for text in page.evaluate(TEXTS):
        own = text
        for name in THEIRS:
            own = own.replace(name, "")
        other = set(re.findall(r"[A-Za-z]{2,}", own)) if language == "zh-CN" else set(re.findall(r"[、-鿿！-～]", own))
        if other - SAME_EVERYWHERE:
            found.append(text)
    return found


def assert_it_speaks(page: Page, language: Language) -> None:
    words = catalog(language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    for kind in ("data-word", "data-word-title", "data-word-label", "data-label-word"):
        shown = page.evaluate(WORDS, kind)
        assert shown and shown == [
            [key, shown[i][1] if key.startswith("page.connection") else words[key]] for i, (key, _) in enumerate(shown)
        ]
    expect(page.locator("#connection")).to_have_text(words["page.connection.live"])
    for state in STATES:
        expect(page.locator(f"button.state.{state} .label")).to_have_text(words[f"state.{state}"])
    assert left_over(page, language) == []


def test_all_that_the_page_says_is_in_the_language_chosen_and_the_choice_is_remembered(server, desk, visit):
    someone = visit(server)
    page = someone.go(f"/?pool={quote(POOL)}")
    settled(page, desk)
    assert_it_speaks(page, "en")
    english = {row["id"]: row["sentence"] for row in page.evaluate(DECISION_ROWS)}

    page.get_by_label("Language").select_option("zh-CN")
    newest = page.locator(".decision .sentence").first
    expect(newest).to_contain_text("派给")
    assert_it_speaks(page, "zh-CN")
    assert_it_shows_what_the_api_says(page, desk)
    chinese = {row["id"]: row["sentence"] for row in page.evaluate(DECISION_ROWS)}
    assert set(chinese) == set(english) and not set(chinese.values()) & set(english.values())

    page.reload()
    expect(newest).to_contain_text("派给")
    again = someone.another()
    again.goto(server.url + f"/?pool={quote(POOL)}")
    expect(again.locator(".decision .sentence").first).to_contain_text("派给")
    assert_it_speaks(again, "zh-CN")

    again.get_by_label("语言").select_option("en")
    expect(again.locator(".decision .sentence").first).to_contain_text("Offered to")
    assert_it_speaks(again, "en")
    assert someone.troubles == [] and someone.elsewhere() == []


def test_a_browser_that_wants_chinese_gets_it_unasked(server, desk, visit):
    page = visit(server, locale="zh-CN").go(f"/?pool={quote(POOL)}")
    assert_it_shows_what_the_api_says(page, desk)
    assert_it_speaks(page, "zh-CN")


# ---- for everybody

FAINT = """() => {
  const numbers = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const light = (rgb) => rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const own = numbers(getComputedStyle(element).backgroundColor);
    return (own[3] ?? 1) === 1 ? own.slice(0, 3) : over(own, ground(element.parentElement));
  };
  const faint = [];
  for (const element of document.body.querySelectorAll('*')) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (!text || element.closest('option') || !element.checkVisibility({ visibilityProperty: true })) continue;
    const under = ground(element);
    const [a, b] = [light(over(numbers(getComputedStyle(element).color), under)), light(under)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${text} (${ratio.toFixed(2)})`);
  }
  return faint;
}"""


def faint(page: Page) -> list[str]:
    """Texts with a contrast below 4.5 (WCAG 2.2, 1.4.3) to what is behind them."""
    found: list[str] = page.evaluate(FAINT)
    return found


def tree_of(page: Page) -> list[tuple[str, str, int]]:
    """(role, name, level) of all that assistive technology is told, in order."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            next((each["value"]["value"] for each in node.get("properties", []) if each["name"] == "level"), 0),
        )
        for node in nodes
        if not node.get("ignored")
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_control_has_a_name_and_headings_and_tables_are_in_order(server, desk, visit, language: Language):
    page = visit(server).go(pool_path(POOL, language))
    settled(page, desk)
    words, tree = catalog(language), tree_of(page)
    controls = [(role, name) for role, name, _ in tree if role in ("button", "combobox", "textbox", "link", "image")]
    assert len(controls) > 20 and [control for control in controls if not control[1].strip()] == []
    assert {("combobox", words["page.language"]), ("combobox", words["page.pool"])} <= set(controls)
    headings = [(level, name) for role, name, level in tree if role == "heading"]
    assert [level for level, _ in headings] == [1, 2, 2, 2]
    assert [name for _, name in headings[1:]] == [words[f"{part}.title"] for part in ("queues", "agents", "decisions")]
    assert [name for role, name, _ in tree if role == "columnheader"] == [
        words[key]
        for key in re.findall(r"queues\.[a-z-]+", " ".join(key for key, _ in page.evaluate(WORDS, "data-word")))
        if key not in ("queues.title", "queues.none")
    ]
    assert [name for role, name, _ in tree if role == "rowheader"] == list(QUEUES.values())
    assert page.locator("th:not([scope])").count() == 0 and page.locator("th").count() == 9 + len(QUEUES)
    assert page.locator("html").get_attribute("lang") == language
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#queues")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(server, desk, visit, scheme: str):
    page = visit(server, color_scheme=scheme).go(pool_path(POOL))
    settled(page, desk)
    expect(page.locator(".queue-name").first).to_be_visible()
    assert len(page.evaluate(TEXTS)) > 100
    assert faint(page) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) > 384) == (scheme == "light"), ground


def test_nothing_runs_out_of_a_phone(server, desk, visit):
    page = visit(server, viewport=PHONE).go(pool_path(POOL))
    assert_it_shows_what_the_api_says(page, desk)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    tree = tree_of(page)
    assert [name for role, name, _ in tree if role == "rowheader"] == list(QUEUES.values()), "still a table"
    assert faint(page) == []


# ---- over Kafka


def test_the_page_of_a_log_on_kafka_shows_what_its_api_says(tmp_path, broker, topics, visit):
    (tmp_path / "pools").mkdir()
    (tmp_path / "pools" / "1.toml").write_text(RULES, encoding="utf-8")
    shape = topics(partitions=2)
    worker = WorkerProcess(tmp_path, broker, shape, "worker", config=tmp_path / "pools")
    try:
        worker.wait("rules-published")
        with KafkaDoor(broker, shape).start() as door, door.client() as client:
            desk = Desk(client, POOL)
            live_through_a_bit_of_everything(desk)
            someone = visit(door)
            page = someone.go(pool_path(POOL, "zh-CN"))
            assert_it_shows_what_the_api_says(page, desk)
            assert_it_speaks(page, "zh-CN")
            ARTEFACTS.mkdir(exist_ok=True)
            page.screenshot(path=ARTEFACTS / "page-kafka.png")
            desk.route("1020", "call", "orders")  # and what happens while it is looked at
            assert_it_shows_what_the_api_says(page, desk)
            assert someone.troubles == [] and someone.elsewhere() == []
    finally:
        worker.kill()


# ---- with a token


def test_with_a_token_the_page_asks_for_it_and_says_when_it_is_wrong(tmp_path, visit):
    config = tmp_path / "desk.toml"
    config.write_text(RULES, encoding="utf-8")
    with Server(tmp_path / "data", config, "--host", "127.0.0.1", env={"WAITLINE_TOKEN": TOKEN}).start() as server:
        someone = visit(server)
        page = someone.go("/?lang=zh-CN")
        words = catalog("zh-CN")
        expect(page.get_by_role("heading", name=words["page.token.title"])).to_be_visible()
        expect(page.locator("#board")).to_be_hidden()
        wrong = page.get_by_text(words["page.token.wrong"])
        expect(wrong).to_be_hidden()
        field = page.get_by_label(words["page.token.label"])
        expect(field).to_be_focused()
        field.fill(TOKEN[:-1])
        page.get_by_role("button", name=words["page.token.send"]).click()
        expect(wrong).to_be_visible()
        expect(page.locator("#board")).to_be_hidden()
        assert faint(page) == []
        assert {trouble for trouble in someone.troubles if "401" not in trouble} == set()

        someone.troubles.clear()
        field.fill(TOKEN)
        field.press("Enter")
        expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        with server.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            desk = Desk(client, POOL)
            desk.route("1", "call", "orders")
            assert_it_shows_what_the_api_says(page, desk)
            expect(page.locator("#token")).to_be_hidden()
            assert_it_speaks(page, "zh-CN")
            assert TOKEN not in page.url and TOKEN not in page.evaluate("document.cookie")
            page.reload()
            assert_it_shows_what_the_api_says(page, desk)
        assert someone.troubles == [] and someone.elsewhere() == []

        by_link = visit(server)
        page = by_link.go(f"/?token={TOKEN}")
        expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        assert TOKEN not in page.url and by_link.troubles == []
        page = visit(server).go("/?lang=en&token=nonsense")
        expect(page.get_by_text(catalog("en")["page.token.wrong"])).to_be_visible()
        assert "nonsense" not in page.url
        with server.client() as stranger:
            assert stranger.get("/v1/pools").status_code == 401


# ---- the demo


def until_log_time(demo: Server, hour: int, minute: int) -> None:
    end = time.monotonic() + WAIT_S
    with demo.client() as client:
        while time.monotonic() < end:
            at = client.get("/v1/pools").json()["at"]
            clock_there = time.gmtime(at / 1000 + 3600)  # Amsterdam, an hour ahead of UTC at least
            if (clock_there.tm_hour, clock_there.tm_min) >= (hour, minute):
                return
            time.sleep(0.1)
    raise AssertionError("the simulated day does not go on")


@contextmanager
def demo_at(folder: Path, speed: int) -> Iterator[Demo]:
    with Demo(folder, Path(), "--speed", str(speed)).start() as demo:
        yield demo
        assert demo.stop() == 0
        assert "Traceback" not in demo.text(), demo.text()


@pytest.fixture(scope="module")
def rush(tmp_path_factory) -> Path:
    """A log that has come to the rush of its day; whatever the day, a few wait whom nobody can serve."""
    folder = tmp_path_factory.mktemp("demo") / "rush"
    with demo_at(folder, speed=900) as demo, demo.client() as client:
        until_log_time(demo, 10, 18)
        desk = Desk(client, "desk")
        for number in range(3):
            desk.route(f"in-welsh-{number}", "sms", "orders", skills={"welsh": 9})
        until_log_time(demo, 10, 20)
    return folder


def test_the_demo_shows_simulated_traffic_with_a_reason_for_every_decision(rush, tmp_path, visit):
    ARTEFACTS.mkdir(exist_ok=True)
    with demo_at(copytree(rush, tmp_path / "demo"), speed=60) as demo:
        someone = visit(demo, locale="en-US", color_scheme="light")
        page = someone.go()
        expect(page.locator("#simulated")).to_be_visible()
        expect(page.locator("#simulated")).to_have_text("Simulated time")
        answered = page.locator('[data-value="figures.total.answered"]')
        before = int(answered.get_attribute("data-raw") or 0)
        assert before > 0, "the day went on where it stood"
        moment = page.evaluate("Date.parse(document.getElementById('at').dateTime)")
        expect(answered).not_to_have_attribute("data-raw", str(before))
        assert int(answered.get_attribute("data-raw") or 0) > before
        assert page.evaluate("Date.parse(document.getElementById('at').dateTime)") > moment
        rows = page.evaluate(DECISION_ROWS)
        reasons = [
            re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(catalog("en")[f"offer.{code}"]))
            for code in ("longest-idle", "earliest-due")
        ]
        assert len(rows) == DECISIONS
        assert [row for row in rows if not re.match("|".join(reasons), row["sentence"])] == []
        page.screenshot(path=ARTEFACTS / "page-en.png")

        page.get_by_label("Language").select_option("zh-CN")
        expect(page.locator("#simulated")).to_have_text("模拟时间")
        expect(page.locator(".decision .sentence").first).to_contain_text("派给")
        page.screenshot(path=ARTEFACTS / "page-zh-CN.png")
        on_phone = visit(demo, viewport=PHONE, color_scheme="light").go()
        on_phone.wait_for_selector(".decision")
        on_phone.screenshot(path=ARTEFACTS / "page-phone.png")
        assert on_phone.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert someone.troubles == [] and someone.elsewhere() == []


def test_a_day_that_stands_still_is_shown_to_the_millisecond(rush, tmp_path, visit):
    with demo_at(copytree(rush, tmp_path / "demo"), speed=0) as demo, demo.client() as client:
        desk = Desk(client, "desk")
        page = visit(demo).go("/?lang=en")
        assert_it_shows_what_the_api_says(page, desk)
        names = [card["name"] for card in page.evaluate(AGENT_CARDS)]
        assert len(names) > 5 and names == sorted(names)
        waits = longest_waits(desk.read("queues"))
        assert waits[""]
        shown = {item["queue"]: int(item["raw"]) for item in page.evaluate(SHOWN) if item["name"] == "longest_wait_ms"}
        assert shown == {queue: wait or 0 for queue, wait in waits.items()}
        assert page.evaluate("Date.parse(document.getElementById('at').dateTime)") == desk.read("queues")["at"]

"""While a host runs, rules whose hours come to an end are worked out again and published."""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from engine import commands_serve
from engine.commands_serve import renew
from engine.embedded import Embedded
from engine.live import Live
from engine.streams.hours import Renewal, ends_at
from engine.streams.log import LogProblem
from engine.streams.memory_log import MemoryLog
from engine.streams.rules_file import parse_rules

DESK = """pool = "desk"
[[queues]]
id = "sales"
hours = "day"
[[hours]]
id = "day"
weekly = ["mon-fri 09:00-17:00"]
"""


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("UTC")).timestamp() * 1000)


class Hosted:
    """An embedded host whose clock stands where it is set."""

    def __init__(self, at: str) -> None:
        self.now = ms(at)
        self.engine = Embedded(MemoryLog(), lambda: self.now, "simulated")
        said = parse_rules(DESK, "desk.toml", self.now).said
        assert said is not None
        self.renewal = Renewal([said])
        for rules in self.renewal.due(self.now):
            self.engine.publish(rules)

    @property
    def version(self) -> int:
        return self.engine.partition.pools["desk"].version


async def looked(hosted: Hosted, renewal: Renewal) -> None:
    """Lets the host look a few times."""
    live = Live(hosted.engine)
    task = asyncio.ensure_future(renew(live, renewal))
    await asyncio.sleep(0.1)
    live.stop()
    await task


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(commands_serve, "RENEW_S", 0.01)


async def test_rules_are_published_anew_once_when_a_quarter_begins():
    hosted = Hosted("2026-11-25T12:00")
    await looked(hosted, hosted.renewal)
    assert hosted.version == 1
    hosted.now = ms("2027-01-01T00:00")
    await looked(hosted, hosted.renewal)
    assert hosted.version == 2
    assert ends_at(hosted.engine.partition.pools["desk"].rules.rules) == ms("2027-10-01T00:00") // 1000


async def test_what_cannot_be_published_is_tried_again(monkeypatch):
    hosted = Hosted("2026-11-25T12:00")
    hosted.now = ms("2027-01-01T00:00")
    publish, failed = hosted.engine.publish, []

    def fails_once(rules):
        if not failed:
            failed.append(rules)
            raise LogProblem("no room")
        return publish(rules)

    monkeypatch.setattr(hosted.engine, "publish", fails_once)
    await looked(hosted, hosted.renewal)
    assert failed and hosted.version == 2


async def test_hours_that_end_soon_and_that_nobody_can_work_out_further_are_said_in_the_log_of_the_host():
    hosted = Hosted("2026-11-25T12:00")
    hosted.now = ms("2027-06-15T00:00")
    with capture_logs() as said:
        await looked(hosted, Renewal([]))
    (warning,) = [each for each in said if each["event"] == "hours-end-soon"]
    assert (warning["pool"], warning["at"]) == ("desk", "2027-07-01T00:00:00+00:00")
    assert hosted.version == 1

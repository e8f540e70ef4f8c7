"""The long storm: whatever the weather brings, one or two faults at a time, for `--minutes`. A failure is a seed.

make soak MINUTES=60
pytest tests/kafka/test_long_storm.py -s -m slow --minutes 3 --seed 17
"""

import asyncio
import random
import time

import pytest

from tests.kafka.altered import POINTS, Altered
from tests.kafka.storm import Storm
from tests.kafka.workers import WorkerProcess

pytestmark = pytest.mark.slow

ROUND_S = 60  # the oracle replays what there was since the last look: a new log each time
CREW = 3


class Weather:
    """Over one log, with `CREW` workers: one behind each proxy, the others straight at the broker."""

    def __init__(self, log: Storm, chance: random.Random) -> None:
        self.log, self.chance = log, chance
        self.crew: list[WorkerProcess] = []
        self.count = 0

    async def rages(self, until: float) -> None:
        while time.monotonic() < until:
            self.man()
            faults = self.chance.sample(FAULTS, k=self.chance.choice((1, 1, 2)))
            print(f"  {', '.join(fault.__name__ for fault in faults)}", flush=True)
            await asyncio.gather(*(fault(self) for fault in faults))
            await asyncio.sleep(self.chance.uniform(0, 4))
        self.man()
        await self.log.still_writes(120)

    def man(self) -> None:
        self.crew = [worker for worker in self.crew if worker.process.poll() is None]
        while len(self.crew) < CREW:
            self.crew.append(self.another())

    def another(self, altered: Altered | None = None) -> WorkerProcess:
        self.count += 1
        at = self.chance.choice((self.log.one.address, self.log.two.address, self.log.broker))
        return self.log.start(f"worker-{self.count}", at=at, altered=altered)

    def planted(self, signal: str) -> Altered:
        passes = self.chance.choice((0, 1, 5, 50))
        return Altered(at=self.chance.choice(POINTS), passes=passes, signal=signal, snapshot_turns=500)

    async def a_while(self, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, most))


async def killed_at_a_point(weather):
    victim = weather.another(weather.planted("KILL"))
    await weather.a_while(15)
    victim.kill()  # where it has not come to its point


async def stopped_at_a_point(weather):
    victim = weather.another(weather.planted("STOP"))
    weather.crew.append(victim)
    await weather.a_while(15)
    victim.thaw()


async def killed(weather):
    weather.chance.choice(weather.crew).kill()


async def frozen(weather):
    victim = weather.chance.choice(weather.crew)
    victim.freeze()
    await weather.a_while(8)
    victim.thaw()


async def leaves(weather):
    victim = weather.crew.pop(0)
    await asyncio.to_thread(victim.stop, 60)


async def broker_killed(weather):
    weather.log.kafka.kill()
    await weather.a_while(5)
    await asyncio.to_thread(weather.log.kafka.up)


async def appends_harmed(weather):
    proxy = weather.chance.choice((weather.log.one, weather.log.two))
    for _ in range(3):
        proxy.harm(weather.chance.choice(("lost", "unanswered", "refused")), after=weather.chance.randrange(20))
    await weather.a_while(10)
    proxy.harms.clear()


async def cut_off(weather):
    proxy = weather.chance.choice((weather.log.one, weather.log.two))
    proxy.silence()
    await weather.a_while(8)
    proxy.speak()


FAULTS = (killed_at_a_point, stopped_at_a_point, killed, frozen, leaves, broker_killed, appends_harmed, cut_off)


async def test_whatever_the_weather_brings(storm, pytestconfig):
    until = time.monotonic() + 60 * pytestconfig.getoption("minutes")
    seed = pytestconfig.getoption("seed") or time.time_ns() % 1_000_000
    while time.monotonic() < until:
        print(f"\nstorm --seed {seed}", flush=True)
        chance = random.Random(seed)

        async def weather(log, chance=chance):
            await Weather(log, chance).rages(min(until, time.monotonic() + ROUND_S))

        checked = await storm(weather, per_s=1_000, published=True)
        print(f"  {checked}", flush=True)
        assert checked.alarms == 0, f"--seed {seed}"
        seed += 1

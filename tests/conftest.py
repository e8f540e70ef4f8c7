"""What every test may ask for, and a closing word on each test that was skipped."""

import os
import shutil
from pathlib import Path

import pytest

from tests.kafka.brokers import broker, brokers, can_run_kafka, topics  # noqa: F401 (fixtures, for every folder)
from tests.kafka.houses import house  # noqa: F401 (likewise)
from tests.kafka.storm import broker_on_small_disk, namespace, storm, storm_log, stormy  # noqa: F401 (likewise)

SHARED = Path(__file__).resolve().parents[2] / "shared"
NODE_MODULES = Path(__file__).with_name("kafka") / "node" / "node_modules"
CHROMIUM = Path("/usr/bin/chromium")

# Brokers of tests live for seconds: half of their time would go into compiling for the years to come.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

# A marker -> whether what it needs is there, and how it comes there.
NEEDS = {
    "needs_shared": (SHARED.exists, "the folder shared/ is not beside the repository"),
    "browser": (CHROMIUM.exists, "there is no /usr/bin/chromium: scripts/need-chromium installs it"),
    "broker": (can_run_kafka, "there is no Java 17, or no jars of Kafka: scripts/need-kafka fetches them"),
    "node": (NODE_MODULES.exists, "no packages of npm: scripts/need-node-modules installs them"),
    "javac": (lambda: shutil.which("javac") is not None, "there is no JDK, whose compiler runs a single file of Java"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the transcripts anew; read the difference")
    parser.addoption("--minutes", type=float, default=10, help="how long the long storm lasts")
    parser.addoption("--seed", type=int, help="with which the long storm begins; by chance without")


@pytest.fixture
def rewrite(pytestconfig: pytest.Config) -> bool:
    """Whether a transcript that differs is written anew rather than failed."""
    return pytestconfig.getoption("rewrite")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder shared/ beside the repository. Asking for it marks a test `needs_shared`."""
    return SHARED


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        made = getattr(item, "_fixtureinfo", None)  # by where a fixture is made: a file may have `topics` of its own
        fixtures = {name for name, of in made.name2fixturedefs.items() if of[-1].baseid == "tests"} if made else set()
        if "shared" in fixtures:
            item.add_marker("needs_shared")
        if not {"broker", "brokers", "broker_on_small_disk", "stormy", "topics"}.isdisjoint(fixtures):
            item.add_marker("broker")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (is_there, reason) in NEEDS.items():
        if item.get_closest_marker(marker) and not is_there():
            if os.environ.get("CI") == "true":  # CI has everything: skipped there is skipped for ever
                pytest.fail(reason, pytrace=False)
            pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    if not skipped:
        return
    terminalreporter.section("NOT RUN", yellow=True)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")

"""The project keeps its own house: what the files at the root promise one another."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# Written in pieces, for this file too is looked through.
REGISTRIES = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "crates" + ".io",
    "golang" + ".org",
    "maven" + ".org",
    "deb.debian" + ".org",
]
HOMES = r"/(?:home|Users)/[a-z]\w*/|(?<![\w.])/roo[t]/"


def pins(lock: str) -> dict[str, Version]:
    """name -> version of each `name==version` line of a lock file at the root."""
    lines = (ROOT / lock).read_text()
    return {name: Version(version) for name, version in re.findall(r"^([\w.-]+)==([\w.!+]+)", lines, re.MULTILINE)}


def tracked() -> list[Path]:
    try:
        run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository: no list of tracked files")
    return [path for name in run.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_the_lock_satisfies_every_dependency():
    lock = pins("requirements.lock")
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = map(Requirement, [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in extra)])
    assert [str(each) for each in wanted if lock.get(each.name, "none") not in each.specifier] == []


def test_the_runtime_lock_is_a_part_of_the_lock():
    runtime = pins("requirements-runtime.lock")
    assert {Requirement(each).name for each in PROJECT["project"]["dependencies"]} <= runtime.keys()
    assert runtime.items() <= pins("requirements.lock").items()


def test_the_locks_name_no_place_to_fetch_from():
    for lock in ("requirements.lock", "requirements-runtime.lock"):
        assert not re.search(r"://|^\s*-", (ROOT / lock).read_text().replace("--hash", ""), re.MULTILINE)


def test_every_make_target_explains_itself():
    targets = re.findall(r"^([a-z][\w-]*):(?!=)(.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert [name for name, rest in targets if not re.search(r"## \w", rest)] == []


def test_ci_runs_only_what_everybody_runs():
    lines = [line for line in (ROOT / ".ci/run").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]


def test_no_tracked_file_names_a_registry_or_a_home_folder():
    forbidden = re.compile("|".join([*map(re.escape, [*REGISTRIES, f"{ROOT}/"]), HOMES]))
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        for match in forbidden.finditer(path.read_text(errors="ignore"))
    ]
    assert found == []


def test_the_wheel_carries_every_file_of_the_engine(tmp_path):
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    with zipfile.ZipFile(wheel) as archive:
        carried = set(archive.namelist())
    files = (path for path in (ROOT / "engine").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path.relative_to(ROOT).as_posix() for path in files} <= carried


@pytest.mark.parametrize("asked", [["--help"], ["serve", "--help"], ["kafka", "--help"], ["topics", "--help"]])
def test_no_kafka_client_is_loaded_where_none_is_used(asked):
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "engine", *asked], capture_output=True, text=True, check=True
    )
    loaded = set(re.findall(r"\| +([\w.]+)$", run.stderr, re.MULTILINE))
    assert "click" in loaded
    assert loaded & {"aiokafka", "faust", "mode"} == set()

"""Each fault planted into the core (faults.py) is noticed by a simulated day: a check that sees none proves nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from .faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]


def days_with(fault: str, *seeds: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.core.faults", fault, *map(str, seeds)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_noticed(fault: Fault):
    process = days_with(fault.name)
    assert process.returncode == 1, process.stdout + process.stderr
    assert process.stdout.startswith("seed "), process.stdout + process.stderr


def test_without_a_fault_the_same_way_finds_nothing():
    process = days_with("none", 0, 1, 2)
    assert process.returncode == 0, process.stdout + process.stderr


def test_the_faults_have_names_of_their_own():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25

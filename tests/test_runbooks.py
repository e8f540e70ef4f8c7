"""The runbooks: each is listed, doctor names only those that are there, and each command in them exists."""

import re
import shlex
from pathlib import Path

import click
import pytest

from engine.__main__ import main

FOLDER = Path(__file__).parents[1] / "deploy" / "runbooks"
DOCTOR = Path(__file__).parents[1] / "engine" / "agents" / "doctor.py"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def commands(text):
    """In lines of code, and in the prose between backticks."""
    indented = re.findall(r"^ {4,}(waitline .+)$", text, re.MULTILINE)
    return [*indented, *re.findall(r"`(waitline [^`]+)`", text.replace("\n", " "))]


@pytest.mark.parametrize("path", [*RUNBOOKS, FOLDER / "README.md"], ids=lambda path: path.stem)
def test_every_command_of_a_runbook_exists_with_its_options(path):
    found = commands(path.read_text())
    assert found
    for line in found:
        context, command = click.Context(main), main
        words = shlex.split(line)[1:]
        while isinstance(command, click.Group):
            name = words.pop(0)
            command = command.get_command(context, name)
            assert command is not None, f"there is no {name} in: {line}"
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_every_runbook_is_listed_and_every_one_that_doctor_names_is_there():
    there = {path.stem for path in RUNBOOKS}
    assert set(re.findall(r"\[([a-z-]+)\]\(\1\.md\)", (FOLDER / "README.md").read_text())) == there
    named = set(re.findall(r'"([a-z]+-[a-z]+)"', DOCTOR.read_text())) & there
    assert named >= {
        "expired-commands",
        "cut-journal",
        "stuck-assignment",
        "clock-skew",
        "recreated-topic",
        "power-loss",
    }

"""Each story in this folder, told again by a real partition. `pytest --rewrite` writes them anew: read what changed."""

import difflib

import pytest

from engine.streams.transcript import parse, retold
from tests.transcripts.stories import READINGS, RULES, STORIES


def test_the_rules_that_stories_name_hold():
    assert RULES and not any(reading.mistakes for reading in READINGS.values())


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_comes_out_as_it_is_written(path, rewrite):
    written = path.read_text(encoding="utf-8")
    told = retold(parse(written, RULES))
    if rewrite and told != written:
        path.write_text(told, encoding="utf-8")
        written = told
    changed = difflib.unified_diff(written.splitlines(), told.splitlines(), "written", "told", lineterm="")
    assert told == written, f"{path.name} is told differently (pytest --rewrite accepts that):\n" + "\n".join(changed)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_begins_with_a_sentence_that_says_what_is_promised(path):
    promise = parse(path.read_text(encoding="utf-8"), RULES).promise
    assert promise.endswith((".", "?")) and len(promise.split()) >= 5, promise


def test_there_are_stories_enough():
    assert len(STORIES) >= 28

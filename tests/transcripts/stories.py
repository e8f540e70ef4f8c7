"""The stories of this folder and the rules that they may name."""

from pathlib import Path

from engine.streams.rules_file import read_rules

FOLDER = Path(__file__).parent
STORIES = sorted(FOLDER.glob("*.txt"))
READINGS = {path.stem: read_rules(path) for path in sorted((FOLDER / "rules").glob("*.toml"))}
RULES = {name: reading.rules for name, reading in READINGS.items() if reading.rules is not None}

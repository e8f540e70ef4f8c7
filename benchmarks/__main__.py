"""Runs the benchmarks, prints what they found, and writes the same figures to benchmarks/last.json."""

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import msgspec

from engine import __version__

NAMES = ("core", "profiles", "fold", "memory", "embedded", "latency", "http", "kafka", "public", "door")
LAST = Path(__file__).parent / "last.json"

Figures = dict[str, float | int | str]


@click.command()
@click.option("--only", type=click.Choice(NAMES), help="Run one of them.")
def main(only: str | None) -> None:
    """Measure Waitline on this machine. Each bar stands beside its figure: what the product wants to reach."""
    if only is None:  # each in a process of its own: memory and the collector's settings are not handed on
        found: dict[str, Figures] = {}
        for name in NAMES:
            subprocess.run([sys.executable, "-m", "benchmarks", "--only", name], check=True)
            found |= msgspec.json.decode(LAST.read_bytes())["figures"]
    else:
        found = {only: measured(only)}
    LAST.write_bytes(
        msgspec.json.format(
            msgspec.json.encode(
                {
                    "engine": __version__,
                    "python": platform.python_version(),
                    "machine": platform.machine(),
                    "figures": found,
                }
            )
        )
    )
    if only is None:
        click.echo(f"\nAll figures are in {LAST.parent.name}/{LAST.name}.")


def measured(name: str) -> Figures:
    module = import_module(f"benchmarks.{name}")
    click.echo(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
    started = time.perf_counter()
    measure: Callable[[Callable[[str], None]], Figures] = module.measure
    figures = measure(lambda said: print(f"  {said}", flush=True))
    figures["seconds_taken"] = round(time.perf_counter() - started, 1)
    return figures


if __name__ == "__main__":
    sys.exit(main())

"""Runs the benchmarks, prints what they found, and writes the same figures to benchmarks/last.json."""

import platform
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import msgspec

from engine import __version__

NAMES = ("core", "profiles", "fold", "memory", "embedded", "latency", "http")
LAST = Path(__file__).parent / "last.json"

Figures = dict[str, float | int | str]


@click.command()
@click.option("--only", type=click.Choice(NAMES), help="Run one of them.")
def main(only: str | None) -> None:
    """Measure Waitline on this machine. Bars are what the product promises; `missed` says where this run fell short."""
    found: dict[str, Figures] = {}
    for name in [only] if only else NAMES:
        module = import_module(f"benchmarks.{name}")
        click.echo(f"\n{name}: {(module.__doc__ or '').strip().splitlines()[0]}")
        started = time.perf_counter()
        measure: Callable[[Callable[[str], None]], Figures] = module.measure
        found[name] = measure(lambda said: print(f"  {said}", flush=True))
        found[name]["seconds_taken"] = round(time.perf_counter() - started, 1)
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
    click.echo(f"\nwritten to {LAST.relative_to(Path.cwd()) if LAST.is_relative_to(Path.cwd()) else LAST}")


if __name__ == "__main__":
    sys.exit(main())

"""What every study shares: its command line, the sweep over its searches, and the analyses of what came out.

A study is settings and a list of searches; its file names both and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from itnas.benchmarks import data_root
from itnas.config import SearchConfig
from itnas.errors import UserError
from itnas.optimizers import ALL_METHODS
from itnas.presets import make_config
from itnas.search import Place
from itnas.sweep import run_sweep


@dataclass(frozen=True)
class Settings:
    """Search with every method and seed, then make tables and figures."""

    preset: str = "digits"
    """Preset: digits (embedded data, minutes), cifar10-small (needs ITNAS_DATA) or paper (a GPU)."""
    methods: tuple[str, ...] = ALL_METHODS
    """Methods; darts-2nd and darts-pt-fix-alpha can be added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Search seeds."""
    smoke: bool = False
    """Shrink everything to seconds, to see that it runs; the records go to a study of their own, <study>-smoke."""
    results: Path = Path("results")
    """Folder of all records."""
    workers: int = 2
    """Runs side by side, one torch thread each."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    analyse: bool = True
    """Make tables and figures at the end."""


def searches(settings: Settings, spaces: Sequence[str]) -> tuple[SearchConfig, ...]:
    """Return all methods on all spaces with the first seed, then with the next."""
    return tuple(
        make_config(space, method, settings.preset, seed, smoke=settings.smoke)
        for seed in settings.seeds
        for space in spaces
        for method in settings.methods
    )


def run_study(name: str, settings: Settings, configs: Sequence[SearchConfig], analyses: Sequence[str]) -> None:
    """Run the searches of a study, then its analyses.

    Raises:
        UserError: a search failed; the others and the analyses are done all the same.
    """
    study = f"{name}-smoke" if settings.smoke else name
    place = Place(settings.results, study, settings.device, data_root())
    outcomes = run_sweep(configs, place, settings.workers)
    failed = [outcome for outcome in outcomes if outcome.status != "finished"]
    if settings.analyse and len(failed) < len(outcomes):
        analyse(settings.results, study, analyses)
    if failed:
        reasons = "; ".join(f"{outcome.label}: {outcome.detail}" for outcome in failed)
        raise UserError(f"{len(failed)} of {len(outcomes)} runs failed ({reasons}); the same command tries them again")


def analyse(results: Path, study: str, analyses: Sequence[str]) -> None:
    """Run analyses on the records of one study, each in a process of its own as a user would."""
    folder = Path(__file__).resolve().parents[1] / "analysis"
    for name in analyses:
        print(f"\n== {name} ==", flush=True)
        command = [sys.executable, str(folder / f"{name}.py"), str(results / study), "--out", str(results / "analysis")]
        subprocess.run(command, check=True)

"""The NAS-Bench-201 study: every method x seed on one preset, then the paper's tables and figures from the records.

``python reproduce/nb201.py --help``; ``tox -e reproduce-nb201`` runs it as is. Kill it and start it again: it continues.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

if not __package__:  # run as a file: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from itnas.benchmarks import data_root
from itnas.config import SearchConfig, make_config
from itnas.errors import UserError, run_main
from itnas.optimizers import ALL_METHODS
from itnas.search import Place
from itnas.sweep import run_sweep

STUDY = "nb201"
SPACE = "nasbench201"
ANALYSES = ("tables", "kendall_tau", "skip_connections", "stability", "ranking", "eigenvalues", "figures", "report")
"""What is made of the records, in this order."""


@dataclass(frozen=True)
class Settings:
    """Search NAS-Bench-201 with every method and seed, then make tables and figures."""

    preset: str = "digits"
    """Preset: digits (embedded data, minutes), cifar10-small (needs ITNAS_DATA) or paper (a GPU)."""
    methods: tuple[str, ...] = ALL_METHODS
    """Methods; darts-2nd and darts-pt-fix-alpha can be added."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Search seeds."""
    smoke: bool = False
    """Shrink everything to seconds, to see that it runs; the records go to the study nb201-smoke."""
    results: Path = Path("results")
    """Folder of all records."""
    workers: int = 2
    """Runs side by side, one torch thread each."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    analyse: bool = True
    """Make tables and figures at the end."""


def study(settings: Settings) -> tuple[SearchConfig, ...]:
    """Return the searches of the study: all methods with the first seed, then with the next."""
    return tuple(
        make_config(SPACE, method, settings.preset, seed, smoke=settings.smoke)
        for seed in settings.seeds
        for method in settings.methods
    )


def main() -> None:
    """Run the study and its analyses; exit with status 1 if a run failed."""
    settings = tyro.cli(Settings, description=__doc__)
    place = Place(settings.results, f"{STUDY}-smoke" if settings.smoke else STUDY, settings.device, data_root())
    outcomes = run_sweep(study(settings), place, settings.workers)
    failed = [outcome for outcome in outcomes if outcome.status != "finished"]
    if settings.analyse and len(failed) < len(outcomes):
        analyse(settings.results)
    if failed:
        reasons = "; ".join(f"{outcome.label}: {outcome.detail}" for outcome in failed)
        raise UserError(f"{len(failed)} of {len(outcomes)} runs failed ({reasons}); the same command tries them again")


def analyse(results: Path) -> None:
    """Run every analysis on the records, each in a process of its own as a user would."""
    folder = Path(__file__).resolve().parents[1] / "analysis"
    for name in ANALYSES:
        print(f"\n== {name} ==", flush=True)
        subprocess.run([sys.executable, str(folder / f"{name}.py"), str(results)], check=True)


if __name__ == "__main__":
    run_main(main)

"""The NAS-Bench-201 study: every method x seed on one preset, then the paper's tables and figures from the records.

``python reproduce/nb201.py --help``; ``tox -e reproduce-nb201`` runs it as is. Kill it and start it again: it continues.
"""

from __future__ import annotations

import sys
from pathlib import Path

import tyro

if not __package__:  # run as a file: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from itnas.config import SearchConfig
from itnas.errors import run_main
from reproduce.common import Settings, run_study, searches

STUDY = "nb201"
SPACE = "nasbench201"
ANALYSES = ("tables", "kendall_tau", "skip_connections", "stability", "ranking", "eigenvalues", "figures", "report")
"""What is made of the records, in this order."""


def study(settings: Settings) -> tuple[SearchConfig, ...]:
    """Return the searches of the study: all methods with the first seed, then with the next."""
    return searches(settings, (SPACE,))


def main() -> None:
    """Run the study and its analyses; exit with status 1 if a run failed."""
    settings = tyro.cli(Settings, description=__doc__)
    run_study(STUDY, settings, study(settings), ANALYSES)


if __name__ == "__main__":
    run_main(main)

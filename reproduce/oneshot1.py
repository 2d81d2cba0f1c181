"""The NAS-Bench-1Shot1 study: every method x search space x seed on one preset, then tables and figures from the records.

``python reproduce/oneshot1.py --help``; ``tox -e reproduce-1shot1`` runs it as is. Kill it and start it again: it continues.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

if not __package__:  # run as a file: the repository root is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from itnas.config import SearchConfig
from itnas.errors import UserError, run_main
from reproduce import common

STUDY = "oneshot1"
SPACES = {number: f"nasbench1shot1-{number}" for number in (1, 2, 3)}
"""The search spaces by their number in the paper."""
ANALYSES = ("tables", "regret", "kendall_tau", "stability", "ranking", "eigenvalues", "figures", "report")
"""What is made of the records, in this order; no candidate of these spaces is a skip connection."""


@dataclass(frozen=True)
class Settings(common.Settings):
    """Search the three spaces with every method and seed, then make tables and figures."""

    seeds: tuple[int, ...] = (0,)
    """Search seeds; one of them takes two cores about ten minutes on `digits`, intervals need three and more."""
    spaces: tuple[int, ...] = (1, 2, 3)
    """Search spaces."""


def study(settings: Settings) -> tuple[SearchConfig, ...]:
    """Return the searches of the study: all methods on all spaces with the first seed, then with the next.

    Raises:
        UserError: there is no space of that number.
    """
    unknown = [number for number in settings.spaces if number not in SPACES]
    if unknown:
        raise UserError(f"NAS-Bench-1Shot1 has no search space {unknown[0]}; choose among 1, 2 and 3")
    return common.searches(settings, [SPACES[number] for number in settings.spaces])


def main() -> None:
    """Run the study and its analyses; exit with status 1 if a run failed."""
    settings = tyro.cli(Settings, description=__doc__)
    common.run_study(STUDY, settings, study(settings), ANALYSES)


if __name__ == "__main__":
    run_main(main)

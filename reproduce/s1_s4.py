"""The S1-S4 study: every method x space x seed on one preset, then tables and figures from the records.

``python reproduce/s1_s4.py --help``; ``tox -e reproduce-s1s4`` runs it as is. Kill it and start it again: it continues. Found
genotypes are trained from scratch as the preset's protocol says; searches that find the same cell share its training.
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
from itnas.spaces import SPACES, CellSpace
from reproduce import common

STUDY = "s1_s4"
ANALYSES = ("tables", "kendall_tau", "skip_connections", "figures")
"""What is made of the records, in this order."""


@dataclass(frozen=True)
class Settings(common.Settings):
    """Search S1 to S4 with every method and seed, train what was found, then make tables and figures."""

    seeds: tuple[int, ...] = (0,)
    """Search seeds; the tables of the papers rest on three or four."""
    spaces: tuple[str, ...] = ("s1", "s2", "s3", "s4")
    """Search spaces; darts, darts-no-none and darts-stagewise can be added."""


def study(settings: Settings) -> tuple[SearchConfig, ...]:
    """Return the searches of the study: all methods on all spaces with the first seed, then with the next.

    Raises:
        UserError: a space is none of DARTS-like cells.
    """
    known = [name for name, space in SPACES.items() if issubclass(space, CellSpace)]
    unknown = [name for name in settings.spaces if name not in known]
    if unknown:
        raise UserError(f"{unknown[0]!r} is no space of this study; choose among {', '.join(known)}")
    return common.searches(settings, settings.spaces)


def main() -> None:
    """Run the study and its analyses; exit with status 1 if a run failed."""
    settings = tyro.cli(Settings, description=__doc__)
    common.run_study(STUDY, settings, study(settings), ANALYSES)


if __name__ == "__main__":
    run_main(main)

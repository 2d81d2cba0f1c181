"""How long every analysis takes on a results folder with 1,000 runs, imports and figures included.

``pytest -m speed -s speed/test_analysis.py`` prints it: the processor's seconds of all its processes, and the clock's, which
are what a reader waits and what is limited. They are to be measured on a quiet machine with two cores: the report makes its
sections in two processes, so that the processor spends more seconds on it than the clock shows; the others have one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.analysis.synthetic import METHODS, write_results

pytestmark = [pytest.mark.speed, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 1000 // len(METHODS)


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 runs of 50 epochs: 2.5 million rows of scores, 0.4 million of discretization accuracies, 0.3 of rankings."""
    folder = tmp_path_factory.mktemp("thousand")
    return write_results(folder, seeds=SEEDS, epochs=50, architectures=100, eigenvalues=True)


LIMIT = 10
"""Seconds by the clock that an analysis may take."""
SCRIPTS = (
    "tables",
    "skip_connections",
    "kendall_tau",
    "stability",
    "ranking",
    "eigenvalues",
    "figures",
    "regret",
    "report",
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_analysis_of_a_thousand_runs_takes_seconds(script: str, thousand: Path, tmp_path: Path) -> None:
    """Ten seconds each, the report among them."""
    command = [sys.executable, str(ROOT / "analysis" / f"{script}.py"), str(thousand), "--out", str(tmp_path)]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after, wall = os.times(), time.perf_counter() - start
    busy = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{script}: {wall:.1f} s, processors {busy:.1f} s, for {SEEDS * len(METHODS)} runs (limit {LIMIT} s)")
    assert wall < LIMIT

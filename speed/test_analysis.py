"""How long every analysis takes on a results folder with 1,000 runs, imports and figures included.

``pytest -m speed -s speed/test_analysis.py`` prints it. Time is the processor's, of the whole process with one thread:
on a quiet machine the same as the clock's.
"""

from __future__ import annotations

import os
import subprocess
import sys
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
"""Seconds that an analysis may take."""
SCRIPTS = ("tables", "skip_connections", "kendall_tau", "stability", "ranking", "eigenvalues", "figures", "report")


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_analysis_of_a_thousand_runs_takes_seconds(script: str, thousand: Path, tmp_path: Path) -> None:
    """Ten seconds each, the report among them."""
    command = [sys.executable, str(ROOT / "analysis" / f"{script}.py"), str(thousand), "--out", str(tmp_path)]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{script}: {seconds:.1f} s for {SEEDS * len(METHODS)} runs (limit {LIMIT} s)")
    assert seconds < LIMIT

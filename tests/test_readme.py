"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from itnas.optimizers import METHODS
from itnas.optimizers.base import MethodConfig
from itnas.records import read_results
from itnas.search import Place, run_search

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_the_fifteen_lines_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 15
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].count("~") == 6
    assert "3<-2" in printed
    assert len(read_results(tmp_path / "results").runs) == 1


def test_the_selector_of_the_readme_is_a_working_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare_config: Callable[[str], Any]
) -> None:
    scope: dict[str, Any] = {}
    exec(compile(BLOCKS[1], "README.md", "exec"), scope)
    monkeypatch.setitem(METHODS, "weight-norm", (scope["WeightNorm"], MethodConfig()))
    folder = run_search(prepare_config("weight-norm"), Place(tmp_path))
    records = read_results(tmp_path)
    assert folder.is_dir()
    last = records["scores"].query("cell == -1 and epoch == epoch.max()")
    convolutions = last[last["candidate"].astype(str).str.startswith("nor_conv")]
    assert (convolutions["score"] > 0).all()
    assert set(last["kind"].astype(str)) == {"norm"}


@pytest.fixture
def prepare_config() -> Callable[[str], Any]:
    from itnas.presets import make_config

    return lambda method: make_config("nasbench201", method, "digits", 0, smoke=True)


def test_every_number_of_the_results_table_is_in_the_analysis() -> None:
    """Accuracies and taus of the README stand, to two decimals, in the committed tables it names."""
    section = (ROOT / "README.md").read_text().split("## What came out so far")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]
    tables = ROOT / "results" / "analysis"
    known = {
        f"{abs(value):.2f}"
        for path in (
            "nb201-digits/accuracy_trained.csv",
            "nb201-digits/kendall_tau.csv",
            "nb201-cifar10-small/accuracy_table.csv",
            "nb201-cifar10-small/kendall_tau.csv",
        )
        for value in pd.read_csv(tables / path).select_dtypes("number").to_numpy().ravel()
    }
    numbers = [number for row in rows for number in re.findall(r"\d+\.\d\d", row)]
    assert len(rows) == 6
    assert len(numbers) >= 40
    assert set(numbers) <= known

"""What the README shows runs as it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.common import label
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


SECTION = (ROOT / "README.md").read_text().split("## What came out so far")[1].split("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("| ") and not line.startswith("| method")]
TABLES = ROOT / "results" / "analysis"


def test_every_number_of_the_nb201_table_is_in_the_analysis() -> None:
    """Accuracies and taus of the README stand, to two decimals, in the committed tables it names."""
    known = {
        f"{abs(value):.2f}"
        for path in (
            "nb201-digits/accuracy_trained.csv",
            "nb201-digits/kendall_tau.csv",
            "nb201-cifar10-small/accuracy_table.csv",
            "nb201-cifar10-small/kendall_tau.csv",
        )
        for value in pd.read_csv(TABLES / path).select_dtypes("number").to_numpy().ravel()
    }
    numbers = [number for row in ROWS[:6] for number in re.findall(r"\d+\.\d\d", row)]
    assert len(ROWS) == 18  # six methods in each of three tables
    assert len(numbers) >= 40
    assert set(numbers) <= known


def taus(folder: Path) -> pd.Series:
    """Return the methods' tau, one cell, DARTS-PT's that of its perturbations, as the README writes it."""
    tau = pd.read_csv(folder / "kendall_tau.csv").query("scope == 'one cell'")
    tau = tau[(tau["method"] != "darts-pt") | (tau["kind"] == "perturbation")]
    return tau.set_index("method")["tau"].map("{:.2f}".format)


def column(rows: list[str], place: int) -> dict[str, str]:
    """Return a column of a table by its first."""
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {row[0]: row[place] for row in cells}


@pytest.mark.parametrize("place", [1, 2, 3])
def test_the_1shot1_table_is_that_of_the_analysis(place: int) -> None:
    """Test error, regret and tau of every method stand where the README has them."""
    tau = taus(TABLES / f"oneshot1-cifar10-small-nasbench1shot1-{place}")
    regret = pd.read_csv(TABLES / "oneshot1-cifar10-small" / "regret.csv")
    expected = {
        label(row["method"]): f"{row['error']:.2f} · {row['regret']:.2f} · {tau.get(row['method'], 'n/a')}"
        for _, row in regret[regret["space"] == f"nasbench1shot1-{place}"].iterrows()
    }
    assert column(ROWS[6:12], place) == expected


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_the_s1_s4_table_is_that_of_the_analysis(place: int) -> None:
    """Accuracy, skips (noise in S4) and tau of every method stand where the README has them."""
    folder = TABLES / f"s1_s4-cifar10-small-s{place}"
    accuracy = pd.read_csv(folder / "accuracy_trained.csv").query("split == 'test' and variant == 'genotype'")
    cells, tau = pd.read_csv(folder / "runs.csv"), taus(folder)
    count = cells["genotype"].str.count("noise" if place == 4 else "skip_connect").groupby(cells["method"]).mean()
    expected = {
        label(one): f"{mean:.2f} · {count[one]:g} · {tau.get(one, 'n/a')}"
        for one, mean in zip(accuracy["method"], accuracy["mean"], strict=True)
    }
    assert f"| S{place}, n = {cells['seed'].nunique()} |" in SECTION
    assert column(ROWS[12:], place) == expected

"""Regret: hand-computed values, spaces side by side, printed numbers untouched; and 1Shot1's cells as drawings."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import regret, tables
from analysis.cells import cell_graphs
from analysis.common import Arguments, Group, read_groups
from itnas.spaces import get_space
from tests.analysis.synthetic import REFERENCE, write_results

TARGET = ("table", "cifar10", "test")
OPTIMUM = REFERENCE["optimum"]["cifar10/test"]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> list[Group]:
    results = tmp_path_factory.mktemp("oneshot1")
    for number in (1, 2):
        space = f"nasbench1shot1-{number}"
        write_results(results, ("random", "darts", "darts-pt"), seeds=2, study="oneshot1", space=space, epochs=3)
    return list(read_groups(Arguments(results), ("epochs", "evaluation")))


def test_regret_is_the_optimum_minus_the_value_at_every_epoch_and_at_the_end(groups: list[Group]) -> None:
    data = regret.regrets(groups[0], TARGET)
    assert (data["regret"] - (OPTIMUM - data["value"])).abs().max() == 0
    assert set(data.loc[data["final"], "method"]) == {"random", "darts", "darts-pt"}
    darts = data[(data["method"] == "darts") & (data["search_seed"] == 1)]
    assert darts["epoch"].tolist() == [0, 1, 2, 3, 3]
    assert darts["final"].tolist() == [False] * 4 + [True]
    finals = data[data["final"] & (data["method"] == "darts")]
    summary = regret.summaries(data).set_index("method").loc["darts"]
    assert summary["regret"] == pytest.approx(finals["regret"].mean())
    assert summary["error"] == pytest.approx(100 - finals["value"].mean())
    assert summary["error"] - summary["regret"] == pytest.approx(100 - OPTIMUM)


def test_spaces_stand_side_by_side_and_nothing_is_subtracted_from_printed_numbers(groups: list[Group]) -> None:
    (bundle,) = regret.bundles(groups)
    data = pd.concat([regret.regrets(group, TARGET) for group in bundle])
    table = regret.regret_table(bundle, data, TARGET)
    shown = table.display.set_index("method")
    assert shown.loc["Best cell of the space", "nasbench1shot1-1 regret"] == "0.00"
    mean = REFERENCE["mean"]["cifar10/test"]
    assert shown.loc["Random cell, expected", "nasbench1shot1-2 regret"] == f"{OPTIMUM - mean:.2f}"
    printed = shown.loc["Best single run"]
    assert [printed[f"nasbench1shot1-{number} error"] for number in (1, 2)] == ["5.45", "5.76"]
    assert [printed[f"nasbench1shot1-{number} regret"] for number in (1, 2)] == ["n/a", "n/a"]
    assert shown.loc["DARTS", "n"] == "2"
    assert set(table.data["space"]) == {"nasbench1shot1-1", "nasbench1shot1-2"}


def test_several_spaces_make_one_table_and_one_figure(groups: list[Group]) -> None:
    regret.analyse(*groups)
    folder = groups[0].folder.parent / "oneshot1-digits"
    assert {path.name for path in folder.iterdir()} >= {"regret.md", "regret.tex", "regret.png", "regret_by_epoch.csv"}
    numbers = pd.read_csv(folder / "regret_by_epoch.csv")
    assert numbers.groupby(["space", "method"])["run_id"].nunique().tolist() == [2] * 6


def test_without_a_table_there_is_no_regret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(tmp_path, ("random",), seeds=1, kind="trained", space="nasbench1shot1-3", epochs=1)
    regret.main(Arguments(tmp_path))
    assert "no regret, which needs the benchmark table" in capsys.readouterr().out
    assert not list(tmp_path.rglob("regret*"))


def test_a_space_without_none_gets_no_table_about_it(groups: list[Group]) -> None:
    assert not tables._has_none(groups[0])
    assert get_space("nasbench201").groups["edges"][0].candidates[0] == "none"


def test_a_cell_with_operations_in_its_nodes_is_drawn_with_them() -> None:
    genotype = "0;0,1;1,2;-;2,3|conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;-"
    ((name, edges),) = cell_graphs(get_space("nasbench1shot1-1"), genotype)
    assert name == ""
    first, second, third = "1: conv3x3-bn-relu", "2: maxpool3x3", "3: conv1x1-bn-relu"
    assert edges == [
        ("0: input", first, ""),
        ("0: input", second, ""),
        (first, second, ""),
        (first, third, ""),
        (second, third, ""),
        (second, "5: output", ""),
        (third, "5: output", ""),
    ]


def test_two_papers_that_print_the_same_label_have_two_rows(table_results: Path) -> None:
    group = next(iter(read_groups(Arguments(table_results), ("epochs", "evaluation"))))
    printed = [row["source"] for row in regret._printed_rows([group], TARGET) if row["method"] == "DARTS"]
    assert printed == ["reported: AGNAS (ICML 2022) Table 3", "reported: DARTS-PT (ICLR 2021) Table 4"]

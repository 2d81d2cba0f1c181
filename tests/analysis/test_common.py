"""Groups are never mixed; what is left out is said; a table is written three times."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.common import Arguments, left_out, order_methods, read_groups
from analysis.writing import Table, interval, latex, latex_text, mean_sd, number, save_table
from tests.analysis.synthetic import Spec, write_results, write_run


def groups(results: Path) -> list:
    return list(read_groups(Arguments(results), ("epochs",)))


def test_presets_studies_and_data_sets_are_groups_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(epochs=1))
    write_run(tmp_path, Spec(epochs=1, preset="cifar10-small", dataset="cifar10"))
    write_run(tmp_path, Spec(epochs=1, study="other"))
    found = groups(tmp_path)
    assert [group.name for group in found] == ["nb201-cifar10-small", "nb201-digits", "other-digits"]
    assert all(len(group.records.runs) == 1 for group in found)
    assert found[0].folder == tmp_path / "analysis" / "nb201-cifar10-small"


def test_one_preset_on_two_data_sets_is_two_folders(tmp_path: Path) -> None:
    for dataset in ("cifar10", "svhn"):
        write_run(tmp_path, Spec(epochs=1, preset="paper", dataset=dataset))
    assert [group.name for group in groups(tmp_path)] == ["nb201-paper-cifar10", "nb201-paper-svhn"]


def test_failed_unfinished_and_duplicate_runs_are_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, Spec(epochs=1))
    write_run(tmp_path, Spec(epochs=1, search_seed=1, status="failed"))
    write_run(tmp_path, Spec(epochs=1, search_seed=2, status="running"))
    write_run(tmp_path / "copy", Spec(epochs=1))
    (group,) = groups(tmp_path)
    said = capsys.readouterr().out
    assert len(group.records.runs) == 1
    assert said.startswith("Left out 3 runs: ")
    assert "failed: darts seed 1" in said
    assert "loss became NaN" in said
    assert "unfinished: darts seed 2" in said
    assert "duplicate of run" in said


def test_many_left_out_runs_stay_one_short_sentence() -> None:
    assert left_out([f"left out, failed: run {n}" for n in range(9)]).endswith("failed: run 4; and 4 more.")


def test_a_seed_run_twice_counts_once_and_the_later_run_is_kept(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(epochs=1))
    write_run(tmp_path, Spec(epochs=1, salt="x"))
    (group,) = groups(tmp_path)
    assert len(group.records.runs) == 1
    (meta,) = group.records.meta.values()
    assert meta["cost"]["finished"].startswith("2026-11-22T01")
    assert len(group.records["epochs"]) == 2
    assert "repeated: darts seed 0" in group.notes[0]


def test_seeds_under_different_configurations_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(epochs=1))
    write_run(tmp_path, Spec(epochs=2, search_seed=1))
    (group,) = groups(tmp_path)
    assert group.notes == ["darts: its seeds differ in search.epochs, so their mean mixes configurations"]


def test_unknown_methods_follow_the_known_ones() -> None:
    assert order_methods(["zzz", "it-nas", "gdas", "random"]) == ["random", "it-nas", "gdas", "zzz"]


def test_a_method_nobody_knows_flows_through(tmp_path: Path) -> None:
    (group,) = groups(write_results(tmp_path, methods=("gdas",), seeds=1, epochs=1))
    assert group.methods == ["gdas"]


def test_a_table_is_written_as_csv_markdown_and_latex(tmp_path: Path) -> None:
    data = pd.DataFrame({"a": [1.23456]})
    save_table(Table("t", "What it is.", data, pd.DataFrame({"a & b": ["1 ± 2"]})), tmp_path, ["a note"])
    assert pd.read_csv(tmp_path / "t.csv")["a"].tolist() == [1.23456]
    assert (tmp_path / "t.md").read_text().splitlines()[-1] == "- a note"
    assert "1 $\\pm$ 2" in (tmp_path / "t.tex").read_text()
    assert "a \\& b" in (tmp_path / "t.tex").read_text()


def test_latex_has_booktabs_rules_and_says_so() -> None:
    text = latex(Table("t", "c", pd.DataFrame(), pd.DataFrame({"x": ["1"]})))
    assert text.startswith("% needs \\usepackage{booktabs,graphicx}\n")
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule"))


def test_latex_text_escapes_what_tex_would_read() -> None:
    assert latex_text("3<-1 50 % a_b #1 $ {x} τ < 2") == (
        "3$\\leftarrow$1 50 \\% a\\_b \\#1 \\$ \\{x\\} $\\tau$ \\textless{} 2"
    )


def test_numbers_without_a_value_are_not_zero() -> None:
    nan = float("nan")
    assert number(None) == number(nan) == mean_sd(nan, nan) == "n/a"
    assert mean_sd(1.0, nan) == "1.00"
    assert interval(nan, nan) == "n/a (n < 2)"

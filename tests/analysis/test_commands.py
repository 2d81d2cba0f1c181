"""Every analysis as its reader runs it: as a file, without torch, with or without matplotlib, on good and bad data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.analysis.synthetic import Spec, write_run

Done = subprocess.CompletedProcess[str]
ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "kendall_tau",
    "regret",
    "skip_connections",
    "tables",
    "figures",
    "stability",
    "ranking",
    "eigenvalues",
    "report",
)
WRITES = {
    "kendall_tau": ("kendall_tau.tex", "kendall_tau_distribution.png", "kendall_tau_cell0_2_from_0.pdf"),
    "regret": ("regret.tex", "regret.pdf", "regret_by_epoch.csv"),
    "skip_connections": ("skip_connections.csv", "skip_connections.png"),
    "tables": ("accuracy_table.tex", "none.md", "comparison.csv", "deviation.tex", "runs.csv"),
    "ranking": ("ranking.tex", "ranking.png", "ranking_runs.csv"),
    "eigenvalues": ("eigenvalues.tex", "eigenvalues.pdf"),
    "report": ("../report.html",),
    "stability": ("stability.tex", "stability.pdf", "stability_choices.csv"),
    "figures": ("anytime.pdf", "results.png", "scores.png", "cell_darts.png", "cost.pdf", "cost.csv"),
}


BLOCKED = """
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script in a process that lacks the ``blocked`` modules."""


def run(script: str, *arguments: object, blocked: tuple[str, ...] = ("torch",), path: str = "") -> Done:
    """Run an analysis as a file where the ``blocked`` modules cannot be imported."""
    code, file = BLOCKED.format(blocked=blocked), ROOT / "analysis" / f"{script}.py"
    command = [sys.executable, "-c", code, str(file), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"} | ({"PATH": path} if path else {})
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/", timeout=120, check=False)


def test_a_blocked_module_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import torch")
    done = run(str(tmp_path / "script"))
    assert done.returncode == 1
    assert "No module named 'torch'" in done.stderr


@pytest.mark.parametrize("script", SCRIPTS)
def test_runs_as_a_file_without_torch_and_writes_its_tables_and_figures(
    script: str, table_results: Path, tmp_path: Path
) -> None:
    done = run(script, table_results, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = tmp_path / "nb201-digits"
    assert [name for name in WRITES[script] if not (folder / name).resolve().is_file()] == []
    assert all(path.stat().st_size > 0 for path in tmp_path.rglob("*.*"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_trained_cells_and_one_seed_are_enough(script: str, trained_results: Path, tmp_path: Path) -> None:
    done = run(script, trained_results, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize("script", ["kendall_tau", "skip_connections", "figures"])
def test_without_matplotlib_the_tables_are_written_and_one_sentence_says_how_to_get_figures(
    script: str, table_results: Path, tmp_path: Path
) -> None:
    done = run(
        script, table_results, "--out", tmp_path, blocked=("torch", "matplotlib", "seaborn", "networkx", "graphviz")
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install 'itnas[plot]'") == 1
    assert list(tmp_path.rglob("*.csv"))
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_the_results_folder(script: str) -> None:
    done = run(script, "--help")
    assert done.returncode == 0
    assert "Folder with run records" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_missing_folder_is_one_sentence(script: str, tmp_path: Path) -> None:
    done = run(script, tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: results folder")
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_of_failed_runs_says_why(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(status="failed"))
    done = run("tables", tmp_path)
    assert done.returncode == 2
    assert "loss became NaN" in done.stderr


def test_a_lacking_column_names_file_and_column(tmp_path: Path) -> None:
    import pandas as pd

    folder = write_run(tmp_path, Spec(epochs=1))
    path = folder / "scores.parquet"
    pd.read_parquet(path).drop(columns="kind").to_parquet(path)
    done = run("kendall_tau", tmp_path)
    assert done.returncode == 2
    assert f"{path} lacks the column kind" in done.stderr


def test_a_newer_record_is_refused_with_its_version(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Spec(epochs=1))
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    done = run("figures", tmp_path)
    assert done.returncode == 2
    assert "schema version 99" in done.stderr


def test_a_wrong_threshold_is_one_sentence(table_results: Path) -> None:
    done = run("skip_connections", table_results, "--threshold", 4)
    assert done.returncode == 2
    assert "--threshold is 4.0" in done.stderr


def test_figures_have_the_width_of_a_column_or_a_page(table_results: Path, tmp_path: Path) -> None:
    run("skip_connections", table_results, "--out", tmp_path)
    with Image.open(tmp_path / "nb201-digits" / "skip_connections.png") as image:
        assert image.width == round(6.9 * 250)


def test_without_graphviz_cells_are_drawn_by_networkx(table_results: Path, tmp_path: Path) -> None:
    done = run("figures", table_results, "--out", tmp_path, path="/nonexistent")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "nb201-digits" / "cell_agnas.png") as image:
        assert image.width == round(6.9 * 250)

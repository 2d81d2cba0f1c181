"""One search and a sweep: exact resume after any kill, failures, locks, evaluation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
import torch

from itnas import search
from itnas.config import SearchConfig
from itnas.data.load import load_data
from itnas.errors import UserError
from itnas.presets import make_config
from itnas.records import OPTIONAL, TABLES, read_meta, read_table, run_id
from itnas.search import Place, Run, RunBusy, run_search
from itnas.sweep import run_sweep

ROOT = Path(__file__).parents[1]


def tiny(method: str, seed: int = 0) -> SearchConfig:
    config = make_config("nasbench201", method, "digits", seed, smoke=True)
    small = replace(config.discretization, max_images=20, recalibration_images=20)
    config = replace(config, discretization=small, score_images=20, batch_size=200)
    if hasattr(config.optimizer, "criterion_images"):
        config = replace(config, optimizer=replace(config.optimizer, criterion_images=20))
    if config.ranking:
        config = replace(config, ranking=replace(config.ranking, architectures=3, max_images=20))
    if config.eigenvalues:
        config = replace(config, eigenvalues=replace(config.eigenvalues, every=2, images=4))
    return config


def assert_same_records(a: Path, b: Path) -> None:
    """Byte-identical but for what a clock or a machine decides."""
    assert {path.name for path in a.iterdir()} == {path.name for path in b.iterdir()}
    for path in a.glob("*.parquet"):
        if path.name != "timing.parquet":
            assert path.read_bytes() == (b / path.name).read_bytes(), path.name
    first, second = read_meta(a), read_meta(b)
    for section in set(first) - {"cost", "environment"}:
        assert first[section] == second[section], section


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is written after it."""


@pytest.mark.parametrize(
    ("method", "save"),
    [("darts-pt", 4), ("it-nas", 1), ("it-nas", 2), ("it-nas", 3), ("rlnas", 2), ("agnas", 3)],
)
def test_a_search_killed_after_any_checkpoint_ends_with_identical_records(
    method: str, save: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run_search(tiny(method), Place(tmp_path / "a"))
    original, count = Run.save, 0

    def save_then_die(self: Run, *, selecting: bool = False) -> None:
        nonlocal count
        original(self, selecting=selecting)
        count += 1
        if count == save:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_then_die)
        try:
            run_search(tiny(method), Place(tmp_path / "b"))
        except Killed:
            assert read_meta(next((tmp_path / "b").rglob("run.json")).parent)["status"] == "running"
    resumed = run_search(tiny(method), Place(tmp_path / "b"))
    assert_same_records(undisturbed, resumed)
    assert not (resumed / "checkpoint.pt").exists()
    if count >= save:
        assert read_meta(resumed)["cost"]["resumed"] == 1


@pytest.mark.parametrize(("method", "quantities"), [("rlnas", {"supernet", "score"}), ("random", set())])
def test_methods_without_alphas_or_supernet_have_no_such_tables(
    method: str, quantities: set[str], tmp_path: Path
) -> None:
    folder = run_search(tiny(method), Place(tmp_path))
    assert not (folder / "eigenvalues.parquet").exists()
    assert set(read_table(folder, "architectures")["quantity"]) == quantities


def test_measuring_eigenvalues_and_rankings_leaves_no_trace_in_a_search(tmp_path: Path) -> None:
    config = tiny("darts")
    with_both = run_search(config, Place(tmp_path))
    assert {path.stem for path in with_both.glob("*.parquet")} == set(TABLES)
    ranked = read_table(with_both, "architectures").groupby("quantity")["genotype"].nunique()
    assert ranked.to_dict() == {"supernet": 3, "score": 3}
    curvature = read_table(with_both, "eigenvalues")
    assert curvature["epoch"].tolist() == [0, 2]
    assert (curvature["smallest"] < curvature["eigenvalue"]).all()
    without = run_search(replace(config, ranking=None, eigenvalues=None), Place(tmp_path))
    for table in set(TABLES) - OPTIONAL - {"timing"}:
        assert (with_both / f"{table}.parquet").read_bytes() == (without / f"{table}.parquet").read_bytes(), table
    assert read_meta(with_both)["result"] == read_meta(without)["result"]


def test_switched_off_the_late_sections_leave_the_run_id_as_it_was() -> None:
    """Ids of records that were made before the sections existed."""
    identity = {"data": load_data(tiny("random").data, None).checksum, "table": None}
    for method, identifier in (("agnas", "916fe1bf38f08b07"), ("darts-pt", "03ba50b5bba26318")):
        config = make_config("nasbench201", method, "digits", 0)
        config = replace(config, evaluation=replace(config.evaluation, kind="trained"))
        assert run_id({"config": config.as_dict(), **identity}) == identifier


def test_a_finished_run_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_search(tiny("random"), Place(tmp_path))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    monkeypatch.setattr(Run, "execute", None)
    assert run_search(tiny("random"), Place(tmp_path)) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_run_id_depends_on_the_configuration_and_not_on_the_place(tmp_path: Path) -> None:
    a = run_search(tiny("random"), Place(tmp_path / "x", "one"))
    b = run_search(tiny("random"), Place(tmp_path / "y", "two"))
    c = run_search(tiny("random", seed=1), Place(tmp_path / "x", "one"))
    assert a.name == b.name != c.name


def test_a_diverged_training_is_recorded_as_failed_with_its_reason(tmp_path: Path) -> None:
    config = tiny("agnas")
    weights = replace(config.optimizer.weights, lr=1e30, grad_clip=None)
    config = replace(config, optimizer=replace(config.optimizer, weights=weights), batch_size=32)
    with pytest.raises(UserError, match=r"training loss is (nan|inf).*lower the learning rate"):
        run_search(config, Place(tmp_path))
    meta = read_meta(next(tmp_path.rglob("run.json")).parent)
    assert meta["status"] == "failed"
    assert "lower the learning rate" in meta["result"]["error"]


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Run.save

    def save_then_die(self: Run, *, selecting: bool = False) -> None:
        original(self, selecting=selecting)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save_then_die)
        with pytest.raises(Killed):
            run_search(tiny("agnas"), Place(tmp_path))
    (checkpoint,) = tmp_path.rglob("checkpoint.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"checkpoint.pt is damaged.*delete it"):
        run_search(tiny("agnas"), Place(tmp_path))


def test_two_processes_do_not_work_on_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run_search(tiny("random"), Place(tmp_path))
    monkeypatch.setattr(search.filelock, "FileLock", lambda path, timeout: filelock.SoftFileLock(path, timeout=0.1))
    (folder / "run.lock").touch()
    with pytest.raises(RunBusy, match="another process works on"):
        run_search(tiny("random"), Place(tmp_path))


def test_scores_and_epochs_of_a_record(tmp_path: Path) -> None:
    folder = run_search(tiny("agnas"), Place(tmp_path))
    scores, epochs = read_table(folder, "scores"), read_table(folder, "epochs")
    assert sorted(scores["epoch"].unique()) == [0, 1, 2]
    assert sorted(scores["cell"].unique()) == [-1, 0, 1, 2]
    last = scores[(scores.epoch == 2) & (scores.choice == "2<-1") & (scores.candidate == "nor_conv_3x3")].set_index(
        "cell"
    )
    assert last.loc[-1, "score"] == pytest.approx(last.loc[[0, 1, 2], "score"].mean())
    assert epochs["train_loss"].isna().tolist() == [True, False, False]
    assert np.allclose(epochs["learning_rate"][1:], [0.1, 0.1 - 0.5 * (0.1 - 0.001)])
    assert (epochs["skips"] == epochs["genotype"].str.count("skip_connect")).all()
    assert epochs["genotype"].equals(epochs["genotype_without_none"])
    evaluation = read_table(folder, "evaluation")
    assert set(evaluation["kind"]) == {"trained"}
    mean = evaluation[evaluation.seed == "mean"]
    assert set(mean["split"]) == {"valid", "test"}
    assert read_meta(folder)["semantics"]["rule"] == "without_none"


def test_cosine_schedule_is_the_published_one(tmp_path: Path) -> None:
    config = replace(tiny("rlnas"), epochs=4)
    rates = read_table(run_search(config, Place(tmp_path)), "epochs")["learning_rate"][1:]
    expected = [0.001 + 0.5 * (0.1 - 0.001) * (1 + np.cos(np.pi * t / 4)) for t in range(4)]
    assert np.allclose(rates, expected)


@pytest.mark.data
def test_with_the_table_every_derived_cell_is_looked_up(tmp_path: Path, data_root: Path) -> None:
    folder = run_search(tiny("agnas"), Place(tmp_path, data_root=data_root))
    evaluation, epochs = read_table(folder, "evaluation"), read_table(folder, "epochs")
    assert set(evaluation["kind"]) == {"table"}
    assert set(evaluation["genotype"]) >= set(epochs["genotype_with_none"]) | set(epochs["genotype_without_none"])
    table = pd.read_parquet(data_root / "nas-bench-201" / "table.parquet").set_index("arch")
    mean = evaluation[(evaluation.seed == "mean") & (evaluation.dataset == "cifar10")]
    for row in mean.itertuples():
        assert row.value == pytest.approx(table.loc[row.genotype, f"c10_{row.split}_mean"])
    assert read_meta(folder)["semantics"]["reference"]["optimum"]["cifar10/test"] == pytest.approx(94.3733, abs=1e-4)


def test_a_sweep_reports_a_failure_and_finishes_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tiny("agnas")
    weights = replace(bad.optimizer.weights, lr=1e30, grad_clip=None)
    bad = replace(bad, optimizer=replace(bad.optimizer, weights=weights), batch_size=32)
    outcomes = run_sweep([bad, tiny("random")], Place(tmp_path, "study"), workers=2)
    assert {outcome.label: outcome.status for outcome in outcomes} == {
        "agnas seed 0": "failed",
        "random seed 0": "finished",
    }
    printed = capsys.readouterr().out
    assert "agnas seed 0: FAILED: the training loss is" in printed
    assert "[2/2]" in printed


def test_an_empty_sweep_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="empty"):
        run_sweep([], Place(tmp_path))


def study(results: Path) -> list[str]:
    command = [
        sys.executable,
        str(ROOT / "reproduce" / "nb201.py"),
        "--smoke",
        "--no-analyse",
        "--results",
        str(results),
    ]
    return [*command, "--seeds", "0", "--methods", "agnas", "rlnas"]


def test_a_study_killed_with_sigkill_leaves_no_process_and_continues(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ITNAS_DATA"} | {"OMP_NUM_THREADS": "1"}
    subprocess.run(study(tmp_path / "a"), check=True, env=environment, capture_output=True)
    process = subprocess.Popen(study(tmp_path / "b"), env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "b").rglob("checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = subprocess.run(study(tmp_path / "b"), check=True, env=environment, capture_output=True, text=True)
    assert "FAILED" not in done.stdout
    folders = sorted(path.parent for path in (tmp_path / "a").rglob("run.json"))
    assert len(folders) == 2
    for folder in folders:
        assert_same_records(folder, tmp_path / "b" / folder.relative_to(tmp_path / "a"))
    resumed = [json.loads(path.read_text())["cost"]["resumed"] for path in (tmp_path / "b").rglob("run.json")]
    assert max(resumed) == 1
    assert torch.get_num_threads() >= 1

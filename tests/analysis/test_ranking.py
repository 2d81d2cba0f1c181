"""Rank correlation of architectures: against scipy and by hand; and that a run without it is no obstacle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from analysis import ranking
from analysis.common import Arguments, Group, read_groups
from itnas.errors import UserError
from tests.analysis.synthetic import Spec, write_results, write_run


def group_of(results: Path) -> Group:
    return next(iter(read_groups(Arguments(results), ("architectures",))))


def test_tau_rho_and_overlap_by_hand() -> None:
    found = ranking.compare(np.array([[1.0, 2, 3, 4]]), np.array([[10.0, 30, 20, 40]]), top=2).iloc[0]
    assert found["tau"] == pytest.approx(4 / 6)
    assert found["rho"] == pytest.approx(0.8)
    # Predicted best: the 3rd and 4th; truly best: the 2nd and 4th.
    assert (found["overlap"], found["chance"]) == (0.5, 0.5)
    assert (found["chosen"], found["n"]) == (40.0, 4)


def test_it_agrees_with_scipy_on_ties() -> None:
    rng = np.random.default_rng(0)
    predicted, true = rng.integers(0, 30, 400).astype(float), rng.integers(0, 30, 400).astype(float)
    found = ranking.compare(predicted[None], true[None], top=50).iloc[0]
    assert found["tau"] == pytest.approx(scipy_stats.kendalltau(predicted, true)[0])
    assert found["rho"] == pytest.approx(scipy_stats.spearmanr(predicted, true)[0])


def test_a_random_ranking_finds_as_many_of_the_best_as_chance_says() -> None:
    rng = np.random.default_rng(0)
    found = ranking.compare(rng.random((400, 200)), rng.random((400, 200)), top=20)
    assert found["overlap"].mean() == pytest.approx(found["chance"].iloc[0], abs=0.01)


def test_a_constant_side_ranks_nothing() -> None:
    found = ranking.compare(np.ones((1, 5)), np.arange(5.0)[None], top=2)
    assert found[["tau", "rho", "overlap"]].isna().all(axis=None)


def test_unknown_values_pad_a_row_and_change_nothing() -> None:
    rng = np.random.default_rng(1)
    predicted, true = rng.integers(0, 20, (2, 3, 50)).astype(float)
    missing = rng.random(true.shape) < 0.3
    found = ranking.compare(np.where(missing, np.nan, predicted), true, top=10)
    for row, there in enumerate(~missing):
        alone = ranking.compare(predicted[row][there][None], true[row][there][None], top=10)
        pd.testing.assert_frame_equal(found.iloc[[row]].reset_index(drop=True), alone)


def test_one_row_per_run_and_ranker_and_means_over_seeds(tmp_path: Path) -> None:
    results = write_results(tmp_path, methods=("darts", "it-nas"), seeds=2, epochs=1, architectures=60)
    runs = ranking.rankings(group_of(results).records["architectures"], "cifar10/test", top=10)
    assert len(runs) == 2 * 2 * 2
    means = ranking.method_rankings(runs).set_index(["method", "ranker"])["tau"].to_dict()
    for (method, ranker), part in runs.groupby(["method", "ranker"]):
        assert means[method, ranker] == pytest.approx(part["tau"].mean())


def test_a_missing_truth_says_which_there_are(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(epochs=1, architectures=20))
    with pytest.raises(UserError, match="recorded: cifar10/test"):
        ranking.main(ranking.RankingArguments(tmp_path, truth="svhn/test"))


def test_architectures_without_none_are_ranked_apart() -> None:
    frame = pd.DataFrame(
        {
            "genotype": [*"abcd"] * 2,
            "quantity": ["cifar10/test"] * 4 + ["score"] * 4,
            "value": [10.0, 80, 90, 85, 0, 3, 2, 1],
            **{"method": "m", "search_seed": 0, "run_id": "r"},
        }
    )
    row = ranking.rankings(frame, "cifar10/test", 2, lambda genotype: genotype == "a").iloc[0]
    # b c d are 80 90 85 and score 3 2 1: b-c and b-d disagree, c-d agrees; a below all agrees three times.
    assert (row["tau"], row["tau_without_none"]) == (pytest.approx((4 - 2) / 6), pytest.approx(-1 / 3))


def test_without_a_table_the_score_is_compared_with_the_supernet(tmp_path: Path) -> None:
    write_results(tmp_path, methods=("darts", "agnas"), seeds=2, epochs=1, architectures=40, kind="trained")
    ranking.main(ranking.RankingArguments(tmp_path))
    table = pd.read_csv(tmp_path / "analysis" / "nb201-digits" / "ranking.csv")
    assert table["ranker"].tolist() == ["score", "score"]
    assert table["tau"].between(-1, 1).all()


def test_runs_without_a_ranking_are_said_and_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, Spec(epochs=1))
    ranking.main(ranking.RankingArguments(tmp_path))
    assert "no run recorded its supernet's ranking" in capsys.readouterr().out


def test_the_command_writes_table_and_figure(tmp_path: Path) -> None:
    write_results(tmp_path, methods=("darts", "random"), seeds=2, epochs=1, architectures=60)
    ranking.main(ranking.RankingArguments(tmp_path))
    folder = tmp_path / "analysis" / "nb201-digits"
    assert {"ranking.csv", "ranking.tex", "ranking.png", "ranking_runs.csv"} <= {path.name for path in folder.iterdir()}
    assert math.isfinite(pd.read_csv(folder / "ranking.csv")["tau"][0])


def test_a_damaged_optional_table_is_one_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Spec(epochs=1, architectures=20))
    (folder / "architectures.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"architectures.parquet is damaged"):
        ranking.main(ranking.RankingArguments(tmp_path))

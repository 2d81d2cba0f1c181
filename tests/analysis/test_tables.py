"""Accuracy tables: which cell is the headline, what stands beside it, and what is never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import tables, truth
from analysis.common import Arguments, Group, read_groups
from analysis.reported import reported
from analysis.stats import holm, paired
from itnas.spaces import get_space
from tests.analysis.synthetic import REFERENCE, Spec, worth, write_results, write_run


def group_of(results: Path) -> Group:
    return next(iter(read_groups(Arguments(results), ("evaluation", "epochs"))))


def test_the_headline_cell_follows_the_methods_own_rule(table_results: Path) -> None:
    group = group_of(table_results)
    finals = truth.final_genotypes(group)
    result = {run: meta["result"] for run, meta in group.records.meta.items()}
    for row in finals[finals["variant"] == "genotype"].to_dict("records"):
        own = "genotype_without_none" if row["method"] in ("agnas", "it-nas") else "genotype_with_none"
        assert row["genotype"] == result[row["run_id"]][own]


def test_mean_sd_and_best_seed_by_hand(table_results: Path) -> None:
    group = group_of(table_results)
    rows = truth.summaries(truth.final_values(group))
    at = (rows["method"] == "rlnas") & (rows["variant"] == "genotype") & (rows["dataset"] == "cifar10")
    row = rows[at & (rows["split"] == "test")].iloc[0]
    space = get_space("nasbench201")
    genotypes = {
        meta["search_seed"]: meta["result"]["genotype"]
        for meta in group.records.meta.values()
        if meta["method"] == "rlnas"
    }
    expected = {seed: worth(space, genotype, "cifar10", "test") for seed, genotype in genotypes.items()}
    assert row["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert row["sd"] == pytest.approx(np.std(list(expected.values()), ddof=1))
    assert row["best"] == pytest.approx(max(expected.values()))
    assert expected[row["best_seed"]] == pytest.approx(row["best"])


def test_random_expectation_optimum_and_reported_rows_stand_beside_table_values(table_results: Path) -> None:
    group = group_of(table_results)
    display = tables.accuracy_table(group, "table", truth.final_values(group)).display
    by_source = display.set_index(["method", "source"])["cifar10 test"]
    assert by_source["Optimum", "table"] == f"{REFERENCE['optimum']['cifar10/test']:.2f}"
    assert by_source["Random cell, expected", "table"] == f"{REFERENCE['mean']['cifar10/test']:.2f}"
    assert by_source["AGNAS", "reported: AGNAS (ICML 2022) Table 3"] == "94.05 ± 0.06"
    assert by_source["DARTS-PT (fix α)", "reported: DARTS-PT (ICLR 2021) Table 4, as 100 - error"] == "93.80"
    assert ("Random", "ours") in by_source.index


def test_trained_accuracies_get_no_reported_rows_and_no_optimum(trained_results: Path) -> None:
    group = group_of(trained_results)
    table = tables.accuracy_table(group, "trained", truth.final_values(group))
    assert not table.display["source"].str.startswith("reported").any()
    assert (table.display.loc[table.display["method"] == "Optimum", "digits test"] == "n/a").all()
    assert "trained by us" in table.caption
    assert tables.deviation_table(group, truth.final_values(group)) is None


def test_best_seed_is_a_column_of_its_own(table_results: Path) -> None:
    group = group_of(table_results)
    table = tables.accuracy_table(group, "table", truth.final_values(group))
    assert table.display.columns[-1] == "best seed, cifar10 test"


def test_both_none_variants_stand_side_by_side_with_the_own_rule_named(table_results: Path) -> None:
    group = group_of(table_results)
    table = tables.none_table(group, truth.final_values(group), ("table", "cifar10", "test")).display.set_index(
        "method"
    )
    assert {"with none", "without none"} <= set(table.columns)
    assert table["own rule"].to_dict()["AGNAS"] == "without none"
    assert table["own rule"].to_dict()["DARTS"] == "with none"


def test_the_comparison_pairs_seeds_and_corrects_over_methods(table_results: Path) -> None:
    values = truth.final_values(group_of(table_results))
    found = tables.comparison(values, "random")
    at = found[(found["dataset"] == "cifar10") & (found["split"] == "test")].set_index("method")
    own = values[(values["variant"] == "genotype") & (values["dataset"] == "cifar10") & (values["split"] == "test")]
    by = {m: p.sort_values("search_seed")["value"].to_numpy() for m, p in own.groupby("method")}
    assert at.loc["darts", "difference"] == pytest.approx((by["darts"] - by["random"]).mean())
    assert at.loc["darts", "p"] == pytest.approx(paired(by["darts"], by["random"]).p)
    np.testing.assert_allclose(at["p_holm"], holm(at["p"].to_numpy()))
    assert (at["pairs"] == 3).all()


def test_the_comparison_uses_only_seeds_that_both_have(tmp_path: Path) -> None:
    for method, seed in (("random", 0), ("random", 1), ("darts", 1), ("darts", 2)):
        write_run(tmp_path, Spec(method=method, search_seed=seed, epochs=1))
    found = tables.comparison(truth.final_values(group_of(tmp_path)), "random")
    assert (found["pairs"] == 1).all()
    assert found["p"].isna().all()


def test_a_missing_baseline_gives_no_comparison(tmp_path: Path) -> None:
    group = group_of(write_results(tmp_path, methods=("darts",), seeds=2, epochs=1))
    assert tables.comparison_table(group, truth.final_values(group), "random") is None


def test_the_deviation_table_says_whether_the_printed_mean_is_inside(table_results: Path) -> None:
    group = group_of(table_results)
    data = tables.deviation(group, truth.final_values(group))
    inside = (data["low"] <= data["value"]) & (data["value"] <= data["high"])
    assert (data["inside"] == inside).all()
    assert set(data["method"]) == {"darts", "darts-pt", "darts-pt-fix-alpha", "agnas", "rlnas"}
    assert data["reason"].str.startswith("ours: preset digits").all()


def test_one_seed_is_never_called_inside_or_outside(tmp_path: Path) -> None:
    group = group_of(write_results(tmp_path, methods=("darts",), seeds=1, epochs=1))
    assert tables.deviation(group, truth.final_values(group))["inside"].isna().all()


def test_a_shorter_schedule_is_never_mixed_in() -> None:
    rows = [{"kind": "table", "dataset": "cifar10", "split": "test", "seed": "mean"} for _ in range(2)]
    frame = pd.DataFrame(rows).assign(epochs=[12, 200], value=[80.0, 93.0], run_id="a", genotype="g", n=1)

    class Stub:
        records = {"evaluation": frame}  # noqa: RUF012

    assert truth.means(Stub())["value"].tolist() == [93.0]  # pyright: ignore[reportArgumentType]


def test_printed_numbers_are_the_papers() -> None:
    printed = reported("nasbench201").set_index(["label", "source", "dataset", "split"])["value"]
    agnas = "AGNAS (ICML 2022) Table 3"
    assert printed["DARTS", agnas, "cifar10", "test"] == 54.30
    assert printed["AGNAS", agnas, "imagenet16-120", "test"] == 45.98
    assert printed["RLNAS", "RLNAS (CVPR 2021) Table 1", "cifar10", "test"] == 93.45
    assert printed["DARTS-PT", "DARTS-PT (ICLR 2021) Table 4", "cifar10", "test"] == pytest.approx(88.11)
    s4 = reported("s4").set_index(["label", "dataset"])["value"]
    assert s4["DARTS", "cifar10"] == pytest.approx(100 - 7.20)

"""Skip connections: of the cell that was selected, against a stated threshold."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import truth
from analysis.common import Arguments, Group, read_groups
from analysis.skip_connections import collapse_rates, final_skips, limit
from itnas import records
from tests.analysis.synthetic import Spec, write_results, write_run

SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def group_of(results: Path) -> Group:
    return next(iter(read_groups(Arguments(results), ("epochs", "evaluation"))))


@pytest.mark.parametrize(("threshold", "least"), [(2 / 3, 4), (0.5, 3), (1.0, 6), (0.7, 5)])
def test_the_threshold_is_a_count_of_the_cells_operations(threshold: float, least: int) -> None:
    assert limit(SKIPS, "nasbench201", threshold) == (least, 6)


def test_a_run_is_counted_by_its_selected_cell_not_by_its_last_epochs(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Spec(method="darts-pt", epochs=2))
    meta = records.read_meta(folder)
    meta["result"] |= {"genotype": SKIPS, "genotype_with_none": SKIPS}
    records.write_meta(folder, meta)
    row = final_skips(group_of(tmp_path), least=4).iloc[0]
    assert (row["skips"], row["skips_with_none"], row["collapsed"]) == (4, 4, True)
    assert row["most"] < 4


def test_random_search_is_counted_by_the_cell_it_drew(table_results: Path) -> None:
    group = group_of(table_results)
    rows = final_skips(group, least=4).query("method == 'random'").set_index("run_id")
    for run_id, meta in group.records.meta.items():
        if meta["method"] == "random":
            assert rows.loc[run_id, "skips"] == meta["result"]["genotype"].count("skip_connect")
            assert rows.loc[run_id, "skips_without_none"] == meta["result"]["genotype_without_none"].count(
                "skip_connect"
            )


def test_the_untrained_epoch_0_never_counts_as_a_collapse(tmp_path: Path) -> None:
    folder = write_run(tmp_path, Spec(epochs=2))
    epochs = records.read_table(folder, "epochs")
    epochs["skips"] = [6, 3, 4]
    records.write_table(folder, "epochs", epochs)
    row = final_skips(group_of(tmp_path), least=4).iloc[0]
    assert (row["most"], row["first_collapsed"]) == (4, 2)


def test_the_collapse_rate_counts_seeds(tmp_path: Path) -> None:
    finals = final_skips(group_of(write_results(tmp_path, methods=("darts",), seeds=4, epochs=3)), least=4)
    finals["collapsed"] = [True, False, False, False]
    row = collapse_rates(finals).iloc[0]
    assert (row["collapsed"], row["rate"], row["seeds"]) == (1, 0.25, 4)
    assert row["rate_low"] < 0.25 < row["rate_high"]


def test_accuracy_per_epoch_is_that_of_the_epochs_cell(table_results: Path) -> None:
    group = group_of(table_results)
    values = truth.epoch_values(group, ("table", "cifar10", "test"))
    evaluation = truth.means(group)
    at = evaluation[(evaluation["dataset"] == "cifar10") & (evaluation["split"] == "test")]
    known = {(row["run_id"], row["genotype"]): row["value"] for row in at.to_dict("records")}
    epochs = {(row["run_id"], row["epoch"]): row["genotype"] for row in group.records["epochs"].to_dict("records")}
    assert len(values) == len(epochs)
    for row in values.to_dict("records"):
        assert row["value"] == known[row["run_id"], epochs[row["run_id"], row["epoch"]]]

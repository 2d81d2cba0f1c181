"""Stability: margins and spreads by hand, agreement of seeds, late changes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.common import Arguments, Group, read_groups
from analysis.stability import (
    StabilityArguments,
    above,
    agreement,
    chance,
    kept_of_choices,
    last_cells,
    last_epochs,
    margins,
    method_stability,
    seed_margins,
)
from itnas.spaces import get_space
from tests.analysis.synthetic import Spec, write_results, write_run


def values(rows: dict[tuple[str, int], list[float]]) -> pd.DataFrame:
    """Scores ``[none, skip, conv]`` of one choice by (run, epoch)."""
    index = pd.MultiIndex.from_tuples(
        [(run, "g", "1<-0", epoch) for run, epoch in rows], names=["run_id", "group", "choice", "epoch"]
    )
    return pd.DataFrame(list(rows.values()), index=index, columns=["none", "skip", "conv"])


def group_of(results: Path) -> Group:
    return next(iter(read_groups(Arguments(results), ("scores", "epochs"))))


def test_margin_and_spread_by_hand() -> None:
    row = margins(values({("a", 1): [1, 2, 3], ("a", 2): [1, 4, 3], ("a", 3): [1, 2, 6]})).iloc[0]
    # Last epoch: conv 6, skip 2, mean 3; conv minus skip was 1, -1, 4.
    assert (row["chosen"], row["second"]) == ("conv", "skip")
    assert row["margin"] == pytest.approx(100 * 4 / 3)
    assert row["spread"] == pytest.approx(100 * np.std([1, -1, 4], ddof=1) / 3)
    assert row["changed"] == 0.5


def test_a_tie_goes_to_the_lower_index_and_has_no_margin() -> None:
    row = margins(values({("a", 1): [2, 2, 1], ("a", 2): [2, 2, 1]})).iloc[0]
    assert (row["chosen"], row["second"], row["margin"]) == ("none", "skip", 0.0)


def test_one_epoch_has_no_spread() -> None:
    row = margins(values({("a", 1): [1, 2, 3]})).iloc[0]
    assert math.isnan(row["spread"])


def test_runs_do_not_lend_each_other_epochs() -> None:
    found = margins(values({("a", 1): [1, 2, 3], ("a", 2): [1, 2, 3], ("b", 1): [3, 2, 1], ("b", 2): [3, 2, 1]}))
    assert found.set_index("run_id")["chosen"].to_dict() == {"a": "conv", "b": "none"}


def test_seed_margins_compare_the_two_best_on_average() -> None:
    found = seed_margins(
        values({("a", 9): [0, 2, 4], ("b", 9): [0, 4, 2], ("c", 9): [0, 2, 6]}),
        pd.Series({"a": "m", "b": "m", "c": "m"}),
    ).iloc[0]
    mean = np.mean([0, 2, 4, 0, 4, 2, 0, 2, 6])
    assert found["margin"] == pytest.approx(100 * np.mean([2, -2, 4]) / mean)
    assert found["spread"] == pytest.approx(100 * np.std([2, -2, 4], ddof=1) / mean)


def test_above_counts_only_known_spreads() -> None:
    frame = pd.DataFrame({"margin": [3.0, 1.0, 9.0], "spread": [1.0, 1.0, np.nan]})
    assert above(frame, 2.0) == 0.5


def test_agreement_is_the_share_of_equal_operations_over_pairs_of_seeds() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    cells = [space.random(rng, exclude_none=False) for _ in range(5)]
    ops = [space.operations(cell) for cell in cells]
    pairs = [(a, b) for a in range(5) for b in range(a)]
    expected = np.mean([np.mean([x == y for x, y in zip(ops[a], ops[b], strict=True)]) for a, b in pairs])
    assert agreement(cells, space) == pytest.approx(expected)
    assert math.isnan(agreement(cells[:1], space))


def test_random_cells_agree_as_often_as_chance_says() -> None:
    space = get_space("nasbench201")
    rng = np.random.default_rng(0)
    cells = [space.random(rng, exclude_none=False) for _ in range(2000)]
    assert agreement(cells, space) == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(("barred", "expected"), [(False, 1 / 5), (True, 1 / 4)])
def test_chance_is_one_over_the_candidates_of_nasbench201(barred: bool, expected: float) -> None:
    assert chance(get_space("nasbench201"), exclude_none=barred) == pytest.approx(expected, abs=0.005)


def test_agreement_where_cells_keep_several_parents_and_drop_blocks() -> None:
    space = get_space("nasbench1shot1-1")
    one = "0;0,1;0,1;0,3;2,4|maxpool3x3;maxpool3x3;conv1x1-bn-relu;conv3x3-bn-relu"
    other = "0;0,1;-;-;0,2|maxpool3x3;conv3x3-bn-relu;-;-"
    # The first keeps 4 operations and 3 x 2 chosen parents, the other 2 and 2; both keep maxpool at 1, and output <- 2.
    assert agreement([one, other], space) == pytest.approx(2 * 2 / (10 + 4))
    assert agreement([one, one], space) == 1.0


def test_a_node_with_two_parents_is_decided_between_the_second_and_the_third() -> None:
    assert kept_of_choices(get_space("nasbench201")) == {}
    space = get_space("nasbench1shot1-2")
    kept = kept_of_choices(space)
    assert {group: count for (group, _), count in kept.items()} == {"input-3": 2, "input-4": 2, "output": 3}
    row = margins(values({("a", 1): [1, 2, 3], ("a", 2): [2, 6, 4]}), {("g", "1<-0"): 2}).iloc[0]
    assert (row["chosen"], row["second"], row["changed"]) == ("conv", "none", 0.0)
    assert row["margin"] == pytest.approx(100 * (4 - 2) / 4)
    row = margins(values({("a", 1): [5, 2, 3], ("a", 2): [2, 6, 4]}), {("g", "1<-0"): 2}).iloc[0]
    assert row["changed"] == 1.0  # none and conv before, skip and conv at the end


def test_late_changes_by_hand() -> None:
    epochs = pd.DataFrame({"epoch": range(7), "genotype": list("zabcacc"), "method": "m", "run_id": "r"})
    # Of epochs 2 to 5 (b c a c), before the last (6: c), two differ.
    assert last_cells(epochs, last=5)["differs"].tolist() == [0.5]


def test_none_cannot_be_second_where_the_rule_bars_it(table_results: Path) -> None:
    group = group_of(table_results)
    found = margins(last_epochs(group, 5))
    method_of = group.records.runs.set_index("run_id")["method"]
    barred = found["run_id"].map(method_of).isin(["agnas", "it-nas"])
    assert "none" not in set(found.loc[barred, "chosen"]) | set(found.loc[barred, "second"])


def test_the_choices_are_those_of_the_last_epochs_cell(table_results: Path) -> None:
    group = group_of(table_results)
    found = margins(last_epochs(group, 5))
    last = group.records["epochs"].sort_values("epoch").groupby("run_id", observed=True)["genotype"].last()
    space = get_space("nasbench201")
    for run, part in found.groupby("run_id"):
        assert part.sort_values("choice")["chosen"].tolist() == space.operations(last[run])


def test_one_seed_has_no_agreement_and_random_no_margin(tmp_path: Path) -> None:
    write_run(tmp_path, Spec(method="random"))
    write_run(tmp_path, Spec(method="darts"))
    group, arguments = group_of(tmp_path), StabilityArguments()
    scores = last_epochs(group, 5)
    rows = method_stability(group, margins(scores), scores, arguments).set_index("method")
    assert rows["agreement"].isna().all()
    margin = rows["margin"].to_dict()
    assert math.isnan(margin["random"])
    assert margin["darts"] > 0


def test_growing_scores_are_above_the_noise_of_epochs_and_random_ones_are_not(tmp_path: Path) -> None:
    group = group_of(write_results(tmp_path, methods=("darts",), seeds=3, epochs=20))
    scores = last_epochs(group, 5)
    noise = scores.copy()
    noise[:] = np.random.default_rng(0).normal(1, 0.1, scores.shape)
    assert above(margins(scores), 2.0) > 0.8 > 0.4 > above(margins(noise), 2.0)

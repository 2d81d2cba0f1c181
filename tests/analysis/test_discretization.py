"""tau from records: which score meets which accuracy, and what a reader is shown when there is no tau."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from analysis.common import Arguments, Group, read_groups
from analysis.discretization import ALL, ONE, edge_taus, find_protocols, method_taus, protocol_agreement, run_taus
from analysis.kendall_tau import chosen_edges, summary_table
from itnas.errors import UserError

OPS = ("none", "skip", "conv")


def scores(values: dict[int, list[float]], *, epoch: int = 5, kind: str = "alpha", run: str = "a") -> pd.DataFrame:
    """Score rows of one edge: ``values`` by cell."""
    rows = [
        {
            "run_id": run,
            "epoch": epoch,
            "cell": cell,
            "group": "g",
            "choice": "1<-0",
            "candidate": op,
            "kind": kind,
            "score": s,
        }
        for cell, row in values.items()
        for op, s in zip(OPS, row, strict=True)
    ]
    return pd.DataFrame(rows)


def accuracies(values: dict[int, list[float]], *, protocol: str = "p", run: str = "a") -> pd.DataFrame:
    """Discretization rows of one edge: ``values`` by cell."""
    rows = [
        {"run_id": run, "cell": c, "group": "g", "choice": "1<-0", "candidate": op, "accuracy": a, "protocol": protocol}
        for c, row in values.items()
        for op, a in zip(OPS, row, strict=True)
    ]
    return pd.DataFrame(rows)


def test_a_cells_accuracy_meets_the_same_cells_score_else_the_aggregate() -> None:
    found = edge_taus(scores({-1: [1, 2, 3], 0: [3, 2, 1]}), accuracies({-1: [1, 2, 3], 0: [1, 2, 3], 1: [1, 2, 3]}))
    by_cell = found.set_index("cell")
    assert by_cell["tau"].to_dict() == pytest.approx({-1: 1.0, 0: -1.0, 1: 1.0})
    assert by_cell["own_score"].to_dict() == {-1: True, 0: True, 1: False}
    assert by_cell["scope"].to_dict() == {-1: ALL, 0: ONE, 1: ONE}


def test_only_the_last_epoch_of_each_kind_counts() -> None:
    both = [scores({-1: [3, 2, 1]}, epoch=1), scores({-1: [1, 2, 3]}, epoch=5)]
    both.append(scores({-1: [3, 2, 1]}, epoch=5, kind="perturbation"))
    found = edge_taus(pd.concat(both), accuracies({-1: [1, 2, 3]})).set_index("kind")["tau"]
    assert found.to_dict() == pytest.approx({"alpha": 1.0, "perturbation": -1.0})


def test_protocols_stand_side_by_side() -> None:
    both = pd.concat([accuracies({-1: [1, 2, 3]}), accuracies({-1: [3, 2, 1]}, protocol="q")])
    found = edge_taus(scores({-1: [1, 2, 3]}), both).set_index("protocol")["tau"]
    assert found.to_dict() == pytest.approx({"p": 1.0, "q": -1.0})


def test_a_constant_score_has_neither_tau_nor_top1() -> None:
    found = edge_taus(scores({-1: [0.2, 0.2, 0.2]}), accuracies({-1: [1, 2, 3]})).iloc[0]
    assert np.isnan([found["tau"], found["p"], found["top1"]]).all()


def test_tau_without_none_leaves_that_candidate_out() -> None:
    found = edge_taus(scores({-1: [9, 1, 2]}), accuracies({-1: [0, 1, 2]})).iloc[0]
    assert found["tau"] == pytest.approx(kendalltau([9, 1, 2], [0, 1, 2])[0])
    assert found["tau_without_none"] == 1.0


def test_top1_agrees_when_the_best_scored_is_among_the_most_accurate() -> None:
    found = edge_taus(scores({0: [1, 3, 2], 1: [3, 2, 1], -1: [1, 2, 3]}), accuracies({0: [1, 5, 5], 1: [1, 2, 3]}))
    assert found.set_index("cell")["top1"].to_dict() == {0: 1.0, 1: 0.0}
    assert found.set_index("cell")["chance"].to_dict() == pytest.approx({0: 2 / 3, 1: 1 / 3})


def test_edges_with_different_candidates_do_not_lend_each_other_any() -> None:
    second = scores({-1: [1, 2, 3]}).assign(choice="2<-0", candidate=["pool", "skip", "conv"])
    accuracy = accuracies({-1: [1, 2, 3]}).assign(choice="2<-0", candidate=["pool", "skip", "conv"])
    found = edge_taus(
        pd.concat([scores({-1: [1, 2, 3]}), second]), pd.concat([accuracies({-1: [3, 2, 1]}), accuracy])
    ).set_index("choice")
    assert found["n"].to_dict() == {"1<-0": 3, "2<-0": 3}
    assert found["tau"].to_dict() == pytest.approx({"1<-0": -1.0, "2<-0": 1.0})


def group_of(results: Path) -> Group:
    return next(iter(read_groups(Arguments(results), ("scores", "discretization"))))


def edges_of(group: Group) -> pd.DataFrame:
    edges = edge_taus(group.records["scores"], group.records["discretization"])
    return edges.merge(group.records.runs[["run_id", "method", "search_seed"]], on="run_id")


def test_taus_agree_with_a_naive_loop_over_the_records(table_results: Path) -> None:
    group = group_of(table_results)
    edges = edges_of(group)
    edges = edges[(edges["method"] == "it-nas") & (edges["search_seed"] == 1)]
    scores_, accuracy = (group.records[name] for name in ("scores", "discretization"))
    mine = [f[(f["method"] == "it-nas") & (f["search_seed"] == 1)] for f in (scores_, accuracy)]
    last = mine[0][mine[0]["epoch"] == mine[0]["epoch"].max()]
    assert len(edges) == 6 * 4
    for row in edges.to_dict("records"):
        at = [
            f[(f["cell"] == row["cell"]) & (f["choice"] == row["choice"])].set_index("candidate")
            for f in (last, mine[1])
        ]
        expected = kendalltau(at[0]["score"], at[1]["accuracy"].loc[at[0].index])
        assert row["tau"] == pytest.approx(expected[0])
        assert row["p"] == pytest.approx(expected[1])


def test_the_mean_over_seeds_weighs_every_seed_alike(table_results: Path) -> None:
    edges = edges_of(group_of(table_results))
    runs, methods = run_taus(edges), method_taus(edges)
    agnas = runs[(runs["method"] == "agnas") & (runs["scope"] == ONE)]
    row = methods[(methods["method"] == "agnas") & (methods["scope"] == ONE)].iloc[0]
    assert len(agnas) == 3
    assert row["tau"] == pytest.approx(agnas["tau"].mean())
    assert row["edges"] == agnas["edges"].sum() == 3 * 3 * 6
    assert row["low"] <= row["tau"] <= row["high"]


def test_random_stands_in_the_table_as_constant_and_never_as_zero(table_results: Path) -> None:
    group = group_of(table_results)
    edges = edges_of(group)
    table = summary_table(group, edges, find_protocols(edges))
    random = table.display[table.display["method"] == "Random"].iloc[0]
    assert random["τ"] == "n/a (constant)"
    assert random["seeds"] == 3


def test_every_method_is_shown_under_the_most_common_protocol_it_has() -> None:
    rows = [(m, p, f"{m}{s}") for m in ("agnas", "darts") for s in range(3) for p in ("valid", "train")]
    rows += [("darts", "valid", "darts3"), ("rlnas", "random-labels", "rlnas0")]
    edges = pd.DataFrame(rows, columns=["method", "protocol", "run_id"])
    found = find_protocols(edges)
    assert found.letters == {"valid": "A", "train": "B", "random-labels": "C"}
    assert found.headline == {"agnas": "valid", "darts": "valid", "rlnas": "random-labels"}
    assert found.shown(edges)["protocol"].tolist() == ["valid"] * 7 + ["random-labels"]
    assert found.mark("rlnas") == "C"


def test_a_wished_protocol_leaves_out_methods_without_it_and_a_wrong_one_is_refused() -> None:
    edges = pd.DataFrame({"method": ["darts", "rlnas"], "protocol": ["valid", "other"], "run_id": ["a", "b"]})
    assert find_protocols(edges, "valid").headline == {"darts": "valid"}
    with pytest.raises(UserError, match="'bn=eval' is in no run"):
        find_protocols(edges, "bn=eval")


def test_the_papers_edges_are_taken_where_the_space_has_them(table_results: Path) -> None:
    frame = group_of(table_results).records["discretization"]
    assert chosen_edges(frame, ()) == [(0, "edges", "2<-0"), (1, "edges", "1<-0")]
    assert chosen_edges(frame, ("2:5",)) == [(2, "edges", "3<-2")]
    with pytest.raises(UserError, match="no such edge"):
        chosen_edges(frame, ("7:0",))
    with pytest.raises(UserError, match="CELL:INDEX"):
        chosen_edges(frame, ("3<-2",))


def test_protocol_agreement_is_the_mean_tau_of_the_accuracies_of_runs_that_have_both() -> None:
    rows = [
        accuracies({0: [1, 2, 3], 1: [1, 2, 3], -1: [9, 9, 9]}),
        accuracies({0: [1, 2, 3], 1: [3, 2, 1]}, protocol="q"),
    ]
    rows.append(accuracies({0: [1, 2, 3]}, run="b"))
    found = protocol_agreement(pd.concat(rows).assign(method="darts"))
    assert found.to_dict("records") == [
        {"method": "darts", "first": "p", "second": "q", "runs": 1, "edges": 2, "tau": pytest.approx(0.0)}
    ]
    assert protocol_agreement(pd.concat(rows[:1]).assign(method="darts")).empty

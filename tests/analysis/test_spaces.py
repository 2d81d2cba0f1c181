"""Every analysis on spaces unlike NAS-Bench-201: several groups, unequal candidates, several parents, no table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import figures, kendall_tau, ranking, report, skip_connections, stability, tables
from analysis.cells import cell_graphs
from analysis.common import Arguments
from itnas.spaces import SPACES, get_space
from tests.analysis.synthetic import write_results

METHODS = ("random", "darts", "darts-pt", "agnas")
KINDS = {"nasbench1shot1-2": "table", "darts": "trained", "s1": "trained"}
"""Spaces, and where the accuracies of their cells come from."""


@pytest.fixture(scope="module", params=[name for name in KINDS if name in SPACES])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a small study of one space."""
    space = request.param
    folder = tmp_path_factory.mktemp(space)
    return write_results(
        folder,
        METHODS,
        seeds=2,
        space=space,
        study="other",
        dataset="cifar10",
        kind=KINDS[space],
        epochs=3,
        architectures=12,
        eigenvalues=True,
    )


def space_of(results: Path) -> str:
    return next(name for name in KINDS if results.name.startswith(name))


def read(results: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(results / "analysis" / "other-digits" / f"{name}.csv")


def test_the_report_has_every_analysis(results: Path) -> None:
    if space_of(results) == "darts":
        pytest.skip("s1 has the same groups and fewer candidates")
    report.main(Arguments(results))
    text = (results / "analysis" / "report.html").read_text()
    assert text.count("<img") >= 10
    assert all(f"<h3>{title}</h3>" in text for title, _, _ in report.SECTIONS)


def test_tau_is_taken_over_the_choices_of_a_cells_own_groups(results: Path) -> None:
    kendall_tau.main(kendall_tau.KendallArguments(results, edges=("0:0",)))
    space = get_space(space_of(results))
    edges = read(results, "kendall_tau_edges")
    sizes = {(group, choice.name): len(choice.candidates) for group in space.groups for choice in space.groups[group]}
    assert all(sizes[row.group, row.choice] == row.n for row in edges.itertuples())
    assert set(edges["group"]) == set(space.groups)
    one = edges[(edges["cell"] == 1) & (edges["run_id"] == edges["run_id"].iloc[0])]
    assert len(one) == len(one.drop_duplicates(["group", "choice", "kind"]))
    if "reduce" in space.groups:
        assert set(one["group"]) == {"reduce"}


def test_accuracies_come_from_the_table_or_from_training(results: Path) -> None:
    tables.main(tables.TableArguments(results))
    kind = KINDS[space_of(results)]
    rows = read(results, f"accuracy_{kind}")
    assert set(rows["kind"]) == {kind}
    assert len(rows[(rows["variant"] == "genotype") & (rows["split"] == "test")]) == len(METHODS)
    text = (results / "analysis" / "other-digits" / f"accuracy_{kind}.md").read_text()
    assert "reported:" in text
    assert not (results / "analysis" / "other-digits" / "none.csv").exists() or space_of(results) == "darts"


def test_skip_connections_are_counted_where_there_are_any(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skip_connections.main(skip_connections.SkipArguments(results))
    said = capsys.readouterr().out
    if space_of(results) in ("darts", "s1"):
        assert read(results, "skip_connections")["skips"].between(0, 16).all()
    else:
        assert "has no candidate skip_connect" in said


def test_stability_and_ranking_flow_through(results: Path) -> None:
    stability.main(stability.StabilityArguments(results))
    found = read(results, "stability").set_index("method")
    assert found["agreement"].between(0, 1).all()
    assert found["chance"].between(0.05, 0.7).all()
    assert found["margin"].drop("random").gt(0).all()
    ranking.main(ranking.RankingArguments(results, top=3))
    ranked = read(results, "ranking")
    expected = {"supernet", "score"} if KINDS[space_of(results)] == "table" else {"score"}
    assert set(ranked["ranker"]) == expected


def test_scores_of_many_edges_are_drawn_group_by_group(results: Path) -> None:
    figures.main(Arguments(results))
    folder = results / "analysis" / "other-digits"
    space = get_space(space_of(results))
    rows = sum(len(choice.candidates) for choices in space.groups.values() for choice in choices)
    names = {f"scores_{group}.png" for group in space.groups} if rows > figures.ROWS else {"scores.png"}
    assert {path.name for path in folder.glob("scores*.png")} == names
    assert (folder / "cell_darts.png").is_file()


def test_a_cell_of_two_groups_is_two_graphs_of_the_edges_it_keeps() -> None:
    import numpy as np

    space = get_space("s2")
    graphs = cell_graphs(space, space.random(np.random.default_rng(0), exclude_none=True))
    assert [name for name, _ in graphs] == ["normal", "reduce"]
    assert [len(edges) for _, edges in graphs] == [8, 8]

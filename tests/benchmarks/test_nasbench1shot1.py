"""Cells of NAS-Bench-1Shot1 as NAS-Bench-101 graphs: pruning, isomorphism classes, values, the real table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from itnas.benchmarks import Graph, MissingValue, NASBench101Table
from itnas.benchmarks.fingerprints import fingerprints, in_degrees, read_rows
from itnas.benchmarks.nasbench1shot1 import NASBench1Shot1Table, cell_arrays, to_graph
from itnas.benchmarks.tables import Provenance, write_table
from itnas.cli_data import query_main
from itnas.errors import UserError
from itnas.spaces import NASBench1Shot1, get_space
from itnas.spaces.nasbench1shot1 import Cell, all_cells, all_graphs

SPACES = [get_space(f"nasbench1shot1-{number}") for number in (1, 2, 3)]
ALL = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
TEST: dict[str, Any] = {"dataset": "cifar10", "split": "test", "epochs": 108, "repeat": "mean"}
CELL = "0;0,1;1,2;-;2,3|conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;-"


def cell_fingerprints(space: NASBench1Shot1) -> np.ndarray:
    return fingerprints(*cell_arrays(space))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up table of the 2,685 graphs of space 1: graph i, in order of hashes, has i/100 % on test."""
    _, first = np.unique(cell_fingerprints(SPACES[0]), return_index=True)
    graphs = {(graph := to_graph(SPACES[0], text)).hash(): graph for text in genotypes(SPACES[0], first)}
    hashes = sorted(graphs)
    bits = [graphs[digest].to_bits() for digest in hashes]
    columns: dict[str, Any] = {"hash": hashes, "n_vertices": np.array([row[0] for row in bits])}
    columns |= {"adj_bits": np.array([row[1] for row in bits]), "ops": [row[2] for row in bits]}
    columns |= {"test_acc_108_mean": np.arange(len(hashes)) / 10_000, "test_acc_108_0": np.arange(len(hashes)) / 10_000}
    columns["valid_acc_108_mean"] = np.full(len(hashes), 0.5)
    folder = tmp_path_factory.mktemp("data") / "nas-bench-101"
    write_table(folder / "table.parquet", columns, Provenance("nas-bench-101", "made up", (), len(hashes)))
    return folder / "table.parquet"


def genotypes(space: NASBench1Shot1, rows: np.ndarray) -> list[str]:
    graph_of, ops = all_cells(space)
    graphs = all_graphs(space.n_parents)
    return [str(Cell(graphs[graph_of[row]], tuple(ops[row].tolist()))) for row in rows]


def test_dummy_and_loose_ends_are_pruned() -> None:
    graph = to_graph(SPACES[0], "0;0,1;1,2;-;2,3|conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;-")
    matrix = ((0, 1, 1, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 1, 1), (0, 0, 0, 0, 1), (0, 0, 0, 0, 0))
    assert graph == Graph(matrix, ("input", "conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu", "output"))


@pytest.mark.parametrize(("number", "classes"), [(1, 2_685), (2, 7_773), (3, 55_854)])
def test_isomorphism_classes(number: int, classes: int) -> None:
    assert len(np.unique(cell_fingerprints(SPACES[number - 1]))) == classes


@ALL
def test_fingerprints_agree_with_the_official_hash(space: NASBench1Shot1) -> None:
    prints = cell_fingerprints(space)
    some = np.random.default_rng(0).choice(len(prints), 60, replace=False)
    alike = np.flatnonzero(np.isin(prints, prints[some]))[:400]
    hashes = [to_graph(space, genotype).hash() for genotype in genotypes(space, alike)]
    assert len(set(zip(hashes, prints[alike].tolist(), strict=True))) == len(set(hashes)) == len(set(prints[alike]))


@ALL
def test_a_cell_and_its_stored_row_have_one_fingerprint(space: NASBench1Shot1) -> None:
    prints = cell_fingerprints(space)
    some = np.random.default_rng(1).choice(len(prints), 50, replace=False)
    rows = [to_graph(space, genotype).to_bits() for genotype in genotypes(space, some)]
    n_vertices, adj_bits = (np.array([row[i] for row in rows]) for i in (0, 1))
    edges, labels = read_rows(n_vertices, adj_bits, [row[2] for row in rows])
    assert np.array_equal(fingerprints(edges, labels), prints[some])
    assert np.array_equal(in_degrees(edges), in_degrees(cell_arrays(space)[0][some]))


@pytest.mark.data
@ALL
def test_1000_random_scores_derive_to_graphs_of_the_table(space: NASBench1Shot1, data_root: Path) -> None:
    table, rng = NASBench101Table.open(data_root), np.random.default_rng(0)
    for _ in range(1000):
        scores = {group: rng.normal(size=(len(c), len(c[0].candidates))) for group, c in space.groups.items()}
        graph = to_graph(space, space.derive(scores, exclude_none=True))
        assert sum(map(sum, graph.matrix)) <= 9
        assert table.graph(table.index(graph)).hash() == graph.hash()


@pytest.mark.data
def test_fingerprints_tell_all_graphs_of_the_benchmark_apart(data_root: Path) -> None:
    rows = read_rows(*NASBench101Table.open(data_root).structures())
    assert len(np.unique(fingerprints(*rows))) == 423_624


# --- what the cells of a space are worth ------------------------------------------------------------------------------


def test_the_rows_of_the_table_are_those_of_the_official_hash(path: Path) -> None:
    table = NASBench1Shot1Table.open(SPACES[0], path)
    some = np.arange(0, 3_702, 37)
    assert len(table) == len(table.rows) == 3_702
    for row, genotype in zip(some, genotypes(SPACES[0], some), strict=True):
        assert table.rows[row] == table.parent.index(to_graph(SPACES[0], genotype))
        assert table.lookup(genotype, **TEST) == pytest.approx(table.rows[row] / 100)


def test_optimum_and_mean_are_over_the_distinct_cells(path: Path) -> None:
    table = NASBench1Shot1Table.open(SPACES[0], path)
    reference = table.reference()
    assert reference["n"] == 3_702
    assert reference["optimum"] == {"cifar10/test": pytest.approx(26.84), "cifar10/valid": 50.0}
    assert reference["mean"]["cifar10/test"] == pytest.approx(table.rows.mean() / 100)
    assert reference["mean"]["cifar10/test"] != pytest.approx(26.84 / 2, abs=1e-3)  # that of the graphs
    best = genotypes(SPACES[0], np.flatnonzero(table.rows == 2_684))
    assert [table.rank(genotype, **TEST) for genotype in best] == [(1, 3_702)] * len(best)


def test_evaluation_rows_have_what_the_table_has_and_nothing_else(path: Path) -> None:
    table = NASBench1Shot1Table.open(SPACES[0], path)
    rows = table.evaluation_rows([CELL])
    value = table.lookup(CELL, **TEST)
    common = {"genotype": CELL, "kind": "table", "dataset": "cifar10", "epochs": 108}
    assert rows == [
        {**common, "split": "valid", "seed": "mean", "value": 50.0, "n": 3},
        {**common, "split": "test", "seed": "mean", "value": value, "n": 3},
        {**common, "split": "test", "seed": "0", "value": value, "n": 1},
    ]


def test_a_table_without_a_cell_or_a_value_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks [\d,]+ of 12,474 cells of nasbench1shot1-2; import it again"):
        NASBench1Shot1Table.open(SPACES[1], path).reference()
    frame = pd.read_parquet(path)
    frame.loc[7, "test_acc_108_mean"] = np.nan
    columns = {name: list(frame[name]) if frame[name].dtype == "str" else frame[name].to_numpy() for name in frame}
    made = write_table(tmp_path / "table.parquet", columns, Provenance("nas-bench-101", "made up", (), len(frame)))
    assert made.architectures == 2_685
    with pytest.raises(MissingValue, match=r"test accuracy of 3,7\d\d|3,6\d\d of 3,702 cells"):
        NASBench1Shot1Table.open(SPACES[0], tmp_path / "table.parquet").reference()


def test_query_ranks_a_cell_among_those_of_its_space(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query = ["--dataset", "cifar10", "--split", "test", "--epochs", "108", "--seed", "mean"]
    query_main([CELL, *query, "--data-dir", str(path.parent.parent)])
    table = NASBench1Shot1Table.open(SPACES[0], path)
    place = table.rank(CELL, **TEST).rank
    assert capsys.readouterr().out == f"{table.lookup(CELL, **TEST):.4f} %  n = 3  rank {place:,} of 3,702\n"


@pytest.mark.data
@pytest.mark.parametrize(("number", "error", "n"), [(1, 0.05799, 3_702), (2, 0.06033, 12_474), (3, 0.05823, 135_900)])
def test_the_best_mean_test_errors_and_every_value_of_the_shared_tables(
    number: int, error: float, n: int, data_root: Path
) -> None:
    space = SPACES[number - 1]
    table = NASBench1Shot1Table.open(space, data_root)
    reference = table.reference()
    shared = pd.read_parquet(data_root / "nas-bench-1shot1" / f"s{space.name[-1]}.parquet")
    assert reference["n"] == n == len(shared)
    assert 1 - reference["optimum"]["cifar10/test"] / 100 == pytest.approx(error, abs=5e-6)
    assert reference["mean"]["cifar10/test"] == pytest.approx(100 * shared["test_acc_108_mean"].mean())
    assert "cifar10/valid" not in reference["optimum"]  # the source of this table has no validation accuracy
    assert np.allclose(np.sort(table.column(**TEST)), 100 * np.sort(shared["test_acc_108_mean"]))
    assert set(table.parent.hashes[table.rows].astype(str)) == set(shared["hash"])

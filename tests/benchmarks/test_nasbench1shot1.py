"""Cells of NAS-Bench-1Shot1 as NAS-Bench-101 graphs: pruning, isomorphism classes, and the real table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from itnas.benchmarks import Graph, NASBench101Table
from itnas.benchmarks.nasbench1shot1 import cell_fingerprints, row_fingerprints, to_graph
from itnas.spaces import NASBench1Shot1, get_space
from itnas.spaces.nasbench1shot1 import Cell, all_cells, all_graphs

SPACES = [get_space(f"nasbench1shot1-{number}") for number in (1, 2, 3)]
ALL = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


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
    assert np.array_equal(row_fingerprints(n_vertices, adj_bits, [row[2] for row in rows]), prints[some])


@pytest.mark.data
@ALL
def test_1000_random_scores_derive_to_graphs_of_the_table(space: NASBench1Shot1, data_root: Path) -> None:
    table, rng = NASBench101Table.open(data_root), np.random.default_rng(0)
    for _ in range(1000):
        scores = {group: rng.normal(size=(len(c), len(c[0].candidates))) for group, c in space.groups.items()}
        graph = to_graph(space, space.derive(scores, exclude_none=True))
        assert sum(map(sum, graph.matrix)) <= 9
        assert table.graph(table.index(graph)).hash() == graph.hash()

"""NAS-Bench-101 graphs: the official hash, pruning, and the stored form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnas.benchmarks import Graph, NASBench101Table
from itnas.benchmarks.graphs import OPERATIONS
from itnas.errors import UserError

INCEPTION = Graph(  # the example of the benchmark's own README
    (
        (0, 1, 1, 1, 0, 1, 0),
        (0, 0, 0, 0, 0, 0, 1),
        (0, 0, 0, 0, 0, 0, 1),
        (0, 0, 0, 0, 1, 0, 0),
        (0, 0, 0, 0, 0, 0, 1),
        (0, 0, 0, 0, 0, 0, 1),
        (0, 0, 0, 0, 0, 0, 0),
    ),
    ("input", OPERATIONS[1], OPERATIONS[0], OPERATIONS[0], OPERATIONS[0], OPERATIONS[2], "output"),
)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Draw a graph with a path from input to output and at most nine edges."""
    size = draw(st.integers(2, 7))
    pairs = [(x, y) for y in range(size) for x in range(y)]
    edges = draw(st.sets(st.sampled_from(pairs), max_size=8)) | {(0, size - 1)}
    matrix = tuple(tuple(int((x, y) in edges) for y in range(size)) for x in range(size))
    ops = draw(st.lists(st.sampled_from(OPERATIONS), min_size=size - 2, max_size=size - 2))
    return Graph(matrix, ("input", *ops, "output"))


@given(graphs(), st.randoms(use_true_random=False))
def test_hash_does_not_depend_on_the_order_of_the_vertices(graph: Graph, random: object) -> None:
    size = len(graph.ops)
    order = [0]
    while len(order) < size:  # a random topological order, output last
        ready = [
            v for v in range(1, size)
            if v not in order and (v < size - 1 or len(order) == size - 1)
            and all(u in order for u in range(size) if graph.matrix[u][v])
        ]  # fmt: skip
        order.append(random.choice(ready))  # type: ignore[attr-defined]
    matrix = np.array(graph.matrix)[np.ix_(order, order)]
    assert Graph(tuple(map(tuple, matrix)), tuple(graph.ops[v] for v in order)).hash() == graph.hash()


@given(graphs())
def test_pruning_is_idempotent_and_does_not_change_the_hash(graph: Graph) -> None:
    pruned = graph.pruned()
    assert pruned.pruned() == pruned
    assert pruned.hash() == graph.hash()
    adjacency = np.array(pruned.matrix)
    assert adjacency[:-1].any(axis=1).all()  # every vertex but the output leads somewhere
    assert adjacency[:, 1:].any(axis=0).all()


@given(graphs())
def test_the_stored_form_and_json_come_back(graph: Graph) -> None:
    assert Graph.from_bits(*graph.to_bits()) == graph
    assert Graph.from_json(json.dumps({"matrix": graph.matrix, "ops": graph.ops})) == graph


def test_a_dangling_vertex_is_pruned() -> None:
    dangling = Graph(((0, 1, 1), (0, 0, 0), (0, 0, 0)), ("input", OPERATIONS[0], "output"))
    assert dangling.pruned() == Graph(((0, 1), (0, 0)), ("input", "output"))


def test_labels_and_edges_change_the_hash() -> None:
    line = ((0, 1, 0), (0, 0, 1), (0, 0, 0))
    skip = ((0, 1, 1), (0, 0, 1), (0, 0, 0))
    hashes = {Graph(m, ("input", op, "output")).hash() for m in (line, skip) for op in OPERATIONS}
    assert len(hashes) == 6


@pytest.mark.parametrize(
    ("bits", "digest"),
    [  # rows of the benchmark
        ((7, 1205349, "02001"), "00005c142e6f48ac74fdcf73e3439874"),
        ((7, 1335845, "11010"), "0000718c96730a92ea6d5242f8ce77e2"),
        ((7, 1330725, "02121"), "0000cb5372fad9d62c470df699ac6d52"),
    ],
)
def test_known_graphs_have_their_official_hash(bits: tuple[int, int, str], digest: str) -> None:
    assert Graph.from_bits(*bits).hash() == digest


@pytest.mark.data
def test_the_real_tables_hashes_are_reproduced(data: Path) -> None:
    real = pd.read_parquet(data / "nas-bench-101" / "table.parquet")
    for row in real.iloc[::500].itertuples():
        graph = Graph.from_bits(row.n_vertices, row.adj_bits, row.ops)  # type: ignore[arg-type]
        assert graph.hash() == row.hash
        assert graph.pruned() == graph
        assert graph.to_bits() == (row.n_vertices, row.adj_bits, row.ops)


@pytest.mark.data
def test_the_real_table_answers_graphs_and_hashes(data: Path) -> None:
    table = NASBench101Table.open(data)
    real = pd.read_parquet(data / "nas-bench-101" / "table.parquet").set_index("hash")["test_acc_108_mean"]
    value = table.lookup(INCEPTION, dataset="cifar10", split="test", epochs=108, repeat="mean")
    assert value == pytest.approx(100 * real[INCEPTION.hash()], abs=1e-12)
    assert len(table) == 423_624
    assert table.rank(str(real.idxmax()), dataset="cifar10", split="test", epochs=108, repeat="mean") == (1, 423_624)
    hashes = list(real.index[::9999])
    many = table.lookup_many(hashes, dataset="cifar10", split="test", epochs=108, repeat="mean")
    np.testing.assert_allclose(many, 100 * real[hashes])


@pytest.mark.parametrize(
    ("matrix", "ops", "message"),
    [
        (((0, 1),), ("input", "output"), "square matrix"),
        (((0, 1), (1, 0)), ("input", "output"), "above the diagonal"),
        (((0, 2), (0, 0)), ("input", "output"), "0 and 1"),
        (((0, 1), (0, 0)), ("output", "input"), "starts with 'input'"),
        (((0, 1, 0), (0, 0, 1), (0, 0, 0)), ("input", "conv", "output"), "unknown NAS-Bench-101 operation 'conv'"),
    ],
)
def test_malformed_graphs_are_refused(matrix: tuple[tuple[int, ...], ...], ops: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Graph(matrix, ops)


def test_graphs_outside_the_benchmark_have_no_hash() -> None:
    with pytest.raises(UserError, match="no path"):
        Graph(((0, 0), (0, 0)), ("input", "output")).hash()
    dense = tuple(tuple(int(x < y) for y in range(6)) for x in range(6))
    with pytest.raises(UserError, match="6 vertices and 15 edges"):
        Graph(dense, ("input", *[OPERATIONS[0]] * 4, "output")).hash()
    with pytest.raises(UserError, match="malformed graph"):
        Graph.from_json("[1]")

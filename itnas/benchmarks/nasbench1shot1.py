"""Cells of NAS-Bench-1Shot1 as graphs of NAS-Bench-101: one graph at a time, and whole spaces at once.

The official hash takes 60 microseconds a graph, too long for all cells of a space at the start of a run. Whole arrays of
graphs are therefore compared by 64-bit fingerprints, which refine vertices as the official hash does; that they tell the
benchmark's 423,624 graphs apart, and no isomorphic cells, is a test.
"""

from __future__ import annotations

import numpy as np

from itnas.benchmarks.graphs import MAX_VERTICES, OPERATIONS, Graph
from itnas.spaces import nasbench1shot1 as space
from itnas.spaces.nasbench1shot1 import NASBench1Shot1

EDGES = tuple((x, y) for y in range(MAX_VERTICES) for x in range(y))
"""Edges x -> y in the order of the bits of the table's ``adj_bits``."""
_ABSENT, _INPUT, _OUTPUT = 0, 1, 2
_FIRST_OPERATION = 3
_CHUNK = 1 << 13
"""Graphs worked on together; their vertices stay in the processor's cache."""


def to_graph(kind: NASBench1Shot1, genotype: str) -> Graph:
    """Return the NAS-Bench-101 graph of a genotype, loose ends and dummy vertex pruned.

    Raises:
        UserError: the text is no cell of the space.
    """
    return Graph(*space.to_spec(kind.parse(genotype))).pruned()


def cell_fingerprints(kind: NASBench1Shot1) -> np.ndarray:
    """Return the fingerprint of every cell of a space, ``uint64 [cells]`` in the order of :func:`space.all_cells`."""
    graphs = space.all_graphs(kind.n_parents)
    graph_of, ops = space.all_cells(kind)
    no_ops = (0,) * kind.n_blocks
    matrices = np.array([space.to_spec(space.Cell(graph, no_ops))[0] for graph in graphs])
    bits = np.stack([matrices[:, x, y] for x, y in EDGES], axis=1)
    order = np.array([_ABSENT, *(_FIRST_OPERATION + OPERATIONS.index(op) for op in space.OPERATIONS)], dtype=np.uint8)
    labels = np.full((len(ops), MAX_VERTICES), _ABSENT, dtype=np.uint8)
    labels[:, 0], labels[:, -1] = _INPUT, _OUTPUT
    labels[:, 1 : 1 + kind.n_blocks] = order[ops + 1]
    return fingerprints(bits[graph_of].astype(bool), labels)


def row_fingerprints(n_vertices: np.ndarray, adj_bits: np.ndarray, ops: list[str]) -> np.ndarray:
    """Return the fingerprints of rows of the NAS-Bench-101 table, ``uint64 [rows]``; see :meth:`Graph.from_bits`."""
    digits = np.array(ops, dtype=f"S{MAX_VERTICES - 2}").view(np.uint8).reshape(len(ops), -1)
    labels = np.full((len(ops), MAX_VERTICES), _ABSENT, dtype=np.uint8)
    labels[:, 1:-1] = np.where(digits == 0, _ABSENT, digits - ord("0") + _FIRST_OPERATION)
    labels[:, 0] = _INPUT
    labels[np.arange(len(ops)), n_vertices - 1] = _OUTPUT
    shifts = np.arange(len(EDGES), dtype=adj_bits.dtype)
    return fingerprints((adj_bits[:, None] >> shifts & 1).astype(bool), labels)


def fingerprints(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a number per graph that isomorphic graphs share, and others do with probability about 2^-64.

    A vertex starts as its label and is then replaced, once per vertex, by a mixture of itself, the sum over its
    predecessors and the sum over its successors.

    Args:
        edges: ``bool [graphs, 21]`` in the order of :data:`EDGES`.
        labels: ``uint8 [graphs, 7]``, 0 for a vertex that is not there.
    """
    found = [_fingerprints(edges[i : i + _CHUNK], labels[i : i + _CHUNK]) for i in range(0, len(labels), _CHUNK)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def _fingerprints(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    there = labels.T != _ABSENT
    present = edges.T.astype(np.uint64)
    state = np.where(there, _mix(labels.T.astype(np.uint64)), np.uint64(0))
    for _ in range(MAX_VERTICES):
        before, after = np.zeros_like(state), np.zeros_like(state)
        for has, (x, y) in zip(present, EDGES, strict=True):
            before[y] += state[x] * has
            after[x] += state[y] * has
        state = np.where(there, _mix(state + _mix(before) * np.uint64(3) + _mix(after + np.uint64(1))), np.uint64(0))
    return _mix(state.sum(axis=0, dtype=np.uint64))


def _mix(values: np.ndarray) -> np.ndarray:
    """Return well-mixed bits of ``uint64`` values (the finaliser of splitmix64, Steele et al. 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

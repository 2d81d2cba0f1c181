"""Fingerprints of many NAS-Bench-101 graphs at once, as arrays, equal for isomorphic graphs.

The official hash takes some 60 microseconds a graph, too long for a whole search space whenever a run starts. A
fingerprint of 64 bits refines vertices as that hash does; a test shows that it tells the benchmark's 423,624 graphs apart.
"""

from __future__ import annotations

import numpy as np

from itnas.benchmarks.graphs import MAX_VERTICES

EDGES = tuple((x, y) for y in range(MAX_VERTICES) for x in range(y))
"""Edges x -> y in the order of the bits of the table's ``adj_bits``."""
ABSENT, INPUT, OUTPUT, FIRST_OPERATION = 0, 1, 2, 3
"""Labels of vertices; operations of :data:`itnas.benchmarks.graphs.OPERATIONS` follow from ``FIRST_OPERATION``."""
_CHUNK = 1 << 13
"""Graphs worked on together; their vertices stay in the processor's cache."""
_ROUNDS = 3
"""Refinements; two are enough to tell all graphs of the benchmark apart."""
_EDGES_INTO = np.array([[y == end for end in range(MAX_VERTICES)] for _, y in EDGES], dtype=np.uint8)


def read_rows(n_vertices: np.ndarray, adj_bits: np.ndarray, ops: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return edges ``bool [rows, 21]`` and labels ``uint8 [rows, 7]`` of rows of the NAS-Bench-101 table.

    ``n_vertices``, ``adj_bits`` and ``ops`` are its columns; see :meth:`itnas.benchmarks.graphs.Graph.from_bits`.
    """
    digits = np.array(ops, dtype=f"S{MAX_VERTICES - 2}").view(np.uint8).reshape(len(ops), -1)
    labels = np.full((len(ops), MAX_VERTICES), ABSENT, dtype=np.uint8)
    labels[:, 1:-1] = np.where(digits == 0, ABSENT, digits - ord("0") + FIRST_OPERATION)
    labels[:, 0] = INPUT
    labels[np.arange(len(ops)), n_vertices - 1] = OUTPUT
    shifts = np.arange(len(EDGES), dtype=adj_bits.dtype)
    return (adj_bits[:, None] >> shifts & 1).astype(bool), labels


def in_degrees(edges: np.ndarray) -> np.ndarray:
    """Return a number per graph that says how many vertices have how many predecessors, ``int64 [graphs]``."""
    return (1 << 3 * (edges.view(np.uint8) @ _EDGES_INTO).astype(np.int64)).sum(axis=1)


def fingerprints(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return a number per graph that isomorphic graphs share, and others do with probability about 2^-64.

    A vertex starts as its label and is then replaced, round by round, by a mixture of itself, the sum over its
    predecessors and the sum over its successors.

    Args:
        edges: ``bool [graphs, 21]`` in the order of :data:`EDGES`.
        labels: ``uint8 [graphs, 7]``, 0 for a vertex that is not there.
    """
    found = [_fingerprints(edges[i : i + _CHUNK], labels[i : i + _CHUNK]) for i in range(0, len(labels), _CHUNK)]
    return np.concatenate(found) if found else np.zeros(0, dtype=np.uint64)


def _fingerprints(edges: np.ndarray, labels: np.ndarray) -> np.ndarray:
    there = labels.T != ABSENT
    present = edges.T.astype(np.uint64)
    state = np.where(there, _mix(labels.T.astype(np.uint64)), np.uint64(0))
    for _ in range(_ROUNDS):
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

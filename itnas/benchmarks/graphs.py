"""NAS-Bench-101 graphs: pruning, the official graph hash, and the compact form in which the table stores them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from itnas.errors import UserError

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""Labels of the interior vertices in the benchmark's order, which the hash depends on."""
MAX_VERTICES, MAX_EDGES = 7, 9
INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True)
class Graph:
    """A cell of NAS-Bench-101: vertex 0 is the input, the last one the output, edges go from lower to higher vertices.

    Raises:
        UserError: the matrix is not square, 0-1 and strictly upper triangular, or does not match the labels.
    """

    matrix: tuple[tuple[int, ...], ...]
    """Adjacency: ``matrix[x][y]`` is 1 for an edge x -> y."""
    ops: tuple[str, ...]
    """Label of every vertex: ``input``, interior operations of :data:`OPERATIONS`, ``output``."""

    def __post_init__(self) -> None:
        size = len(self.ops)
        rows = [tuple(int(x) for x in row) for row in self.matrix]
        object.__setattr__(self, "matrix", tuple(rows))
        object.__setattr__(self, "ops", tuple(self.ops))
        if size < 2 or len(rows) != size or any(len(row) != size for row in rows):
            raise UserError(
                f"a graph needs a square matrix with a row per label; got {len(rows)} rows and {size} labels"
            )
        if any(x not in (0, 1) for row in rows for x in row) or any(
            rows[y][x] for x in range(size) for y in range(x, size)
        ):
            raise UserError("a graph's matrix must hold 0 and 1, with ones only above the diagonal")
        if (self.ops[0], self.ops[-1]) != (INPUT, OUTPUT):
            raise UserError(
                f"a graph starts with 'input' and ends with 'output'; got {self.ops[0]!r} and {self.ops[-1]!r}"
            )
        unknown = [op for op in self.ops[1:-1] if op not in OPERATIONS]
        if unknown:
            raise UserError(f"unknown NAS-Bench-101 operation {unknown[0]!r}; choose among {', '.join(OPERATIONS)}")

    @classmethod
    def from_bits(cls, n_vertices: int, adj_bits: int, ops: str) -> Graph:
        """Return the graph of a table row: edge x -> y (x < y) is bit ``x + y(y-1)/2``, interior labels are digits."""
        matrix = [
            [int(x < y and adj_bits >> (x + y * (y - 1) // 2) & 1) for y in range(n_vertices)]
            for x in range(n_vertices)
        ]
        return cls(tuple(map(tuple, matrix)), (INPUT, *(OPERATIONS[int(op)] for op in ops), OUTPUT))

    @classmethod
    def from_json(cls, text: str) -> Graph:
        """Return the graph of ``{"matrix": [[...]], "ops": [...]}``."""
        try:
            value = json.loads(text)
            return cls(tuple(map(tuple, value["matrix"])), tuple(value["ops"]))
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f'malformed graph {text!r}; expected {{"matrix": [[0, 1], [0, 0]], "ops": ["input", "output"]}}'
            ) from None

    def to_bits(self) -> tuple[int, int, str]:
        """Return ``(n_vertices, adj_bits, ops)`` as the table stores them."""
        size = len(self.ops)
        bits = sum(self.matrix[x][y] << (x + y * (y - 1) // 2) for y in range(size) for x in range(y))
        return size, bits, "".join(str(OPERATIONS.index(op)) for op in self.ops[1:-1])

    def pruned(self) -> Graph:
        """Return the graph without vertices that do not lie on a path from input to output.

        Raises:
            UserError: there is no path, or what is left exceeds seven vertices or nine edges.
        """
        adjacency = np.array(self.matrix)
        last = len(self.ops) - 1
        keep = sorted(_reachable(adjacency, 0) & _reachable(adjacency.T, last))
        if last not in keep or 0 not in keep:
            raise UserError("the graph has no path from input to output")
        left = adjacency[np.ix_(keep, keep)]
        if len(keep) > MAX_VERTICES or left.sum() > MAX_EDGES:
            raise UserError(
                f"the graph has {len(keep)} vertices and {left.sum()} edges after pruning; NAS-Bench-101 has at most"
                f" {MAX_VERTICES} and {MAX_EDGES}"
            )
        return Graph(tuple(map(tuple, left.tolist())), tuple(self.ops[v] for v in keep))

    def hash(self) -> str:
        """Return the official hash (32 hex digits) of the pruned graph, equal for isomorphic graphs.

        Raises:
            UserError: as :meth:`pruned`.
        """
        graph = self.pruned()
        labels = [-1, *(OPERATIONS.index(op) for op in graph.ops[1:-1]), -2]
        return module_hash(graph.matrix, labels)


def module_hash(matrix: Sequence[Sequence[int]], labels: Sequence[int]) -> str:
    """Return the benchmark's graph fingerprint: md5 of neighbourhoods, refined once per vertex (nasbench, section 2.2).

    A vertex starts as ``(out-degree, in-degree, label)`` and is then replaced, round by round, by the digest of its
    sorted predecessors, sorted successors and itself; the fingerprint is the digest of the sorted list of vertices.
    """
    vertices = range(len(labels))
    before = [[w for w in vertices if matrix[w][v]] for v in vertices]
    after = [[w for w in vertices if matrix[v][w]] for v in vertices]
    state = [_md5(str((len(after[v]), len(before[v]), labels[v]))) for v in vertices]
    for _ in vertices:
        state = [
            _md5(
                "|".join(
                    (
                        "".join(sorted(state[w] for w in before[v])),
                        "".join(sorted(state[w] for w in after[v])),
                        state[v],
                    )
                )
            )
            for v in vertices
        ]
    return _md5(str(sorted(state)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _reachable(adjacency: np.ndarray, start: int) -> set[int]:
    seen, frontier = {start}, [start]
    while frontier:
        for vertex in np.flatnonzero(adjacency[frontier.pop()]).tolist():
            if vertex not in seen:
                seen.add(vertex)
                frontier.append(vertex)
    return seen

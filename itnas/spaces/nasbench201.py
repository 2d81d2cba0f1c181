"""NAS-Bench-201: a four-node cell, six edges, five operations, 15,625 cells (Dong & Yang, ICLR 2020).

A genotype is the benchmark's architecture string, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np

from itnas.errors import UserError
from itnas.spaces.base import Choice, Chosen, Scores, SearchSpace

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""Candidate operations in the benchmark's order, which is the column order of every score."""
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
"""Edges ``(target, source)``, sorted; the row order of every score."""
PATHS = ((3,), (1, 5), (0, 2, 5), (0, 4))
"""The four ways from input to output as edge indices: 0-3, 0-2-3, 0-1-2-3, 0-1-3."""
_SOURCES = ((0,), (0, 1), (0, 1, 2))
_TOKEN = re.compile(r"(?P<op>[^~|]*)~(?P<source>\d+)")


class NASBench201(SearchSpace):
    """The topology space of NAS-Bench-201."""

    name: ClassVar[str] = "nasbench201"
    groups: ClassVar = {"edges": tuple(Choice(f"{target}<-{source}", OPERATIONS) for target, source in EDGES)}

    def derive(self, scores: Scores, *, exclude_none: bool) -> str:
        """Return the per-edge argmax; ties go to the lower operation index."""
        self.check_scores(scores)
        first = 1 if exclude_none else 0
        return format_ops(np.asarray(scores["edges"])[:, first:].argmax(axis=1) + first)

    def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
        """Return a cell drawn uniformly from the 15,625 (or, without ``none``, from 4,096)."""
        return format_ops(rng.integers(1 if exclude_none else 0, len(OPERATIONS), size=len(EDGES)))

    def canonical(self, genotype: str) -> str:
        """Return the string with surrounding blanks removed, if it is a cell of the space."""
        return format_ops(parse(genotype))

    def operations(self, genotype: str) -> list[str]:
        """Return the six operations in edge order."""
        return [OPERATIONS[op] for op in parse(genotype)]

    def genotypes(self) -> list[str]:
        """Return the 15,625 cells in counting order."""
        return [format_ops(cell) for cell in all_cells()]

    def chosen(self, genotype: str) -> Chosen:
        """Return the operation of every edge."""
        return {"edges": [(op,) for op in parse(genotype)]}


def format_ops(ops: Sequence[int] | np.ndarray) -> str:
    """Return the architecture string of six operation indices in edge order."""
    tokens = iter(ops)
    return "+".join("|" + "".join(f"{OPERATIONS[int(next(tokens))]}~{j}|" for j in node) for node in _SOURCES)


@lru_cache(maxsize=1 << 15)
def parse(genotype: str) -> tuple[int, ...]:
    """Return the six operation indices, in edge order, of an architecture string.

    Raises:
        UserError: the string is malformed; the message names the node or operation.
    """
    text = genotype.strip()
    hint = "expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
    nodes = text.split("+")
    if len(nodes) != len(_SOURCES):
        raise UserError(f"malformed architecture string {text!r}: it has {len(nodes)} of 3 nodes; {hint}")
    ops: list[int] = []
    for number, (node, sources) in enumerate(zip(nodes, _SOURCES, strict=True), start=1):
        tokens = node.strip("|").split("|")
        if node != "|" + "|".join(tokens) + "|" or len(tokens) != len(sources):
            raise UserError(f"malformed architecture string {text!r}: node {number} is {node!r}; {hint}")
        for token, source in zip(tokens, sources, strict=True):
            match = _TOKEN.fullmatch(token)
            if match is None or int(match["source"]) != source:
                raise UserError(
                    f"malformed architecture string {text!r}: node {number} has {token!r} for 'op~{source}'"
                )
            if match["op"] not in OPERATIONS:
                raise UserError(
                    f"unknown operation {match['op']!r} at node {number} of {text!r}; choose among {', '.join(OPERATIONS)}"
                )
            ops.append(OPERATIONS.index(match["op"]))
    return tuple(ops)


@lru_cache(maxsize=1)
def all_cells() -> np.ndarray:
    """Return all 15,625 cells as a read-only integer array ``[15625, 6]`` of operation indices, in counting order."""
    cells = np.stack(np.meshgrid(*[np.arange(len(OPERATIONS))] * len(EDGES), indexing="ij"), axis=-1).reshape(-1, 6)
    cells.flags.writeable = False
    return cells


def isomorphism_class(genotype: str) -> str:
    """Return a text that two cells share exactly when the benchmark counts them as one (6,466 classes).

    A node is the sorted sum of what reaches it: ``none`` and everything behind it vanishes (``#``), a skip connection
    passes its source through. The same equivalence as the benchmark's own ``to_unique_str``, in which a passed-through
    sum stays one summand.
    """
    ops = parse(genotype)
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for (end, source), op in zip(EDGES, ops, strict=True):
            if end != target:
                continue
            name, value = OPERATIONS[op], nodes[source]
            terms.append(
                "#" if name == "none" or value == "#" else value if name == "skip_connect" else f"({value})@{name}"
            )
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def is_connected(genotype: str) -> bool:
    """Return whether any path from input to output is free of ``none``; 341 cells have no such path."""
    ops = parse(genotype)
    return any(all(ops[edge] != 0 for edge in path) for path in PATHS)

"""RLNAS's angle for the DARTS space and S1 to S4 (the released DARTS-space code, with its slips put right).

An architecture's vector concatenates, for every cell and every path of kept edges from an input of the cell to any of its four
nodes, the weights on the path's edges; then stem, the cells' preprocessing, and the classifier's weight. An edge therefore
counts as often as there are paths through it, and the angle is again a sum over edges. Put right: the shift of a dilated
convolution's BatchNorm counts (the released code takes its scale twice), and the reduction cell mutates too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itnas.nn.darts_supernet import CellSuperCell, CellSupernet
from itnas.nn.supernets import Supernet
from itnas.optimizers.angles import ArchitectureAngles, Parts, arccos
from itnas.spaces.base import Chosen
from itnas.spaces.darts import EDGES, INCOMING, CellSpace

SAMPLE = 2_000
"""Architectures whose angles make the scores: the space is too large to list."""


class CellAngles(ArchitectureAngles):
    """Angles of cells of DARTS-like spaces.

    A code has a gene per edge, group after group: 0 where the edge is absent, ``1 + i`` for the i-th operation but `none`.
    """

    def __init__(self, space: CellSpace) -> None:
        self.space = space
        self.operations = {
            group: [[k for k, name in enumerate(choice.candidates) if name != "none"] for choice in choices]
            for group, choices in space.groups.items()
        }
        """Candidate index of each operation but `none`, ``{group: [edge][i]}``."""
        self._sample: np.ndarray | None = None
        self.sizes = tuple(1 + len(known) for edges in self.operations.values() for known in edges)

    def parts(self, graph: Supernet) -> Parts:
        """Return ``{(group, edge, candidate): ..., "fixed": ...}``.

        A skip connection of stride 1 counts as the identity matrix of its channels, pooling as the constant 1/9 of shape
        [C, 3, 3] and its BatchNorm, `noise` as nothing; both are the same before and after training.
        """
        assert isinstance(graph, CellSupernet)
        found: dict[Any, list[Tensor]] = {"fixed": [*graph.stem.parameters(), graph.classifier.weight]}
        for cell in graph.supercells:
            assert isinstance(cell, CellSuperCell)
            found["fixed"] += list(cell.preprocess.parameters())
            for edge, known in enumerate(self.operations[cell.group]):
                for k in known:
                    name = self.space.groups[cell.group][edge].candidates[k]
                    weights = operation_weights(name, cell.weights(edge, k), cell.place.channels, _stride(cell, edge))
                    found.setdefault((cell.group, edge, k), []).extend(weights)
        return found

    def angles(self, terms: Mapping[Any, np.ndarray], codes: np.ndarray) -> np.ndarray:
        """Return the angle of every code ``[n, 14 * groups]``."""
        sums = np.repeat(terms["fixed"][:, None], len(codes), axis=1)
        for group, genes in self._split(codes).items():
            times = _paths_through(genes > 0)
            for edge, known in enumerate(self.operations[group]):
                table = np.array([np.zeros(3), *(terms[group, edge, k] for k in known)])
                sums += (times[:, edge, None] * table[genes[:, edge]]).T
        return arccos(sums)

    def codes(self) -> np.ndarray:
        """Return a fixed sample of architectures, of which every candidate of every edge has its share."""
        if self._sample is None:
            rng = np.random.default_rng(0)
            self._sample = np.array([self.draw_candidate(rng, exclude_none=True) for _ in range(SAMPLE)])
        return self._sample

    def genotype(self, code: np.ndarray) -> str:
        """Return the genotype text."""
        kept = {
            group: [(edge, self.operations[group][edge][gene - 1]) for edge, gene in enumerate(genes[0]) if gene]
            for group, genes in self._split(np.asarray(code)[None]).items()
        }
        return self.space.genotype(kept)

    def code(self, chosen: Chosen) -> tuple[int, ...]:
        """Return the code of the architecture that keeps ``chosen``."""
        return tuple(
            1 + known.index(options[0]) if options else 0
            for group, edges in self.operations.items()
            for known, options in zip(edges, chosen[group], strict=True)
        )

    def kept(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return which candidates the codes keep, ``{group: bool [n, edge, candidate]}``."""
        kept = {}
        for group, genes in self._split(codes).items():
            n_candidates = len(self.space.groups[group][0].candidates)
            kept[group] = np.zeros((*genes.shape, n_candidates), dtype=bool)
            for edge, known in enumerate(self.operations[group]):
                for i, k in enumerate(known):
                    kept[group][:, edge, k] = genes[:, edge] == i + 1
        return kept

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """Draw two different inputs per node and an operation on each, uniformly, as training samples its paths."""
        seed = int(torch.randint(2**31, (), generator=generator))
        return np.array(self.draw_candidate(np.random.default_rng(seed), exclude_none=True))

    def draw_candidate(self, rng: np.random.Generator, *, exclude_none: bool) -> tuple[int, ...]:
        """Draw an architecture uniformly."""
        return self.repair(tuple(int(rng.integers(1, size)) for size in self.sizes), rng)

    def repair(self, code: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        """Leave every node exactly two inputs: drop some at random, or add random operations on random edges."""
        genes = list(code)
        for start in range(0, len(genes), len(EDGES)):
            for edges in INCOMING:
                present = [start + edge for edge in edges if genes[start + edge]]
                absent = [start + edge for edge in edges if not genes[start + edge]]
                if len(present) > 2:
                    for gene in rng.choice(present, len(present) - 2, replace=False):
                        genes[gene] = 0
                elif len(present) < 2:
                    for gene in rng.choice(absent, 2 - len(present), replace=False):
                        genes[gene] = int(rng.integers(1, self.sizes[gene]))
        return tuple(genes)

    def _split(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return the genes of every group, ``{group: [n, 14]}``."""
        n = len(EDGES)
        return {group: codes[:, i * n : (i + 1) * n] for i, group in enumerate(self.space.groups)}


def _stride(cell: CellSuperCell, edge: int) -> int:
    return 2 if cell.place.reduction and EDGES[edge][1] < 2 else 1


def operation_weights(name: str, own: list[Tensor], channels: int, stride: int) -> list[Tensor]:
    """Return what an operation with the parameters ``own`` contributes to the vector."""
    if name == "skip_connect" and stride == 1:
        return [torch.eye(channels)]
    if name.endswith("pool_3x3"):
        return [torch.full((channels, 3, 3), 1 / 9), *own]
    return own


def _paths_through(present: np.ndarray) -> np.ndarray:
    """Return ``[n, 14]``: the paths from an input to any node that pass each edge, given which edges are there."""
    arriving = np.ones((len(present), 6))
    arriving[:, 2:] = 0
    leaving = np.ones((len(present), 6))
    for edge, (node, source) in enumerate(EDGES):  # edges are sorted by node: sources are complete
        arriving[:, node] += present[:, edge] * arriving[:, source]
    for edge, (node, source) in reversed(list(enumerate(EDGES))):
        leaving[:, source] += present[:, edge] * leaving[:, node]
    through = [present[:, edge] * arriving[:, source] * leaving[:, node] for edge, (node, source) in enumerate(EDGES)]
    return np.stack(through, axis=1)

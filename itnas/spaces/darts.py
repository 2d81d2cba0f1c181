"""The DARTS space and RobustDARTS's S1 to S4: one cell graph, different candidate operations on its edges.

A cell has two inputs (states 0 and 1: the outputs of the cell before the last and of the last one) and four nodes (states 2 to
5) that sum over edges from every earlier state: 14 edges. One normal and one reduction cell are searched. The derived cell
keeps two edges per node. Sources: Liu et al., "DARTS" (ICLR 2019); Zela et al., "Understanding and Robustifying
Differentiable Architecture Search" (ICLR 2020) for S1 to S4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from itnas.errors import UserError
from itnas.spaces.base import Choice, Chosen, Decision, Phase, Scores, SearchSpace
from itnas.spaces.darts_genotype import CellGenes, format_genotype, parse_genotype

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""Candidates of the DARTS space, in the order of the released code, which is the column order of every score."""
EDGES = tuple((node, source) for node in range(2, 6) for source in range(node))
"""Edges ``(target, source)`` as state numbers, node by node; the row order of every score."""
INCOMING = tuple(tuple(edge for edge, (node, _) in enumerate(EDGES) if node == target) for target in range(2, 6))
"""Edge indices that enter each of the four nodes."""

_MAX, _AVG, _SKIP, _SEP3 = "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3"
_DIL3, _DIL5 = "dil_conv_3x3", "dil_conv_5x5"
S1_NORMAL = (
    *((_SKIP, _DIL3), (_SKIP, _DIL5)),
    *((_SKIP, _DIL5), (_SKIP, _SEP3), (_SKIP, _DIL3)),
    *((_MAX, _SKIP), (_SKIP, _SEP3), (_SKIP, _SEP3), (_SKIP, _DIL3)),
    *((_SKIP, _SEP3), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5)),
)
"""S1's candidates on the 14 edges of the normal cell, a line per node."""
S1_REDUCE = (
    *((_MAX, _AVG), (_MAX, _DIL3)),
    *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5)),
    *((_MAX, _AVG), (_MAX, _SEP3), (_SKIP, _DIL3), (_SKIP, _DIL5)),
    *((_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5)),
)
"""S1's candidates on the 14 edges of the reduction cell, a line per node."""


def _choices(candidates: Sequence[tuple[str, ...]]) -> tuple[Choice, ...]:
    return tuple(Choice(f"{node}<-{source}", ops) for (node, source), ops in zip(EDGES, candidates, strict=True))


def _same(*operations: str) -> dict[str, tuple[Choice, ...]]:
    """Return normal and reduction cell with the same candidates on every edge."""
    return dict.fromkeys(("normal", "reduce"), _choices([operations] * len(EDGES)))


class CellSpace(SearchSpace):
    """A space of DARTS-like cells; a subclass is its table of candidates."""

    groups: ClassVar[Mapping[str, tuple[Choice, ...]]]
    """Group `normal` and group `reduce`, or `normal-<stage>` and `reduce-<stage>`; 14 choices each."""
    derives_none: ClassVar[bool] = False
    """The published rule never derives `none`."""

    def derive(self, scores: Scores, *, exclude_none: bool) -> str:
        """Return the cells of the published rule: two edges per node, ranked by their best operation but ``none``.

        Ties go to the lower index. ``exclude_none`` makes no difference: the rule always leaves ``none`` out, and never
        ``noise``. Scores of an edge must be comparable with those of other edges; DARTS takes them after a softmax over the
        whole list, ``none`` included.
        """
        self.check_scores(scores)
        cells = []
        for group, choices in self.groups.items():
            allowed = np.array([[name != "none" for name in choice.candidates] for choice in choices])
            array = np.where(allowed, np.asarray(scores[group], dtype=float), -np.inf)
            best, strength = array.argmax(axis=1), array.max(axis=1)
            kept = [sorted(sorted(edges, key=lambda edge: -strength[edge])[:2]) for edges in INCOMING]
            cells.append(self._cell(group, [(edge, int(best[edge])) for edges in kept for edge in edges]))
        return format_genotype(cells)

    def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
        """Return a genotype drawn uniformly: two distinct inputs per node, on each an operation that is not ``none``."""
        cells = []
        for group, choices in self.groups.items():
            chosen = []
            for edges in INCOMING:
                for edge in sorted(rng.choice(edges, size=2, replace=False).tolist()):
                    candidates = choices[edge].candidates
                    chosen.append((edge, int(rng.choice([k for k, op in enumerate(candidates) if op != "none"]))))
            cells.append(self._cell(group, chosen))
        return format_genotype(cells)

    def canonical(self, genotype: str) -> str:
        """Return the text with each node's two genes in order of their source and concatenations as ``range(2, 6)``."""
        kept = self._kept(genotype)
        return format_genotype([self._cell(group, sorted(genes)) for group, genes in kept.items()])

    def operations(self, genotype: str) -> list[str]:
        """Return the operations of the kept edges, in edge order, group by group: 16 of a normal and a reduction cell."""
        return [
            self.groups[group][edge].candidates[k]
            for group, genes in self._kept(genotype).items()
            for edge, k in sorted(genes)
        ]

    def chosen(self, genotype: str) -> Chosen:
        """Return, per group and edge, ``(candidate,)`` where the edge is kept and ``()`` where it is not."""
        kept = {group: dict(genes) for group, genes in self._kept(genotype).items()}
        return {
            group: [(genes[edge],) if edge in genes else () for edge in range(len(EDGES))]
            for group, genes in kept.items()
        }

    def phases(self) -> tuple[Phase, ...]:
        """Return first the operations of all edges, then the two inputs of every node that has more (DARTS-PT, algorithm 1).

        Each phase has one queue per group, so that a normal and a reduction edge are decided in turn.
        """
        inputs = tuple(
            tuple(
                Decision(group, tuple((edge, None) for edge in edges), keep=2, topology=True)
                for edges in INCOMING
                if len(edges) > 2
            )
            for group in self.groups
        )
        return (*super().phases(), inputs)

    def genotype(self, chosen: Mapping[str, Sequence[tuple[int, int]]]) -> str:
        """Return the genotype that keeps ``(edge, candidate)`` pairs, given per group in edge order."""
        return format_genotype([self._cell(group, chosen[group]) for group in self.groups])

    def _cell(self, group: str, genes: Sequence[tuple[int, int]]) -> CellGenes:
        """Return the cell that keeps ``(edge, candidate)``."""
        choices = self.groups[group]
        return CellGenes(kind_of(group), tuple((choices[edge].candidates[k], EDGES[edge][1]) for edge, k in genes))

    def _kept(self, genotype: str) -> dict[str, list[tuple[int, int]]]:
        """Return ``(edge, candidate)`` of every gene, per group, after checking that the space has them."""
        cells = parse_genotype(genotype)
        if [cell.kind for cell in cells] != [kind_of(group) for group in self.groups]:
            kinds = ", ".join(cell.kind for cell in cells)
            raise UserError(f"the genotype has the cells {kinds}; space {self.name} has {', '.join(self.groups)}")
        return {group: self._check(group, cell) for group, cell in zip(self.groups, cells, strict=True)}

    def _check(self, group: str, cell: CellGenes) -> list[tuple[int, int]]:
        if len(cell.genes) != 2 * len(INCOMING) or tuple(cell.concat) != (2, 3, 4, 5):
            raise UserError(
                f"the {group} cell has {len(cell.genes)} genes and concatenates {list(cell.concat)}; cells of space "
                f"{self.name} have 8 genes (two for each of four nodes) and concatenate [2, 3, 4, 5]"
            )
        kept: list[tuple[int, int]] = []
        for number, (operation, source) in enumerate(cell.genes):
            edge = INCOMING[number // 2][source]
            choice = self.groups[group][edge]
            known = [name for name in choice.candidates if name != "none"]
            if operation not in known:
                raise UserError(
                    f"{operation!r} on edge {choice.name} of the {group} cell is no operation that space {self.name} derives "
                    f"there; it has {', '.join(known)}"
                )
            kept.append((edge, choice.candidates.index(operation)))
            if number % 2 and kept[-2][0] == edge:
                raise UserError(
                    f"node {2 + number // 2} of the {group} cell reads state {source} twice; "
                    f"nodes of space {self.name} read two different ones"
                )
        return kept


def kind_of(group: str) -> str:
    """Return `normal` or `reduce`, the kind of the cells that a group belongs to."""
    return group.partition("-")[0]


class DARTSSpace(CellSpace):
    """The DARTS space with ``none`` among the candidates (DARTS, RobustDARTS, AGNAS)."""

    name: ClassVar[str] = "darts"
    groups: ClassVar = _same(*OPERATIONS)


class DARTSNoNone(CellSpace):
    """The DARTS space without ``none``, as DARTS-PT's released code searches it."""

    name: ClassVar[str] = "darts-no-none"
    groups: ClassVar = _same(*OPERATIONS[1:])


class DARTSStagewise(CellSpace):
    """The DARTS space with a normal cell for each of three stages and two reduction cells (AGNAS's evaluation)."""

    name: ClassVar[str] = "darts-stagewise"
    groups: ClassVar = dict.fromkeys(
        ("normal-1", "reduce-1", "normal-2", "reduce-2", "normal-3"), _choices([OPERATIONS] * len(EDGES))
    )


class S1(CellSpace):
    """S1: two candidates per edge, those that DARTS ranked highest there (RobustDARTS)."""

    name: ClassVar[str] = "s1"
    groups: ClassVar = {"normal": _choices(S1_NORMAL), "reduce": _choices(S1_REDUCE)}


class S2(CellSpace):
    """S2: a skip connection or a 3x3 separable convolution on every edge."""

    name: ClassVar[str] = "s2"
    groups: ClassVar = _same("skip_connect", "sep_conv_3x3")


class S3(CellSpace):
    """S3: S2 with ``none``."""

    name: ClassVar[str] = "s3"
    groups: ClassVar = _same("none", "skip_connect", "sep_conv_3x3")


class S4(CellSpace):
    """S4: Gaussian noise or a 3x3 separable convolution on every edge."""

    name: ClassVar[str] = "s4"
    groups: ClassVar = _same("noise", "sep_conv_3x3")


DARTS_SPACES: tuple[type[CellSpace], ...] = (DARTSSpace, DARTSNoNone, DARTSStagewise, S1, S2, S3, S4)
"""All spaces of this module."""

"""NAS-Bench-1Shot1: three sub-spaces of NAS-Bench-101 for one-shot search (Zela, Siems & Hutter, ICLR 2020).

Node 0 is the cell's input, nodes 1 to K are *choice blocks* with one operation each, node K + 1 is the output. Every
node has a fixed number of parents among the earlier nodes. A block that the output does not reach backwards is a loose
end and drops out of the cell.

A genotype is ``parents|operations``: a field per node 1, ..., K, output with its parents, then a field per block with its
operation, ``-`` for a block that dropped out. In space 1, ``0;0,1;1,2;-;2,3|conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;-``
has no block 4, and an output fed by blocks 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import ClassVar

import numpy as np

from itnas.errors import UserError
from itnas.spaces.base import Choice, Decision, Phase, Scores, SearchSpace

OPERATIONS = ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
"""Candidate operations in the benchmark's order, which is the column order of every score."""
PRUNED = "-"
"""What a genotype has for a block that dropped out."""
INPUT, OUTPUT = "input", "output"
"""Labels of the first and last vertex of a NAS-Bench-101 graph."""
DUMMY = "conv1x1-bn-relu"
"""Label of the unconnected vertex that fills spaces 1 and 2 up to seven; NAS-Bench-101's pruning removes it."""
_VERTICES = 7


@dataclass(frozen=True)
class Cell:
    """A cell without loose ends."""

    parents: tuple[tuple[int, ...], ...]
    """Ascending parents of node 1, ..., K and of the output; ``()`` for a block that dropped out."""
    ops: tuple[int, ...]
    """Operation of every block as an index into :data:`OPERATIONS`; -1 for a block that dropped out."""

    def __str__(self) -> str:
        parents = (",".join(map(str, nodes)) or PRUNED for nodes in self.parents)
        return ";".join(parents) + "|" + ";".join(PRUNED if op < 0 else OPERATIONS[op] for op in self.ops)


class NASBench1Shot1(SearchSpace):
    """One of the three spaces; a subclass is nothing but its numbers of parents."""

    n_parents: ClassVar[tuple[int, ...]]
    """How many parents node 1, ..., K and the output have; nine edges altogether."""
    groups: ClassVar[Mapping[str, tuple[Choice, ...]]]
    """``operations``, a choice per block; ``input-<node>`` and ``output``, one choice each, where parents are chosen."""
    input_groups: ClassVar[Mapping[int, str]]
    """Group of every node whose parents are chosen; the others take all earlier nodes."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        last = len(cls.n_parents)
        cls.input_groups = {
            node: "output" if node == last else f"input-{node}"
            for node, count in enumerate(cls.n_parents, start=1)
            if count < node
        }
        groups = {"operations": tuple(Choice(f"node {node}", OPERATIONS) for node in range(1, last))}
        for node, group in cls.input_groups.items():
            name = "parents of output" if node == last else f"parents of node {node}"
            groups[group] = (Choice(name, tuple(map(str, range(node)))),)
        cls.groups = groups

    @property
    def n_blocks(self) -> int:
        """Number of choice blocks, K."""
        return len(self.n_parents) - 1

    def derive(self, scores: Scores, *, exclude_none: bool) -> str:
        """Return the best operation of every block and the best parents of every node, without loose ends.

        A node with p parents takes those with the p highest scores; ties go to the lower index. There is no operation
        ``none``, so ``exclude_none`` changes nothing.
        """
        self.check_scores(scores)
        parents = [tuple(range(node)) for node in range(1, self.n_blocks + 2)]
        for node, group in self.input_groups.items():
            ranked = np.argsort(-np.asarray(scores[group])[0], kind="stable")
            parents[node - 1] = tuple(ranked[: self.n_parents[node - 1]].tolist())
        return str(close(parents, np.asarray(scores["operations"]).argmax(axis=1).tolist()))

    def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
        """Return a cell drawn uniformly from the distinct ones (3,702, 12,474 or 135,900), see :func:`all_graphs`.

        Uniform choices would favour cells with loose ends, since many choices end in the same one.
        """
        graphs, counts = all_graphs(self.n_parents), n_cells_per_graph(self.n_parents)
        index = int(rng.integers(counts.sum()))
        at = int(np.searchsorted(counts.cumsum(), index, side="right"))
        used = [bool(nodes) for nodes in graphs[at][:-1]]
        digits = iter(np.base_repr(index - int(counts[:at].sum()), len(OPERATIONS)).zfill(sum(used)))
        return str(Cell(graphs[at], tuple(int(next(digits)) if there else -1 for there in used)))

    def canonical(self, genotype: str) -> str:
        """Return the genotype with ascending parents, and ``-`` for every loose end."""
        return str(self.parse(genotype))

    def operations(self, genotype: str) -> list[str]:
        """Return the operation of every block, ``-`` for one that dropped out."""
        return [PRUNED if op < 0 else OPERATIONS[op] for op in self.parse(genotype).ops]

    def chosen(self, genotype: str) -> dict[str, list[tuple[int, ...]]]:
        """Return the candidates kept per group and choice; ``()`` for a block that dropped out."""
        cell = self.parse(genotype)
        kept: dict[str, list[tuple[int, ...]]] = {"operations": [(op,) if op >= 0 else () for op in cell.ops]}
        return kept | {group: [cell.parents[node - 1]] for node, group in self.input_groups.items()}

    def genotypes(self) -> list[str]:
        """Return the 3,702, 12,474 or 135,900 distinct cells in the order of :func:`all_cells`."""
        graphs = all_graphs(self.n_parents)
        return [
            str(Cell(graphs[graph], tuple(ops)))
            for graph, ops in zip(*map(np.ndarray.tolist, all_cells(self)), strict=True)
        ]

    def phases(self) -> tuple[Phase, ...]:
        """Return the operations of all blocks, then the parents of all nodes that have a choice."""
        every = range(len(OPERATIONS))
        operations = (Decision("operations", tuple((block, op) for op in every)) for block in range(self.n_blocks))
        inputs = (
            Decision(group, tuple((0, parent) for parent in range(node)), self.n_parents[node - 1], topology=True)
            for node, group in self.input_groups.items()
        )
        return (tuple(operations),), (tuple(inputs),)

    def parse(self, genotype: str) -> Cell:
        """Return the cell that a genotype describes, without loose ends.

        Raises:
            UserError: the text is malformed or no cell of this space; the message names the node.
        """
        left, bar, right = genotype.strip().partition("|")
        fields, names = left.split(";"), right.split(";")
        if not bar or len(fields) != self.n_blocks + 1 or len(names) != self.n_blocks:
            raise self._refused(
                genotype, f"it needs {self.n_blocks + 1} fields of parents, a bar and {self.n_blocks} operations"
            )
        parents = [self._parents(genotype, node, field.strip()) for node, field in enumerate(fields, start=1)]
        ops = [self._operation(genotype, node, name.strip()) for node, name in enumerate(names, start=1)]
        cell = close(parents, ops)
        for node in sorted({parent for nodes in cell.parents for parent in nodes if parent > 0}):
            if not cell.parents[node - 1] or cell.ops[node - 1] < 0:
                lack = "operation" if cell.parents[node - 1] else "parents"
                raise self._refused(genotype, f"the output is reached from node {node}, which has no {lack}")
        return cell

    def _parents(self, genotype: str, node: int, text: str) -> tuple[int, ...]:
        """Return the parents of one node, ``()`` for ``-``."""
        output = node == self.n_blocks + 1
        name = "the output" if output else f"node {node}"
        if text == PRUNED and not output:
            return ()
        if not all(part.strip().isdecimal() for part in text.split(",")):
            raise self._refused(genotype, f"{name} has {text!r} instead of its parents, such as 0,1")
        found = tuple(int(part) for part in text.split(","))
        late = [parent for parent in found if parent >= node]
        if late:
            raise self._refused(
                genotype, f"{name} has the parent {late[0]}, which is not an earlier node, so there would be a cycle"
            )
        wanted = self.n_parents[node - 1]
        if len(set(found)) != wanted or len(found) != wanted:
            twice = ", one of them twice" if len(set(found)) != len(found) else ""
            reason = ", so that a cell has at most nine edges" if len(found) > wanted else ""
            have = f"{len(found)} parent{'s' if len(found) > 1 else ''}{twice}"
            raise self._refused(genotype, f"{name} has {have}, {self.name} gives it {wanted}{reason}")
        return found

    def _operation(self, genotype: str, node: int, text: str) -> int:
        if text == PRUNED:
            return -1
        if text not in OPERATIONS:
            raise UserError(
                f"unknown operation {text!r} at node {node} of {genotype.strip()!r}; choose among {', '.join(OPERATIONS)}"
            )
        return OPERATIONS.index(text)

    def _refused(self, genotype: str, reason: str) -> UserError:
        return UserError(f"{genotype.strip()!r} is no cell of {self.name}: {reason}")


class NASBench1Shot11(NASBench1Shot1):
    """Search space 1: four blocks; parents of nodes 3 and 4 and of the output are chosen."""

    name: ClassVar[str] = "nasbench1shot1-1"
    n_parents: ClassVar[tuple[int, ...]] = (1, 2, 2, 2, 2)


class NASBench1Shot12(NASBench1Shot1):
    """Search space 2: four blocks; parents of nodes 2 to 4 and three of the output are chosen."""

    name: ClassVar[str] = "nasbench1shot1-2"
    n_parents: ClassVar[tuple[int, ...]] = (1, 1, 2, 2, 3)


class NASBench1Shot13(NASBench1Shot1):
    """Search space 3: five blocks; parents of nodes 2 to 5 and of the output are chosen."""

    name: ClassVar[str] = "nasbench1shot1-3"
    n_parents: ClassVar[tuple[int, ...]] = (1, 1, 1, 2, 2, 2)


def space_of(genotype: str) -> NASBench1Shot1:
    """Return the space that a genotype belongs to, told by its number of blocks and of the output's parents.

    Raises:
        UserError: no space has such cells.
    """
    fields = genotype.strip().partition("|")[0].split(";")
    shape = (len(fields), len(fields[-1].split(",")))
    for kind in (NASBench1Shot11, NASBench1Shot12, NASBench1Shot13):
        if shape == (len(kind.n_parents), kind.n_parents[-1]):
            return kind()
    raise UserError(
        f"{genotype.strip()!r} is no cell of NAS-Bench-1Shot1, which has 4 blocks and 2 or 3 parents of the output, or 5 and 2"
    )


def close(parents: Sequence[Sequence[int]], ops: Sequence[int]) -> Cell:
    """Return the cell of a choice: what the output reaches backwards; the rest are loose ends.

    Args:
        parents: of node 1, ..., K and of the output.
        ops: of node 1, ..., K, indices into :data:`OPERATIONS`.
    """
    used, frontier = {len(parents)}, [len(parents)]
    while frontier:
        new = {node for node in parents[frontier.pop() - 1] if node > 0} - used
        used |= new
        frontier += new
    return Cell(
        tuple(tuple(sorted(nodes)) if node in used else () for node, nodes in enumerate(parents, start=1)),
        tuple(op if node in used else -1 for node, op in enumerate(ops, start=1)),
    )


@lru_cache(maxsize=3)
def all_graphs(n_parents: tuple[int, ...]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return the distinct ``parents`` of cells without loose ends, sorted: 66, 190 and 876 in spaces 1, 2 and 3.

    The paper's "without loose ends" counts (2,487, 3,609 and 24,066 cells) are smaller than those of all cells that a
    search can derive, because the released recursion follows only the parent it added last.
    """
    choices = [combinations(range(node), count) for node, count in enumerate(n_parents, start=1)]
    no_ops = (0,) * (len(n_parents) - 1)
    return tuple(sorted({close(parents, no_ops).parents for parents in product(*choices)}))


@lru_cache(maxsize=3)
def n_cells_per_graph(n_parents: tuple[int, ...]) -> np.ndarray:
    """Return the number of cells of every graph of :func:`all_graphs`, ``[graphs]``: 3 to the number of blocks used."""
    return np.array([len(OPERATIONS) ** sum(map(bool, graph[:-1])) for graph in all_graphs(n_parents)])


def all_cells(space: NASBench1Shot1) -> tuple[np.ndarray, np.ndarray]:
    """Return all distinct cells of a space, 3,702, 12,474 or 135,900, as arrays.

    Returns:
        The index into :func:`all_graphs` of every cell ``[cells]``, and its operations ``[cells, K]``, -1 for a block that
        dropped out. Graphs follow each other in order, the operations of one graph in counting order.
    """
    counts = n_cells_per_graph(space.n_parents)
    ops = np.full((counts.sum(), space.n_blocks), -1, dtype=np.int8)
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    for graph, start, count in zip(all_graphs(space.n_parents), starts, counts, strict=True):
        used = np.flatnonzero([bool(nodes) for nodes in graph[:-1]])
        digits = np.indices((len(OPERATIONS),) * len(used)).reshape(len(used), -1)
        ops[start : start + count, used] = digits.T
    return np.repeat(np.arange(len(counts)), counts), ops


def to_spec(cell: Cell) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """Return the cell as NAS-Bench-101 takes it: adjacency matrix ``[7][7]`` and the label of every vertex.

    Spaces 1 and 2 have six vertices; an unconnected one is put before the output. A block that dropped out keeps its vertex
    under the label of the dummy, unconnected too.
    """
    n_blocks = len(cell.ops)
    place = [*range(n_blocks + 1), _VERTICES - 1]
    matrix = np.zeros((_VERTICES, _VERTICES), dtype=int)
    for node, parents in enumerate(cell.parents, start=1):
        matrix[list(parents), place[node]] = 1
    labels = [DUMMY if op < 0 else OPERATIONS[op] for op in cell.ops] + [DUMMY] * (_VERTICES - 2 - n_blocks)
    return tuple(map(tuple, matrix.tolist())), (INPUT, *labels, OUTPUT)

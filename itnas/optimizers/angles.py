"""RLNAS's angle for the architectures of each space: how far the weights they use turned since initialisation.

The weights of an architecture are one long vector, a concatenation of *parts* of the supernet that may count several times.
Inner products and squared norms are therefore sums over parts, and the angles of all architectures are a table lookup.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from itnas.errors import UserError
from itnas.nn.oneshot1 import OneShot1SuperCell, OneShot1Supernet
from itnas.nn.operations import ResNetBlock
from itnas.nn.supernets import NASBench201SuperCell, Supernet
from itnas.spaces.base import Chosen, SearchSpace
from itnas.spaces.darts import CellSpace
from itnas.spaces.nasbench1shot1 import OPERATIONS as ONESHOT1_OPERATIONS
from itnas.spaces.nasbench1shot1 import NASBench1Shot1, all_cells, all_graphs, close
from itnas.spaces.nasbench201 import EDGES, OPERATIONS, PATHS, NASBench201, format_ops
from itnas.spaces.nasbench201 import all_cells as all_nasbench201

Parts = Mapping[Any, list[Tensor]]
"""Weights by part; a part lists the tensors of all searched cells, or of what every architecture has."""


class ArchitectureAngles(ABC):
    """Architectures of one space as *codes* (an integer per gene), and their angles.

    Attributes:
        sizes: number of values of every gene.
    """

    sizes: tuple[int, ...]

    @abstractmethod
    def parts(self, graph: Supernet) -> Parts:
        """Return the weights that angles are measured on."""

    @abstractmethod
    def angles(self, terms: Mapping[Any, np.ndarray], codes: np.ndarray) -> np.ndarray:
        """Return the angle (radians) of every code ``[n, genes]`` from the parts' :func:`products`."""

    @abstractmethod
    def codes(self) -> np.ndarray:
        """Return all distinct architectures ``[n, genes]`` (a fixed sample where they are too many to list)."""

    @abstractmethod
    def genotype(self, code: np.ndarray) -> str:
        """Return the genotype of a code."""

    @abstractmethod
    def code(self, chosen: Chosen) -> tuple[int, ...]:
        """Return the code of the architecture that keeps ``chosen``; genes of what dropped out are 0."""

    @abstractmethod
    def kept(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return which candidates the codes keep, ``{group: bool [n, choice, candidate]}``."""

    def has_none(self, codes: np.ndarray) -> np.ndarray:
        """Return ``[n]``, true where the operation `none` is chosen."""
        return np.zeros(len(codes), dtype=bool)

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """Draw a code as training samples its paths: every gene uniformly."""
        return np.array([int(torch.randint(size, (), generator=generator)) for size in self.sizes])

    def draw_candidate(self, rng: np.random.Generator, *, exclude_none: bool) -> tuple[int, ...]:
        """Draw a code as the evolution does."""
        return tuple(int(rng.integers(size)) for size in self.sizes)

    def mutate_gene(self, gene: int, rng: np.random.Generator) -> int:
        """Return a new value of a gene."""
        return int(rng.integers(self.sizes[gene]))

    def repair(self, code: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
        """Make a legal code of a mutated or crossed one."""
        return code


def angles_of(space: SearchSpace, *, batchnorm: bool = True) -> ArchitectureAngles:
    """Return how angles are measured in ``space``; ``batchnorm`` is a question of NAS-Bench-1Shot1 alone.

    Raises:
        UserError: RLNAS is not defined there.
    """
    if isinstance(space, NASBench201):
        return NASBench201Angles()
    if isinstance(space, NASBench1Shot1):
        return OneShot1Angles(space, batchnorm=batchnorm)
    if isinstance(space, CellSpace):
        from itnas.optimizers.darts_angles import CellAngles  # it builds on this module

        return CellAngles(space)
    raise UserError(f"RLNAS has no angle for space {space.name}; choose another method")


def products(initial: Parts, current: Parts) -> dict[Any, np.ndarray]:
    """Return inner product and both squared norms ``[3]`` of every part, in double precision."""
    terms = {}
    for part, tensors in current.items():
        pairs = zip(initial[part], tensors, strict=True)
        rows = [torch.stack([a @ b, a @ a, b @ b]) for a, b in (map(_flat, pair) for pair in pairs)]
        terms[part] = torch.stack(rows).sum(0).cpu().numpy() if rows else np.zeros(3)
    return terms


def arccos(sums: np.ndarray) -> np.ndarray:
    """Return the angles (radians) of inner products and squared norms ``[3, n]``."""
    return np.arccos(np.clip(sums[0] / np.sqrt(sums[1] * sums[2]), -1, 1))


def _flat(tensor: Tensor) -> Tensor:
    return tensor.detach().double().flatten()


def constant_pool(channels: int) -> Tensor:
    """Return the constant ``[C, 3, 3]`` that stands for a pooling operation, as in the released code."""
    return torch.full((channels, 3, 3), 1 / 9)


class NASBench201Angles(ArchitectureAngles):
    """The angle of the released NAS-Bench-201 code; a code is the six operations.

    A cell's vector concatenates, over the paths from input to output that hold no `none`, the weights on the path's edges in
    all cells of the network (pooling counts as the constant 1/9 of shape [C, 3, 3], a skip as nothing), and once the fixed
    parts; edges 1<-0 and 3<-2 lie on two paths and count twice. Without any such path the angle is 0.
    """

    sizes = (len(OPERATIONS),) * len(EDGES)

    def parts(self, graph: Supernet) -> Parts:
        """Return ``{(edge, operation): ..., "fixed": ...}``; fixed are stem, reductions, last BatchNorm and classifier."""
        found: dict[Any, list[Tensor]] = {}
        for edge in range(len(EDGES)):
            for op, name in enumerate(OPERATIONS):
                tensors = found.setdefault((edge, op), [])
                for cell in graph.supercells:
                    assert isinstance(cell, NASBench201SuperCell)
                    weight = cell.weight(edge, op)
                    if weight is not None:
                        tensors.append(weight)
                    elif name == "avg_pool_3x3":
                        tensors.append(constant_pool(int(cell.bundles[0].channels)))  # pyright: ignore
        fixed: list[Any] = [graph.stem, *(m for m in graph.stages if isinstance(m, ResNetBlock))]
        found["fixed"] = [p for module in [*fixed, graph.lastact, graph.classifier] for p in module.parameters()]  # pyright: ignore
        return found

    def angles(self, terms: Mapping[Any, np.ndarray], codes: np.ndarray) -> np.ndarray:
        """Return the angle of every cell ``[n, 6]``."""
        table = np.array([[terms[edge, op] for op in range(len(OPERATIONS))] for edge in range(len(EDGES))])
        alive = np.stack([(codes[:, list(path)] != 0).all(1) for path in PATHS], axis=1)
        times = np.stack([alive[:, [edge in path for path in PATHS]].sum(1) for edge in range(len(EDGES))], axis=1)
        sums = terms["fixed"][:, None] + np.einsum("ne,nec->cn", times, table[np.arange(len(EDGES)), codes])
        return np.where(alive.any(1), arccos(sums), 0.0)

    def codes(self) -> np.ndarray:
        """Return the 15,625 cells in counting order."""
        return all_nasbench201()

    def genotype(self, code: np.ndarray) -> str:
        """Return the architecture string."""
        return format_ops(code)

    def code(self, chosen: Chosen) -> tuple[int, ...]:
        """Return the six operations."""
        return tuple(op for (op,) in chosen["edges"])

    def kept(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return the operations one-hot."""
        return {"edges": codes[:, :, None] == np.arange(len(OPERATIONS))}

    def has_none(self, codes: np.ndarray) -> np.ndarray:
        """Return where any edge is `none`."""
        return (codes == 0).any(1)

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """Draw operations uniformly; the incoming edges of a node are redrawn while all of them are `none`."""
        path: list[int] = []
        for target in (1, 2, 3):
            n_in = sum(end == target for end, _ in EDGES)
            ops = torch.zeros(n_in, dtype=torch.long)
            while not ops.any():
                ops = torch.randint(len(OPERATIONS), (n_in,), generator=generator)
            path += ops.tolist()
        return np.array(path)

    def draw_candidate(self, rng: np.random.Generator, *, exclude_none: bool) -> tuple[int, ...]:
        """Draw operations uniformly, from those after `none` if that is excluded."""
        return tuple(int(op) for op in rng.integers(int(exclude_none), len(OPERATIONS), len(EDGES)))

    def mutate_gene(self, gene: int, rng: np.random.Generator) -> int:
        """Return an operation that is not `none`, as the released code does."""
        return int(rng.integers(1, len(OPERATIONS)))


class OneShot1Angles(ArchitectureAngles):
    """The same angle for NAS-Bench-1Shot1 (ours: RLNAS was not published on it).

    A cell's vector concatenates, over all paths from input to output, the projection of the path's first node and the
    operation of every node on it, in all cells of the network, and once the fixed parts (stem, last convolution,
    classifier). A node on several paths counts as often. A code is an operation per block and, per decided node, which of
    the possible sets of parents it has.
    """

    def __init__(self, space: NASBench1Shot1, *, batchnorm: bool = True) -> None:
        """Set up the genes; without ``batchnorm``, scales and shifts of candidates and projections are no part of a cell."""
        self.space, self.tensors = space, None if batchnorm else 1
        self.blocks = space.n_blocks
        self.sets = {
            node: list(combinations(range(node), space.n_parents[node - 1])) for node in sorted(space.input_groups)
        }
        self.sizes = (len(ONESHOT1_OPERATIONS),) * self.blocks + tuple(len(sets) for sets in self.sets.values())

    def parts(self, graph: Supernet) -> Parts:
        """Return ``{(node, operation): ..., ("projection", node): ..., "fixed": ...}``."""
        assert isinstance(graph, OneShot1Supernet)
        found: dict[Any, list[Tensor]] = {"fixed": [p for module in graph.fixed_modules() for p in module.parameters()]}
        for cell in graph.supercells:
            assert isinstance(cell, OneShot1SuperCell)
            for node in range(1, self.blocks + 2):
                found.setdefault(("projection", node), []).extend(cell.projection_weights(node)[: self.tensors])
            for node in range(1, self.blocks + 1):
                for op in range(len(ONESHOT1_OPERATIONS)):
                    weights = cell.operation_weights(node, op)[: self.tensors] or [constant_pool(cell.channels)]
                    found.setdefault((node, op), []).extend(weights)
        return found

    def angles(self, terms: Mapping[Any, np.ndarray], codes: np.ndarray) -> np.ndarray:
        """Return the angle of every cell ``[n, genes]``."""
        rows, inverse = np.unique(codes[:, self.blocks :], axis=0, return_inverse=True)
        counts = [self._counts(row) for row in rows]
        through, first = (np.array([pair[i] for pair in counts], dtype=float)[inverse] for i in range(2))
        projections = np.array([terms["projection", node] for node in range(1, self.blocks + 2)])
        table = np.array(
            [[terms[node, op] for op in range(len(ONESHOT1_OPERATIONS))] for node in range(1, self.blocks + 1)]
        )
        chosen = table[np.arange(self.blocks), codes[:, : self.blocks]]
        sums = np.einsum("nv,nvc->cn", through, chosen) + projections.T @ first.T
        return arccos(sums + terms["fixed"][:, None])

    def _parents(self, genes: np.ndarray) -> list[tuple[int, ...]]:
        """Return the parents of node 1, ..., K and of the output for the genes of the decided nodes."""
        decided = {node: sets[gene] for (node, sets), gene in zip(self.sets.items(), genes, strict=True)}
        return [decided.get(node, tuple(range(node))) for node in range(1, self.blocks + 2)]

    def _counts(self, genes: np.ndarray) -> tuple[list[int], list[int]]:
        """Return the number of input-output paths through each block, and of those that enter at each node first."""
        parents = close(self._parents(genes), (0,) * self.blocks).parents
        arriving, leaving = [1] + [0] * (self.blocks + 1), [0] * (self.blocks + 1) + [1]
        for node, sources in enumerate(parents, start=1):
            arriving[node] = sum(arriving[source] for source in sources)
        for node in range(self.blocks, 0, -1):
            ends = (end for end, sources in enumerate(parents, start=1) if node in sources)
            leaving[node] = sum(leaving[end] for end in ends)
        through = [arriving[node] * leaving[node] for node in range(1, self.blocks + 1)]
        return through, [leaving[node] * (0 in sources) for node, sources in enumerate(parents, start=1)]

    def codes(self) -> np.ndarray:
        """Return the distinct cells; genes of what dropped out are 0."""
        return self._codes

    @cached_property
    def _codes(self) -> np.ndarray:
        graphs, ops = all_cells(self.space)
        genes = np.array(
            [
                [sets.index(graph[node - 1]) if graph[node - 1] else 0 for node, sets in self.sets.items()]
                for graph in all_graphs(self.space.n_parents)
            ]
        )
        return np.concatenate([np.maximum(ops, 0), genes[graphs]], axis=1)

    def genotype(self, code: np.ndarray) -> str:
        """Return the canonical genotype."""
        return str(close(self._parents(code[self.blocks :]), [int(op) for op in code[: self.blocks]]))

    def code(self, chosen: Chosen) -> tuple[int, ...]:
        """Return the operations, then the index of every decided node's set of parents."""
        ops = [kept[0] if kept else 0 for kept in chosen["operations"]]
        parents = ((sets, chosen[self.space.input_groups[node]][0]) for node, sets in self.sets.items())
        return (*ops, *(sets.index(kept) if kept else 0 for sets, kept in parents))

    def kept(self, codes: np.ndarray) -> dict[str, np.ndarray]:
        """Return the operations of blocks that did not drop out, and the parents of nodes that did not."""
        rows, inverse = np.unique(codes[:, self.blocks :], axis=0, return_inverse=True)
        graphs = [close(self._parents(row), (0,) * self.blocks).parents for row in rows]
        used = np.array([[bool(sources) for sources in graph[:-1]] for graph in graphs])[inverse]
        operations = codes[:, : self.blocks, None] == np.arange(len(ONESHOT1_OPERATIONS))
        kept = {"operations": operations & used[:, :, None]}
        for node, group in self.space.input_groups.items():
            member = np.array([[[parent in graph[node - 1] for parent in range(node)]] for graph in graphs])
            kept[group] = member[inverse]
        return kept


__all__ = ["ArchitectureAngles", "NASBench201Angles", "OneShot1Angles", "angles_of", "constant_pool", "products"]

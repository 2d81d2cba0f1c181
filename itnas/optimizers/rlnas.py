"""RLNAS: single-path supernet on random labels, architectures ranked by how far their weights turned.

Zhang et al., "Neural Architecture Search with Random Labels", CVPR 2021. Bigger angle is better. On NAS-Bench-201 the angle of
all 15,625 cells is computed exactly, because inner products and squared norms are sums over edges and cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from itnas.data.images import Loader
from itnas.nn.mixing import Mixing, MixingFactory, SinglePath
from itnas.nn.operations import ResNetBlock
from itnas.nn.supernets import NASBench201Supernet, SuperCell
from itnas.optimizers.base import Batch, MethodConfig, Optimizer, Saved, Selection, StepResult
from itnas.spaces.base import SearchSpace
from itnas.spaces.nasbench201 import EDGES, OPERATIONS, PATHS, all_cells, format_ops, parse


@dataclass(frozen=True)
class RLNASConfig(MethodConfig):
    """RLNAS."""

    search: Literal["exact", "evolution"] = "exact"
    """Largest angle of all cells, or the paper's evolution."""
    population: int = 100
    """Cells per generation of the evolution."""
    generations: int = 20
    """Generations; children of the last are never scored, as in the released code."""
    parents: int = 30
    """Cells with the largest angle so far that children are made from."""
    mutation_rate: float = 0.1
    """Probability that a gene mutates; it never mutates to `none`."""


@dataclass
class InitialWeights(Saved):
    """The weights before training, from which angles are measured."""

    weights: list[Tensor]
    """As :func:`angle_weights` lists them."""


class RLNAS(Optimizer):
    """Mixing: one sampled operation per edge. Step: SGD on random labels. Selection: largest angle."""

    score_kind: ClassVar[str] = "angle"
    config: RLNASConfig

    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """Every edge runs the one operation of the current path."""

        def make(cell: int, stage: int, edges: tuple[int, ...], n_candidates: int, channels: int) -> Mixing:
            return SinglePath(edges)

        return make

    def before_training(self) -> None:
        """Move to the device and keep the initial weights, from which angles are measured."""
        super().before_training()
        self.initial = InitialWeights([w.detach().clone() for w in angle_weights(self.graph)])

    def prepare_data(self, train: Loader, valid: Loader, generator: torch.Generator) -> tuple[Loader, Loader]:
        """Give every training image one random label, fixed for the whole search."""
        super().prepare_data(train, valid, generator)
        labels = torch.randint(train.info.n_classes, (len(train.images),), generator=generator)
        return train.with_labels(labels), valid

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """Sample a path for every cell independently and take a weight step on it."""
        set_paths(self.graph, [sample_path(self.generator) for _ in self.graph.supercells])
        return super().step(data_train, data_val)

    def validate(self, valid: Loader) -> None:
        """Undefined: the supernet has never seen a true label."""

    def scores(self) -> dict[str, np.ndarray]:
        """Return, per candidate, the largest angle (radians) among the cells that have it."""
        angles = self.angles()
        cells = all_cells()
        return {
            "edges": np.array(
                [[angles[cells[:, edge] == op].max() for op in range(len(OPERATIONS))] for edge in range(len(EDGES))]
            )
        }

    def angles(self) -> np.ndarray:
        """Return the angle (radians) of every cell, in the order of ``all_cells()``."""
        return exact_angles(self.graph, self.initial.weights)

    def derive(self, *, exclude_none: bool) -> str:
        """Return the cell with the largest angle; ties go to the first in counting order."""
        angles = self.angles()
        if exclude_none:
            angles = np.where((all_cells() != 0).all(1), angles, -np.inf)
        return format_ops(all_cells()[int(angles.argmax())])

    def prepare_measurement(self, train: Loader, valid: Loader) -> tuple[Loader, str]:
        """Measure on the random labels the supernet was trained on, other edges as in the derived cell."""
        path = list(parse(self.get_final_architecture()))
        set_paths(self.graph, [path] * len(self.graph.supercells))
        return train, "train-random-labels"

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Choose by the exact argmax or by evolution."""
        chosen = super().select(train_data, valid_data)
        if self.config.search == "exact":
            return chosen
        with_none, without_none = self.evolve(first_op=0), self.evolve(first_op=1)
        own = without_none if self.config.exclude_none else with_none
        return Selection(own, with_none, without_none, chosen.scores, chosen.kind)

    def evolve(self, first_op: int) -> str:
        """Run the paper's evolution on the angle; new cells are drawn from operations ``first_op`` and up."""
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=self.generator)))
        angle_of = dict(zip(map(tuple, all_cells().tolist()), self.angles(), strict=True))
        n_edges, n_ops, half = len(EDGES), len(OPERATIONS), self.config.population // 2
        scored: dict[tuple[int, ...], float] = {}
        population: list[tuple[int, ...]] = []
        for _ in range(self.config.generations):
            while len(population) < self.config.population:
                cell = tuple(int(op) for op in rng.integers(first_op, n_ops, n_edges))
                if cell not in scored and cell not in population:
                    population.append(cell)
            scored.update((cell, angle_of[cell]) for cell in population)
            parents = sorted(scored, key=lambda cell: -scored[cell])[: self.config.parents]
            population = []
            for make, limit in ((self._mutate, half), (self._cross, 2 * half)):
                for _ in range(10 * half):
                    child = make(parents, rng)
                    if len(population) < limit and child not in scored and child not in population:
                        population.append(child)
        return format_ops(max(scored, key=lambda cell: scored[cell]))

    def _mutate(self, parents: list[tuple[int, ...]], rng: np.random.Generator) -> tuple[int, ...]:
        parent = parents[rng.integers(len(parents))]
        mutate = rng.random(len(parent)) < self.config.mutation_rate
        return tuple(int(rng.integers(1, len(OPERATIONS))) if m else op for op, m in zip(parent, mutate, strict=True))

    def _cross(self, parents: list[tuple[int, ...]], rng: np.random.Generator) -> tuple[int, ...]:
        a, b = (parents[i] for i in rng.integers(len(parents), size=2))
        return tuple(x if take else y for x, y, take in zip(a, b, rng.random(len(a)) < 0.5, strict=True))

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the base's state and the initial weights."""
        return {**super().get_checkpointables(), "initial": self.initial}


def sample_path(generator: torch.Generator) -> list[int]:
    """Draw an operation per edge uniformly; the incoming edges of a node are redrawn while all of them are `none`."""
    path: list[int] = []
    for target in (1, 2, 3):
        n_in = sum(end == target for end, _ in EDGES)
        ops = torch.zeros(n_in, dtype=torch.long)
        while not ops.any():
            ops = torch.randint(len(OPERATIONS), (n_in,), generator=generator)
        path += ops.tolist()
    return path


def set_paths(graph: NASBench201Supernet, paths: Sequence[Sequence[int]]) -> None:
    """Let every cell run its path (operation indices in edge order)."""
    for supercell, path in zip(graph.supercells, paths, strict=True):
        for mixing in supercell.mixings:
            assert isinstance(mixing, SinglePath)
            mixing.path = [path[edge] for edge in mixing.edges]


def angle_weights(graph: NASBench201Supernet) -> list[Tensor]:
    """Return the weights that angles are measured on, in a fixed order: first those of every cell, then the fixed parts.

    Per searched cell and edge the 1x1 and 3x3 convolutions (``[2 * 6 * cells]`` tensors); then stem, reduction blocks, last
    BatchNorm and classifier, each convolution's weight, BatchNorm's weight and bias.
    """
    cells = [
        weight
        for supercell in graph.supercells
        for edge in range(len(EDGES))
        for op in range(len(OPERATIONS))
        if (weight := supercell.weight(edge, op)) is not None
    ]
    fixed: list[nn.Module] = [graph.stem, *(m for m in graph.stages if isinstance(m, ResNetBlock))]
    fixed += [graph.lastact, graph.classifier]
    return cells + [parameter for module in fixed for parameter in module.parameters()]


def exact_angles(graph: NASBench201Supernet, initial: Sequence[Tensor]) -> np.ndarray:
    """Return the angle (radians) between initial and current weights of every cell, in the order of ``all_cells()``.

    A cell's vector concatenates, over the paths from input to output that hold no `none`, the weights on the path's edges in
    all cells of the network (pooling counts as the constant 1/9 of shape [C, 3, 3], a skip as nothing), and once the fixed
    parts; edges 1<-0 and 3<-2 lie on two paths and count twice. Without any such path the angle is 0.
    """
    terms = torch.stack([_products(w0, w) for w0, w in zip(initial, angle_weights(graph), strict=True)]).cpu().numpy()
    table = np.zeros((3, len(EDGES), len(OPERATIONS)))
    position = 0
    for supercell in graph.supercells:
        channels = _channels(supercell)
        table[:, :, OPERATIONS.index("avg_pool_3x3")] += channels / 9
        for edge in range(len(EDGES)):
            for op in range(len(OPERATIONS)):
                if supercell.weight(edge, op) is not None:
                    table[:, edge, op] += terms[position]
                    position += 1
    base = terms[position:].sum(0)
    cells = all_cells()
    alive = np.stack([(cells[:, list(path)] != 0).all(1) for path in PATHS], axis=1)
    times = np.stack([alive[:, [edge in path for path in PATHS]].sum(1) for edge in range(len(EDGES))], axis=1)
    dot, norm0, norm1 = (base[i] + (times * table[i][np.arange(len(EDGES)), cells]).sum(1) for i in range(3))
    cosine = np.clip(dot / np.sqrt(norm0 * norm1), -1, 1)
    return np.where(alive.any(1), np.arccos(cosine), 0.0)


def _products(initial: Tensor, current: Tensor) -> Tensor:
    """Return inner product and squared norms of two tensors, in double precision."""
    a, b = initial.detach().double().flatten(), current.detach().double().flatten()
    return torch.stack([a @ b, a @ a, b @ b])


def _channels(supercell: SuperCell) -> int:
    return int(supercell.bundles[0].channels)  # pyright: ignore

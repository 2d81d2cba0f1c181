"""RLNAS: single-path supernet on random labels, architectures ranked by how far their weights turned.

Zhang et al., "Neural Architecture Search with Random Labels", CVPR 2021. Bigger angle is better. What the angle is in each
space, and that it can be had exactly for all architectures, stands in ``angles.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from itnas.data.images import Loader
from itnas.fields import ADDED
from itnas.nn.mixing import MixingFactory, SinglePath
from itnas.optimizers.angles import angles_of, products
from itnas.optimizers.base import Batch, MethodConfig, Optimizer, Saved, Selection, StepResult
from itnas.spaces.base import SearchSpace

Code = tuple[int, ...]
"""An architecture as a value per gene."""


@dataclass(frozen=True)
class RLNASConfig(MethodConfig):
    """RLNAS."""

    search: Literal["exact", "evolution"] = "exact"
    """Largest angle of all architectures, or the paper's evolution."""
    population: int = 100
    """Architectures per generation of the evolution."""
    generations: int = 20
    """Generations; children of the last are never scored, as in the released code."""
    parents: int = 30
    """Architectures with the largest angle so far that children are made from."""
    mutation_rate: float = 0.1
    """Probability that a gene mutates; it never mutates to `none`."""
    angle_batchnorm: bool = field(default=True, metadata=ADDED)
    """NAS-Bench-1Shot1: whether BatchNorm's scales and shifts of candidates and projections belong to the angle, as they do in
    the released code of the DARTS space. Scales start at 1 and hardly turn, which favours cells of few convolutions."""


@dataclass
class InitialWeights(Saved):
    """The weights before training, from which angles are measured."""

    parts: dict[Any, list[Tensor]]
    """As :meth:`~itnas.optimizers.angles.ArchitectureAngles.parts` lists them."""


class RLNAS(Optimizer):
    """Mixing: one sampled operation per edge. Step: SGD on random labels. Selection: largest angle."""

    score_kind: ClassVar[str] = "angle"
    config: RLNASConfig

    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """Every choice runs the candidates of the current path."""
        self.architectures = angles_of(search_space, batchnorm=self.config.angle_batchnorm)
        return SinglePath

    def before_training(self) -> None:
        """Move to the device and keep the initial weights, from which angles are measured."""
        super().before_training()
        parts = self.architectures.parts(self.graph)
        self.initial = InitialWeights({part: [w.detach().clone() for w in tensors] for part, tensors in parts.items()})

    def prepare_data(self, train: Loader, valid: Loader, generator: torch.Generator) -> tuple[Loader, Loader]:
        """Give every training image one random label, fixed for the whole search."""
        super().prepare_data(train, valid, generator)
        labels = torch.randint(train.info.n_classes, (len(train.images),), generator=generator)
        return train.with_labels(labels), valid

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """Sample a path for every cell independently and take a weight step on it."""
        sampled = [self.architectures.draw(self.generator) for _ in self.graph.supercells]
        self.graph.set_paths([self.space.chosen(self.architectures.genotype(code)) for code in sampled])
        return super().step(data_train, data_val)

    def validate(self, valid: Loader) -> None:
        """Undefined: the supernet has never seen a true label."""

    def angles(self, codes: np.ndarray | None = None) -> np.ndarray:
        """Return the angle (radians) of the architectures ``codes`` ``[n, genes]``, by default of all of them."""
        return self.architectures.angles(self.terms(), self.architectures.codes() if codes is None else codes)

    def terms(self) -> dict[Any, np.ndarray]:
        """Return inner products and squared norms of initial and present weights, part by part."""
        return products(self.initial.parts, self.architectures.parts(self.graph))

    def scores(self) -> dict[str, np.ndarray]:
        """Return, per candidate, the largest angle (radians) among the architectures that have it."""
        angles = self.angles()
        kept = self.architectures.kept(self.architectures.codes())
        return {group: np.where(has, angles[:, None, None], 0.0).max(0) for group, has in kept.items()}

    def derive(self, *, exclude_none: bool) -> str:
        """Return the architecture with the largest angle; ties go to the first in counting order."""
        angles, codes = self.angles(), self.architectures.codes()
        if exclude_none:
            angles = np.where(self.architectures.has_none(codes), -np.inf, angles)
        return self.architectures.genotype(codes[int(angles.argmax())])

    def architecture_scores(self, genotypes: Sequence[str]) -> np.ndarray:
        """Return the angle (radians) of every architecture."""
        return self.angles(np.array([self.architectures.code(self.space.chosen(genotype)) for genotype in genotypes]))

    def prepare_measurement(self, train: Loader, valid: Loader) -> tuple[Loader, str]:
        """Measure on the random labels the supernet was trained on, other choices as in the derived architecture."""
        self.graph.set_paths([self.space.chosen(self.get_final_architecture())] * len(self.graph.supercells))
        return train, "train-random-labels"

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Choose by the exact argmax or by evolution."""
        chosen = super().select(train_data, valid_data)
        if self.config.search == "exact":
            return chosen
        with_none = self.evolve(exclude_none=False)
        without_none = self.evolve(exclude_none=True) if self.space.derives_none else with_none
        return self.selection(with_none, without_none, chosen.scores, chosen.kind)

    def evolve(self, *, exclude_none: bool) -> str:
        """Run the paper's evolution on the angle; new architectures are drawn without `none` if that is excluded."""
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=self.generator)))
        half, terms = self.config.population // 2, self.terms()
        scored: dict[Code, float] = {}
        population: list[Code] = []
        for _ in range(self.config.generations):
            while len(population) < self.config.population:
                code = self.architectures.draw_candidate(rng, exclude_none=exclude_none)
                if code not in scored and code not in population:
                    population.append(code)
            scored.update(zip(population, self.architectures.angles(terms, np.array(population)).tolist(), strict=True))
            parents = sorted(scored, key=lambda code: -scored[code])[: self.config.parents]
            population = []
            for make, limit in ((self._mutate, half), (self._cross, 2 * half)):
                for _ in range(10 * half):
                    if len(population) == limit:
                        break
                    child = make(parents, rng)
                    if child not in scored and child not in population:
                        population.append(child)
        return self.architectures.genotype(np.array(max(scored, key=lambda code: scored[code])))

    def _mutate(self, parents: list[Code], rng: np.random.Generator) -> Code:
        parent = parents[rng.integers(len(parents))]
        mutate = rng.random(len(parent)) < self.config.mutation_rate
        genes = enumerate(zip(parent, mutate, strict=True))
        child = tuple(self.architectures.mutate_gene(gene, rng) if m else value for gene, (value, m) in genes)
        return self.architectures.repair(child, rng)

    def _cross(self, parents: list[Code], rng: np.random.Generator) -> Code:
        a, b = (parents[i] for i in rng.integers(len(parents), size=2))
        child = tuple(x if take else y for x, y, take in zip(a, b, rng.random(len(a)) < 0.5, strict=True))
        return self.architectures.repair(child, rng)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the base's state and the initial weights."""
        return {**super().get_checkpointables(), "initial": self.initial}

"""Random search: one cell drawn uniformly per seed, no supernet trained. The control that every table needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from itnas.data.images import DatasetInfo, Loader
from itnas.errors import UserError
from itnas.nn.mixing import MixingFactory
from itnas.optimizers.base import Batch, MethodConfig, Optimizer, StepResult
from itnas.spaces.base import SearchSpace


class RandomSearch(Optimizer):
    """Draws; its scores are constant, and their Kendall tau is therefore n/a."""

    score_kind: ClassVar[str] = "constant"
    discretizes: ClassVar[bool] = False
    config: MethodConfig

    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """There is no supernet to mix in."""
        raise UserError("random search trains no supernet; set epochs to 0")

    def adapt_search_space(self, search_space: SearchSpace, dataset: DatasetInfo | str) -> None:
        """Remember the space; build nothing."""
        self.space = search_space
        self.graph = nn.Module()  # pyright: ignore[reportAttributeAccessIssue]
        self.op_optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(()))], 0.0)

    def before_training(self) -> None:
        """There is nothing to move to the device."""

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """There is nothing to train."""
        raise UserError("random search trains no supernet; set epochs to 0")

    def validate(self, valid: Loader) -> None:
        """There is nothing to validate."""

    def scores(self) -> dict[str, np.ndarray]:
        """Return the same score for every candidate."""
        return {
            group: np.full((len(choices), len(choices[0].candidates)), 1 / len(choices[0].candidates))
            for group, choices in self.space.groups.items()
        }

    def prepare_data(self, train: Loader, valid: Loader, generator: torch.Generator) -> tuple[Loader, Loader]:
        """Draw one cell from all cells, and one from those without `none`."""
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
        self.drawn = {exclude: self.space.random(rng, exclude_none=exclude) for exclude in (False, True)}
        return super().prepare_data(train, valid, generator)

    def derive(self, *, exclude_none: bool) -> str:
        """Return the drawn cell, which no score decides."""
        return self.drawn[exclude_none]

    def architecture_scores(self, genotypes: Sequence[str]) -> None:
        """There is no score."""

    def get_checkpointables(self) -> dict[str, Any]:
        """Return nothing but an empty model."""
        return {"model": self.graph}

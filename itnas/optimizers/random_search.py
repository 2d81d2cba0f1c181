"""Random search: one cell drawn uniformly per seed, no supernet trained. The control that every table needs."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from itnas.data.images import DatasetInfo, Loader
from itnas.errors import UserError
from itnas.nn.mixing import MixingFactory
from itnas.optimizers.base import Batch, MethodConfig, Optimizer, Selection, StepResult
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

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Draw one cell from all cells, and one from those without `none`."""
        rng = np.random.default_rng(int(torch.randint(2**31, (), generator=self.generator)))
        with_none = self.space.random(rng, exclude_none=False)
        without_none = self.space.random(rng, exclude_none=True)
        own = without_none if self.config.exclude_none else with_none
        return Selection(own, with_none, without_none, self.scores(), self.score_kind)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return nothing but an empty model."""
        return {"model": self.graph}

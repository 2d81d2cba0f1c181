"""What AGNAS and IT-NAS share: single-level training, and importance read from attention on the validation half."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from itnas.data.images import Loader
from itnas.fields import ADDED
from itnas.nn.buffers import kept_buffers
from itnas.nn.mixing import Alphas, MixingFactory, SoftmaxMixing
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.base import AdamConfig, Batch, MethodConfig, Optimizer, Saved, StepResult
from itnas.spaces.base import SearchSpace


@dataclass(frozen=True)
class AttentionConfig(MethodConfig):
    """How the importance of candidates is read from a trained supernet with attention modules."""

    exclude_none: bool = True
    """The method's own rule: whether the headline cell may not choose `none`. Both variants are always recorded."""
    aggregate: Literal["mean", "sum", "last_stage", "first"] = "mean"
    """Over the cells at whose edge the importance is measured: mean, sum, mean of the last stage's cells, or the first cell
    alone (AGNAS's stage-wise cells in space `darts-stagewise`)."""
    importance_bn: Literal["eval", "train"] = "eval"
    """BatchNorm in the importance pass: running statistics, or batch statistics (running ones are restored)."""
    importance_transform: Literal["clean", "train"] = "clean"
    """Validation images of the importance pass: clean, or augmented as in AGNAS's released code."""
    parents: Literal["attention", "alphas", "alphas-bilevel"] = field(default="attention", metadata=ADDED)
    """What chooses a node's parents where a space decides them (NAS-Bench-1Shot1): attention over their feature maps, or
    DARTS's parameters, trained with the weights or by Adam on validation batches."""
    parent_alphas: AdamConfig = field(default=AdamConfig(), metadata=ADDED)
    """Optimizer of the parents' parameters with `alphas-bilevel`."""


@dataclass
class Measured(Saved):
    """What the last pass over the validation half measured; a resumed search must not measure it again to know it."""

    importance: dict[str, np.ndarray] | None = None
    """Importance ``{group: [cell, choice, candidate]}``."""


class AttentionOptimizer(Optimizer):
    """Trains weights and attention together on the training half; scores are mean importance over validation images."""

    config: AttentionConfig

    def __init__(
        self, config: AttentionConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, network, device)
        self.reads_valid_batches = config.parents == "alphas-bilevel"
        self.measured = Measured()

    @abstractmethod
    def make_module(self, search_space: SearchSpace) -> MixingFactory:
        """Return the attention module of every choice."""

    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """Every choice has an attention module, unless it is among parents and those have alphas."""
        make = self.make_module(search_space)
        groups = search_space.parent_groups() if self.config.parents != "attention" else set()
        self.parents = {
            group: Alphas(len(choices), len(choices[0].candidates))
            for group, choices in search_space.groups.items()
            if group in groups
        }
        if self.config.parents == "alphas-bilevel":
            self.architectural_weights = [alphas.logits for alphas in self.parents.values()]
            self.parent_optimizer = self.config.parent_alphas.make(self.architectural_weights)
        return lambda site: SoftmaxMixing(site, self.parents[site.group]) if site.group in groups else make(site)

    def kind_of(self, group: str) -> str:
        """Return the kind of a group's scores."""
        return "alpha" if group in self.parents else self.score_kind

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """One SGD step on weights and modules, after one on the parents' alphas where they are bilevel."""
        if self.config.parents == "alphas-bilevel":
            assert data_val is not None, "bilevel parents need validation batches"
            alphas = [alphas.logits for alphas in self.parents.values()]
            gradients = torch.autograd.grad(F.cross_entropy(self.graph(data_val[0]), data_val[1]), alphas)
            for parameter, gradient in zip(alphas, gradients, strict=True):
                parameter.grad = gradient
            self.parent_optimizer.step()
        return super().step(data_train, data_val)

    @torch.no_grad()
    def validate(self, valid: Loader) -> tuple[float, float]:
        """Pass once over the validation half; measure loss, accuracy, and the importance per cell, choice and candidate."""
        self.graph.train(self.config.importance_bn == "train")
        totals: dict[str, torch.Tensor] = {}
        loss, hits, n = torch.zeros((), device=self.device), torch.zeros((), device=self.device), len(valid.images)
        with kept_buffers(self.graph):
            for images, labels in iter(valid) if self.config.importance_transform == "train" else valid.clean():
                logits, importance = self.graph.with_importance(images)
                for group, values in importance.items():
                    part = values.double().sum(1) * (len(images) / values.shape[1])  # alphas: the same for all images
                    totals[group] = totals[group] + part if group in totals else part
                loss += F.cross_entropy(logits, labels, reduction="sum")
                hits += (logits.argmax(1) == labels).sum()
        self.measured.importance = {group: (total / n).cpu().numpy() for group, total in totals.items()}
        return loss.item() / n, 100 * hits.item() / n

    def cell_scores(self) -> dict[str, np.ndarray]:
        """Return the importance of the last :meth:`validate` per cell, ``{group: [cell, choice, candidate]}``."""
        if self.measured.importance is None:
            raise RuntimeError("scores are measured by validate(), which was not called yet")
        return dict(self.measured.importance)

    def scores(self) -> dict[str, np.ndarray]:
        """Return the importance aggregated over cells as configured."""
        return {group: self._aggregate(group, cells) for group, cells in self.cell_scores().items()}

    def _aggregate(self, group: str, cells: np.ndarray) -> np.ndarray:
        if self.config.aggregate == "last_stage":
            stages = [self.graph.stage_of(cell) for cell in self.graph.cells_of(group)]
            cells = cells[np.array(stages) == max(stages)]
        if self.config.aggregate == "first":
            return cells[0]
        return cells.sum(0) if self.config.aggregate == "sum" else cells.mean(0)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the base's state and what was measured."""
        parts = {**super().get_checkpointables(), "measured": self.measured}
        bilevel = self.config.parents == "alphas-bilevel"
        return {**parts, "parent_optimizer": self.parent_optimizer} if bilevel else parts

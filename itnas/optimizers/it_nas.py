"""IT-NAS: a lite transformer on every edge, importance from the indicator token's row (ICLR 2023 submission).

Only the abstract, the introduction and the opening of section 2 are public; the module's open questions are the fields of
:class:`~itnas.nn.lite_transformer.LiteTransformerConfig`, the training's are the fields below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.nn import functional as F

from itnas.nn.lite_transformer import LiteTransformer, LiteTransformerConfig
from itnas.nn.mixing import MixingFactory, Site
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.attention import AttentionConfig, AttentionOptimizer
from itnas.optimizers.base import AdamConfig, Batch, StepResult
from itnas.spaces.base import SearchSpace


@dataclass(frozen=True)
class ITNASConfig(AttentionConfig):
    """IT-NAS."""

    module: LiteTransformerConfig = field(default_factory=LiteTransformerConfig)
    """The lite transformer of one edge."""
    sharing: Literal["edge", "stage"] = "edge"
    """Own module per (cell, edge), or one per edge position shared by the cells of a stage."""
    training: Literal["sgd", "adam", "bilevel"] = "sgd"
    """How the modules train: with the weights by the same SGD; by a separate Adam on the same training batches; or by
    Adam on validation batches."""
    adam: AdamConfig = field(default_factory=AdamConfig)
    """The modules' Adam, if they have one."""
    decay_vectors: bool = True
    """Whether the modules' biases, LayerNorms and indicator tokens are decayed like matrices (with SGD)."""
    uniform_epochs: int = 0
    """Warm-up: epochs over which the mixing goes linearly from uniform to the module's own weights."""


class ITNAS(AttentionOptimizer):
    """Mixing: lite transformer per edge. Step: single level. Selection: largest entry of the IT row."""

    score_kind: ClassVar[str] = "attention"
    config: ITNASConfig

    def __init__(
        self, config: ITNASConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, network, device)
        self.reads_valid_batches |= config.training == "bilevel"

    def make_module(self, search_space: SearchSpace) -> MixingFactory:
        """Every choice has its own module, or shares it with the same choice of the stage's other cells."""
        first: dict[tuple[int, str, tuple[int, ...]], LiteTransformer] = {}

        def make(site: Site) -> LiteTransformer:
            key = (site.stage, site.group, site.choices)
            if self.config.sharing == "stage" and key in first:
                return first[key].sharing_at(site)
            first[key] = LiteTransformer(site, self.config.module)
            return first[key]

        return make

    def modules(self) -> list[LiteTransformer]:
        """Return the supernet's lite transformers."""
        return [module for module in self.graph.modules() if isinstance(module, LiteTransformer)]

    def get_op_optimizer(self) -> torch.optim.Optimizer:
        """Return SGD on weights and modules, or on the weights alone when the modules have their own Adam."""
        module_parameters = list(dict.fromkeys(p for module in self.modules() for p in module.parameters()))
        if self.config.training != "sgd":
            self.architectural_weights = [*self.architectural_weights, *module_parameters]
            self.module_optimizer = self.config.adam.make(module_parameters)
        optimizer = super().get_op_optimizer()
        if self.config.training == "sgd" and not self.config.decay_vectors:
            vectors = {id(p) for p in module_parameters if not self._is_matrix(p)}
            group = optimizer.param_groups[0]
            plain = [p for p in group["params"] if id(p) in vectors]
            group["params"] = [p for p in group["params"] if id(p) not in vectors]
            optimizer.add_param_group({"params": plain, "weight_decay": 0.0})
        return optimizer

    @staticmethod
    def _is_matrix(parameter: nn.Parameter) -> bool:
        return parameter.ndim == 3 and parameter.shape[1] > 1

    def new_epoch(self, epoch: int) -> None:
        """Set the share of uniform mixing of the warm-up."""
        warm_up = self.config.uniform_epochs
        for module in self.modules():
            module.uniform_share = max(0.0, 1 - epoch / warm_up) if warm_up else 0.0

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """Single level by default: one SGD step of weights and modules on the training batch."""
        if self.config.training == "sgd":
            return super().step(data_train, data_val)
        batch = data_val if self.config.training == "bilevel" else data_train
        assert batch is not None, "bilevel training needs validation batches"
        self.module_optimizer.zero_grad()
        logits_module = self.graph(batch[0])
        loss_module = F.cross_entropy(logits_module, batch[1])
        module_parameters = [p for group in self.module_optimizer.param_groups for p in group["params"]]
        loss_module.backward(inputs=module_parameters)
        self.module_optimizer.step()
        logits, _, loss, _ = super().step(data_train, data_val)
        if self.config.training == "adam":
            return logits, None, loss, None
        return logits, logits_module.detach(), loss, loss_module.detach()

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the base's state and the modules' Adam, if they have one."""
        parts = super().get_checkpointables()
        return parts if self.config.training == "sgd" else {**parts, "module_optimizer": self.module_optimizer}

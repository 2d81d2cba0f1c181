"""DARTS: softmax alphas trained on the validation half, first or second order (Liu et al., ICLR 2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.data.images import Loader
from itnas.early_stopping import EarlyStoppingConfig, stop_epoch
from itnas.fields import ADDED
from itnas.nn.buffers import kept_buffers
from itnas.nn.mixing import Alphas, MixingFactory, SoftmaxMixing
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.base import AdamConfig, Batch, MethodConfig, Optimizer, Saved, Selection, StepResult
from itnas.spaces.base import SearchSpace


@dataclass(frozen=True)
class DARTSConfig(MethodConfig):
    """DARTS."""

    alphas: AdamConfig = field(default_factory=AdamConfig)
    """Optimizer of the architecture parameters."""
    order: Literal[1, 2] = 1
    """1: the gradient of L_val at the current weights; 2: at the weights after one virtual step (DARTS eq. 7 and 8)."""
    alpha_step: Literal["first", "last"] = "first"
    """Whether the alpha step precedes the weight step (DARTS, DARTS-PT) or follows it (NAS-Bench-201's DARTS-V1)."""
    early_stopping: EarlyStoppingConfig | None = field(default=None, metadata=ADDED)
    """DARTS-ES: stop when the dominant eigenvalue grows, and return the earlier architecture; needs `eigenvalues`."""

    @property
    def watches_eigenvalues(self) -> bool:
        """Whether the search stops early by them."""
        return self.early_stopping is not None


@dataclass
class Curvature(Saved):
    """What was measured along a search that may stop early."""

    epochs: list[int] = field(default_factory=list)
    """Epochs of the measurements."""
    eigenvalues: list[float] = field(default_factory=list)
    """Dominant eigenvalue at each."""
    scores: list[dict[str, np.ndarray]] = field(default_factory=list)
    """Softmax of the alphas at each."""


class DARTS(Optimizer):
    """Alternates Adam on alphas (validation batch) and SGD on weights (training batch); reads the alphas."""

    score_kind: ClassVar[str] = "alpha"
    reads_valid_batches: bool = True
    config: DARTSConfig

    def __init__(
        self, config: DARTSConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, network, device)
        self.curvature = Curvature()

    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """Every cell's choices mix by the same alphas, one parameter per group of choices."""
        self.alphas = {
            group: Alphas(len(choices), len(choices[0].candidates)) for group, choices in search_space.groups.items()
        }
        self.architectural_weights = [alphas.logits for alphas in self.alphas.values()]
        self.arch_optimizer = self.config.alphas.make(self.architectural_weights)
        return lambda site: SoftmaxMixing(site, self.alphas[site.group])

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """One alpha step and one weight step, in the configured order."""
        assert data_val is not None, "DARTS trains its alphas on validation batches"
        if self.config.alpha_step == "first":
            logits_val, loss_val = self.alpha_step(data_train, data_val)
            logits, loss = self.weight_step(data_train)
        else:
            logits, loss = self.weight_step(data_train)
            logits_val, loss_val = self.alpha_step(data_train, data_val)
        return logits, logits_val, loss, loss_val

    def alpha_step(self, data_train: Batch, data_val: Batch) -> tuple[Tensor, Tensor]:
        """Take one Adam step on the alphas; return logits and loss of the validation batch."""
        if self.config.order == 1:
            logits = self.graph(data_val[0])
            loss = F.cross_entropy(logits, data_val[1])
            gradients = torch.autograd.grad(loss, self.architectural_weights)
        else:
            gradients, logits, loss = second_order_gradient(
                self.graph,
                self.weight_parameters(),
                self.architectural_weights,
                self.op_optimizer,
                data_train,
                data_val,
            )
        for parameter, gradient in zip(self.architectural_weights, gradients, strict=True):
            parameter.grad = gradient
        self.arch_optimizer.step()
        return logits.detach(), loss.detach()

    def scores(self) -> dict[str, np.ndarray]:
        """Return softmax(alpha)."""
        return {group: alphas.weights().detach().double().cpu().numpy() for group, alphas in self.alphas.items()}

    def observe_curvature(self, epoch: int, eigenvalue: float) -> None:
        """Remember the dominant eigenvalue and the scores of an epoch, if the search may stop early."""
        if self.config.early_stopping is not None:
            self.curvature.epochs.append(epoch)
            self.curvature.eigenvalues.append(eigenvalue)
            self.curvature.scores.append(self.scores())

    @property
    def stopped_at(self) -> int | None:
        """The epoch whose architecture DARTS-ES returns, None while the search goes on."""
        if self.config.early_stopping is None:
            return None
        return stop_epoch(self.curvature.epochs, self.curvature.eigenvalues, self.config.early_stopping)

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Read the alphas, those of the earlier epoch if the search was stopped."""
        epoch = self.stopped_at
        if epoch is None:
            return super().select(train_data, valid_data)
        scores = self.curvature.scores[self.curvature.epochs.index(epoch)]
        with_none, without_none = (self.space.derive(scores, exclude_none=exclude) for exclude in (False, True))
        return self.selection(with_none, without_none, scores, self.score_kind)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return the base's and Adam's state; the alphas are parameters of the supernet."""
        parts = {**super().get_checkpointables(), "arch_optimizer": self.arch_optimizer}
        return parts if self.config.early_stopping is None else {**parts, "curvature": self.curvature}


def second_order_gradient(
    model: nn.Module,
    weights: Sequence[nn.Parameter],
    alphas: Sequence[Tensor],
    sgd: torch.optim.Optimizer,
    data_train: Batch,
    data_val: Batch,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return the unrolled gradient of L_val with respect to the alphas, and the validation logits and loss at w'.

    With xi the learning rate and m the momentum buffer: w' = w - xi (mu m + grad_w L_tr(w) + lambda w); the gradient is
    grad_alpha L_val(w') - xi [grad_alpha L_tr(w+) - grad_alpha L_tr(w-)] / (2 eps) with w± = w ± eps v,
    v = grad_w' L_val(w') and eps = 0.01 / |v| (DARTS eq. 7 and 8). The weights are restored bit by bit; the virtual step's
    forward leaves no trace in the BatchNorm statistics.
    """

    def loss_of(batch: Batch) -> tuple[Tensor, Tensor]:
        logits = model(batch[0])
        return logits, F.cross_entropy(logits, batch[1])

    group = sgd.param_groups[0]
    rate, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    original = [w.detach().clone() for w in weights]
    with kept_buffers(model):
        gradients = torch.autograd.grad(loss_of(data_train)[1], weights)
        with torch.no_grad():
            for w, gradient in zip(weights, gradients, strict=True):
                velocity = sgd.state[w].get("momentum_buffer") if w in sgd.state else None
                update = gradient + decay * w
                w -= rate * (update if velocity is None else update + momentum * velocity)
        logits, loss = loss_of(data_val)
        joint = torch.autograd.grad(loss, [*alphas, *weights])
    direct, v = joint[: len(alphas)], joint[len(alphas) :]
    epsilon = 0.01 / torch.cat([part.flatten() for part in v]).norm()

    def alpha_gradient_at(sign: int) -> tuple[Tensor, ...]:
        with torch.no_grad():
            for w, start, direction in zip(weights, original, v, strict=True):
                w.copy_(start + sign * epsilon * direction)
        return torch.autograd.grad(loss_of(data_train)[1], alphas)

    plus, minus = alpha_gradient_at(1), alpha_gradient_at(-1)
    with torch.no_grad():
        for w, start in zip(weights, original, strict=True):
            w.copy_(start)
    unrolled = [g - rate * (p - m) / (2 * epsilon) for g, p, m in zip(direct, plus, minus, strict=True)]
    return unrolled, logits, loss

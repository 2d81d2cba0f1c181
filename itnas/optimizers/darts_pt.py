"""DARTS-PT: perturbation-based selection from a DARTS supernet (Wang et al., "Rethinking Architecture Selection", ICLR 2021).

The strength of an operation is the drop of the supernet's validation accuracy when it is masked; edges are decided one by
one, in random order, with fine-tuning between (algorithm 1).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from itnas.data.images import Loader
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.base import Batch, Saved, Selection, StepResult
from itnas.optimizers.darts import DARTS, DARTSConfig


@dataclass(frozen=True)
class DARTSPTConfig(DARTSConfig):
    """DARTS-PT; its supernet is trained as DARTS trains its own."""

    fix_alpha: bool = False
    """Never train the alphas, neither in the supernet nor while selecting: the paper's strongest variant (`blank`)."""
    tune_epochs_between: int = 5
    """Epochs of fine-tuning between two decisions."""
    tune_lr_factor: float = 0.1
    """Constant learning rate of fine-tuning, as a fraction of the supernet's first."""
    criterion_bn: Literal["train", "eval"] = "train"
    """BatchNorm while an operation is masked: batch statistics as in the released code (which also lets the running
    statistics drift; here they are restored), or running ones."""
    criterion_transform: Literal["train", "clean"] = "train"
    """Validation images while an operation is masked: augmented as in the released code, or clean."""


@dataclass
class Progress(Saved):
    """How far a selection is."""

    epoch: int
    """Tuning epochs done."""
    undecided: list[int]
    """Choices still free."""
    drops: torch.Tensor
    """Drop of the validation accuracy (percent points) when a candidate was masked, ``[choice, candidate]``."""


class DARTSPT(DARTS):
    """DARTS whose ``select`` masks operations and measures."""

    score_kind: ClassVar[str] = "alpha"
    config: DARTSPTConfig

    def __init__(
        self, config: DARTSPTConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, network, device)
        self.reads_valid_batches = not config.fix_alpha

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """A DARTS step, or a weight step alone when the alphas are fixed."""
        if self.config.fix_alpha:
            logits, loss = self.weight_step(data_train)
            return logits, None, loss, None
        return super().step(data_train, data_val)

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Decide edge by edge; resumable after every tuning epoch.

        With E edges and 5 epochs between decisions: 5 (E - 1) tuning epochs, decisions before epochs 0, 5, ... and before
        the last (NAS-Bench-201: 25 epochs, decisions before 0, 5, 10, 15, 20 and 24).
        """
        n_choices, n_candidates = self.alphas.logits.shape
        if not hasattr(self, "progress"):
            self.start_selection(n_choices, n_candidates)
        epochs = self.config.tune_epochs_between * (n_choices - 1)
        while self.progress.epoch < epochs or self.progress.undecided:
            epoch = self.progress.epoch
            if epoch % self.config.tune_epochs_between == 0 or epoch >= epochs - 1:
                self.decide_one(valid_data)
            if epoch < epochs:
                self.train_epoch(train_data, valid_data)
            self.progress.epoch += 1
            self.checkpoint()
        drops = self.progress.drops.numpy()
        scores = {"edges": drops}
        with_none = self.space.derive(scores, exclude_none=False)
        without_none = self.space.derive(scores, exclude_none=True)
        own = without_none if self.config.exclude_none else with_none
        return Selection(own, with_none, without_none, scores, "perturbation")

    def start_selection(self, n_choices: int, n_candidates: int) -> None:
        """Set up an empty selection: nothing decided, SGD new with its small constant rate."""
        self.op_optimizer = self.make_sgd(self.weight_parameters(), self.config.weights.lr * self.config.tune_lr_factor)
        self.progress = Progress(0, list(range(n_choices)), torch.zeros(n_choices, n_candidates, dtype=torch.float64))

    def decide_one(self, valid: Loader) -> None:
        """Pick an undecided edge at random and fix it to the operation whose removal hurts most; ties to the lower index."""
        place = int(torch.randint(len(self.progress.undecided), (), generator=self.generator))
        edge = self.progress.undecided.pop(place)
        with self.measuring():
            state = self.generator.get_state()
            baseline = self.masked_accuracy(None, valid, state)
            accuracies = [self.masked_accuracy((edge, k), valid, state) for k in range(self.alphas.logits.shape[1])]
        self.progress.drops[edge] = baseline - torch.tensor(accuracies, dtype=torch.float64)
        allowed = np.arange(len(accuracies)) >= int(self.config.exclude_none)
        best = int(np.where(allowed, self.progress.drops[edge].numpy(), -np.inf).argmax())
        self.alphas.fixed[edge, best] = 1

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Choose the BatchNorm mode of the criterion and restore the running statistics afterwards."""
        buffers = {name: value.clone() for name, value in self.graph.named_buffers()}
        self.graph.train(self.config.criterion_bn == "train")
        try:
            yield
        finally:
            self.alphas.masked = None
            with torch.no_grad():
                for name, value in self.graph.named_buffers():
                    value.copy_(buffers[name])
            self.graph.train()

    @torch.no_grad()
    def masked_accuracy(self, mask: tuple[int, int] | None, valid: Loader, state: torch.Tensor) -> float:
        """Return the supernet's accuracy (percent) on the validation half with one candidate masked.

        All candidates of an edge see the same images in the same batches: ``state`` is the generator's before the first.
        """
        self.generator.set_state(state)
        self.alphas.masked = mask
        hits = torch.zeros((), device=self.device)
        for images, labels in iter(valid) if self.config.criterion_transform == "train" else valid.clean():
            hits += (self.graph(images).argmax(1) == labels).sum()
        return 100 * hits.item() / len(valid.images)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return DARTS's state and, while selecting, how far the selection is."""
        parts = super().get_checkpointables()
        return {**parts, "progress": self.progress} if hasattr(self, "progress") else parts

    def restore_selection(self) -> None:
        """Prepare the objects that a checkpoint taken while selecting loads into."""
        self.start_selection(*self.alphas.logits.shape)

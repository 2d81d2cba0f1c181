"""DARTS-PT: perturbation-based selection from a DARTS supernet (Wang et al., "Rethinking Architecture Selection", ICLR 2021).

The strength of an operation is the drop of the supernet's validation accuracy when it is masked; edges are decided one by
one, in random order, with fine-tuning between (algorithm 1).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from itnas.data.images import Loader
from itnas.fields import ADDED
from itnas.nn.buffers import kept_buffers
from itnas.nn.mixing import Alphas
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.base import Batch, Saved, Selection, StepResult
from itnas.optimizers.darts import DARTS, DARTSConfig
from itnas.spaces.base import Decision, Phase


@dataclass(frozen=True)
class DARTSPTConfig(DARTSConfig):
    """DARTS-PT; its supernet is trained as DARTS trains its own."""

    fix_alpha: bool = False
    """Never train the alphas, neither in the supernet nor while selecting: the paper's strongest variant (`blank`)."""
    tune_epochs_between: int = 5
    """Epochs of fine-tuning between two decisions."""
    tune_lr_factor: float = 0.1
    """Constant learning rate of fine-tuning, as a fraction of the supernet's first."""
    topology: Literal["greedy", "single"] = field(default="greedy", metadata=ADDED)
    """How the inputs of a node are decided: remove the one that hurts least until enough are left, keeping what was removed
    at zero (the paper), or rank them once by single removals (the released code's loop forgets what it removed)."""
    criterion_bn: Literal["train", "eval"] = "train"
    """BatchNorm while an operation is masked: batch statistics as in the released code (which also lets the running
    statistics drift; here they are restored), or running ones."""
    criterion_transform: Literal["train", "clean"] = "train"
    """Validation images while an operation is masked: augmented as in the released code, or clean."""
    criterion_images: int | None = field(default=None, metadata=ADDED)
    """The first so many validation images while an operation is masked; None: all, as published."""


@dataclass
class Progress(Saved):
    """How far a selection is."""

    epoch: int
    """Tuning epochs done."""
    undecided: list[list[list[int]]]
    """Decisions still open, ``[phase][queue]``: indices into the space's phases."""
    drops: dict[str, torch.Tensor]
    """Drop of the validation accuracy (percent points) when a candidate was masked, ``{group: [choice, candidate]}``."""


class DARTSPT(DARTS):
    """DARTS whose ``select`` masks operations and measures."""

    score_kind: ClassVar[str] = "alpha"
    config: DARTSPTConfig

    def __init__(
        self, config: DARTSPTConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(config, network, device)
        self.reads_valid_batches = not config.fix_alpha
        self.progress: Progress | None = None

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """A DARTS step, or a weight step alone when the alphas are fixed."""
        if self.config.fix_alpha:
            logits, loss = self.weight_step(data_train)
            return logits, None, loss, None
        return super().step(data_train, data_val)

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Decide one by one, operations first and then inputs of nodes; resumable after every tuning epoch.

        With S decisions (of the longest queue of every phase) and 5 epochs between them: 5 (S - 1) tuning epochs, one more
        where inputs are decided too; decisions before epochs 0, 5, ... and before the last. NAS-Bench-201: 25 epochs,
        decisions before 0, 5, 10, 15, 20 and 24; DARTS space: 81 epochs, operations before 0, 5, ..., 65, inputs before 70,
        75 and 80.
        """
        phases = self.space.phases()
        if self.progress is None:
            self.restore_selection()
        assert self.progress is not None
        steps = sum(max(len(queue) for queue in phase) for phase in phases)
        epochs = self.config.tune_epochs_between * (steps - 1) + (len(phases) > 1)
        while self.progress.epoch < epochs or any(queue for phase in self.progress.undecided for queue in phase):
            epoch = self.progress.epoch
            if epoch % self.config.tune_epochs_between == 0 or epoch >= epochs - 1:
                self.decide_next(phases, valid_data.first(self.config.criterion_images))
            if epoch < epochs:
                self.train_epoch(train_data, valid_data)
            self.progress.epoch += 1
            self.checkpoint()
        decided = self.decided_scores(phases)
        with_none = self.space.derive(decided, exclude_none=False)
        without_none = self.space.derive(decided, exclude_none=True)
        scores = {group: drops.numpy() for group, drops in self.progress.drops.items()}
        return self.selection(with_none, without_none, scores, "perturbation")

    def restore_selection(self) -> None:
        """Set up an empty selection, into which a checkpoint may load: nothing decided, SGD new with its small rate."""
        self.op_optimizer = self.config.weights.make(self.weight_parameters(), factor=self.config.tune_lr_factor)
        undecided = [[list(range(len(queue))) for queue in phase] for phase in self.space.phases()]
        drops = {group: torch.zeros(alphas.logits.shape, dtype=torch.float64) for group, alphas in self.alphas.items()}
        self.progress = Progress(0, undecided, drops)

    def decide_next(self, phases: tuple[Phase, ...], valid: Loader) -> None:
        """Take one decision at random from every queue of the first phase that is not finished."""
        assert self.progress is not None
        for phase, queues in zip(phases, self.progress.undecided, strict=True):
            if not any(queues):
                continue
            for queue, left in zip(phase, queues, strict=True):
                if left:
                    place = int(torch.randint(len(left), (), generator=self.generator))
                    self.decide(queue[left.pop(place)], valid)
            return

    def decide(self, decision: Decision, valid: Loader) -> None:
        """Keep the options whose removal hurts most; ties go to the lower index."""
        assert self.progress is not None
        alphas, drops = self.alphas[decision.group], self.progress.drops[decision.group]
        choices = self.space.groups[decision.group]
        left = list(decision.options)
        greedy = decision.topology and self.config.topology == "greedy"
        with self.measuring(alphas):
            state = self.generator.get_state()
            baseline = self.masked_accuracy(valid, state)
            while True:
                accuracies = [self.masked_accuracy(valid, state, option) for option in left]
                for (choice, candidate), accuracy in zip(left, accuracies, strict=True):
                    if candidate is not None:
                        drops[choice, candidate] = baseline - accuracy
                if not greedy:
                    break
                weakest = max(range(len(left)), key=lambda i: (accuracies[i], i))
                alphas.masked.add(left.pop(weakest))
                baseline = accuracies.pop(weakest)
                if len(left) == decision.keep:
                    break
        excluded = [
            self.config.exclude_none and k is not None and choices[choice].candidates[k] == "none" for choice, k in left
        ]
        order = sorted(range(len(left)), key=lambda i: (excluded[i], accuracies[i], i))
        self.keep(decision, [left[i] for i in order[: decision.keep]])

    def keep(self, decision: Decision, kept: Sequence[tuple[int, int | None]]) -> None:
        """Fix the alphas of a decision to the kept options."""
        alphas = self.alphas[decision.group]
        for choice in dict.fromkeys(choice for choice, _ in decision.options):
            candidates = [k for c, k in kept if c == choice and k is not None]
            if candidates:
                alphas.decide(choice, candidates)
            elif (choice, None) not in kept:
                alphas.decide(choice, ())

    def decided_scores(self, phases: tuple[Phase, ...]) -> dict[str, np.ndarray]:
        """Return the drops, minus infinity at inputs that were removed, from which the space's rule derives the cell."""
        assert self.progress is not None
        scores = {group: drops.numpy().copy() for group, drops in self.progress.drops.items()}
        for decision in (d for phase in phases for queue in phase for d in queue if d.topology):
            fixed = self.alphas[decision.group].fixed.cpu().numpy()
            for choice, candidate in decision.options:
                where = (choice, slice(None) if candidate is None else candidate)
                if not fixed[where].any():
                    scores[decision.group][where] = -np.inf
        return scores

    @contextlib.contextmanager
    def measuring(self, alphas: Alphas) -> Iterator[None]:
        """Choose the BatchNorm mode of the criterion; unmask and restore the running statistics afterwards."""
        self.graph.train(self.config.criterion_bn == "train")
        self.measured = alphas
        try:
            with kept_buffers(self.graph):
                yield
        finally:
            alphas.masked.clear()
            self.graph.train()

    @torch.no_grad()
    def masked_accuracy(
        self, valid: Loader, state: torch.Tensor, option: tuple[int, int | None] | None = None
    ) -> float:
        """Return the supernet's accuracy (percent) on the validation half with one more option masked.

        All options see the same images in the same batches: ``state`` is the generator's before the first.
        """
        self.generator.set_state(state)
        already = set(self.measured.masked)
        self.measured.masked |= set() if option is None else {option}
        hits = torch.zeros((), device=self.device)
        for images, labels in iter(valid) if self.config.criterion_transform == "train" else valid.clean():
            hits += (self.graph(images).argmax(1) == labels).sum()
        self.measured.masked = already
        return 100 * hits.item() / len(valid.images)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return DARTS's state and, while selecting, how far the selection is."""
        parts = super().get_checkpointables()
        return parts if self.progress is None else {**parts, "progress": self.progress}

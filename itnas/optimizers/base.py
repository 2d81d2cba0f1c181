"""What every method shares: the contract, SGD and Adam set-up, the training of an epoch, and derivation from scores.

A method is three decisions, and its file shows them in this order: which mixing its supernet uses, how a step trains, how
it selects. The contract has the names and meanings of NASLib's ``MetaOptimizer``; added are :meth:`Optimizer.prepare_data`,
:meth:`Optimizer.scores`, :meth:`Optimizer.validate` and :meth:`Optimizer.select`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.data.images import DatasetInfo, Loader, dataset_info
from itnas.errors import UserError
from itnas.nn.build import build_supernet
from itnas.nn.mixing import MixingFactory
from itnas.nn.networks import NetworkConfig
from itnas.nn.supernets import Supernet
from itnas.spaces.base import SearchSpace

Batch = tuple[Tensor, Tensor]
"""Images ``[B, C, H, W]`` and labels ``[B]``."""
StepResult = tuple[Tensor, Tensor | None, Tensor, Tensor | None]
"""``(logits_train, logits_val, loss_train, loss_val)``, detached; None where the method reads no validation batch."""


@dataclass(frozen=True)
class SGDConfig:
    """SGD on the supernet's weights, with a cosine schedule per epoch."""

    lr: float = 0.025
    """Learning rate of the first epoch."""
    lr_min: float = 0.001
    """Learning rate that the cosine ends at."""
    momentum: float = 0.9
    """Momentum."""
    nesterov: bool = False
    """Nesterov momentum."""
    weight_decay: float = 3e-4
    """L2 penalty."""
    grad_clip: float | None = 5.0
    """Largest global gradient norm; None clips nothing."""

    def make(self, parameters: Iterable[Tensor], *, factor: float = 1.0) -> torch.optim.SGD:
        """Return a new SGD on ``parameters``, its first rate multiplied by ``factor``."""
        return torch.optim.SGD(
            parameters, self.lr * factor, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )


@dataclass(frozen=True)
class AdamConfig:
    """Adam on architecture parameters."""

    lr: float = 3e-4
    """Learning rate, constant."""
    beta1: float = 0.5
    """Decay of the first moment."""
    beta2: float = 0.999
    """Decay of the second moment."""
    weight_decay: float = 1e-3
    """L2 penalty."""

    def make(self, parameters: Iterable[Tensor]) -> torch.optim.Adam:
        """Return a new Adam on ``parameters``."""
        return torch.optim.Adam(parameters, self.lr, (self.beta1, self.beta2), weight_decay=self.weight_decay)


@dataclass(frozen=True)
class MethodConfig:
    """What every method has to be told."""

    weights: SGDConfig = field(default_factory=SGDConfig)
    """Optimizer of the supernet's weights."""
    exclude_none: bool = False
    """The method's own rule: whether the headline cell may not choose `none`. Both variants are always recorded."""
    affine: bool = False
    """Affine BatchNorm in candidate operations."""
    track_statistics: bool = True
    """Running BatchNorm statistics in candidate operations; without, evaluation uses batch statistics."""

    @property
    def watches_eigenvalues(self) -> bool:
        """Whether the method needs the eigenvalues of its alphas' Hessian while it searches."""
        return False


@dataclass(frozen=True)
class Selection:
    """What a method chose, and on which scores."""

    genotype: str
    """The method's choice by its own rule."""
    genotype_with_none: str
    """The choice when `none` may be chosen."""
    genotype_without_none: str
    """The choice when it may not."""
    scores: Mapping[str, np.ndarray]
    """The scores the choice rests on, ``{group: [choice, candidate]}``."""
    kind: str
    """Kind of those scores, as in the record's table."""


class Saved:
    """A base for plain objects whose attributes are their checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return dict(self.__dict__)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Replace the state."""
        self.__dict__.clear()
        self.__dict__.update(state)


class Optimizer(ABC):
    """A way to choose an architecture out of a supernet.

    Attributes:
        graph: the supernet.
        op_optimizer: the optimizer of its weights, whose learning rate the loop schedules.
        architectural_weights: the architecture parameters, empty where a method has none.
        generator: source of every random number a method draws itself; checkpointed by the loop.
        checkpoint: called by a long ``select`` whenever it could be resumed.
    """

    using_step_function: ClassVar[bool] = True
    score_kind: ClassVar[str]
    """Kind of :meth:`scores`: alpha, attention, gate, angle or constant."""
    reads_valid_batches: bool = False
    """Whether ``step`` trains on validation batches (bilevel methods)."""
    discretizes: ClassVar[bool] = True
    """Whether the discretization accuracy of the supernet means something."""

    graph: Supernet
    op_optimizer: torch.optim.Optimizer

    def __init__(
        self, config: MethodConfig, network: NetworkConfig | None = None, device: str | torch.device = "cpu"
    ) -> None:
        self.config, self.network = config, network or NetworkConfig()
        self.device = torch.device(device)
        self.architectural_weights: list[Tensor] = []
        self.generator = torch.Generator()
        self.checkpoint: Callable[[], None] = lambda: None

    # -- the supernet --

    @abstractmethod
    def make_mixing(self, search_space: SearchSpace) -> MixingFactory:
        """Return how the supernet's edges combine their candidates."""

    def adapt_search_space(self, search_space: SearchSpace, dataset: DatasetInfo | str) -> None:
        """Build the supernet of ``search_space`` for a data set, and the optimizer of its weights."""
        info = dataset_info(dataset) if isinstance(dataset, str) else dataset
        self.space = search_space
        self.graph = build_supernet(
            search_space,
            self.make_mixing(search_space),
            self.network,
            info.channels,
            info.n_classes,
            affine=self.config.affine,
            track=self.config.track_statistics,
        )
        self.op_optimizer = self.get_op_optimizer()

    def before_training(self) -> None:
        """Move everything to the device; convolutions there are fastest on channels-last memory."""
        self.graph.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that ``op_optimizer`` trains."""
        architectural = {id(p) for p in self.architectural_weights}
        return [p for p in self.graph.parameters() if id(p) not in architectural]

    def get_op_optimizer(self) -> torch.optim.Optimizer:
        """Return a new SGD on the weights as configured."""
        return self.config.weights.make(self.weight_parameters())

    # -- training --

    def prepare_data(self, train: Loader, valid: Loader, generator: torch.Generator) -> tuple[Loader, Loader]:
        """Take the run's generator and return the data to search on (RLNAS replaces the labels)."""
        self.generator = generator
        return train, valid

    def new_epoch(self, epoch: int) -> None:
        """Called before epoch ``epoch`` (from 0)."""

    def step(self, data_train: Batch, data_val: Batch | None) -> StepResult:
        """Train on one batch: a single-level weight step, unless the method says otherwise."""
        logits, loss = self.weight_step(data_train)
        return logits, None, loss, None

    def weight_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take one clipped SGD step on the cross-entropy of ``batch``; return logits and loss, detached."""
        parameters = self.weight_parameters()
        self.op_optimizer.zero_grad()
        logits = self.graph(batch[0])
        loss = F.cross_entropy(logits, batch[1])
        loss.backward(inputs=parameters)
        if self.config.weights.grad_clip is not None:
            nn.utils.clip_grad_norm_(parameters, self.config.weights.grad_clip)
        self.op_optimizer.step()
        return logits.detach(), loss.detach()

    def train_epoch(self, train: Loader, valid: Loader) -> tuple[float, float]:
        """Step once through ``train``; return its mean loss and accuracy (percent).

        Raises:
            UserError: the loss is no finite number.
        """
        self.graph.train()
        losses = torch.zeros((), device=self.device)
        hits = torch.zeros((), device=self.device)
        for images, labels in train:
            logits, _, loss, _ = self.step((images, labels), valid.sample() if self.reads_valid_batches else None)
            losses += loss * len(labels)
            hits += (logits.argmax(1) == labels).sum()
        if not torch.isfinite(losses):
            raise UserError(
                f"the training loss is {losses.item()}: training diverged; lower the learning rate "
                f"(now {self.op_optimizer.param_groups[0]['lr']:g}) or clip gradients"
            )
        return losses.item() / len(train.images), 100 * hits.item() / len(train.images)

    def after_training(self) -> None:
        """Called after the last epoch."""

    # -- choosing --

    def validate(self, valid: Loader) -> tuple[float, float] | None:
        """Return loss and accuracy (percent) on the clean validation half, BatchNorm in evaluation mode; None if undefined.

        Methods whose scores are measured on validation data measure them in the same pass.
        """
        return evaluate(self.graph, valid)

    @abstractmethod
    def scores(self) -> dict[str, np.ndarray]:
        """Return the current score of every candidate, ``{group: [choice, candidate]}``; larger is better."""

    def kind_of(self, group: str) -> str:
        """Return the kind of :meth:`scores` of a group of choices."""
        return self.score_kind

    def cell_scores(self) -> dict[str, np.ndarray]:
        """Return scores per cell, ``{group: [cell, choice, candidate]}``; empty where all cells share theirs."""
        return {}

    def derive(self, *, exclude_none: bool) -> str:
        """Return the genotype that the current scores give."""
        return self.space.derive(self.scores(), exclude_none=exclude_none)

    def architecture_scores(self, genotypes: Sequence[str]) -> np.ndarray | None:
        """Return the method's own score of whole architectures ``[n]``, larger is better; None where it has none.

        By default the sum of the log importance of what each choice keeps, at the present scores.
        """
        tiny = np.finfo(float).tiny
        logs = {group: np.log(np.maximum(scores, tiny)) for group, scores in self.scores().items()}
        totals = []
        for genotype in genotypes:
            kept = self.space.chosen(genotype)
            parts = (logs[group][place, list(k)].sum() for group in kept for place, k in enumerate(kept[group]))
            totals.append(sum(parts))
        return np.array(totals)

    def prepare_measurement(self, train: Loader, valid: Loader) -> tuple[Loader, str]:
        """Return the data on which discretization accuracy is measured, and the name of that split."""
        return valid, "valid"

    def select(self, train_data: Loader, valid_data: Loader) -> Selection:
        """Choose the architecture after training."""
        with_none, without_none = self.derive(exclude_none=False), self.derive(exclude_none=True)
        return self.selection(with_none, without_none, self.scores(), self.score_kind)

    def selection(self, with_none: str, without_none: str, scores: Mapping[str, np.ndarray], kind: str) -> Selection:
        """Return a selection of two genotypes, the method's own being the one that its rule about `none` allows."""
        own = without_none if self.config.exclude_none else with_none
        return Selection(own, with_none, without_none, scores, kind)

    def observe_curvature(self, epoch: int, eigenvalue: float) -> None:
        """Called with the dominant eigenvalue wherever the search measured it (DARTS-ES)."""

    @property
    def stopped_at(self) -> int | None:
        """The epoch whose architecture a method that stops early returns; None while training is to go on."""
        return None

    def restore_selection(self) -> None:
        """Prepare the objects that a checkpoint taken inside ``select`` loads into (methods with a long selection)."""

    # -- the rest of NASLib's contract --

    def get_final_architecture(self) -> str:
        """Return the genotype of the current scores by the method's own rule."""
        return self.derive(exclude_none=self.config.exclude_none)

    def get_checkpointables(self) -> dict[str, Any]:
        """Return everything with ``state_dict`` and ``load_state_dict`` that resuming needs; ``model`` is the supernet."""
        return {"model": self.graph, "op_optimizer": self.op_optimizer}

    def get_model_size(self) -> float:
        """Return the supernet's parameters in millions."""
        return sum(p.numel() for p in self.graph.parameters()) / 1e6

    def test_statistics(self) -> None:
        """NASLib's hook; nothing is measured on test data here."""


@torch.no_grad()
def evaluate(model: nn.Module, data: Loader) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy (percent) of ``model`` in evaluation mode on the clean images."""
    model.eval()
    loss, hits = 0.0, 0.0
    for images, labels in data.clean():
        logits = model(images)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        hits += (logits.argmax(1) == labels).sum().item()
    return loss / len(data.images), 100 * hits / len(data.images)

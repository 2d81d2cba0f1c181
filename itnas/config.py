"""The configuration of one search: everything a result depends on is a field here and enters the run id.

Where to write, which device and how to display are not. ``presets.py`` has the named values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from itnas.data.load import DataConfig
from itnas.errors import UserError
from itnas.fields import ADDED, as_plain
from itnas.nn.networks import NetworkConfig
from itnas.optimizers.base import MethodConfig, SGDConfig


@dataclass(frozen=True)
class DiscretizationConfig:
    """Protocol of the discretization accuracy (AGNAS section 6.1; what the paper leaves open is a field)."""

    bn: Literal["recalib", "eval", "train"] = "recalib"
    """BatchNorm: statistics re-estimated for the discretized supernet, the search's running ones, or the batch's."""
    weight: Literal["one", "keep"] = "one"
    """Factor of the kept operation: 1, or its own alpha or gate."""
    gate: Literal["full", "masked"] = "full"
    """With weight `keep`: gates computed from all candidates, or with the pruned ones zeroed."""
    max_images: int = 10_000
    """At most this many images of the validation half."""
    recalibration_images: int = 400
    """Training images (augmented once, the same for all) for re-estimating BatchNorm statistics."""
    enabled: bool = True
    """Whether to measure at all."""

    def describe(self, split: str) -> str:
        """Return the protocol as the text that records carry."""
        images = f" recalib_images={self.recalibration_images}" if self.bn == "recalib" else ""
        return f"bn={self.bn} weight={self.weight} gate={self.gate} split={split}{images}"


@dataclass(frozen=True)
class RankingConfig:
    """Ranking of architectures by the trained supernet (algorithms' section 3.2), each choice kept with weight one."""

    architectures: int | Literal["all"] = 1000
    """Size of the random subset, or all of a space that can be listed."""
    seed: int = 0
    """Seed of the subset, of its own: every run of a space ranks the same architectures."""
    bn: Literal["recalib", "eval", "train"] = "recalib"
    """BatchNorm: statistics re-estimated for every architecture, the search's running ones, or the batch's."""
    max_images: int = 10_000
    """At most this many images of the validation half."""
    recalibration_images: int = 400
    """Training images (augmented once, the same for all) for re-estimating BatchNorm statistics."""

    def __post_init__(self) -> None:
        if self.architectures != "all" and self.architectures < 1:
            raise UserError(f"a ranking needs at least one architecture, got {self.architectures}")

    def describe(self, split: str) -> str:
        """Return the protocol as the text that records carry."""
        images = f" recalib_images={self.recalibration_images}" if self.bn == "recalib" else ""
        return f"bn={self.bn} weight=one split={split}{images} subset_seed={self.seed}"


@dataclass(frozen=True)
class EigenvalueConfig:
    """When and on what the Hessian of the validation loss in the alphas is measured (methods with alphas only)."""

    every: int = 2
    """Measure after every so many epochs, from epoch 0, and after the last; RobustDARTS: 2."""
    images: int = 256
    """The first so many validation images, without augmentation."""
    batch_size: int = 64
    """Images per batch; the Hessian is the mean over batches, weighted by their size."""
    bn: Literal["train", "eval"] = "train"
    """BatchNorm: the batch's statistics, as while the alphas train, or the running ones."""

    def __post_init__(self) -> None:
        if min(self.every, self.images, self.batch_size) < 1:
            raise UserError(f"eigenvalues need every, images and batch_size of at least 1, got {self}")

    def due(self, epoch: int, last: int) -> bool:
        """Return whether to measure after ``epoch`` of ``last``."""
        return epoch % self.every == 0 or epoch == last


@dataclass(frozen=True)
class EvaluationConfig:
    """What a derived cell is worth: looked up in the benchmark's table, or trained from scratch."""

    kind: Literal["auto", "table", "trained"] = "auto"
    """`auto` looks up when ITNAS_DATA holds the table, else trains; resolved before the run id is made."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds of stand-alone networks; separate from the search seed."""
    epochs: int = 20
    """Epochs of stand-alone training."""
    batch_size: int = 64
    """Batch size of stand-alone training."""
    weights: SGDConfig = field(default_factory=lambda: SGDConfig(lr=0.1, lr_min=0.0, weight_decay=5e-4, nesterov=True))
    """Optimizer of stand-alone training."""


@dataclass(frozen=True)
class CellEvaluationConfig(EvaluationConfig):
    """Protocol of the stand-alone training of a DARTS-like genotype; the defaults are the published 20 cells, 36 channels.

    DARTS, DARTS-PT and AGNAS on CIFAR-10: 600 epochs, batch 96, cutout 16, auxiliary weight 0.4, drop-path to 0.2. The accuracy
    is the last epoch's, never the best one's.
    """

    kind: Literal["auto", "table", "trained"] = "trained"
    """There is no table of these spaces: always `trained`."""
    epochs: int = 600
    """Epochs of stand-alone training."""
    batch_size: int = 96
    """Batch size of stand-alone training."""
    weights: SGDConfig = field(default_factory=lambda: SGDConfig(lr=0.025, lr_min=0.0))
    """Optimizer of stand-alone training."""
    cells: int = 20
    """Cells of the network; reductions stand at a third and at two thirds."""
    channels: int = 36
    """Channels C of the first cell; the stem has 3C."""
    images: Literal["train+valid", "train"] = "train+valid"
    """Images trained on: all official training images as published, or the search's training half alone, which leaves the
    other half to report a validation accuracy."""
    cutout: int = 16
    """Side of the square that cutout zeroes; 0 for none."""
    auxiliary_weight: float = 0.4
    """Weight of the auxiliary classifier's loss; 0 builds none."""
    drop_path: float = 0.2
    """Probability of dropping an operation's output; grows linearly from 0, reached in the (never trained) epoch `epochs`."""


@dataclass(frozen=True)
class SearchConfig:
    """One search: space, method, data, seed and every setting a result depends on."""

    space: str
    """Search space."""
    method: str
    """Method."""
    preset: str
    """Name of the preset the settings come from."""
    seed: int
    """Search seed: initial weights, batches, augmentation, sampling."""
    epochs: int
    """Epochs of supernet training."""
    batch_size: int
    """Batch size of supernet training."""
    optimizer: MethodConfig
    """The method's own settings."""
    network: NetworkConfig
    """Size of supernet and stand-alone networks."""
    data: DataConfig
    """Images."""
    discretization: DiscretizationConfig = field(default_factory=DiscretizationConfig)
    """Protocol of discretization accuracy."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How derived cells are evaluated."""
    score_images: int | None = None
    """Validation images on which scores are measured after every epoch but the last, which always uses all; None: all."""
    determinism: Literal["exact", "seeded", "fast"] = "exact"
    """`exact`: deterministic kernels, resume is bit-identical; `seeded`: seeded only; `fast`: and cuDNN may benchmark."""
    ranking: RankingConfig | None = field(default=None, metadata=ADDED)
    """Ranking of architectures at the end of the search; None: not measured."""
    eigenvalues: EigenvalueConfig | None = field(default=None, metadata=ADDED)
    """Curvature of the validation loss in the alphas; None: not measured."""

    def as_dict(self) -> dict[str, Any]:
        """Return the configuration as plain JSON types; what is switched off and came late is left out (itnas.fields)."""
        return as_plain(self)

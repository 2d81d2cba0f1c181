"""The configuration of one search, and the presets: named values of it, not code paths.

Everything a result depends on is a field here and enters the run id; where to write, which device and how to display are
not. Published schedules differ by method, so a preset maps (space, method) to a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from itnas.data.load import DataConfig
from itnas.errors import UserError
from itnas.fields import ADDED, as_plain
from itnas.nn.networks import NetworkConfig
from itnas.nn.oneshot1 import OneShot1NetworkConfig
from itnas.optimizers import METHODS, MethodConfig, check_method, default_config
from itnas.optimizers.base import SGDConfig
from itnas.optimizers.darts import DARTSConfig
from itnas.optimizers.darts_pt import DARTSPTConfig
from itnas.optimizers.rlnas import RLNASConfig
from itnas.spaces import CellSpace, NASBench1Shot1, get_space

PRESETS = ("digits", "cifar10-small", "paper")
"""Names of the presets."""


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


def make_config(space: str, method: str, preset: str, seed: int, *, smoke: bool = False) -> SearchConfig:
    """Return the configuration of a preset.

    Args:
        space: name of a search space.
        method: name of a method.
        preset: one of ``PRESETS``.
        seed: search seed.
        smoke: shrink it to seconds, to see that everything runs; such runs are labelled ``<preset>-smoke``.

    Raises:
        UserError: an unknown name.
    """
    get_space(space)
    check_method(method)
    if preset not in PRESETS:
        raise UserError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    config = {"digits": _digits, "cifar10-small": _cifar10_small, "paper": _paper}[preset](space, method, seed)
    if isinstance(get_space(space), NASBench1Shot1):
        config = _oneshot1(config)
    if isinstance(get_space(space), CellSpace):
        from itnas.protocols import for_cells  # its protocols are made of this module's classes

        config = for_cells(config)
    if method == "random":
        config = replace(config, epochs=0)
    config = _without_the_meaningless(config)
    return _smoke(config) if smoke else config


def _without_the_meaningless(config: SearchConfig) -> SearchConfig:
    """Switch off what the method has nothing to measure by: no trained supernet, or no alphas."""
    method = METHODS[config.method][0]
    return replace(
        config,
        ranking=config.ranking if method.discretizes else None,
        eigenvalues=config.eigenvalues if method.score_kind == "alpha" else None,
    )


def _tuned(config: MethodConfig, lr: float, alpha_lr: float) -> MethodConfig:
    """Return ``config`` with the learning rates of a short schedule."""
    config = replace(config, weights=replace(config.weights, lr=lr))
    if isinstance(config, DARTSConfig):
        config = replace(config, alphas=replace(config.alphas, lr=alpha_lr))
    return config


def _short_selection(config: MethodConfig) -> MethodConfig:
    """Return ``config`` with DARTS-PT's selection at two fifths of its length, to keep the default job in minutes."""
    if isinstance(config, DARTSPTConfig):
        return replace(config, tune_epochs_between=2)
    return config


def _network(space: str, channels: int | None = None, cells: int | None = None) -> NetworkConfig:
    """Return the published network of a space, or one of another size."""
    network = OneShot1NetworkConfig() if isinstance(get_space(space), NASBench1Shot1) else NetworkConfig()
    changes = {"channels": channels, "cells_per_stage": cells}
    return replace(network, **{key: value for key, value in changes.items() if value is not None})


def _oneshot1(config: SearchConfig) -> SearchConfig:
    """Return ``config`` as NAS-Bench-1Shot1 has it: affine BatchNorm, its batch size, and RLNAS's evolution in space 3."""
    optimizer = replace(config.optimizer, affine=True)
    if isinstance(optimizer, RLNASConfig) and config.space.endswith("-3"):
        optimizer = replace(optimizer, search="evolution")
    config = replace(config, optimizer=optimizer)
    if config.preset == "paper":  # 50 epochs: the released default
        return replace(config, batch_size=96, epochs=250 if config.method == "rlnas" else 50)
    if config.preset == "cifar10-small":  # three spaces in the time of one
        return replace(
            config,
            epochs=15,
            optimizer=_short_selection(optimizer),
            ranking=config.ranking and replace(config.ranking, architectures=300),
            eigenvalues=EigenvalueConfig(every=3, images=64),
        )
    return config


def _digits(space: str, method: str, seed: int) -> SearchConfig:
    return SearchConfig(
        space=space,
        method=method,
        preset="digits",
        seed=seed,
        epochs=20,
        batch_size=32,
        optimizer=_short_selection(_tuned(default_config(method), lr=0.1, alpha_lr=3e-3)),
        network=_network(space, channels=8, cells=1),
        data=DataConfig(),
        discretization=DiscretizationConfig(max_images=400, recalibration_images=100),
        evaluation=EvaluationConfig(seeds=(0, 1), epochs=10),
        score_images=400,
        ranking=RankingConfig(100, max_images=400, recalibration_images=100),
        eigenvalues=EigenvalueConfig(every=4, images=64),
    )


def _cifar10_small(space: str, method: str, seed: int) -> SearchConfig:
    return SearchConfig(
        space=space,
        method=method,
        preset="cifar10-small",
        seed=seed,
        epochs=25,
        batch_size=64,
        optimizer=_tuned(default_config(method), lr=0.1, alpha_lr=3e-3),
        network=_network(space, channels=8, cells=1),
        data=DataConfig("cifar10", "benchmark", 16, 10_000),
        discretization=DiscretizationConfig(max_images=2_000, recalibration_images=500),
        score_images=1_000,
        ranking=RankingConfig(max_images=500, recalibration_images=200),
        eigenvalues=EigenvalueConfig(images=128),
    )


def _paper(space: str, method: str, seed: int) -> SearchConfig:
    optimizer = default_config(method)
    epochs = {"darts-pt": 100, "darts-pt-fix-alpha": 100, "rlnas": 250}.get(method, 50)
    if isinstance(optimizer, RLNASConfig):
        optimizer = replace(optimizer, weights=SGDConfig(nesterov=True, weight_decay=5e-4, grad_clip=None))
    return SearchConfig(
        space=space,
        method=method,
        preset="paper",
        seed=seed,
        epochs=epochs,
        batch_size=64,
        optimizer=optimizer,
        network=_network(space),
        data=DataConfig("cifar10", "benchmark" if method in ("random", "rlnas") else "halves", 32),
        discretization=DiscretizationConfig(recalibration_images=5_000),
        evaluation=EvaluationConfig(epochs=200, batch_size=256, weights=SGDConfig(0.1, 0.0, 0.9, True, 5e-4, None)),
        ranking=RankingConfig(recalibration_images=1_000),
        eigenvalues=EigenvalueConfig(),
    )


def _smoke(config: SearchConfig) -> SearchConfig:
    """Shrink to two epochs, small data and network, few measurements; one tuning epoch after a decision of DARTS-PT."""
    optimizer, evaluation, images = config.optimizer, replace(config.evaluation, seeds=(0,), epochs=1), 200
    if isinstance(evaluation, CellEvaluationConfig):  # 28 choices are measured there, in five cells
        evaluation, images = replace(evaluation, cells=3, channels=4), 20
    if isinstance(optimizer, DARTSPTConfig):
        few = 20 if images == 20 else optimizer.criterion_images
        optimizer = replace(optimizer, tune_epochs_between=1, criterion_images=few)
    data = config.data if config.data.split == "embedded" else replace(config.data, image_size=8, per_half=200)
    return replace(
        config,
        preset=f"{config.preset}-smoke",
        epochs=min(config.epochs, 2),
        optimizer=optimizer,
        network=replace(config.network, channels=4, cells_per_stage=1),
        data=data,
        discretization=replace(config.discretization, max_images=images, recalibration_images=images // 2),
        evaluation=evaluation,
        ranking=config.ranking and replace(config.ranking, architectures=5, max_images=100, recalibration_images=50),
        eigenvalues=config.eigenvalues and replace(config.eigenvalues, every=1 if images == 200 else 2, images=16),
    )

"""The presets: named values of a search's configuration, not code paths.

Published schedules differ by method, so a preset maps (space, method) to a configuration. What every space shares stands
here; DARTS-like spaces have their protocols in ``protocols.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from itnas.config import (
    CellEvaluationConfig,
    DiscretizationConfig,
    EigenvalueConfig,
    EvaluationConfig,
    RankingConfig,
    SearchConfig,
)
from itnas.data.load import DataConfig
from itnas.errors import UserError
from itnas.nn.networks import NetworkConfig
from itnas.nn.oneshot1 import OneShot1NetworkConfig
from itnas.optimizers import METHODS, MethodConfig, check_method, default_config
from itnas.optimizers.base import SGDConfig
from itnas.optimizers.darts import DARTSConfig
from itnas.optimizers.darts_pt import DARTSPTConfig
from itnas.optimizers.rlnas import RLNASConfig
from itnas.protocols import for_cells
from itnas.spaces import CellSpace, NASBench1Shot1, get_space

PRESETS = ("digits", "cifar10-small", "paper")
"""Names of the presets."""


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
        config = for_cells(config)
    if method == "random":
        config = replace(config, epochs=0)
    return _without_the_meaningless(_smoke(config) if smoke else config)


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
    if isinstance(optimizer, DARTSPTConfig):  # as short as on the DARTS spaces
        optimizer = replace(optimizer, tune_epochs_between=1, criterion_images=200)
    discretization = replace(config.discretization, max_images=200)
    return replace(config, epochs=12, optimizer=optimizer, discretization=discretization)


def _small(space: str, method: str) -> dict[str, Any]:
    """Return what the presets for a CPU share: short schedules with large rates, one cell per stage."""
    optimizer = _tuned(default_config(method), lr=0.1, alpha_lr=3e-3)
    return {"space": space, "method": method, "optimizer": optimizer, "network": _network(space, channels=8, cells=1)}


def _digits(space: str, method: str, seed: int) -> SearchConfig:
    """The default job: 15 minutes on two cores. There is no table of digits to compare a ranking with: none is measured."""
    config = SearchConfig(
        **_small(space, method),
        preset="digits",
        seed=seed,
        epochs=20,
        batch_size=32,
        data=DataConfig(),
        discretization=DiscretizationConfig(max_images=400, recalibration_images=100),
        evaluation=EvaluationConfig(seeds=(0, 1), epochs=10),
        score_images=400,
    )
    return replace(config, optimizer=_short_selection(config.optimizer))


def _cifar10_small(space: str, method: str, seed: int) -> SearchConfig:
    return SearchConfig(
        **_small(space, method),
        preset="cifar10-small",
        seed=seed,
        epochs=25,
        batch_size=64,
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
        ranking=RankingConfig(5, max_images=100, recalibration_images=50),
        eigenvalues=EigenvalueConfig(every=1 if images == 200 else 2, images=16),
    )

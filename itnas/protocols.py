"""Presets of the DARTS space and of S1 to S4: sizes of searches, and how found genotypes are trained.

The published evaluation networks are 20 cells of 36 channels (CIFAR-10) and 8 cells of 16 channels (CIFAR-100, SVHN); the short
protocols of `digits` and `cifar10-small` are ours, and only rank cells.
"""

from __future__ import annotations

from dataclasses import replace

from itnas.config import CellEvaluationConfig, EigenvalueConfig, SearchConfig
from itnas.data.load import DataConfig
from itnas.errors import UserError
from itnas.nn.darts_supernet import CellNetworkConfig
from itnas.optimizers.base import SGDConfig
from itnas.optimizers.darts_pt import DARTSPTConfig
from itnas.optimizers.rlnas import RLNASConfig

_SHORT = CellEvaluationConfig(
    seeds=(0,),
    weights=SGDConfig(lr=0.1, lr_min=0.0),
    cells=5,
    channels=8,
    images="train",
    cutout=0,
    auxiliary_weight=0.0,
    drop_path=0.0,
)
PROTOCOLS: dict[str, tuple[CellEvaluationConfig, DataConfig]] = {
    "paper-20x36": (CellEvaluationConfig(), DataConfig("cifar10", "halves", 32)),
    "paper-8x16": (CellEvaluationConfig(cells=8, channels=16), DataConfig("cifar100", "halves", 32)),
    "cifar10-small": (replace(_SHORT, epochs=12, batch_size=64), DataConfig("cifar10", "halves", 16, 2_000)),
    "digits": (replace(_SHORT, epochs=6, batch_size=64), DataConfig()),
}
"""Protocols of stand-alone training by name, and the images they train on."""
_OF_PRESET = {"paper": "paper-20x36"}


def get_protocol(name: str) -> tuple[CellEvaluationConfig, DataConfig]:
    """Return a protocol and its images; the name of a preset means the protocol of its searches.

    Raises:
        UserError: there is none of that name.
    """
    known = _OF_PRESET.get(name, name)
    if known not in PROTOCOLS:
        raise UserError(f"unknown protocol {name!r}; choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[known]


def for_cells(config: SearchConfig) -> SearchConfig:
    """Return a preset's configuration as the DARTS space and S1 to S4 have it.

    50 epochs in preset `paper` (250 for RLNAS), first and last half of the training images, RLNAS with affine BatchNorm and its
    evolution of 50 cells. In the short presets 5 cells and 6 (`digits`) or 8 epochs, the latter on 2,000 images of each half;
    DARTS-PT is tuned for one epoch between its 17 rounds of decisions, and measures on 200 (`digits`) or 400 validation images.
    `digits` measures no eigenvalues: an exact Hessian of 56 alphas costs as much as half of its training.
    """
    optimizer = config.optimizer
    evaluation, data = get_protocol(config.preset)
    if isinstance(optimizer, RLNASConfig):
        optimizer = replace(optimizer, affine=True, search="evolution", population=50, parents=10)
        if config.preset == "paper":
            optimizer = replace(optimizer, weights=SGDConfig())
    if isinstance(optimizer, DARTSPTConfig) and config.preset != "paper":
        images = 200 if config.preset == "digits" else 400
        optimizer = replace(optimizer, tune_epochs_between=1, criterion_images=images)
    config = replace(config, optimizer=optimizer, evaluation=evaluation, data=data)
    if config.preset == "paper":
        return replace(config, epochs=250 if config.method == "rlnas" else 50, network=CellNetworkConfig())
    if config.preset == "cifar10-small":
        return replace(
            config,
            epochs=8,
            network=CellNetworkConfig(channels=8, cells_per_stage=1),
            discretization=replace(config.discretization, max_images=300, recalibration_images=128),
            ranking=None,
            eigenvalues=EigenvalueConfig(every=8, images=32),
        )
    return replace(
        config,
        epochs=6,
        batch_size=64,
        network=CellNetworkConfig(channels=4, cells_per_stage=1),
        discretization=replace(config.discretization, max_images=100, recalibration_images=64),
        eigenvalues=None,
        score_images=200,
    )

"""DARTS-ES: the published criterion on made-up eigenvalues, and a DARTS search that stops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from itnas.early_stopping import EarlyStoppingConfig, stop_epoch
from itnas.optimizers.darts import DARTSConfig

PUBLISHED = EarlyStoppingConfig()
EPOCHS = list(range(0, 51, 2))


def first_stop(eigenvalues: list[float]) -> tuple[int, int] | None:
    """Return (epoch of the measurement that says stop, epoch returned) of a search that measures one after another."""
    for n in range(1, len(eigenvalues) + 1):
        epoch = stop_epoch(EPOCHS[:n], eigenvalues[:n], PUBLISHED)
        if epoch is not None:
            return EPOCHS[n - 1], epoch
    return None


def test_a_flat_curvature_never_stops() -> None:
    assert first_stop([0.2] * 26) is None
    assert first_stop([0.2 * 1.05**i for i in range(26)]) is None  # 1.05 ** 4 = 1.22 < 1.3


def test_a_steady_growth_stops_as_soon_as_the_rule_allows() -> None:
    """At 1.1 a measurement, 1.46 in four: returned is the first epoch allowed, 12 epochs before the measurement."""
    assert first_stop([0.2 * 1.1**i for i in range(26)]) == (22, 10)


def test_a_jump_is_seen_two_measurements_late_and_the_epoch_before_it_returned() -> None:
    """1 until epoch 30, then 2: the average of (1, 1, 1, 2, 2) is 1.4 times that of four measurements earlier."""
    assert first_stop([1.0 if epoch <= 30 else 2.0 for epoch in EPOCHS]) == (34, 22)


def test_the_average_is_taken_over_five_measurements() -> None:
    values = [1.0] * 10 + [1.0, 1.0, 9.0]  # mean of the last five is 2.6
    assert stop_epoch(EPOCHS[:13], values, PUBLISHED) == EPOCHS[12] - 12
    assert stop_epoch(EPOCHS[:13], values, EarlyStoppingConfig(factor=2.7)) is None


def test_darts_returns_the_scores_of_the_earlier_epoch(prepare_es: Callable) -> None:
    optimizer, train, valid = prepare_es(EarlyStoppingConfig(first_epoch=0))
    kept = []
    for number, eigenvalue in enumerate([1.0] * 8 + [5.0]):
        with torch.no_grad():
            for alphas in optimizer.alphas.values():
                alphas.logits.copy_(torch.randn_like(alphas.logits))
        kept.append(optimizer.scores())
        assert optimizer.stopped_at is None
        optimizer.observe_curvature(2 * number, eigenvalue)
    assert optimizer.stopped_at == 4
    selection = optimizer.select(train, valid)
    assert np.array_equal(selection.scores["normal"], kept[2]["normal"])
    assert selection.genotype == optimizer.space.derive(kept[2], exclude_none=False)
    assert "curvature" in optimizer.get_checkpointables()


def test_without_early_stopping_nothing_is_kept(prepare_es: Callable) -> None:
    optimizer, _, _ = prepare_es(None)
    optimizer.observe_curvature(0, 1.0)
    assert optimizer.stopped_at is None
    assert "curvature" not in optimizer.get_checkpointables()
    assert optimizer.curvature.epochs == []


import pytest  # noqa: E402


@pytest.fixture
def prepare_es() -> Callable:
    from itnas.nn.darts_supernet import CellNetworkConfig
    from itnas.optimizers.darts import DARTS
    from itnas.spaces import get_space

    def build(config: EarlyStoppingConfig | None) -> tuple[DARTS, None, None]:
        optimizer = DARTS(DARTSConfig(early_stopping=config), CellNetworkConfig(4, 1))
        optimizer.adapt_search_space(get_space("s2"), "digits")
        return optimizer, None, None

    return build

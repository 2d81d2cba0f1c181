"""DARTS-ES: stop a search before the curvature of its validation loss in the alphas grows (RobustDARTS, section 4.2).

The dominant eigenvalue, measured every other epoch, is averaged over a window of five measurements. Where the average has grown
by a factor of more than 1.3 over four measurements, the architecture of the earlier epoch is returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EarlyStoppingConfig:
    """When DARTS-ES stops; the defaults are the published ones."""

    factor: float = 1.3
    """Largest growth of the averaged eigenvalue that is no reason to stop."""
    window: int = 5
    """Measurements that an average is taken over; the first averages hold fewer, at least half a window."""
    back: int = 4
    """How many measurements earlier the average is that growth is measured from (8 epochs at one in two)."""
    first_epoch: int = 10
    """The earliest epoch whose architecture may be returned."""


def stop_epoch(epochs: Sequence[int], eigenvalues: Sequence[float], config: EarlyStoppingConfig) -> int | None:
    """Return the epoch whose architecture to return if the last measurement says stop, else None.

    Args:
        epochs: epochs at which the dominant eigenvalue was measured, ascending.
        eigenvalues: its values.
        config: when to stop.
    """
    half = config.window // 2
    last = len(epochs) - 1
    early = last - config.back
    if early < half:  # no average that far back
        return None
    now, before = (sum(part) / len(part) for part in (_window(eigenvalues, i, config.window) for i in (last, early)))
    centre = epochs[early - half]
    return centre if centre >= config.first_epoch and now / before > config.factor else None


def _window(values: Sequence[float], end: int, width: int) -> Sequence[float]:
    return values[max(0, end + 1 - width) : end + 1]

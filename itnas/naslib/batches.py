"""Batches of a NASLib training as the loader that our methods select on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from itnas.data.images import Loader
from itnas.optimizers.base import Batch


class Batches(Loader):
    """Batches as they came, given or remembered; neither shuffled nor augmented again.

    Attributes:
        images: as many things as there are images, for ``len``.
    """

    def __init__(self, most: int | None = None) -> None:
        """Hold at most the last ``most`` batches."""
        self.held: deque[Batch] = deque(maxlen=most)
        self.turn = 0

    @classmethod
    def of(cls, batches: Iterable[Batch]) -> Batches:
        """Return all batches of a loader."""
        whole = cls()
        for batch in batches:
            whole.add(batch)
        return whole

    def add(self, batch: Batch) -> None:
        """Take one more batch ``([B, C, H, W], [B])``."""
        self.held.append((batch[0], batch[1]))

    @property
    def images(self) -> range:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As many numbers as there are images."""
        return range(sum(len(labels) for _, labels in self.held))

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(list(self.held))

    def clean(self, *_: Any) -> Iterator[tuple[Tensor, Tensor]]:  # noqa: ANN401
        """Yield the batches."""
        return iter(self)

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return the batches in turn."""
        self.turn = (self.turn + 1) % len(self.held)
        return self.held[self.turn]

"""Image sets as tensors, and the loader that shuffles, augments and batches them with the run's own generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from itnas.errors import UserError


@dataclass(frozen=True)
class DatasetInfo:
    """What a network has to know of a data set."""

    name: str
    n_classes: int
    channels: int


INFOS = {
    info.name: info
    for info in (
        DatasetInfo("digits", 10, 1),
        DatasetInfo("cifar10", 10, 3),
        DatasetInfo("cifar100", 100, 3),
        DatasetInfo("svhn", 10, 3),
    )
}
"""The data sets by name."""


def dataset_info(name: str) -> DatasetInfo:
    """Return the description of the data set ``name``.

    Raises:
        UserError: there is none of that name.
    """
    if name not in INFOS:
        raise UserError(f"unknown data set {name!r}; choose one of {', '.join(INFOS)}")
    return INFOS[name]


Augment = Callable[[Tensor, torch.Generator], Tensor]
"""Stored images ``[B, ...]`` and a generator to network input ``[B, C, H, W]``, as in training."""
Clean = Callable[[Tensor], Tensor]
"""Stored images to network input without any chance in it."""


@dataclass(frozen=True)
class ImageSet:
    """Images as stored, labels ``[n]``, and how they become network input."""

    images: Tensor
    labels: Tensor
    augment: Augment
    clean: Clean


@dataclass(frozen=True)
class Dataset:
    """The three parts of a data set. ``test`` is read only to report, never to choose."""

    info: DatasetInfo
    train: ImageSet
    valid: ImageSet
    test: ImageSet
    checksum: str
    """sha256 over the source files (or the embedded arrays)."""
    split: str
    """How train and valid were split, in words."""


class Loader:
    """One part of a data set, on the device; whatever is random comes from ``generator``."""

    def __init__(
        self, part: ImageSet, info: DatasetInfo, batch_size: int, generator: torch.Generator, device: torch.device | str
    ) -> None:
        self.part, self.info, self.batch_size, self.generator = part, info, batch_size, generator
        self.device = torch.device(device)
        self.images = part.images.to(self.device)
        self.labels = part.labels.to(self.device)

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of shuffled, augmented batches ``([B, C, H, W], [B])``; the last may be smaller."""
        order = torch.randperm(len(self.images), generator=self.generator)
        for start in range(0, len(order), self.batch_size):
            yield self._batch(order[start : start + self.batch_size])

    def sample(self) -> tuple[Tensor, Tensor]:
        """Return one augmented batch drawn without replacement: the first of a freshly shuffled epoch."""
        return self._batch(torch.randperm(len(self.images), generator=self.generator)[: self.batch_size])

    def clean(self, batch_size: int = 256, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all (or the first ``limit``) images in order, without augmentation."""
        for start in range(0, len(self.images) if limit is None else min(limit, len(self.images)), batch_size):
            stop = min(start + batch_size, len(self.images) if limit is None else limit)
            yield _channels_last(self.part.clean(self.images[start:stop])), self.labels[start:stop]

    def first(self, limit: int | None) -> Loader:
        """Return the first ``limit`` images only (all if None), sharing storage and generator."""
        if limit is None or limit >= len(self.images):
            return self
        part = ImageSet(self.images[:limit], self.labels[:limit], self.part.augment, self.part.clean)
        return Loader(part, self.info, self.batch_size, self.generator, self.device)

    def frozen(self, limit: int | None = None, seed: int = 0) -> Loader:
        """Return the first ``limit`` images augmented once, with a generator of their own: the same at every call."""
        generator = torch.Generator().manual_seed(seed)
        images, labels = self.images[:limit], self.labels[:limit]
        ready = [self.part.augment(part, generator) for part in images.split(512)]
        part = ImageSet(torch.cat(ready), labels, lambda x, _: x, lambda x: x)
        return Loader(part, self.info, self.batch_size, self.generator, self.device)

    def with_labels(self, labels: Tensor) -> Loader:
        """Return the same images with other labels ``[n]``."""
        part = ImageSet(self.images, labels, self.part.augment, self.part.clean)
        return Loader(part, self.info, self.batch_size, self.generator, self.device)

    def _batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        index = index.to(self.device)
        return _channels_last(self.part.augment(self.images[index], self.generator)), self.labels[index]


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def place(images: Tensor, top: Tensor, left: Tensor, height: int, width: int, flip: Tensor | None = None) -> Tensor:
    """Cut a window ``[height, width]`` out of every image ``[B, C, H, W]`` at its own offset, mirrored where ``flip``."""
    device = images.device
    rows = top.to(device)[:, None] + torch.arange(height, device=device)
    columns = left.to(device)[:, None] + torch.arange(width, device=device)
    if flip is not None:
        columns = torch.where(flip.to(device)[:, None], columns.flip(1), columns)
    batch = torch.arange(len(images), device=device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=device)[None, :, None, None]
    return images[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def crop_and_flip(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Pad with zeros, cut a random window of the old size, mirror every second image on average."""
    n, _, height, width = images.shape
    top, left = torch.randint(2 * padding + 1, (2, n), generator=generator)
    flip = torch.rand(n, generator=generator) < 0.5
    return place(F.pad(images, [padding] * 4), top, left, height, width, flip)


def cutout(images: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Zero a square of side ``length`` around a random pixel of every image ``[B, C, H, W]``, cut off at the borders.

    DeVries & Taylor (2017), as the released code of DARTS and its successors applies it: after normalisation.
    """
    n, _, height, width = images.shape
    row = torch.randint(height, (n, 1), generator=generator).to(images.device)
    column = torch.randint(width, (n, 1), generator=generator).to(images.device)
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    in_rows = (rows >= row - length // 2) & (rows < row + length // 2)
    in_columns = (columns >= column - length // 2) & (columns < column + length // 2)
    return images.masked_fill((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def standardise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return ``(x / 255 - mean) / std`` per channel for pixels ``uint8 [B, C, H, W]``."""
    centre, scale = (torch.tensor(values, device=images.device)[:, None, None] for values in (mean, std))
    return (images.float() / 255 - centre) / scale

"""The embedded data set `digits`: scikit-learn's 8x8 digits, shifted on a 12x12 canvas with noise.

Clean digits are useless for architecture search (all cells reach 97 %); offset and noise spread random cells widely.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

from itnas.data.images import INFOS, Dataset, ImageSet, place

CANVAS = 12
COPIES = 5
_SHIFTS = CANVAS - 8 + 1


def normalise(canvas: Tensor, noise: Tensor) -> Tensor:
    """Return ``(x / 16 - 0.2) / 0.35 + noise`` for pixel values 0 to 16."""
    return (canvas.float() / 16 - 0.2) / 0.35 + noise


def paste(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Paste ``[B, 1, 8, 8]`` images on zero canvases ``[B, 1, 12, 12]``, each at its own offset (0 to 4)."""
    margin = CANVAS - 8
    return place(F.pad(images, [margin] * 4), margin - top, margin - left, CANVAS, CANVAS)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Paste at fresh random offsets and add fresh noise of standard deviation 1."""
    top, left = torch.randint(_SHIFTS, (2, len(images)), generator=generator)
    noise = torch.randn(len(images), 1, CANVAS, CANVAS, generator=generator)
    return normalise(paste(images, top, left), noise.to(images.device))


def centred(images: Tensor) -> Tensor:
    """Paste in the middle, without noise."""
    middle = torch.full((len(images),), _SHIFTS // 2)
    return normalise(paste(images, middle, middle), torch.zeros((), device=images.device))


def _fixed(images: np.ndarray, labels: np.ndarray, seed: int) -> ImageSet:
    """Return five copies of every image with offsets and noise that never change; one copy of all, then the next."""
    rng = np.random.default_rng(seed)
    repeated = torch.from_numpy(np.tile(images, (COPIES, 1, 1, 1)))
    top, left = torch.from_numpy(rng.integers(_SHIFTS, size=(2, len(repeated))))
    noise = torch.from_numpy(rng.standard_normal((len(repeated), 1, CANVAS, CANVAS), dtype=np.float32))
    ready = normalise(paste(repeated, top, left), noise)
    return ImageSet(ready, torch.from_numpy(np.tile(labels, COPIES)), lambda x, _: x, lambda x: x)


def load() -> Dataset:
    """Return 800 training images, 400 validation and 597 test images (the latter two as five fixed copies each)."""
    bunch: Any = load_digits()
    pixels = np.asarray(bunch.data).reshape(-1, 1, 8, 8).astype(np.uint8)
    labels = np.asarray(bunch.target).astype(np.int64)
    checksum = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    order = np.arange(len(labels))
    rest, train = train_test_split(order, test_size=800, stratify=labels, random_state=0)
    test, valid = train_test_split(rest, test_size=400, stratify=labels[rest], random_state=0)
    return Dataset(
        INFOS["digits"],
        ImageSet(torch.from_numpy(pixels[train]), torch.from_numpy(labels[train]), augment, centred),
        _fixed(pixels[valid], labels[valid], seed=1),
        _fixed(pixels[test], labels[test], seed=2),
        checksum,
        "stratified 800/400/597, valid and test as five fixed noisy copies",
    )

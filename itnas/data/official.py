"""CIFAR-100 and SVHN in the layouts their authors publish, as :mod:`itnas.data.cifar` holds CIFAR-10.

``cifar100/cifar-100-python/{train,test,meta}`` are pickles (never executed, only arrays are read);
``svhn/{train,test}_32x32.mat`` are MATLAB files, 73,257 and 26,032 images (no `extra` part). The split is the halves rule
of RobustDARTS and DARTS-PT: the first half of the training images, rounded down, trains, the rest validates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import scipy.io
import torch
from scipy.io.matlab import MatReadError

from itnas.data.cifar import Part, read_batch, shrink, stratified
from itnas.data.images import INFOS, Dataset, ImageSet, crop_and_flip, standardise
from itnas.errors import UserError
from itnas.records import file_sha256


@dataclass(frozen=True)
class Source:
    """Where a data set lies, how many images it has, how it is normalised."""

    title: str
    folder: str
    files: dict[Part, str]
    counts: dict[Part, int]
    md5: dict[Part, str]
    """MD5 of the published files, as torchvision checks them."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Per channel, as in DARTS-PT's code."""
    read: Callable[[Path], tuple[np.ndarray, np.ndarray]]
    advice: str


def read_cifar100(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels ``uint8 [n, 3, 32, 32]`` and the fine labels of one official pickle."""
    return read_batch(path, b"fine_labels", "CIFAR-100")


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels ``uint8 [n, 3, 32, 32]`` and labels 0 to 9 of one official file, which calls the digit 0 ten."""
    try:
        content = scipy.io.loadmat(path, variable_names=["X", "y"])
        pixels, labels = np.asarray(content["X"], dtype=np.uint8), np.asarray(content["y"], dtype=np.int64).ravel()
        if pixels.shape[:3] != (32, 32, 3) or pixels.shape[3] != len(labels):
            raise ValueError(f"X has shape {pixels.shape} for {len(labels)} labels")
    except (MatReadError, ValueError, KeyError, TypeError, OSError, EOFError, IndexError, NotImplementedError) as error:
        raise UserError(f"{path} is no official SVHN file or is damaged ({error}); download it again") from None
    except Exception as error:  # zlib and struct errors of a truncated file come through unnamed
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); download it again") from None
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), labels % 10


SOURCES = {
    "cifar100": Source(
        "CIFAR-100",
        "cifar100/cifar-100-python",
        {"train": "train", "test": "test"},
        {"train": 50_000, "test": 10_000},
        {"train": "16019d7e3df5f24257cddd939b257f8d", "test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        read_cifar100,
        "unpack cifar-100-python.tar.gz there",
    ),
    "svhn": Source(
        "SVHN",
        "svhn",
        {"train": "train_32x32.mat", "test": "test_32x32.mat"},
        {"train": 73_257, "test": 26_032},
        {"train": "e26dedcc434d2e4c54c9b2d4a06d8373", "test": "eb5a983be6a315427106f1b164d9cef3"},
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
        read_svhn,
        "put train_32x32.mat and test_32x32.mat there",
    ),
}
"""The data sets by name."""


def load(name: str, root: Path, image_size: int, per_half: int | None) -> Dataset:
    """Return a data set of :data:`SOURCES`, its training images split into halves.

    Args:
        name: `cifar100` or `svhn`.
        root: the folder ``ITNAS_DATA`` names.
        image_size: 32, or a divisor of it to which images are reduced by area mean.
        per_half: images of each half, stratified with a fixed seed; None takes all.

    Raises:
        UserError: a file is missing, damaged or not of the official size; the message says which, and what to do.
    """
    source = SOURCES[name]
    (pixels, labels), (test_pixels, test_labels) = (read(source, root, part) for part in ("train", "test"))
    paths = [root / source.folder / source.files[part] for part in ("train", "test")]
    middle = len(labels) // 2
    halves = [np.arange(middle), np.arange(middle, len(labels))]
    if per_half is not None:
        halves = [stratified(half, labels, per_half, seed=i) for i, half in enumerate(halves)]
    train, valid = (_image_set(source, pixels[half], labels[half], image_size) for half in halves)
    words = f"halves, {len(halves[0])} + {len(halves[1])} images of {image_size}x{image_size}"
    if not all(is_official(source, root, part) for part in ("train", "test")):
        words += ", not the files its authors published (their MD5 differs)"
    digest = hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()
    return Dataset(INFOS[name], train, valid, _image_set(source, test_pixels, test_labels, image_size), digest, words)


def read(source: Source, root: Path, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and labels of one part, checked against the official number of images and classes."""
    path = root / source.folder / source.files[part]
    if not path.exists():
        raise UserError(f"{source.title} ({part}) is missing: there is no {path}; {source.advice}")
    pixels, labels = source.read(path)
    expected, n_classes = source.counts[part], 100 if source.title == "CIFAR-100" else 10
    if len(pixels) != expected or len(labels) != expected:
        raise UserError(
            f"{path} holds {len(pixels)} images and {len(labels)} labels, the official file {expected}; {source.advice}"
        )
    if labels.min() < 0 or labels.max() >= n_classes:
        raise UserError(f"{path} has labels from {labels.min()} to {labels.max()}, not 0 to {n_classes - 1}")
    return pixels, labels


def is_official(source: Source, root: Path, part: Part) -> bool:
    """Return whether a file is, bit by bit, the one its authors published."""
    with (root / source.folder / source.files[part]).open("rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest() == source.md5[part]


def _image_set(source: Source, pixels: np.ndarray, labels: np.ndarray, size: int) -> ImageSet:
    clean = partial(standardise, mean=source.mean, std=source.std)
    return ImageSet(
        shrink(pixels, size),
        torch.from_numpy(labels.astype(np.int64)),
        lambda images, generator: clean(crop_and_flip(images, images.shape[-1] // 8, generator)),
        clean,
    )

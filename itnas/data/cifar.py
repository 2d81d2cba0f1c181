"""CIFAR-10 from ``ITNAS_DATA``: the official python batches or the Hugging Face parquet files, decoded once and cached."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pooch
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from itnas.data.images import INFOS, Dataset, ImageSet, crop_and_flip, standardise
from itnas.errors import UserError
from itnas.records import file_sha256

MEAN = (0.49139968, 0.48215827, 0.44653124)
"""Per-channel mean, as in DARTS's and DARTS-PT's code."""
STD = (0.24703233, 0.24348505, 0.26158768)
"""Per-channel standard deviation, as in DARTS's and DARTS-PT's code."""
BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
COUNTS = {"train": 50_000, "test": 10_000}
Part = Literal["train", "test"]


def load(root: Path, split: Literal["halves", "benchmark"], image_size: int, per_half: int | None) -> Dataset:
    """Return CIFAR-10 with its 50,000 training images split into train and valid.

    Args:
        root: the folder ``ITNAS_DATA`` names.
        split: `halves` = first and last 25,000 images (DARTS, DARTS-PT, AGNAS); `benchmark` = NAS-Bench-201's official file.
        image_size: 32, or a divisor of it to which images are reduced by area mean.
        per_half: images of each half, stratified with a fixed seed that is independent of the search's; None takes all.

    Raises:
        UserError: a file is missing or damaged; the message says which, and what to do.
    """
    pixels, labels, checksum = decoded(root, "train")
    test_pixels, test_labels, test_checksum = decoded(root, "test")
    halves = split_indices(root, split)
    if per_half is not None:
        halves = tuple(stratified(half, labels, per_half, seed=i) for i, half in enumerate(halves))
    train, valid = (_image_set(pixels[half], labels[half], image_size) for half in halves)
    words = f"{split}, {len(halves[0])} + {len(halves[1])} images of {image_size}x{image_size}"
    digest = hashlib.sha256((checksum + test_checksum).encode()).hexdigest()
    return Dataset(INFOS["cifar10"], train, valid, _image_set(test_pixels, test_labels, image_size), digest, words)


def split_indices(root: Path, split: Literal["halves", "benchmark"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training and the validation half among the 50,000 images."""
    if split == "halves":
        return np.arange(25_000), np.arange(25_000, 50_000)
    path = root / "nas-bench-201" / "splits.npz"
    try:
        with np.load(path) as file:
            train, valid = file["cifar10_train"], file["cifar10_valid"]
    except FileNotFoundError:
        raise UserError(
            f"the benchmark's split file {path} is missing; put it there or use the split `halves`"
        ) from None
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the benchmark's split file {path} is damaged ({error}); replace it") from None
    if not np.array_equal(np.sort(np.concatenate([train, valid])), np.arange(50_000)):
        raise UserError(f"the benchmark's split file {path} does not split 50,000 images into two halves; replace it")
    return train, valid


def stratified(indices: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return ``count`` of ``indices``, equally many of every class, in ascending order."""
    rng = np.random.default_rng(seed)
    classes = np.unique(labels)
    per_class = count // len(classes)
    chosen = [rng.permutation(indices[labels[indices] == label])[:per_class] for label in classes]
    if any(len(part) < per_class for part in chosen):
        raise UserError(
            f"{count} images per half are more than {len(indices)} images hold of every class; lower per_half"
        )
    return np.sort(np.concatenate(chosen))


def shrink(pixels: np.ndarray, size: int) -> Tensor:
    """Return pixels ``uint8 [n, C, size, size]``, reduced by area mean.

    Raises:
        UserError: ``size`` does not divide the images' side.
    """
    side = pixels.shape[-1]
    if side % size:
        raise UserError(f"image size {size} does not divide {side}; choose 32, 16 or 8")
    images = torch.from_numpy(np.ascontiguousarray(pixels))
    if size == side:
        return images
    factor = side // size
    return images.float().unflatten(3, (size, factor)).unflatten(2, (size, factor)).mean((3, 5)).round().byte()


def _image_set(pixels: np.ndarray, labels: np.ndarray, size: int) -> ImageSet:
    return ImageSet(shrink(pixels, size), torch.from_numpy(labels.astype(np.int64)), _augment, _normalise)


def _normalise(images: Tensor) -> Tensor:
    return standardise(images, MEAN, STD)


def _augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop (padding 4 at 32 pixels, 2 at 16) and horizontal flip, then normalise."""
    return _normalise(crop_and_flip(images, images.shape[-1] // 8, generator))


def decoded(root: Path, part: Part) -> tuple[np.ndarray, np.ndarray, str]:
    """Return pixels ``uint8 [n, 3, 32, 32]``, labels ``[n]`` and the sha256 of the source, decoding it at most once."""
    folder = root / "cifar10"
    batches = [folder / "cifar-10-batches-py" / name for name in BATCHES[part]]
    parquet = sorted(folder.glob(f"{part}-*.parquet"))
    sources = batches if batches[0].exists() else parquet
    if not sources:
        raise UserError(
            f"CIFAR-10 ({part}) is missing: {folder} holds neither {part}-*.parquet nor "
            f"cifar-10-batches-py/{BATCHES[part][0]}; "
            "put one of them there or use `--preset digits`"
        )
    for path in sources:
        if not path.exists():
            raise UserError(f"CIFAR-10 is incomplete: {path} is missing; unpack the official archive again")
    checksum = hashlib.sha256("".join(map(file_sha256, sources)).encode()).hexdigest()
    cache = Path(os.environ.get("ITNAS_CACHE") or pooch.os_cache("itnas")) / f"cifar10-{part}-{checksum[:16]}.npz"
    if cache.exists():
        try:
            with np.load(cache) as file:
                return file["pixels"], file["labels"], checksum
        except (OSError, ValueError, KeyError):
            cache.unlink()  # a cache is ours to rebuild
    pixels, labels = _read_batches(sources) if sources is batches else _read_parquet(sources)
    if len(pixels) != COUNTS[part]:
        raise UserError(
            f"{sources[0].parent} holds {len(pixels)} of {COUNTS[part]} {part} images; the files are truncated"
        )
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_name(f"{cache.stem}.{os.getpid()}.npz")
    np.savez(temporary, pixels=pixels, labels=labels)
    os.replace(temporary, cache)
    return pixels, labels, checksum


def _read_parquet(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for path in paths:
        try:
            table = pq.read_table(path, columns=["img", "label"])
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); replace it") from None
        for number, image in enumerate(table["img"].combine_chunks().field("bytes")):
            try:
                with Image.open(io.BytesIO(image.as_py())) as handle:
                    images.append(np.asarray(handle.convert("RGB")).transpose(2, 0, 1))
            except (UnidentifiedImageError, OSError) as error:
                raise UserError(f"image {number} of {path} cannot be decoded ({error}); replace the file") from None
        labels.append(table["label"].to_numpy())
    return np.stack(images), np.concatenate(labels)


class _BatchUnpickler(pickle.Unpickler):
    """Reads the official batches and refuses to name anything that is not an array or its bytes."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """Resolve numpy's array constructors, and the encoding by which Python 3 writes bytes for Python 2."""
        allowed = {
            "_reconstruct": np._core.multiarray._reconstruct,  # pyright: ignore[reportAttributeAccessIssue]
            "ndarray": np.ndarray,
            "dtype": np.dtype,
        }
        if module.split(".")[0] == "numpy" and name in allowed:
            return allowed[name]
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode("latin1")
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _read_batches(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    parts = [read_batch(path, b"labels", "CIFAR-10") for path in paths]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def read_batch(path: Path, key: bytes, title: str) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels ``uint8 [n, 3, 32, 32]`` and labels ``[n]`` of one official pickle without executing it.

    Raises:
        UserError: the file names anything but arrays, or is damaged.
    """
    try:
        with path.open("rb") as handle:
            content = _BatchUnpickler(handle, encoding="bytes").load()
        pixels = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        return pixels, np.asarray(content[key], dtype=np.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"{path} is no official {title} batch or is damaged ({error}); unpack the archive again"
        ) from None

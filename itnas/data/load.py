"""From the name of a data set to its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from itnas.data import cifar, digits, official
from itnas.data.images import Dataset, dataset_info
from itnas.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    """Which images are searched on."""

    dataset: str = "digits"
    """`digits` (embedded), or `cifar10`, `cifar100` or `svhn` (from ITNAS_DATA)."""
    split: Literal["embedded", "benchmark", "halves"] = "embedded"
    """How the training images are halved: `benchmark` = NAS-Bench-201's split file of CIFAR-10; `halves` = first and last
    half, as DARTS and its successors split."""
    image_size: int = 12
    """Pixels a side; CIFAR-10 is reduced by area mean."""
    per_half: int | None = None
    """Images of each half, stratified with a fixed seed that is independent of the search seed; None takes all."""


def load_data(data: DataConfig, root: Path | None) -> Dataset:
    """Return the data set a configuration asks for.

    Raises:
        UserError: it is unknown, missing or damaged.
    """
    dataset_info(data.dataset)
    if data.dataset == "digits":
        if data.split != "embedded":
            raise UserError(f"data set digits has its own split; split {data.split!r} is for cifar10")
        return digits.load()
    if root is None:
        raise UserError(
            f"data set {data.dataset} needs ITNAS_DATA: set it to a folder with {data.dataset}/, or use `--preset digits`"
        )
    if data.split == "embedded":
        raise UserError(f"data set {data.dataset} has no embedded split; choose `benchmark` (cifar10 only) or `halves`")
    if data.dataset == "cifar10":
        return cifar.load(root, data.split, data.image_size, data.per_half)
    if data.split == "benchmark":
        raise UserError(f"NAS-Bench-201's split file is for cifar10; split {data.dataset} into `halves`")
    return official.load(data.dataset, root, data.image_size, data.per_half)

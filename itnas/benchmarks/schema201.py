"""The schema of the NAS-Bench-201 table: what a query may ask for, and the column that answers it. Version 1.

A row per cell in benchmark order. Keys: ``index``, ``arch``, ``ops`` (six digits in edge order), ``unique_string``
(isomorphism class). Accuracies in percent after 200 epochs:
``{c10,c100,in16}_{valid,test,valtest}_{mean,111,777,888,999,unnamed}``; after 12 epochs ``..._e12``, where the mean is
``..._e12`` alone. ``c10_valid`` and ``c10_test`` come from different trainings. ``..._n``: trainings behind a mean.
``params_M_*``, ``flops_M_*``: millions. ``train_time_*``, ``c10_traincost_e12_s``: seconds of one training. Missing
values are null; columns that the source has for no cell are left out.
"""

from __future__ import annotations

import hashlib
import random
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

from itnas.benchmarks.errors import NotInSource
from itnas.spaces import nasbench201 as space

Dataset = Literal["cifar10-valid", "cifar10", "cifar100", "imagenet16-120"]
"""``cifar10-valid`` is trained on 25,000 images and only validates; ``cifar10`` is trained on 50,000 and only tests."""
Split = Literal["valid", "test", "valtest"]
"""``valtest`` is the union of both halves of the original test set."""
Epochs = Literal[12, 200]
"""Schedule, in epochs."""
Seed = Literal["mean", 111, 777, 888, 999, "unnamed"]
"""A training seed; ``"mean"`` over all trainings of the cell; ``"unnamed"``, one training whose seed the source hides.

The 12-epoch schedule used 111 and 777, the 200-epoch schedule 777, 888 and (for 8,169 cells) 999.
"""

SPLITS: dict[str, tuple[str, ...]] = {
    "cifar10-valid": ("valid",),
    "cifar10": ("test",),
    "cifar100": ("valid", "test", "valtest"),
    "imagenet16-120": ("valid", "test", "valtest"),
}
"""Splits by data set. The two CIFAR-10 keys are different trainings, so each has one split only."""
EPOCHS: tuple[int, ...] = get_args(Epochs)
SEEDS: tuple[str | int, ...] = get_args(Seed)
CELLS = 15_625
ORDER_SHA256 = "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"
"""sha256 of the architecture strings in benchmark order, joined by newlines: checks every key of a table."""
_PREFIXES = {"cifar10-valid": "c10", "cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}


def column_name(dataset: str, split: str, epochs: int, seed: str | int) -> str:
    """Return the name of the column that holds a value, whether or not a file has it.

    Raises:
        NotInSource: the benchmark has no such combination; the message says which part and what to ask for instead.
    """
    if dataset not in SPLITS:
        raise NotInSource(f"NAS-Bench-201 has no data set {dataset!r}; choose one of {', '.join(SPLITS)}")
    if split not in SPLITS[dataset]:
        raise NotInSource(_split_message(dataset, split))
    if epochs not in EPOCHS:
        raise NotInSource(f"NAS-Bench-201 has no schedule of {epochs!r} epochs; choose 12 or 200")
    if seed not in SEEDS:
        raise NotInSource(f"NAS-Bench-201 has no training seed {seed!r}; choose {', '.join(map(str, SEEDS))}")
    stem = f"{_PREFIXES[dataset]}_{split}"
    if epochs == 200:
        return f"{stem}_{seed}"
    return f"{stem}_e12" if seed == "mean" else f"{stem}_{seed}_e12"


def count_name(dataset: str, split: str, epochs: int) -> str:
    """Return the name of the column that counts the trainings behind a mean."""
    return f"{_PREFIXES[dataset]}_{split}_n{'_e12' if epochs == 12 else ''}"


def cost_name(quantity: str, dataset: str) -> str:
    """Return the name of the column with parameters (``params``) or multiply-adds (``flop``), in millions."""
    return f"{'params' if quantity == 'params' else 'flops'}_M_{_PREFIXES[dataset]}"


def seconds_name(dataset: str, epochs: int) -> str:
    """Return the name of the column with the seconds of one training; ``c10`` alone means CIFAR-10's 25,000 images."""
    if (dataset, epochs) == ("cifar10-valid", 12):
        return "c10_traincost_e12_s"
    return f"train_time_{epochs}e_s_{_PREFIXES[dataset]}{'_50k' if dataset == 'cifar10' else ''}"


def _split_message(dataset: str, split: str) -> str:
    if (dataset, split) == ("cifar10", "valid"):
        return (
            "data set 'cifar10' has no split 'valid': its networks were trained on all 50,000 training images;"
            " ask for 'cifar10-valid'"
        )
    if (dataset, split) == ("cifar10-valid", "test"):
        return (
            "data set 'cifar10-valid' has no split 'test': a search selects on its validation;"
            " the test accuracy that is reported is that of data set 'cifar10'"
        )
    return f"data set {dataset!r} has no split {split!r}; choose one of {', '.join(SPLITS[dataset])}"


Key = tuple[str, str, int, str | int]
"""Data set, split, epochs, seed."""
COLUMNS: dict[str, Key] = {
    column_name(dataset, split, epochs, seed): (dataset, split, epochs, seed)
    for dataset, splits in SPLITS.items()
    for split, epochs, seed in product(splits, EPOCHS, SEEDS)
}
"""Every value column that a table can have, and the query it answers."""


@lru_cache(maxsize=1)
def benchmark_order() -> tuple[str, ...]:
    """Return the 15,625 architecture strings in the benchmark's order.

    The authors shuffled the cells, enumerated in counting order, with Python's generator and seed 88 (AutoDL-Projects
    ``traverse_net``); the result is checked against the order stored in the official files by a checksum.
    """
    order = list(range(CELLS))
    random.Random(88).shuffle(order)
    archs = tuple(space.format_ops(space.all_cells()[i]) for i in order)
    assert hashlib.sha256("\n".join(archs).encode()).hexdigest() == ORDER_SHA256
    return archs

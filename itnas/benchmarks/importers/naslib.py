"""Reads NASLib's pickles of NAS-Bench-201 (learning curves of one data set) and of NAS-Bench-101.

NASLib's NAS-Bench-201 files say neither which training seed nor which split their accuracies belong to. Which split it
is can mostly be read off the numbers: an accuracy over n images is a multiple of 1/n. What stays open is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from itnas.benchmarks.importers.cells import DATASETS, Cells, SourceError
from itnas.benchmarks.importers.nasbench101 import Graphs
from itnas.benchmarks.pickles import BackReferenceError, PickleReader
from itnas.benchmarks.schema201 import EPOCHS, benchmark_order, column_name, cost_name, seconds_name
from itnas.benchmarks.tfrecord import Evaluation

IMAGES: dict[str, dict[int, tuple[str, ...]]] = {
    "cifar10-valid": {25_000: ("valid",), 10_000: ()},
    "cifar10": {10_000: ("test",)},
    "cifar100": {5_000: ("valid", "test"), 10_000: ("valtest",)},
    "imagenet16-120": {3_000: ("valid", "test"), 6_000: ("valtest",)},
}
"""Size of the evaluated sets by data set, and the splits of that size.

Ten thousand images are CIFAR-10's test set, which is not reported for networks trained on 25,000 images.
"""


class _Curve(NamedTuple):
    """What is needed of one architecture's results on one data set."""

    epochs: int
    accuracy: float
    costs: dict[str, float]


class _Module(NamedTuple):
    adjacency: str
    ops: tuple[str, ...]
    params: int


def read_naslib(path: Path, progress: Callable[[int], None], split: str | None) -> Cells | Graphs:
    """Read one of NASLib's pickles.

    Args:
        path: ``nb201_*_full_training.pickle`` or ``nasbench_only108.pkl``.
        progress: called with the number of bytes consumed since the last call.
        split: what the accuracies of CIFAR-100 and ImageNet16-120 are, ``valid`` or ``test``.

    Raises:
        SourceError: it is neither, or its split cannot be told.
        PickleError: it is damaged or not plain data.
    """
    data = _load(path, progress)
    if not isinstance(data, dict) or not data:
        raise SourceError("is a pickle, but not one of NASLib's (no dict of architectures)")
    key = next(iter(data))
    if isinstance(key, str) and key.startswith("|"):
        return _cells(data, split)
    if isinstance(key, str) and re.fullmatch(r"[0-9a-f]{32}", key):
        return _graphs(data)
    raise SourceError(f"is a pickle, but not one of NASLib's (its first key is {key!r:.60})")


def _load(path: Path, progress: Callable[[int], None]) -> object:
    for keep in (False, True):
        with path.open("rb") as stream:
            try:
                return PickleReader(stream, _reduce, keep=keep, progress=progress).load()
            except BackReferenceError:
                if keep:
                    raise
    raise AssertionError


def _reduce(items: dict) -> object | None:
    """Replace the results of one architecture by the few numbers that are imported."""
    if "eval_acc1es" in items:
        return _curve(items)
    if "final_test_accuracy" in items:
        order = ("training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
        return Evaluation(float("nan"), *(items[f"final_{name}"] for name in order))
    if "module_adjacency" in items:
        matrix = np.asarray(items["module_adjacency"])
        return _Module(
            "".join(map(str, matrix.ravel().tolist())), tuple(items["module_operations"]), items["trainable_parameters"]
        )
    return None


def _curve(items: dict[str, Any]) -> _Curve:
    accuracies = items["eval_acc1es"]
    if not isinstance(accuracies, list) or len(accuracies) not in EPOCHS:
        found = f"{len(accuracies)} epochs" if isinstance(accuracies, list) else "no learning curve"
        raise SourceError(
            f"gives {found} per architecture, so its schedule is unknown; use NASLib's *_full_training files"
        )
    costs = items.get("cost_info") or {}
    return _Curve(
        len(accuracies), float(accuracies[-1]), {k: float(v) for k, v in costs.items() if isinstance(v, int | float)}
    )


def _cells(data: dict[str, Any], split: str | None) -> Cells:
    cells = Cells()
    index = {arch: number for number, arch in enumerate(benchmark_order())}
    by_column: dict[tuple[str, int], dict[int, float]] = {}
    for arch, results in data.items():
        if arch not in index or not isinstance(results, dict):
            raise SourceError(f"has {arch!r:.120}, which is no architecture of NAS-Bench-201")
        for name, curve in results.items():
            if name in DATASETS and isinstance(curve, _Curve):
                cells.seen[index[arch]] = True
                by_column.setdefault((DATASETS[name], curve.epochs), {})[index[arch]] = curve.accuracy
                _set_costs(cells, DATASETS[name], index[arch], curve)
    for (dataset, epochs), values in by_column.items():
        column = column_name(dataset, _split(dataset, np.array(list(values.values())), split), epochs, "unnamed")
        for number, value in values.items():
            cells.set(column, number, value)
    if not by_column:
        raise SourceError("has no results on CIFAR-10, CIFAR-100 or ImageNet16-120")
    return cells


def _set_costs(cells: Cells, dataset: str, index: int, curve: _Curve) -> None:
    for key, name in (("params", cost_name("params", dataset)), ("flops", cost_name("flop", dataset))):
        if key in curve.costs:
            cells.set(name, index, curve.costs[key])
    if "train_time" in curve.costs:
        cells.set(seconds_name(dataset, curve.epochs), index, curve.costs["train_time"])


def _split(dataset: str, accuracies: np.ndarray, stated: str | None) -> str:
    """Return the split that single accuracies of a data set belong to.

    Raises:
        SourceError: they are no single accuracies, or belong to either of two splits and none was stated.
    """
    sizes = [size for size in sorted(IMAGES[dataset]) if _multiples(accuracies, size)]
    if not sizes:
        raise SourceError(f"has accuracies on {dataset} that are not those of single trainings")
    choices = IMAGES[dataset][sizes[0]]
    if not choices:
        raise SourceError(
            f"has test accuracies of {dataset}, whose networks are trained on half the data; nobody reports them"
        )
    if len(choices) == 1:
        return choices[0]
    if stated not in choices:
        raise SourceError(
            f"does not say whether its accuracies on {dataset} are {' or '.join(choices)}; state it with --split"
        )
    return stated


def _multiples(accuracies: np.ndarray, images: int) -> bool:
    """Return whether all accuracies (percent) are numbers of right answers among so many images."""
    right = accuracies / 100 * images
    return bool(np.abs(right - np.round(right)).max() < 0.01)


def _graphs(data: dict[str, Any]) -> Graphs:
    graphs = Graphs()
    for digest, entry in data.items():
        try:
            module, schedules = entry
            row = graphs.row(digest, module.adjacency, module.ops, int(module.params))
            for epochs, trainings in schedules.items():
                for training in trainings:
                    graphs.add(row, int(epochs), training)
        except (TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"has an unreadable graph {digest!r} ({error})") from None
    return graphs


NOTE = "the training seed is not named in the source; the values are those of one training per architecture"
"""What is to be known of every NAS-Bench-201 table made from NASLib's files."""

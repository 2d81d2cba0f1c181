"""Collects NAS-Bench-201 numbers from an official file into the columns of the table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from itnas.benchmarks.schema201 import (
    CELLS,
    COLUMNS,
    EPOCHS,
    SEEDS,
    SPLITS,
    benchmark_order,
    column_name,
    cost_name,
    count_name,
    seconds_name,
)
from itnas.spaces.nasbench201 import isomorphism_class, parse

DATASETS = {
    "cifar10-valid": "cifar10-valid",
    "cifar10": "cifar10",
    "cifar100": "cifar100",
    "ImageNet16-120": "imagenet16-120",
}
"""The benchmark's names of the data sets, and ours."""
HALVES = {"x-valid": "valid", "x-test": "test", "ori-test": "valtest"}
SETS: dict[str, dict[str, str]] = {
    "cifar10-valid": {"x-valid": "valid"},
    "cifar10": {"ori-test": "test"},
    "cifar100": HALVES,
    "imagenet16-120": HALVES,
}
"""What the benchmark calls an evaluated set, by data set, and our split. ``ori-test`` is CIFAR-10's whole test set."""


class SourceError(Exception):
    """The file does not hold what its format promises; the message is the end of a sentence."""


class Cells:
    """Values of cells in benchmark order; what is never set stays missing."""

    def __init__(self) -> None:
        self.seen = np.zeros(CELLS, bool)
        """Which cells have been added."""
        self._floats: dict[str, np.ndarray] = {}
        self._counts: dict[str, np.ndarray] = {}
        self._other_seeds: set[int] = set()

    def set(self, name: str, index: int, value: float) -> None:
        """Store one number."""
        if name not in self._floats:
            self._floats[name] = np.full(CELLS, np.nan)
        self._floats[name][index] = value

    def set_column(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Store one column of numbers, or of counts where the name is a count's."""
        if name == "n_seeds" or name in COUNT_COLUMNS:
            counts = self._counts.setdefault(name, np.zeros(CELLS, np.int8))
            counts[rows] = np.nan_to_num(values).astype(np.int8)
            return
        column = self._floats.setdefault(name, np.full(CELLS, np.nan))
        column[rows] = values

    def add(self, schedules: Mapping[int, Mapping[str, Any]]) -> None:
        """Add one architecture.

        Args:
            schedules: the benchmark's ``ArchResults`` state by number of epochs.

        Raises:
            SourceError: it is another architecture than its index says, came twice, or lacks a field.
        """
        index, arch = -1, None
        try:
            for epochs, state in schedules.items():
                index, arch = int(state["arch_index"]), state["arch_str"]
                self._check(index, arch)
                self._add_schedule(index, epochs, state)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SourceError(f"has an unreadable architecture {index} ({type(error).__name__}: {error})") from None
        if arch is None:
            raise SourceError("has an architecture without results")
        if self.seen[index]:
            raise SourceError(f"has architecture {index} twice")
        self.seen[index] = True

    def _check(self, index: int, arch: object) -> None:
        order = benchmark_order()
        if not 0 <= index < CELLS or arch != order[index]:
            known = f", which NAS-Bench-201 has as {order[index]!r}" if 0 <= index < CELLS else ""
            raise SourceError(
                f"has the architecture {arch!r} at index {index}{known}; only the topology space (tss) can be imported"
            )

    def _add_schedule(self, index: int, epochs: int, state: Mapping[str, Any]) -> None:
        for source_name, seeds in state["dataset_seed"].items():
            dataset = DATASETS.get(source_name)
            if dataset is None or not seeds:
                continue
            trainings = {int(seed): state["all_results"][source_name, seed] for seed in seeds}
            for seed, training in trainings.items():
                if training["epochs"] != epochs:
                    raise SourceError(
                        f"has {training['epochs']} epochs for seed {seed} of architecture {index}, not {epochs}"
                    )
            for source_set, split in SETS[dataset].items():
                key = f"{source_set}@{epochs - 1}"
                found = {s: t["eval_acc1es"][key] for s, t in trainings.items() if key in t["eval_acc1es"]}
                self._add_accuracies(index, (dataset, split, epochs), found)
            self._add_costs(index, dataset, epochs, list(trainings.values()))

    def _add_accuracies(self, index: int, query: tuple[str, str, int], by_seed: Mapping[int, float]) -> None:
        if not by_seed:
            return
        for seed, value in by_seed.items():
            if not 0 <= value <= 100:
                raise SourceError(
                    f"has the accuracy {value!r} for architecture {index}, {' '.join(map(str, query))}, seed {seed}"
                )
            if seed in SEEDS:
                self.set(column_name(*query, seed), index, value)
            else:
                self._other_seeds.add(seed)
        self.set(column_name(*query, "mean"), index, float(np.mean(list(by_seed.values()))))
        name = count_name(*query)
        if name not in self._counts:
            self._counts[name] = np.zeros(CELLS, np.int8)
        self._counts[name][index] = len(by_seed)

    def _add_costs(self, index: int, dataset: str, epochs: int, trainings: list[Mapping[str, Any]]) -> None:
        for quantity in ("params", "flop"):
            self.set(cost_name(quantity, dataset), index, float(np.mean([t[quantity] for t in trainings])))
        times = [t.get("train_times") for t in trainings]
        if all(times):
            seconds = [sum(t.values()) for t in times if t]
            self.set(seconds_name(dataset, epochs), index, float(np.mean(seconds)))

    def has(self, name: str) -> bool:
        """Return whether any cell has a number in this column."""
        return name in self._floats

    def notes(self) -> tuple[str, ...]:
        """Return what has no column of its own."""
        if not self._other_seeds:
            return ()
        seeds = ", ".join(map(str, sorted(self._other_seeds)))
        return (f"trainings with seed {seeds} count in the means and have no column of their own",)

    def columns(self) -> dict[str, np.ndarray | list[str]]:
        """Return the table: keys, accuracies, counts and costs, without columns that the source has for no cell."""
        ops, classes = _spellings()
        result: dict[str, np.ndarray | list[str]] = {
            "index": np.arange(CELLS, dtype=np.int32),
            "arch": list(benchmark_order()),
            "ops": list(ops),
            "unique_string": list(classes),
        }
        trainings = self._counts.get(count_name("cifar10-valid", "valid", 200))
        if trainings is not None:
            result["n_seeds"] = trainings  # the name under which older tables have it
        known = [name for name in COLUMNS if name in self._floats]
        result |= {name: self._floats[name] for name in known}
        result |= self._counts
        result |= {name: values for name, values in self._floats.items() if name not in COLUMNS}
        return result


@lru_cache(maxsize=1)
def _spellings() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the six digits and the isomorphism class of every cell."""
    order = benchmark_order()
    return tuple("".join(map(str, parse(arch))) for arch in order), tuple(isomorphism_class(arch) for arch in order)


COUNT_COLUMNS = frozenset(
    count_name(dataset, split, e) for dataset in SPLITS for split in SPLITS[dataset] for e in EPOCHS
)
"""Every column that counts the trainings behind a mean."""
NUMBER_COLUMNS = (
    frozenset([*COLUMNS, "n_seeds"])
    | COUNT_COLUMNS
    | {cost_name(quantity, dataset) for quantity in ("params", "flop") for dataset in SPLITS}
    | {seconds_name(dataset, epochs) for dataset in SPLITS for epochs in EPOCHS}
)
"""Every column of numbers that a table can have."""

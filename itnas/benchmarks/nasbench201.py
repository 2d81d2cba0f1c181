"""Lookup in the NAS-Bench-201 / NATS-Bench TSS table: 15,625 cells, accuracies in percent.

Every query names data set, split, schedule and seed; none has a default. The table is one parquet file,
``<data root>/nas-bench-201/table.parquet``; its columns are described in :mod:`itnas.benchmarks.schema201`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from itnas.benchmarks.errors import MissingValue, NotInSource
from itnas.benchmarks.schema201 import (
    CELLS,
    COLUMNS,
    ORDER_SHA256,
    SEEDS,
    SPLITS,
    Dataset,
    Epochs,
    Key,
    Seed,
    Split,
    column_name,
    cost_name,
    count_name,
    seconds_name,
)
from itnas.benchmarks.tables import Provenance, open_parquet, read_columns, read_provenance
from itnas.errors import UserError
from itnas.spaces import nasbench201 as space

SINGLE_RUNS = ("c100_valid_888", "c100_test_888", "in16_valid_888", "in16_test_888")
"""Columns of a table without provenance that are extra single runs, not per-seed values: such a table is not asked."""
REPORTED = {
    ("cifar10", "valid"): "cifar10-valid",
    ("cifar10", "test"): "cifar10",
    ("cifar100", "valid"): "cifar100",
    ("cifar100", "test"): "cifar100",
    ("imagenet16-120", "valid"): "imagenet16-120",
    ("imagenet16-120", "test"): "imagenet16-120",
}
"""The six numbers that papers report, ``(data set, split)``, and the benchmark's key for each."""


class Rank(NamedTuple):
    """A place among the cells that have the value; 1 is the best, ties share the better place."""

    rank: int
    of: int


class Optimum(NamedTuple):
    """The best cell of a column; among equals the one with the lowest index."""

    value: float
    index: int
    arch: str


class NASBench201Table:
    """One opened table. Rows are in benchmark index order, 0 to 15,624."""

    name: ClassVar[str] = "nas-bench-201"
    """Folder of the table in the data folder."""

    def __init__(self, path: Path, sha256: str, columns: dict[str, Any], provenance: Provenance | None) -> None:
        """Use :meth:`open`."""
        self.path = path
        """The file."""
        self.sha256 = sha256
        """Checksum of the file, as hex digits."""
        self.provenance = provenance
        """Where the file comes from, or None for a table that no importer wrote."""
        self.archs: list[str] = columns["arch"]
        """The 15,625 architecture strings in index order."""
        self._index = {arch: index for index, arch in enumerate(self.archs)}
        self._numbers: dict[str, np.ndarray] = columns
        self._columns: dict[Key, np.ndarray] = {key: columns[name] for name, key in COLUMNS.items() if name in columns}

    @classmethod
    def open(cls, root_or_path: str | Path) -> NASBench201Table:
        """Open the table of a data folder, or a table file.

        Raises:
            UserError: the file is missing, damaged, of a newer schema, lacks a column or lacks cells.
        """
        path = Path(root_or_path)
        if path.is_dir():
            path = path / cls.name / "table.parquet"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise UserError(
                f"there is no NAS-Bench-201 table at {path}; `itnas data import FILE` makes it from an official file"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror})") from None
        columns, provenance = _read(content, path)
        return cls(path, hashlib.sha256(content).hexdigest(), columns, provenance)

    def __len__(self) -> int:
        return len(self.archs)

    def __repr__(self) -> str:
        return f"NASBench201Table({str(self.path)!r}, sha256 {self.sha256[:12]}..., {len(self._columns)} value columns)"

    def index(self, arch: str) -> int:
        """Return the benchmark index of an architecture string.

        Raises:
            UserError: the string is malformed; the message names the node or operation.
        """
        index = self._index.get(arch)
        return self._index[space.format_ops(space.parse(arch))] if index is None else index

    def lookup(self, arch: str, *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> float:
        """Return one accuracy in percent.

        Args:
            arch: architecture string.
            dataset: ``cifar10-valid`` for what a search may select on, ``cifar10`` for the reported test accuracy.
            split: ``valid``, ``test``, or ``valtest`` for the union of both halves.
            epochs: the training schedule.
            seed: a training seed, or ``"mean"`` over those the cell has (see :meth:`count`).

        Raises:
            NotInSource: the benchmark or this file has no such column.
            MissingValue: this cell was not trained with that seed.
            UserError: ``arch`` is malformed.
        """
        index = self._index.get(arch)
        if index is None:
            index = self.index(arch)
        values = self._columns.get((dataset, split, epochs, seed))
        if values is None:
            values = self.column(dataset=dataset, split=split, epochs=epochs, seed=seed)
        value = values.item(index)
        if value != value:  # NaN
            raise MissingValue(self._missing(index, dataset, split, epochs, seed))
        return value

    def lookup_many(
        self, archs: Sequence[str], *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed
    ) -> np.ndarray:
        """Return the accuracies of many cells, ``[len(archs)]``; NaN where :meth:`lookup` raises MissingValue."""
        values = self.column(dataset=dataset, split=split, epochs=epochs, seed=seed)
        try:
            return values[[self._index[arch] for arch in archs]]
        except KeyError:
            return values[[self.index(arch) for arch in archs]]

    def column(self, *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> np.ndarray:
        """Return the accuracies of all cells, ``[15625]`` in index order, read-only; NaN where a cell lacks the seed.

        Raises:
            NotInSource: the benchmark or this file has no such column.
        """
        name = column_name(dataset, split, epochs, seed)
        values = self._columns.get((dataset, split, epochs, seed))
        if values is None:
            known = [str(s) for s in SEEDS if (dataset, split, epochs, s) in self._columns]
            raise NotInSource(
                f"{self.path} does not give {dataset} {split} after {epochs} epochs for {_seed_words(seed)}"
                f" (column {name}); it has {', '.join(known) or 'no seed and no mean of it'}"
            )
        return values

    def count(self, arch: str, *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> int | None:
        """Return how many trainings are behind a value: 1 for a seed, None where the source does not say.

        Raises:
            NotInSource, MissingValue, UserError: as :meth:`lookup`.
        """
        self.lookup(arch, dataset=dataset, split=split, epochs=epochs, seed=seed)
        if seed != "mean":
            return 1
        counts = self._numbers.get(count_name(dataset, split, epochs))
        if counts is None and epochs == 200 and (split == "valtest" or dataset == "cifar10-valid"):
            counts = self._numbers.get("n_seeds")
        return None if counts is None else int(counts[self.index(arch)])

    def rank(self, arch: str, *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> Rank:
        """Return the place of a cell among all cells that have the value.

        Raises:
            NotInSource, MissingValue, UserError: as :meth:`lookup`.
        """
        value = self.lookup(arch, dataset=dataset, split=split, epochs=epochs, seed=seed)
        values = self.column(dataset=dataset, split=split, epochs=epochs, seed=seed)
        return Rank(int((values > value).sum()) + 1, int((~np.isnan(values)).sum()))

    def optimum(self, *, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> Optimum:
        """Return the best cell of a column among the cells that have the value.

        Raises:
            NotInSource: as :meth:`column`.
        """
        values = self.column(dataset=dataset, split=split, epochs=epochs, seed=seed)
        if np.isnan(values).all():
            raise NotInSource(f"{self.path} has no value of {column_name(dataset, split, epochs, seed)}")
        index = int(np.nanargmax(values))
        return Optimum(float(values[index]), index, self.archs[index])

    def params(self, arch: str, *, dataset: Dataset) -> float:
        """Return the number of parameters in millions; the classifier differs between data sets."""
        self._check_dataset(dataset)
        return self._number(arch, cost_name("params", dataset), "parameters")

    def flops(self, arch: str, *, dataset: Dataset) -> float:
        """Return the multiply-adds of one image in millions."""
        self._check_dataset(dataset)
        return self._number(arch, cost_name("flop", dataset), "FLOPs")

    def train_seconds(self, arch: str, *, dataset: Dataset, epochs: Epochs) -> float:
        """Return the seconds that one training took, as the benchmark states them (evaluation not included)."""
        self._check_dataset(dataset)
        return self._number(arch, seconds_name(dataset, epochs), f"training seconds of {epochs} epochs")

    def evaluation_rows(self, archs: Iterable[str]) -> list[dict[str, Any]]:
        """Return rows for the record table ``evaluation``: the six reported numbers of every cell after 200 epochs.

        Seed is ``"mean"`` and every training seed that the table has; ``n`` is null where the source does not say.
        """
        rows: list[dict[str, Any]] = []
        for arch in archs:
            for (dataset, split), key in REPORTED.items():
                for seed in SEEDS:
                    query: dict[str, Any] = {"dataset": key, "split": split, "epochs": 200, "seed": seed}
                    try:
                        value, n = self.lookup(arch, **query), self.count(arch, **query)
                    except NotInSource:
                        continue
                    rows.append(
                        {"genotype": arch, "kind": "table", "dataset": dataset, "split": split, "epochs": 200}
                        | {"seed": str(seed), "value": value, "n": n}
                    )
        return rows

    def reference(self) -> dict[str, Any]:
        """Return the optimum and the mean over all cells of the six reported numbers (200 epochs, mean over seeds).

        Raises:
            NotInSource: the table does not have all six for all 15,625 cells.
        """
        result: dict[str, Any] = {"optimum": {}, "mean": {}, "n": len(self)}
        for (dataset, split), key in REPORTED.items():
            values = self.column(dataset=key, split=split, epochs=200, seed="mean")  # type: ignore[arg-type]
            if np.isnan(values).any():
                raise NotInSource(
                    f"{self.path} has {key} {split} for {int((~np.isnan(values)).sum()):,} of {len(self):,} cells;"
                    " the optimum and mean need all of them"
                )
            result["optimum"][f"{dataset}/{split}"] = float(values.max())
            result["mean"][f"{dataset}/{split}"] = float(values.mean())
        return result

    def _check_dataset(self, dataset: str) -> None:
        if dataset not in SPLITS:
            raise NotInSource(f"NAS-Bench-201 has no data set {dataset!r}; choose one of {', '.join(SPLITS)}")

    def _number(self, arch: str, name: str, words: str) -> float:
        if name not in self._numbers:
            raise NotInSource(f"{self.path} does not give {words} (column {name})")
        value = self._numbers[name].item(self.index(arch))
        if value != value:
            raise MissingValue(f"cell {self.index(arch)} {arch} has no {words} in {self.path} (column {name})")
        return value

    def _missing(self, index: int, dataset: str, split: str, epochs: int, seed: str | int) -> str:
        stored = [(str(s), self._columns.get((dataset, split, epochs, s))) for s in SEEDS]
        present = [name for name, values in stored if values is not None and not np.isnan(values[index])]
        return (
            f"cell {index} {self.archs[index]} has no {dataset} {split} accuracy after {epochs} epochs for"
            f" {_seed_words(seed)} in {self.path}; it has {', '.join(present) or 'none at all'}"
        )


def _seed_words(seed: str | int) -> str:
    return {"mean": "the mean over seeds", "unnamed": "an unnamed seed"}.get(str(seed), f"seed {seed}")


def _read(content: bytes, path: Path) -> tuple[dict[str, Any], Provenance | None]:
    """Return ``arch`` as a list and every number column as a read-only array, in index order."""
    file = open_parquet(pa.BufferReader(content), path)
    provenance = read_provenance(file, path)
    present = file.schema_arrow.names
    missing = [name for name in ("index", "arch") if name not in present]
    if missing or not any(name in present for name in COLUMNS):
        lack = f"the column {', '.join(missing)}" if missing else "every accuracy column"
        raise UserError(f"{path} is not a NAS-Bench-201 table: it lacks {lack}; import the official file")
    if file.metadata.num_rows != CELLS:
        raise UserError(
            f"{path} has {file.metadata.num_rows:,} rows, NAS-Bench-201 has 15,625; import the official file again"
        )
    unwanted = {"ops", "unique_string", *(() if provenance else SINGLE_RUNS)}
    columns = read_columns(file, [name for name in present if name not in unwanted], path)
    if hashlib.sha256("\n".join(columns["arch"]).encode()).hexdigest() != ORDER_SHA256:
        raise UserError(f"{path} does not hold the 15,625 cells in benchmark order; import the official file again")
    return columns, provenance

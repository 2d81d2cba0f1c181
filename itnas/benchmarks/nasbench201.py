"""Lookup in the NAS-Bench-201 / NATS-Bench TSS table: 15,625 cells, accuracies in percent.

Every query names data set, split, schedule and seed; none has a default. The table is one parquet file,
``<data root>/nas-bench-201/table.parquet``, with a column per (data set, split, schedule, seed).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itnas.benchmarks.errors import MissingValue, NotInSource
from itnas.errors import UserError
from itnas.spaces import nasbench201 as space

Dataset = Literal["cifar10-valid", "cifar10", "cifar100", "imagenet16-120"]
"""``cifar10-valid`` is trained on 25,000 images and only validates; ``cifar10`` is trained on 50,000 and only tests."""
Split = Literal["valid", "test", "valtest"]
"""``valtest`` is the union of both halves of the original test set."""
Epochs = Literal[12, 200]
"""Schedule, in epochs."""
Seed = Literal["mean", 111, 777, 888, 999]
"""Training seed, or the mean over all trainings of the cell. The 12-epoch schedule used 777 and 111."""

PREFIXES: dict[str, str] = {"cifar10-valid": "c10", "cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
"""First word of a data set's columns."""
SPLITS: dict[str, tuple[str, ...]] = {
    "cifar10-valid": ("valid",),
    "cifar10": ("test",),
    "cifar100": ("valid", "test", "valtest"),
    "imagenet16-120": ("valid", "test", "valtest"),
}
"""Splits by data set. The two CIFAR-10 keys are different trainings, so each has one split only."""
EPOCHS = (12, 200)
SEEDS = ("mean", 111, 777, 888, 999)
CELLS = 15_625
ORDER_SHA256 = "83abc799e45cf34e9d2163654668ab998b9a54d01c39e72ca1f71f2cdf356d84"
"""sha256 of the 15,625 architecture strings in benchmark order, joined by newlines: checks every key of a table."""
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


def column_name(dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> str:
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
        raise NotInSource(f"NAS-Bench-201 has no training seed {seed!r}; choose 'mean', 111, 777, 888 or 999")
    stem = f"{PREFIXES[dataset]}_{split}"
    if epochs == 200:
        return f"{stem}_{seed}"
    return f"{stem}_e12" if seed == "mean" else f"{stem}_{seed}_e12"


def count_name(dataset: Dataset, split: Split, epochs: Epochs) -> str:
    """Return the name of the column that counts the trainings behind a mean."""
    return column_name(dataset, split, epochs, "mean").replace("_mean", "") + "_n"


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


class NASBench201Table:
    """One opened table. Rows are in benchmark index order, 0 to 15,624."""

    name: ClassVar[str] = "nas-bench-201"
    """Folder of the table in the data folder."""

    def __init__(self, path: Path, sha256: str, archs: list[str], columns: dict[str, np.ndarray]) -> None:
        """Use :meth:`open`."""
        self.path = path
        """The file."""
        self.sha256 = sha256
        """Checksum of the file, as hex digits."""
        self.archs = archs
        """The 15,625 architecture strings in index order."""
        self._index = {arch: index for index, arch in enumerate(archs)}
        self._named = columns
        self._columns: dict[tuple[str, str, int, str | int], np.ndarray] = {}
        for dataset, splits in SPLITS.items():
            for split in splits:
                for epochs in EPOCHS:
                    for seed in SEEDS:
                        values = columns.get(column_name(dataset, split, epochs, seed))  # type: ignore[arg-type]
                        if values is not None:
                            self._columns[dataset, split, epochs, seed] = values

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
                f"no NAS-Bench-201 table at {path}; `itnas data import FILE` makes one from an official file"
            ) from None
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror})") from None
        columns = _read_columns(content, path)
        archs = columns.pop("arch")
        if hashlib.sha256("\n".join(archs).encode()).hexdigest() != ORDER_SHA256:
            raise UserError(f"{path} does not hold the 15,625 cells in benchmark order; import the official file again")
        return cls(path, hashlib.sha256(content).hexdigest(), archs, columns)

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
                f" (column {name}); it has {', '.join(known) or 'neither a seed nor a mean of it'}"
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
        counts = self._named.get(count_name(dataset, split, epochs))
        if counts is None and epochs == 200 and (split == "valtest" or dataset == "cifar10-valid"):
            counts = self._named.get("n_seeds")
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
                    f"{self.path} has {key} {split} for {int((~np.isnan(values)).sum())} of {len(self)} cells;"
                    " its optimum and mean need all of them"
                )
            result["optimum"][f"{dataset}/{split}"] = float(values.max())
            result["mean"][f"{dataset}/{split}"] = float(values.mean())
        return result

    def _missing(self, index: int, dataset: Dataset, split: Split, epochs: Epochs, seed: Seed) -> str:
        stored = [(str(s), self._columns.get((dataset, split, epochs, s))) for s in SEEDS]
        present = [name for name, values in stored if values is not None and not np.isnan(values[index])]
        return (
            f"cell {index} {self.archs[index]} has no {dataset} {split} accuracy after {epochs} epochs for"
            f" {_seed_words(seed)} in {self.path}; it has {', '.join(present) or 'none at all'}"
        )


def _seed_words(seed: str | int) -> str:
    return "the mean over seeds" if seed == "mean" else f"seed {seed}"


def _read_columns(content: bytes, path: Path) -> dict[str, Any]:
    """Return ``arch`` as a list and every number column as a read-only array, in index order."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        fields = [field for field in file.schema_arrow if _is_number(field.type) or field.name == "arch"]
        table = file.read([field.name for field in fields], use_threads=False)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is not a readable parquet file ({reason}); import it again or fetch it anew") from None
    missing = [name for name in ("index", "arch", "c10_valid_mean", "c10_test_mean") if name not in table.column_names]
    if missing:
        raise UserError(f"{path} is not a NAS-Bench-201 table: it lacks the column {', '.join(missing)}")
    if table.num_rows != CELLS:
        raise UserError(f"{path} has {table.num_rows:,} rows, NAS-Bench-201 has 15,625; import the official file again")
    imported = b"itnas" in (file.schema_arrow.metadata or {})
    names = [name for name in table.column_names if name != "arch" and (imported or name not in SINGLE_RUNS)]
    return {"arch": table["arch"].to_pylist()} | {name: _to_numpy(table[name]) for name in names}


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as a read-only array, null as NaN, without pyarrow's detour through pandas (0.3 s, 40 MB)."""
    array = column.combine_chunks()
    validity, data = array.buffers()
    values = np.frombuffer(data, array.type.to_pandas_dtype())[array.offset : array.offset + len(array)]
    if array.null_count:
        valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
        values = np.where(valid[array.offset : array.offset + len(array)], values, np.nan)
    values.flags.writeable = False
    return values

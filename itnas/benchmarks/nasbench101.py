"""Lookup in the NAS-Bench-101 table: 423,624 graphs on CIFAR-10, accuracies in percent.

The table is one parquet file, ``<data root>/nas-bench-101/table.parquet``. Its schema, version 1: a row per graph in
order of the official ``hash``; ``n_vertices``, ``adj_bits``, ``ops`` (see :meth:`Graph.from_bits`), ``params``;
accuracies ``{train,valid,test}_acc_{4,12,36,108}_{mean,0,1,2}`` as fractions, as the source has them; ``n_{epochs}``
trainings; ``train_time_s_{epochs}_{repeat}``. Lookups return percent, as everywhere in itnas.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from itnas.benchmarks.errors import MissingValue, NotInSource
from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.nasbench201 import Rank
from itnas.benchmarks.tables import Provenance, file_sha256, open_parquet, read_columns, read_provenance
from itnas.errors import UserError

Dataset = Literal["cifar10"]
"""Trained on 40,000 images, validated on 10,000, tested on the 10,000 of the test set."""
Split = Literal["train", "valid", "test"]
Epochs = Literal[4, 12, 36, 108]
"""Schedule, in epochs."""
Repeat = Literal["mean", 0, 1, 2]
"""A training, by its place in the source (which names no seeds), or the mean of the trainings."""

SPLITS: tuple[str, ...] = get_args(Split)
EPOCHS: tuple[int, ...] = get_args(Epochs)
REPEATS: tuple[str | int, ...] = get_args(Repeat)
GRAPHS = 423_624
KEYS = ("hash", "n_vertices", "adj_bits", "ops")
"""Columns that say which graph a row is; see :meth:`Graph.from_bits`."""


def column_name(dataset: str, split: str, epochs: int, repeat: str | int) -> str:
    """Return the name of the column that holds a value, whether or not a file has it.

    Raises:
        NotInSource: the benchmark has no such combination.
    """
    if dataset != "cifar10":
        raise NotInSource(f"NAS-Bench-101 has no data set {dataset!r}; it has cifar10 only")
    if split not in SPLITS:
        raise NotInSource(f"NAS-Bench-101 has no split {split!r}; choose one of {', '.join(SPLITS)}")
    if epochs not in EPOCHS:
        raise NotInSource(
            f"NAS-Bench-101 has no schedule of {epochs!r} epochs; choose one of {', '.join(map(str, EPOCHS))}"
        )
    if repeat not in REPEATS:
        raise NotInSource(f"NAS-Bench-101 has no repeat {repeat!r}; choose 'mean', 0, 1 or 2")
    return f"{split}_acc_{epochs}_{repeat}"


def count_name(epochs: int) -> str:
    """Return the name of the column that counts the trainings of a schedule."""
    return f"n_{epochs}"


def seconds_name(epochs: int, repeat: str | int) -> str:
    """Return the name of the column with the seconds of one training."""
    return f"train_time_s_{epochs}_{repeat}"


COLUMNS = tuple(column_name("cifar10", *query) for query in product(SPLITS, EPOCHS, REPEATS))
"""Every accuracy column that a table can have."""


class NASBench101Table:
    """One opened table; columns are read when they are first asked for."""

    name: ClassVar[str] = "nas-bench-101"
    """Folder of the table in the data folder."""

    def __init__(self, path: Path) -> None:
        """Use :meth:`open`."""
        self.path = path
        """The file."""
        self._file = open_parquet(path, path)
        self.provenance: Provenance | None = read_provenance(self._file, path)
        """Where the file comes from, or None for a table that no importer wrote."""
        self._read: dict[str, Any] = {}
        self._values_of: dict[tuple[str, str, int, str | int], np.ndarray] = {}

    @classmethod
    def open(cls, root_or_path: str | Path) -> NASBench101Table:
        """Open the table of a data folder, or a table file.

        Raises:
            UserError: the file is missing, damaged, of a newer schema, lacks a column or lacks graphs.
        """
        path = Path(root_or_path)
        if path.is_dir():
            path = path / cls.name / "table.parquet"
        table = cls(path)
        present = table._file.schema_arrow.names
        missing = [name for name in KEYS if name not in present]
        if missing or not any(name in present for name in COLUMNS):
            lack = f"the column {', '.join(missing)}" if missing else "every accuracy column"
            raise UserError(f"{path} is not a NAS-Bench-101 table: it lacks {lack}; import the official file")
        expected = table.provenance.architectures if table.provenance else GRAPHS
        if len(table) != expected:
            raise UserError(f"{path} has {len(table):,} rows instead of {expected:,}; import the official file again")
        return table

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def __repr__(self) -> str:
        return f"NASBench101Table({str(self.path)!r}, {len(self):,} graphs)"

    @cached_property
    def sha256(self) -> str:
        """Checksum of the file, as hex digits."""
        return file_sha256(self.path)

    @cached_property
    def hashes(self) -> np.ndarray:
        """Official hashes in ascending order, an array of 32-byte strings."""
        values = np.array(self._column("hash"), dtype="S32")
        if (values[1:] <= values[:-1]).any():
            raise UserError(f"{self.path} is not in order of its hashes; import the official file again")
        return values

    def index(self, graph: str | Graph) -> int:
        """Return the row of a graph, given itself or its official hash.

        Raises:
            UserError: the hash is malformed, or the graph has no path from input to output or is too large.
            MissingValue: the benchmark does not have the graph.
        """
        digest = graph.hash() if isinstance(graph, Graph) else graph
        index = self._find(digest)
        if index is not None:
            return index
        spelt = digest.strip().lower()
        if not re.fullmatch(r"[0-9a-f]{32}", spelt):
            raise UserError(f"{graph!r} is no NAS-Bench-101 hash; it has 32 hex digits")
        index = self._find(spelt)
        if index is None:
            raise MissingValue(f"{self.path} has no graph with the hash {spelt}")
        return index

    def _find(self, digest: str) -> int | None:
        key = digest.encode()
        index = self.hashes.searchsorted(key)
        return int(index) if index < len(self.hashes) and self.hashes[index] == key else None

    def graph(self, index: int) -> Graph:
        """Return the graph of a row."""
        return Graph.from_bits(
            int(self._column("n_vertices")[index]), int(self._column("adj_bits")[index]), self._column("ops")[index]
        )

    def structures(self) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Return the columns ``n_vertices``, ``adj_bits`` and ``ops`` of all graphs; see :meth:`Graph.from_bits`."""
        return self._column("n_vertices"), self._column("adj_bits"), self._column("ops")

    def lookup(self, graph: str | Graph, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> float:
        """Return one accuracy in percent.

        Args:
            graph: a graph, or its official hash.
            dataset: ``cifar10``; stated all the same, so that no query leaves it open.
            split: ``train``, ``valid`` (10,000 held-out training images) or ``test``.
            epochs: the training schedule.
            repeat: one training, or ``"mean"`` over all of them (see :meth:`count`).

        Raises:
            NotInSource: the benchmark or this file has no such column.
            MissingValue: the benchmark does not have the graph, or not that repeat of it.
            UserError: the graph is malformed.
        """
        values = self._values(dataset, split, epochs, repeat)
        index = self.index(graph)
        value = 100 * values.item(index)
        if value != value:  # NaN
            raise MissingValue(
                f"graph {self.hashes[index].decode()} has no {split} accuracy after {epochs} epochs for"
                f" {_repeat_words(repeat)} in {self.path}"
            )
        return value

    def lookup_many(
        self, graphs: Sequence[str | Graph], *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat
    ) -> np.ndarray:
        """Return the accuracies of many graphs, ``[len(graphs)]``; NaN where a graph lacks the repeat."""
        return 100 * self._values(dataset, split, epochs, repeat)[[self.index(graph) for graph in graphs]]

    def column(self, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> np.ndarray:
        """Return the accuracies of all graphs in order of their hashes; NaN where a graph lacks the repeat."""
        return 100 * self._values(dataset, split, epochs, repeat)

    def count(
        self, graph: str | Graph, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat
    ) -> int | None:
        """Return how many trainings are behind a value: 1 for a repeat, None where the file does not say."""
        self.lookup(graph, dataset=dataset, split=split, epochs=epochs, repeat=repeat)
        if repeat != "mean":
            return 1
        counts = self._column(count_name(epochs)) if count_name(epochs) in self._file.schema_arrow.names else None
        return None if counts is None else int(counts[self.index(graph)])

    def rank(self, graph: str | Graph, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> Rank:
        """Return the place of a graph among all graphs that have the value."""
        value = self.lookup(graph, dataset=dataset, split=split, epochs=epochs, repeat=repeat)
        values = self.column(dataset=dataset, split=split, epochs=epochs, repeat=repeat)
        return Rank(int((values > value).sum()) + 1, int((~np.isnan(values)).sum()))

    def params(self, graph: str | Graph) -> int:
        """Return the number of trainable parameters."""
        return int(self._number("params", graph))

    def train_seconds(self, graph: str | Graph, *, epochs: Epochs, repeat: Repeat) -> float:
        """Return the seconds that a training took on the benchmark's TPU."""
        column_name("cifar10", "test", epochs, repeat)
        return self._number(seconds_name(epochs, repeat), graph)

    def _number(self, name: str, graph: str | Graph) -> float:
        if name not in self._file.schema_arrow.names:
            raise NotInSource(f"{self.path} has no column {name}")
        return float(self._column(name)[self.index(graph)])

    def _values(self, dataset: str, split: str, epochs: int, repeat: str | int) -> np.ndarray:
        values = self._values_of.get((dataset, split, epochs, repeat))
        if values is not None:
            return values
        name = column_name(dataset, split, epochs, repeat)
        if name not in self._file.schema_arrow.names:
            known = [c for c in COLUMNS if c in self._file.schema_arrow.names]
            raise NotInSource(
                f"{self.path} does not give {split} accuracy after {epochs} epochs for {_repeat_words(repeat)}"
                f" (column {name}); it has {', '.join(known)}"
            )
        return self._values_of.setdefault((dataset, split, epochs, repeat), self._column(name))

    def _column(self, name: str) -> Any:  # noqa: ANN401 -- an array, or a list of text
        if name not in self._read:
            self._read |= read_columns(self._file, [name], self.path)
        return self._read[name]


def _repeat_words(repeat: str | int) -> str:
    return "the mean over repeats" if repeat == "mean" else f"repeat {repeat}"

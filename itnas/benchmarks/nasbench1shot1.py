"""What the cells of a NAS-Bench-1Shot1 space are worth: the NAS-Bench-101 table, restricted to the space's own cells.

A cell's accuracy is that of its graph, pruned, in the parent benchmark (CIFAR-10, 108 epochs, mean of three trainings). The
optimum and the mean of a space are over its distinct cells, by exact enumeration. The constants printed in the benchmark's
code are minima over single trainings of fewer cells; they are no reference for means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from itnas.benchmarks import fingerprints
from itnas.benchmarks.errors import MissingValue, NotInSource
from itnas.benchmarks.graphs import MAX_VERTICES, OPERATIONS, Graph
from itnas.benchmarks.nasbench101 import REPEATS, Dataset, Epochs, NASBench101Table, Repeat, Split
from itnas.benchmarks.nasbench201 import Rank
from itnas.errors import UserError
from itnas.spaces import nasbench1shot1 as cells
from itnas.spaces.nasbench1shot1 import NASBench1Shot1

SPLITS: tuple[Split, ...] = ("valid", "test")
"""Splits that are recorded, where the table has them."""
EPOCHS: Epochs = 108
"""The schedule that is recorded, as in the 1Shot1 paper."""
TRAININGS = 3
"""Trainings behind every mean of NAS-Bench-101 (its section 2.4)."""


def to_graph(space: NASBench1Shot1, genotype: str) -> Graph:
    """Return the NAS-Bench-101 graph of a genotype, loose ends and dummy vertex pruned.

    Raises:
        UserError: the text is no cell of the space.
    """
    return Graph(*cells.to_spec(space.parse(genotype))).pruned()


def cell_arrays(space: NASBench1Shot1) -> tuple[np.ndarray, np.ndarray]:
    """Return edges ``bool [cells, 21]`` and labels ``uint8 [cells, 7]`` of all cells, in the order of ``all_cells``."""
    graph_of, ops = cells.all_cells(space)
    no_ops = (0,) * space.n_blocks
    matrices = np.array([cells.to_spec(cells.Cell(graph, no_ops))[0] for graph in cells.all_graphs(space.n_parents)])
    edges = np.stack([matrices[:, x, y] for x, y in fingerprints.EDGES], axis=1).astype(bool)
    numbers = [fingerprints.FIRST_OPERATION + OPERATIONS.index(op) for op in cells.OPERATIONS]
    labels = np.full((len(ops), MAX_VERTICES), fingerprints.ABSENT, dtype=np.uint8)
    labels[:, 0], labels[:, -1] = fingerprints.INPUT, fingerprints.OUTPUT
    labels[:, 1 : 1 + space.n_blocks] = np.array([*numbers, fingerprints.ABSENT], dtype=np.uint8)[ops]
    return edges[graph_of], labels


class NASBench1Shot1Table:
    """One opened NAS-Bench-101 table, asked by genotypes of one space."""

    name: ClassVar[str] = NASBench101Table.name
    """Folder of the table in the data folder."""

    def __init__(self, space: NASBench1Shot1, table: NASBench101Table) -> None:
        """Use :meth:`open`."""
        self.space = space
        """The space."""
        self.parent = table
        """The parent benchmark."""

    @classmethod
    def open(cls, space: NASBench1Shot1, root_or_path: str | Path) -> NASBench1Shot1Table:
        """Open the NAS-Bench-101 table of a data folder, or a table file.

        Raises:
            UserError: the file is missing, damaged, of a newer schema, or lacks a column.
        """
        return cls(space, NASBench101Table.open(root_or_path))

    def __len__(self) -> int:
        return int(cells.n_cells_per_graph(self.space.n_parents).sum())

    def __repr__(self) -> str:
        return f"NASBench1Shot1Table({self.space.name}, {str(self.parent.path)!r})"

    @property
    def sha256(self) -> str:
        """Checksum of the table's file, as hex digits."""
        return self.parent.sha256

    @property
    def path(self) -> Path:
        """The table's file."""
        return self.parent.path

    @cached_property
    def rows(self) -> np.ndarray:
        """Rows of the parent table, one per distinct cell, ``[cells]`` in the order of ``all_cells``.

        Raises:
            UserError: the table lacks a cell of the space.
        """
        edges, labels = cell_arrays(self.space)
        mine = fingerprints.fingerprints(edges, labels)
        row_edges, row_labels = fingerprints.read_rows(*self.parent.structures())
        alike = np.flatnonzero(np.isin(fingerprints.in_degrees(row_edges), np.unique(fingerprints.in_degrees(edges))))
        theirs = fingerprints.fingerprints(row_edges[alike], row_labels[alike])
        lacking = np.count_nonzero(~np.isin(mine, theirs))
        if lacking:
            raise UserError(
                f"{self.path} lacks {lacking:,} of {len(mine):,} cells of {self.space.name}; import it again"
            )
        order = np.argsort(theirs)
        return alike[order[np.searchsorted(theirs[order], mine)]]

    def lookup(self, genotype: str, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> float:
        """Return one accuracy in percent; see :meth:`NASBench101Table.lookup`.

        Raises:
            NotInSource, MissingValue: as there.
            UserError: the text is no cell of the space.
        """
        graph = to_graph(self.space, genotype)
        return self.parent.lookup(graph, dataset=dataset, split=split, epochs=epochs, repeat=repeat)

    def count(self, genotype: str, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> int:
        """Return how many trainings are behind a value: 1 for a repeat, 3 for the mean where the file does not say."""
        graph = to_graph(self.space, genotype)
        n = self.parent.count(graph, dataset=dataset, split=split, epochs=epochs, repeat=repeat)
        return TRAININGS if n is None else n

    def column(self, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> np.ndarray:
        """Return the accuracies of all distinct cells, ``[cells]`` in the order of ``all_cells``; NaN where missing."""
        return self.parent.column(dataset=dataset, split=split, epochs=epochs, repeat=repeat)[self.rows]

    def rank(self, genotype: str, *, dataset: Dataset, split: Split, epochs: Epochs, repeat: Repeat) -> Rank:
        """Return the place of a cell among the distinct cells of the space that have the value."""
        query: dict[str, Any] = {"dataset": dataset, "split": split, "epochs": epochs, "repeat": repeat}
        value, values = self.lookup(genotype, **query), self.column(**query)
        return Rank(int((values > value).sum()) + 1, int((~np.isnan(values)).sum()))

    def evaluation_rows(self, archs: Iterable[str]) -> list[dict[str, Any]]:
        """Return rows for the record table ``evaluation``: the mean after 108 epochs and every repeat that the table has.

        A split that the table does not have gets no row.
        """
        rows: list[dict[str, Any]] = []
        for genotype in archs:
            for split, repeat in product(SPLITS, REPEATS):
                query: dict[str, Any] = {"dataset": "cifar10", "split": split, "epochs": EPOCHS, "repeat": repeat}
                try:
                    value, n = self.lookup(genotype, **query), self.count(genotype, **query)
                except NotInSource:
                    continue
                rows.append(
                    {"genotype": genotype, "kind": "table", "dataset": "cifar10", "split": split, "epochs": EPOCHS}
                    | {"seed": str(repeat), "value": value, "n": n}
                )
        return rows

    def reference(self) -> Mapping[str, Any]:
        """Return the optimum and the mean over the distinct cells of the space (108 epochs, mean over repeats).

        Raises:
            NotInSource: the table has no test accuracy after 108 epochs, or not of all cells.
        """
        result: dict[str, Any] = {"optimum": {}, "mean": {}, "n": len(self)}
        for split in SPLITS:
            try:
                values = self.column(dataset="cifar10", split=split, epochs=EPOCHS, repeat="mean")
            except NotInSource:
                if split == "test":
                    raise
                continue
            if np.isnan(values).any():
                known = int((~np.isnan(values)).sum())
                raise MissingValue(
                    f"{self.path} has the {split} accuracy of {known:,} of {len(self):,} cells of {self.space.name};"
                    " the optimum and mean need all of them"
                )
            result["optimum"][f"cifar10/{split}"] = float(values.max())
            result["mean"][f"cifar10/{split}"] = float(values.mean())
        return result

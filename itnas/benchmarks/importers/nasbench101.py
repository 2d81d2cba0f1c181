"""Collects NAS-Bench-101 numbers from the official TFRecord files, or from NASLib's pickle of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.importers.cells import SourceError
from itnas.benchmarks.nasbench101 import EPOCHS, column_name, count_name, seconds_name
from itnas.benchmarks.tfrecord import Evaluation, RecordError, read_records
from itnas.errors import UserError

REPEATS = 3
"""Trainings per graph and schedule."""
_FINAL = 2  # evaluations are at the start, half way, and at the end


class Graphs:
    """Values of graphs by hash; what is never set stays missing."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._keys: list[tuple[int, int, str]] = []
        self._params = array("q")
        self._values: dict[str, array] = {}
        self._counts: dict[int, array] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, digest: str, adjacency: str, ops: Sequence[str], params: int) -> int:
        """Return the row of a graph, made when it is new.

        Raises:
            SourceError: the hash came before with another graph.
        """
        row = self._rows.get(digest)
        if row is None:
            row = self._rows[digest] = len(self._rows)
            self._keys.append(_bits(digest, adjacency, ops))
            self._params.append(params)
            for values in self._values.values():
                values.append(float("nan"))
            for counts in self._counts.values():
                counts.append(0)
        return row

    def add(self, row: int, epochs: int, final: Evaluation) -> None:
        """Add one training of a graph.

        Raises:
            SourceError: the schedule is unknown, an accuracy is out of range, or a fourth training appears.
        """
        if epochs not in EPOCHS:
            raise SourceError(f"has a training of {epochs} epochs, which NAS-Bench-101 does not have")
        if any(not 0 <= value <= 1 for value in (final.train, final.valid, final.test)):
            raise SourceError(f"has the accuracies {final.train}, {final.valid}, {final.test}, which are no fractions")
        counts = self._counts.setdefault(epochs, array("b", bytes(len(self))))
        if counts[row] == REPEATS:
            raise SourceError(f"has more than {REPEATS} trainings of {epochs} epochs for one graph")
        for split in ("train", "valid", "test"):
            self._set(column_name("cifar10", split, epochs, counts[row]), row, getattr(final, split))
        self._set(seconds_name(epochs, counts[row]), row, final.train_seconds)
        counts[row] += 1

    def _set(self, name: str, row: int, value: float) -> None:
        if name not in self._values:
            self._values[name] = array("d", [float("nan")]) * len(self)
        self._values[name][row] = value

    def columns(self) -> dict[str, np.ndarray | list[str]]:
        """Return the table in order of the hashes: keys, parameters, counts, means, single trainings, seconds."""
        digests = sorted(self._rows)
        order = np.array([self._rows[digest] for digest in digests])
        keys = [self._keys[row] for row in order]
        result: dict[str, np.ndarray | list[str]] = {
            "hash": digests,
            "n_vertices": np.array([key[0] for key in keys], np.int8),
            "adj_bits": np.array([key[1] for key in keys], np.int32),
            "ops": [key[2] for key in keys],
            "params": np.array(self._params)[order].astype(np.int32),
        }
        values = {name: np.frombuffer(column)[order] for name, column in self._values.items()}
        for epochs, counts in sorted(self._counts.items()):
            result[count_name(epochs)] = np.frombuffer(counts, np.int8)[order]
            for split in ("train", "valid", "test"):
                repeats = [values.get(column_name("cifar10", split, epochs, repeat)) for repeat in range(REPEATS)]
                result[column_name("cifar10", split, epochs, "mean")] = _mean([r for r in repeats if r is not None])
        result.update(sorted(values.items()))
        return result


def _mean(repeats: list[np.ndarray]) -> np.ndarray:
    """Return the mean over the repeats that a graph has; NaN where it has none."""
    stacked = np.stack(repeats)
    present = ~np.isnan(stacked)
    total = np.where(present, stacked, 0).sum(axis=0)
    return np.where(present.any(axis=0), total / np.maximum(present.sum(axis=0), 1), np.nan)


def _bits(digest: str, adjacency: str, ops: Sequence[str]) -> tuple[int, int, str]:
    size = len(ops)
    if len(adjacency) != size * size or len(digest) != 32:
        raise SourceError(f"has an unreadable graph for the hash {digest!r}")
    matrix = tuple(tuple(int(x) for x in adjacency[row * size : (row + 1) * size]) for row in range(size))
    try:
        return Graph(matrix, tuple(ops)).to_bits()
    except UserError as error:
        raise SourceError(f"has an impossible graph for the hash {digest}: {error}") from None


def read_tfrecord(path: Path, progress: Callable[[int], None]) -> Graphs:
    """Read ``nasbench_only108.tfrecord`` or ``nasbench_full.tfrecord``.

    Raises:
        SourceError: a record is damaged, with its number.
    """
    graphs = Graphs()
    try:
        with path.open("rb") as stream:
            for number, record in enumerate(read_records(stream, progress)):
                if len(record.evaluations) <= _FINAL:
                    raise SourceError(f"has {len(record.evaluations)} instead of 3 evaluations in record {number}")
                row = graphs.row(record.hash, record.adjacency, record.ops, record.params)
                graphs.add(row, record.epochs, record.evaluations[_FINAL])
    except RecordError as error:
        raise SourceError(f"cannot be read: {error}; download it again") from None
    return graphs

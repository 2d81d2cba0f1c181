"""Reads a plain CSV whose header uses the column names of the tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from itnas.benchmarks.canonical import read_cell
from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.importers.cells import NUMBER_COLUMNS, Cells, SourceError
from itnas.benchmarks.importers.nasbench101 import REPEATS
from itnas.benchmarks.nasbench101 import COLUMNS as GRAPH_ACCURACIES
from itnas.benchmarks.nasbench101 import EPOCHS as GRAPH_EPOCHS
from itnas.benchmarks.nasbench101 import KEYS, count_name, seconds_name
from itnas.benchmarks.schema201 import COLUMNS as CELL_ACCURACIES
from itnas.benchmarks.schema201 import benchmark_order
from itnas.errors import UserError

COUNTS = frozenset(count_name(epochs) for epochs in GRAPH_EPOCHS)
GRAPH_NUMBERS = (
    frozenset([*GRAPH_ACCURACIES, "params"])
    | COUNTS
    | {seconds_name(epochs, repeat) for epochs in GRAPH_EPOCHS for repeat in range(REPEATS)}
)
"""Columns of numbers that a NAS-Bench-101 table can have."""

Columns = dict[str, "np.ndarray | list[str]"]


def read_csv(path: Path) -> Cells | Columns:
    """Read NAS-Bench-201 (column ``arch``) or NAS-Bench-101 (columns ``hash,n_vertices,adj_bits,ops``).

    Accuracies are in percent for NAS-Bench-201 and fractions for NAS-Bench-101, as in the tables; an empty field is a
    missing value. A cell may be spelt in any way that ``itnas query`` understands.

    Raises:
        SourceError: the header has an unknown column, a field is no number, or a key is unknown or appears twice.
    """
    try:
        options = pyarrow.csv.ConvertOptions(
            column_types={"arch": pa.string(), "hash": pa.string(), "ops": pa.string()}
        )
        table = pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"is no readable CSV ({str(error).splitlines()[0]})") from None
    if "arch" in table.column_names:
        return _cells(table)
    if "hash" in table.column_names:
        return _graphs(table)
    raise SourceError("has a header with neither the column arch nor the column hash")


def _cells(table: pa.Table) -> Cells:
    _check_header(table, {"index", "arch", "ops", "unique_string"}, NUMBER_COLUMNS, frozenset(CELL_ACCURACIES))
    order = {arch: index for index, arch in enumerate(benchmark_order())}
    cells = Cells()
    rows = []
    for line, text in enumerate(table["arch"].to_pylist(), start=2):
        try:
            rows.append(order[read_cell(text or "")])
        except UserError as error:
            raise SourceError(f"has a wrong architecture in line {line}: {error}") from None
        if cells.seen[rows[-1]]:
            raise SourceError(f"has architecture {rows[-1]} twice, again in line {line}")
        cells.seen[rows[-1]] = True
    for name in table.column_names:
        if name in NUMBER_COLUMNS:
            values = _numbers(table, name)
            if name in CELL_ACCURACIES and 0 < np.nanmax(values, initial=0) <= 1:
                raise SourceError(f"has fractions in the column {name}; NAS-Bench-201 accuracies are in percent")
            cells.set_column(name, np.array(rows, int), values)
    return cells


def _graphs(table: pa.Table) -> Columns:
    _check_header(table, set(KEYS), GRAPH_NUMBERS, frozenset(GRAPH_ACCURACIES))
    missing = [name for name in KEYS if name not in table.column_names]
    if missing:
        raise SourceError(f"lacks the column {', '.join(missing)}")
    table = table.sort_by("hash")
    digests = table["hash"].to_pylist()
    if len(set(digests)) < len(digests):
        raise SourceError("has a graph twice")
    result: Columns = {"hash": digests}
    for name, kind in (("n_vertices", np.int8), ("adj_bits", np.int32)):
        result[name] = _numbers(table, name).astype(kind)
    result["ops"] = ops = [text or "" for text in table["ops"].to_pylist()]
    for row in range(0, len(digests), max(1, len(digests) // 1000)):  # a hash that is wrong is wrong everywhere
        try:
            graph = Graph.from_bits(int(result["n_vertices"][row]), int(result["adj_bits"][row]), ops[row])
        except (UserError, ValueError, IndexError):
            raise SourceError(f"has an impossible graph for the hash {digests[row]}") from None
        if graph.hash() != digests[row]:
            raise SourceError(f"has the hash {digests[row]} for a graph with the hash {graph.hash()}")
    for name in table.column_names:
        if name in GRAPH_NUMBERS:
            values = _numbers(table, name)
            if name in GRAPH_ACCURACIES and np.nanmax(values, initial=0) > 1:
                raise SourceError(f"has values above 1 in the column {name}; NAS-Bench-101 accuracies are fractions")
            counted = name in COUNTS
            result[name] = np.nan_to_num(values).astype(np.int8) if counted else values
    return result


def _check_header(table: pa.Table, keys: set[str], numbers: frozenset[str], accuracies: frozenset[str]) -> None:
    unknown = [name for name in table.column_names if name not in keys | numbers]
    if unknown:
        raise SourceError(
            f"has the unknown column {unknown[0]!r}; names are those of the table, such as {sorted(accuracies)[0]}"
        )
    if not accuracies & set(table.column_names):
        raise SourceError(f"has no column of accuracies, such as {sorted(accuracies)[0]}")


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    try:
        values = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowException:
        raise SourceError(f"has something other than numbers in the column {name}") from None
    return np.asarray(values, float)

"""The run record: its schema, atomic writing, validation, and reading many as data frames. Knows no torch.

A run is a folder ``results/<study>/<run id>/`` with ``run.json`` (identity, configuration, environment, result, cost) and
one parquet file per table of :data:`TABLES`. Accuracies are in percent everywhere. Whatever a clock or a machine decides
stands only in ``timing.parquet`` and in ``run.json``'s ``cost`` and ``environment``; the rest of a run is byte-identical
when the run is repeated, or killed and resumed, at determinism level ``exact``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from itnas.errors import UserError

SCHEMA_VERSION = 1
"""Version of the record's layout; a reader refuses a newer one."""
STATUSES = ("running", "finished", "failed")
IDENTITY = ("schema_version", "run_id", "study", "space", "method", "dataset", "preset", "search_seed", "status")
"""Top-level keys of ``run.json`` that say which run it is."""
SECTIONS = ("config", "code", "environment", "data", "semantics", "result", "cost")
"""Top-level sections of ``run.json``."""

_I, _F, _S = pa.int32(), pa.float64(), pa.string()
TABLES: dict[str, pa.Schema] = {
    # One row per finished epoch; epoch 0 is the state before training and has no losses.
    "epochs": pa.schema(
        [
            *[("epoch", _I), ("train_loss", _F), ("train_accuracy", _F), ("valid_loss", _F), ("valid_accuracy", _F)],
            *[("learning_rate", _F)],
            *[("genotype", _S), ("genotype_with_none", _S), ("genotype_without_none", _S)],
            *[("skips", _I), ("skips_with_none", _I), ("skips_without_none", _I)],
        ]
    ),
    # Seconds per epoch and phase: train, scores, discretization, selection, evaluation (epoch is null outside epochs).
    "timing": pa.schema([("epoch", _I), ("phase", _S), ("seconds", _F)]),
    # Score of every candidate after every epoch; cell -1 is the aggregate the derivation reads.
    # kind: alpha | attention | gate | angle | perturbation | constant.
    "scores": pa.schema(
        [("epoch", _I), ("cell", _I), ("group", _S), ("choice", _S), ("candidate", _S), ("kind", _S), ("score", _F)]
    ),
    # Supernet accuracy (percent) with one choice discretized; cell -1 discretizes it in all cells at once.
    "discretization": pa.schema(
        [
            *[("cell", _I), ("group", _S), ("choice", _S), ("candidate", _S), ("accuracy", _F), ("n_images", _I)],
            *[("protocol", _S)],
        ]
    ),
    # What derived cells are worth. kind: table (the benchmark's) | trained (ours, from scratch); schedule in epochs;
    # seed: "mean" or a training seed; n: trainings behind the value, null where the source does not say.
    "evaluation": pa.schema(
        [
            *[
                ("genotype", _S),
                ("kind", _S),
                ("dataset", _S),
                ("split", _S),
                ("epochs", _I),
                ("seed", _S),
                ("value", _F),
            ],
            *[("n", _I)],
        ]
    ),
    # Optional. A fixed random subset of architectures with the trained supernet. quantity: supernet (its accuracy, percent)
    # | score (the method's own: sum of log importance, or angle) | <dataset>/<split> (the benchmark's accuracy, percent).
    # n_images: those behind the supernet's accuracy, null for the others.
    "architectures": pa.schema([("genotype", _S), ("quantity", _S), ("value", _F), ("n_images", _I)]),
    # Optional. Largest and smallest eigenvalue of the Hessian of the validation loss in the alphas, after an epoch.
    "eigenvalues": pa.schema([("epoch", _I), ("eigenvalue", _F), ("smallest", _F), ("n_images", _I)]),
}
"""Schemas of the parquet tables of a run."""
OPTIONAL = frozenset({"architectures", "eigenvalues"})
"""Tables that a run has only if it measured them; a reader finds no rows where there is no file."""


def canonical_json(value: object) -> str:
    """Return the one JSON text of ``value``: sorted keys, no blanks, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def run_id(identity: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of the canonical JSON of ``identity``."""
    return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name and rename it, so that a reader never sees half a file."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write ``run.json`` atomically, its keys in the documented order.

    Raises:
        ValueError: a key is missing or unknown (a programming error).
    """
    expected = (*IDENTITY, *SECTIONS)
    if set(meta) != set(expected):
        raise ValueError(f"run.json needs exactly the keys {expected}, got {tuple(meta)}")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({key: meta[key] for key in expected}, indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "run.json", (text + "\n").encode())


def write_table(folder: Path, name: str, rows: Iterable[Mapping[str, Any]] | pd.DataFrame) -> None:
    """Write one table of :data:`TABLES` atomically; missing columns become null."""
    schema = TABLES[name]
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    frame = frame.reindex(columns=schema.names)
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False).replace_schema_metadata(None)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(folder / f"{name}.parquet", sink.getvalue().to_pybytes())


def read_meta(folder: Path) -> dict[str, Any]:
    """Return the validated content of ``folder/run.json``.

    Raises:
        UserError: the file is missing, not JSON, of a newer schema, or lacks a key.
    """
    path = folder / "run.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} holds no run.json; it is not a run folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete the folder {folder} and repeat the run") from None
    if not isinstance(meta, dict) or "schema_version" not in meta:
        raise UserError(f"{path} is not a run record: it has no schema_version; delete the folder or move it away")
    if not isinstance(meta["schema_version"], int) or meta["schema_version"] > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {meta['schema_version']!r}, this itnas reads up to {SCHEMA_VERSION}; upgrade itnas"
        )
    missing = [key for key in (*IDENTITY, *SECTIONS) if key not in meta]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}; delete the folder {folder} and repeat the run")
    if meta["status"] not in STATUSES:
        raise UserError(f"{path} has the unknown status {meta['status']!r}; known are {', '.join(STATUSES)}")
    return meta


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Return one table of a run, with all columns of its schema.

    Raises:
        UserError: the file is missing (of a table that is not optional), truncated, or lacks a column.
    """
    return _read_arrow(folder, name, TABLES[name]).to_pandas()


def _read_arrow(folder: Path, name: str, schema: pa.Schema) -> pa.Table:
    """Read one table of a run as ``schema``, whose text columns may be dictionaries."""
    path = folder / f"{name}.parquet"
    if name in OPTIONAL and not path.exists():
        return schema.empty_table()
    repair = f"delete the folder {folder} and repeat the run"
    encoded = [field.name for field in schema if pa.types.is_dictionary(field.type)]
    try:
        with pa.OSFile(str(path)) as content:
            file = pq.ParquetFile(content, read_dictionary=encoded, pre_buffer=False)  # no thread per small file
            table = file.read(schema.names, use_threads=False)
        names = table.column_names
    except KeyError:  # of a column to encode
        table, names = pa.table({}), pq.read_schema(path).names
    except FileNotFoundError:
        raise UserError(f"{path} is missing from a run marked finished; {repair}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is damaged ({str(error).splitlines()[0]}); {repair}") from None
    missing = [column for column in schema.names if column not in names]
    if missing:
        raise UserError(f"{path} lacks the column {', '.join(missing)}; {repair}")
    try:
        return table if table.schema.equals(schema) else table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise UserError(f"{path} has a column of another type ({str(error).splitlines()[0]}); {repair}") from None


def _encoded(schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return ``columns`` of ``schema``, text as dictionaries: few distinct texts stand in millions of rows."""
    text = pa.dictionary(pa.int32(), _S)
    kept = [schema.field(name) for name in columns or schema.names]
    return pa.schema([(field.name, text if field.type == _S else field.type) for field in kept])


@dataclass(frozen=True)
class Records:
    """All finished runs below a results folder, as data frames.

    Every table has the identity columns ``run_id, study, space, method, dataset, preset, search_seed`` before its own,
    except where it has a column of that name itself: ``evaluation``'s ``dataset`` is the one evaluated on. Text
    columns are categorical.
    """

    runs: pd.DataFrame
    """One row per finished run: identity columns and ``folder``."""
    meta: dict[str, dict[str, Any]]
    """``run.json`` by run id."""
    tables: dict[str, pd.DataFrame]
    """The tables of :data:`TABLES`, rows of all runs together."""
    notes: list[str] = field(default_factory=list)
    """What was left out and why, one sentence each: unfinished, failed and duplicate runs."""

    def __getitem__(self, table: str) -> pd.DataFrame:
        return self.tables[table]


KEYS = ("run_id", "study", "space", "method", "dataset", "preset", "search_seed")
"""Identity columns of every frame of :class:`Records`."""


Part = dict[str, tuple[list[int], pa.Table]]
"""The tables of some runs by name: the number of rows of every run, and the rows of all of them."""
Spread = Callable[[Callable[[list[Path]], Part], list[Path]], list[Part]]
"""Applies a function to consecutive parts of a list of run folders, and returns what it returned for each."""


def in_threads(read: Callable[[list[Path]], Part], folders: list[Path]) -> list[Part]:
    """Apply ``read`` to two halves of ``folders`` in a thread each: handing over each file would cost more than it."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(read, halves(folders)))


def halves(folders: list[Path]) -> list[list[Path]]:
    """Return the first and the second half of ``folders``."""
    half = (len(folders) + 1) // 2
    return [folders[:half], folders[half:]]


def read_results(
    results: Path,
    tables: Iterable[str] = tuple(TABLES),
    columns: Mapping[str, Sequence[str]] | None = None,
    spread: Spread = in_threads,
) -> Records:
    """Read every run below ``results``: of a table in ``columns`` only those (a file is read column by column).

    ``spread`` says who reads the files: two threads, or whatever else calls the function it is given on parts of them.

    Runs that are still running, were interrupted or failed are left out and named in ``notes``; a run marked finished
    whose files are damaged is an error, so that no table is made from half a run unnoticed.

    Raises:
        UserError: the folder does not exist, holds no finished run, or holds a damaged one.
    """
    if not results.is_dir():
        raise UserError(
            f"results folder {results} does not exist; run `tox -e reproduce-nb201` first or name another folder"
        )
    schemas = {name: _encoded(TABLES[name], (columns or {}).get(name)) for name in tables}
    rows: list[dict[str, Any]] = []
    metas: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for path in sorted(results.rglob("run.json")):
        folder = path.parent
        meta = read_meta(folder)
        label = f"{meta['method']} seed {meta['search_seed']} ({folder})"
        if meta["status"] == "running":
            notes.append(f"left out, unfinished: {label}; the command that started it continues it")
            continue
        if meta["status"] == "failed":
            notes.append(f"left out, failed: {label}: {meta['result'].get('error', 'no reason recorded')}")
            continue
        if meta["run_id"] in metas:
            notes.append(f"left out, duplicate of run {meta['run_id']}: {folder}")
            continue
        identity = {key: meta[key] for key in KEYS}
        metas[meta["run_id"]] = meta
        rows.append({**identity, "folder": str(folder)})
    if not rows:
        detail = f" ({len(notes)} unfinished or failed: {notes[0]})" if notes else ""
        raise UserError(f"no finished run below {results}{detail}; run `tox -e reproduce-nb201` or name another folder")
    runs = pd.DataFrame(rows)
    parts = spread(partial(_read_part, schemas=schemas), [Path(row["folder"]) for row in rows])
    return Records(runs, metas, {name: _gather(runs, [part[name] for part in parts]) for name in schemas}, notes)


def _read_part(folders: list[Path], schemas: Mapping[str, pa.Schema]) -> Part:
    """Read all tables of some runs."""
    part: Part = {}
    for name, schema in schemas.items():
        found = [_read_arrow(folder, name, schema) for folder in folders]
        together = pa.concat_tables([schema.empty_table(), *found]).unify_dictionaries().combine_chunks()
        part[name] = [len(table) for table in found], together
    return part


def _gather(runs: pd.DataFrame, parts: list[tuple[list[int], pa.Table]]) -> pd.DataFrame:
    """Return the rows of one table of all runs, identity columns first.

    The identity columns are dictionary arrays (one entry per run, not one text per row): a thousand runs hold millions
    of rows.
    """
    run_of_row = np.repeat(np.arange(len(runs)), [rows for counts, _ in parts for rows in counts])
    gathered = pa.concat_tables([table for _, table in parts]).unify_dictionaries()
    own = [key for key in KEYS if key not in gathered.column_names]
    for place, key in enumerate(own):
        codes, values = pd.factorize(runs[key])
        column = pa.DictionaryArray.from_arrays(pa.array(codes[run_of_row], pa.int32()), pa.array(list(values)))
        if key == "search_seed":
            column = column.dictionary_decode()
        gathered = gathered.add_column(place, key, column)
    return gathered.to_pandas()

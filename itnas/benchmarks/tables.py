"""The parquet tables of a data folder: versioned schema, provenance in the file, atomic writing, checked reading."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from itnas import __version__
from itnas.errors import UserError

SCHEMA_VERSION = 1
"""Version of the tables' layout; a reader refuses a newer one."""
METADATA_KEY = b"itnas"
"""Key of the provenance in the parquet metadata; a table without it was not written by an importer."""


@dataclass(frozen=True)
class Source:
    """One file that a table was made from."""

    file: str
    """Name of the file or folder, without its path."""
    sha256: str
    """Checksum; of a folder, that of the lines ``<sha256>  <name>`` of its files in order of name."""
    format: str
    """What the file was recognised as."""


@dataclass(frozen=True)
class Provenance:
    """Where a table comes from; stored as JSON in the parquet metadata."""

    benchmark: str
    """``nas-bench-201`` or ``nas-bench-101``."""
    benchmark_version: str
    """Release of the benchmark, from the file's content or name."""
    sources: tuple[Source, ...]
    architectures: int
    """How many architectures have at least one value."""
    notes: tuple[str, ...] = ()
    """What the importer left out or could not know, one sentence each."""
    content_sha256: str = ""
    """Checksum of names, types and values of all columns: what ``itnas data verify`` recomputes."""
    schema_version: int = SCHEMA_VERSION
    importer_version: str = field(default=__version__)
    """Version of itnas that wrote the table."""


def write_table(path: Path, columns: Mapping[str, np.ndarray | list[str]], provenance: Provenance) -> Provenance:
    """Write a table atomically, with its provenance and a checksum per page; return the provenance as written.

    Args:
        path: the file; its folder is created.
        columns: arrays of equal length, lists for text; NaN means "the source has no value" and is stored as null.
        provenance: everything but the content checksum, which is computed here.
    """
    arrays = {name: _to_arrow(values) for name, values in columns.items()}
    provenance = Provenance(**{**_fields(provenance), "content_sha256": content_sha256(columns)})
    text = json.dumps(asdict(provenance), ensure_ascii=False)
    table = pa.table(arrays).replace_schema_metadata({METADATA_KEY: text.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, temporary, compression="zstd", row_group_size=1 << 20, write_page_checksum=True)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return provenance


def open_parquet(source: Path | pa.Buffer, path: Path) -> pq.ParquetFile:
    """Open a table; ``path`` is for the error message.

    Raises:
        UserError: the file is missing, no parquet file, or of a newer schema.
    """
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
    except FileNotFoundError:
        raise UserError(
            f"there is no table at {path}; `itnas data import FILE` makes it from an official file"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from None
    provenance = read_provenance(file, path)
    if provenance and provenance.schema_version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has table schema version {provenance.schema_version}, this itnas reads up to {SCHEMA_VERSION};"
            " upgrade itnas"
        )
    return file


def read_columns(file: pq.ParquetFile, names: Iterable[str], path: Path) -> dict[str, Any]:
    """Return columns as read-only arrays (null becomes NaN) or, for text, lists.

    Raises:
        UserError: a page is damaged; or :class:`NotImplementedError` types appear.
    """
    try:
        table = file.read(list(names), use_threads=False)
        columns = {name: _from_arrow(table[name]) for name in table.column_names}
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from None
    del table
    pa.default_memory_pool().release_unused()
    return columns


def read_provenance(file: pq.ParquetFile, path: Path) -> Provenance | None:
    """Return the provenance inside a table, or None for a table that no importer wrote.

    Raises:
        UserError: it is there but not readable.
    """
    text = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    if text is None:
        return None
    try:
        values = json.loads(text)
        values["sources"] = tuple(Source(**source) for source in values["sources"])
        values["notes"] = tuple(values["notes"])
        return Provenance(**values)
    except (ValueError, TypeError, KeyError):
        version = values.get("schema_version") if isinstance(values := _json_or_none(text), dict) else None
        hint = "upgrade itnas" if isinstance(version, int) and version > SCHEMA_VERSION else "import the file again"
        raise UserError(f"{path} holds provenance that cannot be read (schema version {version}); {hint}") from None


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def content_sha256(columns: Mapping[str, np.ndarray | list[str]]) -> str:
    """Return the checksum of names, types and values, which does not depend on compression or the parquet version."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        kind = "text" if isinstance(values, list) else values.dtype.str
        digest.update(f"{name}\0{kind}\0{len(values)}\0".encode())
        if isinstance(values, list):
            digest.update("\n".join(values).encode())
        else:
            canonical = np.where(np.isnan(values), np.nan, values) if values.dtype.kind == "f" else values
            digest.update(np.ascontiguousarray(canonical).tobytes())
    return digest.hexdigest()


def damaged(path: Path, error: Exception) -> UserError:
    """Return the error for a file that parquet cannot read."""
    reason = str(error).strip().splitlines()[0].rstrip(".")
    return UserError(f"{path} is not a readable table ({reason}); import it again or fetch it anew")


def _fields(provenance: Provenance) -> dict[str, Any]:
    return {name: getattr(provenance, name) for name in provenance.__dataclass_fields__}


def _json_or_none(text: bytes) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _to_arrow(values: np.ndarray | list[str]) -> pa.Array:
    if isinstance(values, list):
        return pa.array(values, pa.string())
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    return pa.array(values, mask=missing)


def _from_arrow(column: pa.ChunkedArray) -> np.ndarray | list[str]:
    """Return a column without pyarrow's detour through pandas, which costs 0.3 s and 40 MB on first use."""
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return column.to_pylist()
    array = column.combine_chunks()
    validity, data = array.buffers()
    values = np.frombuffer(data, array.type.to_pandas_dtype())[array.offset : array.offset + len(array)]
    if array.null_count:
        valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")
        values = np.where(valid[array.offset : array.offset + len(array)], values, np.nan)
    values.flags.writeable = False
    return values

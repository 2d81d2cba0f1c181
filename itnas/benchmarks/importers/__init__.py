"""Official benchmark files in, one table out: recognised by content, checked, written at once or not at all."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from itnas.benchmarks.importers import csvfile, nasbench101, naslib, nats
from itnas.benchmarks.importers.cells import Cells, SourceError
from itnas.benchmarks.nasbench101 import GRAPHS, NASBench101Table
from itnas.benchmarks.nasbench201 import NASBench201Table
from itnas.benchmarks.pickles import PickleError
from itnas.benchmarks.progress import progress
from itnas.benchmarks.schema201 import CELLS, COLUMNS, column_name
from itnas.benchmarks.tables import Provenance, Source, write_table
from itnas.benchmarks.tfrecord import is_tfrecord
from itnas.errors import UserError

Columns = dict[str, "np.ndarray | list[str]"]


class Format(Enum):
    """What a file can be recognised as."""

    NATS_FOLDER = "NATS-Bench TSS simple archive (folder)"
    NATS_TAR = "NATS-Bench TSS simple archive (tar)"
    NATS_BZ2 = "NATS-Bench TSS file"
    PTH = "NAS-Bench-201 .pth"
    TFRECORD = "NAS-Bench-101 TFRecord"
    NASLIB = "NASLib pickle"
    CSV = "CSV"


@dataclass(frozen=True)
class _Part:
    """What one file contributes."""

    benchmark: str
    version: str
    columns: Columns
    seen: int
    notes: tuple[str, ...] = ()


def import_files(
    paths: Sequence[Path], data_dir: Path, *, partial: bool = False, force: bool = False, split: str | None = None
) -> tuple[Path, Provenance]:
    """Convert official files into the table of their benchmark.

    Args:
        paths: one file or folder; or several of NASLib's NAS-Bench-201 pickles, which hold a data set each.
        data_dir: the data folder.
        partial: accept files that lack architectures.
        force: replace an existing table.
        split: for NASLib's CIFAR-100 and ImageNet16-120 pickles, what their accuracies are.

    Returns:
        The table's path and provenance.

    Raises:
        UserError: a file is missing, not recognised, damaged or incomplete, or the table exists. Nothing is written.
    """
    for path in paths:
        recognise(path)
    parts: list[_Part] = []
    sources: list[Source] = []
    for path in paths:
        kind = recognise(path)
        target = _target(data_dir, kind)
        if target and target.exists() and not force:
            raise _exists(target)
        sources.append(Source(path.name, _digest(path), kind.value))
        parts.append(_read(path, kind, split))
    part = _merge(parts, paths)
    total = CELLS if part.benchmark == NASBench201Table.name else GRAPHS
    if part.seen < total and not partial:
        raise UserError(
            f"{paths[0]} holds {part.seen:,} of {total:,} architectures, so it is not the whole benchmark;"
            " download it again, or import what is there with --partial"
        )
    target = data_dir / part.benchmark / "table.parquet"
    if target.exists() and not force:
        raise _exists(target)
    provenance = Provenance(part.benchmark, part.version, tuple(sources), part.seen, part.notes)
    try:
        return target, write_table(target, part.columns, provenance)
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror or error}); nothing was imported") from None


def recognise(path: Path) -> Format:
    """Return what a file or folder holds, judged by its content.

    Raises:
        UserError: it is missing, empty, or nothing that can be imported.
    """
    if path.is_dir():
        if any(re.fullmatch(r"(\d{6}|meta)\.pickle\.pbz2", entry.name) for entry in path.iterdir()):
            return Format.NATS_FOLDER
        raise UserError(f"{path} is a folder, but no NATS-Bench archive: it holds no files like 000000.pickle.pbz2")
    try:
        with path.open("rb") as stream:
            start = stream.read(4096)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); name an existing file") from None
    if not start:
        raise UserError(f"{path} is empty; download it again")
    found = _recognise_bytes(path, start)
    if found is None:
        raise UserError(f"{path} is no file that can be imported; known are {', '.join(kind.value for kind in Format)}")
    return found


def _recognise_bytes(path: Path, start: bytes) -> Format | None:
    if start.startswith(nats.TORCH_START) or (start.startswith(b"PK") and zipfile.is_zipfile(path)):
        return Format.PTH
    if start.startswith(b"BZh") and not path.name.endswith((".tar.bz2", ".tbz2")):
        return Format.NATS_BZ2
    if start[:1] == b"\x80" and start[1] in range(2, 6):
        return Format.NASLIB
    if is_tfrecord(start) or path.suffix == ".tfrecord":
        return Format.TFRECORD
    if start.startswith(b"PAR1"):
        raise UserError(f"{path} is a parquet table already; copy it to <data folder>/<benchmark>/table.parquet")
    if re.match(rb"\s*<(!doctype|html)", start, re.IGNORECASE):
        raise UserError(
            f"{path} is a web page, not the file behind it; open its link in a browser and download the file"
        )
    if tarfile.is_tarfile(path):
        return Format.NATS_TAR
    first_line = start.split(b"\n", 1)[0]
    if b"," in first_line and re.search(rb"(^|,)\"?(arch|hash)\"?(,|\r?$)", first_line):
        return Format.CSV
    return None


def _target(data_dir: Path, kind: Format) -> Path | None:
    """Return where the table of a format goes, if the format alone says so."""
    if kind in (Format.NASLIB, Format.CSV):
        return None
    benchmark = NASBench101Table.name if kind is Format.TFRECORD else NASBench201Table.name
    return data_dir / benchmark / "table.parquet"


def _exists(target: Path) -> UserError:
    return UserError(f"{target} exists already; replace it with --force, or name another folder with --data-dir")


def _read(path: Path, kind: Format, split: str | None) -> _Part:
    with progress(f"reading {path.name}", _size(path)) as advance:
        try:
            return _readers[kind](path, advance, split)
        except (SourceError, PickleError) as error:
            raise UserError(f"{path} {error}; nothing was imported") from None
        except OSError as error:
            raise UserError(f"cannot read {path} ({error.strerror or error}); nothing was imported") from None


def _read_cells(cells: Cells, version: str) -> _Part:
    return _Part(NASBench201Table.name, version, cells.columns(), int(cells.seen.sum()), cells.notes())


def _nats_version(path: Path) -> str:
    match = re.search(r"NATS-tss-v(\d+)_(\d+)-([0-9a-f]{5})", path.name)
    return f"NATS-Bench TSS v{match[1]}.{match[2]} ({match[3]})" if match else "NATS-Bench TSS (release not named)"


def _read_pth(path: Path, advance: Callable[[int], None]) -> _Part:
    cells = nats.read_pth(path, advance)
    match = re.search(r"NAS-Bench-201-v(\d+)_(\d+)-([0-9a-f]{6})", path.name)
    if match:
        return _read_cells(cells, f"NAS-Bench-201 v{match[1]}.{match[2]} ({match[3]})")
    release = "1.1" if cells.has(column_name("cifar10", "test", 12, "mean")) else "1.0"  # 1.0 has fewer short trainings
    return _read_cells(cells, f"NAS-Bench-201 v{release} (by content)")


def _read_naslib(path: Path, advance: Callable[[int], None], split: str | None) -> _Part:
    read = naslib.read_naslib(path, advance, split)
    if isinstance(read, Cells):
        part = _read_cells(read, "NAS-Bench-201 as in NASLib")
        return _Part(part.benchmark, part.version, part.columns, part.seen, (naslib.NOTE,))
    return _graphs_part(read, "NAS-Bench-101 as in NASLib")


def _graphs_part(graphs: nasbench101.Graphs, version: str) -> _Part:
    return _Part(NASBench101Table.name, version, graphs.columns(), len(graphs))


def _read_tfrecord(path: Path, advance: Callable[[int], None]) -> _Part:
    graphs = nasbench101.read_tfrecord(path, advance)
    columns = graphs.columns()
    release = "full" if any(name in columns for name in ("n_4", "n_12", "n_36")) else "only108"
    return _Part(NASBench101Table.name, f"NAS-Bench-101 {release}", columns, len(graphs))


def _read_csv(path: Path) -> _Part:
    read = csvfile.read_csv(path)
    if isinstance(read, Cells):
        return _read_cells(read, "NAS-Bench-201 from a CSV")
    return _Part(NASBench101Table.name, "NAS-Bench-101 from a CSV", read, len(read["hash"]))


_readers: dict[Format, Callable[[Path, Callable[[int], None], str | None], _Part]] = {
    Format.NATS_FOLDER: lambda path, advance, _: _read_cells(
        nats.read_simple_folder(path, advance), _nats_version(path)
    ),
    Format.NATS_TAR: lambda path, advance, _: _read_cells(nats.read_simple_tar(path, advance), _nats_version(path)),
    Format.NATS_BZ2: lambda path, advance, _: _read_cells(nats.read_bz2(path, advance), _nats_version(path)),
    Format.PTH: lambda path, advance, _: _read_pth(path, advance),
    Format.TFRECORD: lambda path, advance, _: _read_tfrecord(path, advance),
    Format.NASLIB: _read_naslib,
    Format.CSV: lambda path, advance, _: _read_csv(path),
}


def _merge(parts: list[_Part], paths: Sequence[Path]) -> _Part:
    """Put the columns of several files side by side."""
    first = parts[0]
    columns = dict(first.columns)
    for part, path in zip(parts[1:], paths[1:], strict=True):
        if part.benchmark != NASBench201Table.name or first.benchmark != part.benchmark:
            raise UserError(f"{path} and {paths[0]} do not go into one table; import them one by one")
        twice = [name for name in part.columns if name in COLUMNS and name in columns]
        if twice:
            raise UserError(f"{path} and an earlier file both hold {twice[0]}; import one of them")
        columns |= part.columns
    versions = tuple(dict.fromkeys(part.version for part in parts))
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return _Part(first.benchmark, "; ".join(versions), columns, min(part.seen for part in parts), notes)


def _size(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir()) if path.is_dir() else path.stat().st_size


def _digest(path: Path) -> str:
    """Return the sha256 of a file or folder, after comparing the md5 that official names end with.

    Raises:
        UserError: the name states another md5.
    """
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.is_file())
        lines = [f"{hashlib.sha256(entry.read_bytes()).hexdigest()}  {entry.name}\n" for entry in files]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream, progress(f"checking {path.name}", path.stat().st_size) as advance:
        while block := stream.read(1 << 22):
            sha256.update(block)
            md5.update(block)
            advance(len(block))
    stated = re.fullmatch(
        r"(?:NAS-Bench-201-v1_[01]-([0-9a-f]{6})\.pth|NATS-tss-v1_0-([0-9a-f]{5})\.pickle\.pbz2)", path.name
    )
    ending = stated[stated.lastindex or 0] if stated else ""
    if not md5.hexdigest().endswith(ending):
        raise UserError(
            f"{path} is damaged: its md5 is {md5.hexdigest()}, while its name says that it ends with {ending};"
            " download it again"
        )
    return sha256.hexdigest()

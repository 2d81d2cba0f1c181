"""Reads the official NAS-Bench-201 files: NATS-Bench TSS archives and the ``.pth`` of releases 1.0 and 1.1.

All hold the same state per training; they differ in how it is packed. Files larger than memory are read part by part.
"""

from __future__ import annotations

import bz2
import io
import re
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from itnas.benchmarks.importers.cells import Cells, SourceError
from itnas.benchmarks.pickles import BackReferenceError, PickleError, PickleReader
from itnas.benchmarks.schema201 import benchmark_order

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""First object of a file that torch.save wrote before version 1.6."""
TORCH_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The bytes of that object."""
SCHEDULES = {"12": 12, "200": 200, "less": 12, "full": 200}
"""The benchmark's names of the two schedules: NATS-Bench, then NAS-Bench-201."""
_MEMBER = re.compile(r"(?:.*/)?(\d{6}|meta)\.pickle\.pbz2")

Progress = Callable[[int], None]


def read_simple_folder(folder: Path, progress: Progress) -> Cells:
    """Read a NATS-Bench "simple" archive that was unpacked: one file per architecture."""
    cells = Cells()
    for path in sorted(folder.iterdir()):
        if _MEMBER.fullmatch(path.name):
            content = path.read_bytes()
            _add_simple(cells, path.name, content)
            progress(len(content))
    return cells


def read_simple_tar(path: Path, progress: Progress) -> Cells:
    """Read a NATS-Bench "simple" archive without unpacking it to disk."""
    cells = Cells()
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                stream = archive.extractfile(member) if _MEMBER.fullmatch(member.name) else None
                if stream:
                    _add_simple(cells, Path(member.name).name, stream.read())
                progress(member.size)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"is damaged ({error})") from None
    return cells


def read_bz2(path: Path, progress: Progress) -> Cells:
    """Read NATS-Bench's single file, ``NATS-tss-*.pickle.pbz2``."""
    with path.open("rb") as packed, bz2.open(packed) as stream:

        def advance(_: int, before: list[int] = [0]) -> None:  # noqa: B006 -- remembers where the packed file was
            progress(packed.tell() - before[0])
            before[0] = packed.tell()

        return _read_whole(lambda: _rewound(stream), advance)


def read_pth(path: Path, progress: Progress) -> Cells:
    """Read NAS-Bench-201's ``.pth`` in either format of torch.save; torch is not needed."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise SourceError("is a zip file, but not one that torch.save wrote")
            return _read_whole(lambda: archive.open(names[0]), progress)
    with path.open("rb") as stream:
        return _read_whole(lambda: _rewound(stream), progress, legacy=True)


def _read_whole(open_stream: Callable[[], IO[bytes]], progress: Progress, *, legacy: bool = False) -> Cells:
    """Read ``{"meta_archs": ..., "arch2infos": {index: {schedule: state}}}`` one architecture at a time."""
    for keep in (False, True):  # a file that refers back to earlier architectures is read again, in memory
        cells = Cells()
        reader = PickleReader(
            open_stream(), partial(_add_if_architecture, cells), transient="@", keep=keep, progress=progress
        )
        try:
            if legacy and (
                reader.load() != TORCH_MAGIC or reader.load() != 1001 or not isinstance(reader.load(), dict)
            ):
                raise SourceError("does not start like a file of torch.save")
            data = reader.load()
            break
        except BackReferenceError:
            continue
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise SourceError(f"is damaged ({error})") from None
    else:
        raise PickleError("refers to parts that it does not hold")
    _check_whole(data)
    for value in data["arch2infos"].values():
        if isinstance(value, dict):
            _add_if_architecture(cells, value, required=True)
    return cells


def _check_whole(data: object) -> None:
    if not isinstance(data, dict) or not {"meta_archs", "arch2infos"} <= data.keys():
        raise SourceError("holds no NAS-Bench-201 results (meta_archs and arch2infos are missing)")
    if tuple(data["meta_archs"]) != benchmark_order():
        raise SourceError("does not list NAS-Bench-201's 15,625 architectures; only the topology space can be imported")
    if not isinstance(data["arch2infos"], dict):
        raise SourceError("holds no results per architecture; NATS-Bench's meta file alone is not enough")


def _add_if_architecture(cells: Cells, items: dict, *, required: bool = False) -> object | None:
    """Add the results of one architecture; return True if ``items`` are such results."""
    names = [name for name in items if isinstance(name, str) and name in SCHEDULES]
    results = [name for name in names if isinstance(items[name], dict) and "all_results" in items[name]]
    if not required and len(results) < 2:
        return None
    cells.add({SCHEDULES[name]: items[name] for name in results})
    return True


def _add_simple(cells: Cells, name: str, content: bytes) -> None:
    """Add one file of a simple archive."""
    try:
        data = PickleReader(io.BytesIO(bz2.decompress(content))).load()
    except (OSError, EOFError, ValueError):
        raise SourceError(f"has the damaged file {name}") from None
    except PickleError as error:
        raise SourceError(f"has the file {name}, which {error}") from None
    if name.startswith("meta"):
        if not isinstance(data, dict) or tuple(data.get("meta_archs", ())) != benchmark_order():
            raise SourceError(
                "does not list NAS-Bench-201's 15,625 architectures; only the topology space can be imported"
            )
        return
    if not isinstance(data, dict) or int(name[:6]) != next(iter(data.values()), {}).get("arch_index"):
        raise SourceError(f"has the file {name}, which holds another architecture")
    _add_if_architecture(cells, data, required=True)


def _rewound(stream: IO[bytes]) -> IO[bytes]:
    stream.seek(0)
    return stream

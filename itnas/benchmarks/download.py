"""Fetches the official files: known addresses and checksums, resumed where a download stopped, verified before use."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from itnas.benchmarks.progress import progress
from itnas.errors import UserError

_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
_BLOCK = 1 << 20
_TRIES = 5  # of a connection that breaks after it has made progress


@dataclass(frozen=True)
class Download:
    """One official file."""

    file: str
    """Its official name."""
    url: str
    page: str
    """Where a person finds it."""
    algorithm: str
    """``sha256`` or ``md5``."""
    digest: str
    """What the checksum ends with: the whole of it where it was published, else the digits in the file's name."""
    bytes: int
    """Size, for the list; about, where the source says no more."""


DOWNLOADS: dict[str, Download] = {
    "nas-bench-101-only108": Download(
        "nasbench_only108.tfrecord",
        "https://storage.googleapis.com/nasbench/nasbench_only108.tfrecord",
        "https://github.com/google-research/nasbench",
        "sha256",
        "4c39c3936e36a85269881d659e44e61a245babcb72cb374eacacf75d0e5f4fd1",
        499_000_000,
    ),
    "nas-bench-101-full": Download(
        "nasbench_full.tfrecord",
        "https://storage.googleapis.com/nasbench/nasbench_full.tfrecord",
        "https://github.com/google-research/nasbench",
        "sha256",
        "3d64db8180fb1b0207212f9032205064312b6907a3bbc81eabea10db2f5c7e9c",
        1_950_000_000,
    ),
    # The digest of this archive is not on its page; it was recorded by others who downloaded it.
    "nats-bench-tss": Download(
        "NATS-tss-v1_0-3ffb9-simple.tar",
        _DRIVE + "17_saCsj_krKjlCBLOJEpNtzPXArMCqxU",
        "https://github.com/D-X-Y/NATS-Bench",
        "sha256",
        "580fd8f3425fed9f495640b0f12ccb7744f89dec7aff263bd75aed37ab0b8bb6",
        1_145_989_120,
    ),
    "nas-bench-201-v1.1": Download(
        "NAS-Bench-201-v1_1-096897.pth",
        _DRIVE + "16Y0UwGisiouVRxW-W5hEtbxmcHw_0hF_",
        "https://github.com/D-X-Y/NAS-Bench-201",
        "md5",
        "55e847143ce1f7c2d89b676f6b096897",
        5_003_180_601,
    ),
    "nas-bench-201-v1.0": Download(
        "NAS-Bench-201-v1_0-e61699.pth",
        _DRIVE + "1SKW0Cu0u8-gb18zDpaAGi0f74UdXeGKs",
        "https://github.com/D-X-Y/NAS-Bench-201",
        "md5",
        "e61699",
        2_100_000_000,
    ),
}
"""Official files by the name that ``itnas data download`` takes."""


def fetch(name: str, folder: Path) -> Path:
    """Return the verified file of a name of :data:`DOWNLOADS`, downloading what of it is not there yet.

    Args:
        name: what to fetch.
        folder: where the file goes; an unfinished download is kept there with the ending ``.part``.

    Raises:
        UserError: the name is unknown, the server cannot be reached or sends something else, or the checksum is wrong.
    """
    if name not in DOWNLOADS:
        raise UserError(f"unknown download {name!r}; choose one of {', '.join(DOWNLOADS)}")
    item = DOWNLOADS[name]
    target = folder / item.file
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        _download(item, part)
        _verify(item, part)
        os.replace(part, target)
    else:
        _verify(item, target)
    return target


def _download(item: Download, part: Path) -> None:
    """Append to ``part`` until the server has no more; a broken connection is tried again while it makes progress."""
    for attempt in range(_TRIES):
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(item, part, before)
            return
        except urllib.error.HTTPError as error:
            raise UserError(
                f"{item.url} answers {error.code} {error.reason}; download {item.file} from {item.page} and run"
                f" `itnas data import {item.file}`"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            got = part.stat().st_size if part.exists() else 0
            if got == before or attempt == _TRIES - 1:
                reason = getattr(error, "reason", error)
                raise UserError(
                    f"the download of {item.file} stopped at {got:,} bytes ({reason}); the same command continues"
                    f" it, or download it from {item.page} and run `itnas data import {item.file}`"
                ) from None


def _continue(item: Download, part: Path, have: int) -> None:
    headers = {"User-Agent": "itnas", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(item.url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing beyond what is there
            return
        raise
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(
                f"{item.url} sends a web page instead of {item.file} (a quota, or a question to a person);"
                f" download it from {item.page} and run `itnas data import {item.file}`"
            )
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if resumed else 0
        length = int(response.headers.get("Content-Length") or 0)
        with (
            part.open("ab" if resumed else "wb") as out,
            progress(f"downloading {item.file}", start + length) as advance,
        ):
            advance(start)
            got = _copy(response, out, advance)
    if length and got < length:
        raise http.client.IncompleteRead(b"", length - got)


def _copy(response: IO[bytes], out: IO[bytes], advance: Callable[[int], None]) -> int:
    got = 0
    while block := response.read(_BLOCK):
        out.write(block)
        got += len(block)
        advance(len(block))
    return got


def _verify(item: Download, path: Path) -> None:
    digest = hashlib.new(item.algorithm, usedforsecurity=False)
    with path.open("rb") as stream, progress(f"checking {item.file}", path.stat().st_size) as advance:
        while block := stream.read(1 << 22):
            digest.update(block)
            advance(len(block))
    if not digest.hexdigest().endswith(item.digest):
        size = path.stat().st_size
        path.unlink()
        raise UserError(
            f"{item.file} arrived damaged: its {item.algorithm} is {digest.hexdigest()} ({size:,} bytes), expected"
            f" {'...' if len(item.digest) < 32 else ''}{item.digest}; it was removed, run the same command again"
        )

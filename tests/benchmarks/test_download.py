"""Downloads are resumed, verified, and explained when they cannot be had; tried against a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from itnas.benchmarks import download
from itnas.benchmarks.download import DOWNLOADS, Download, fetch
from itnas.errors import UserError

CONTENT = bytes(range(256)) * 20_000


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the path says how."""

    asked: list[str | None]

    def do_GET(self) -> None:
        header = self.headers.get("Range")
        Handler.asked.append(header)
        start = int(header[6:-1]) if header else 0
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/page":
            self.answer(200, b"<html>quota exceeded</html>", "text/html; charset=utf-8")
            return
        if self.path == "/no-range":
            start = 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.end_headers()
        self.wfile.write(body[:1_500_000] if self.path == "/breaks" else body)

    def answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture
def offer(server: str, monkeypatch: pytest.MonkeyPatch) -> object:
    def add(path: str, digest: str = hashlib.sha256(CONTENT).hexdigest()) -> None:
        item = Download("file.bin", server + path, "https://example.org", "sha256", digest, len(CONTENT))
        monkeypatch.setitem(download.DOWNLOADS, "it", item)

    return add


def test_a_file_is_fetched_once_and_verified(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/file")
    assert fetch("it", tmp_path).read_bytes() == CONTENT
    assert fetch("it", tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [None]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


def test_an_unfinished_download_is_continued_where_it_stopped(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/file")
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1_000_000])
    assert fetch("it", tmp_path).read_bytes() == CONTENT
    assert Handler.asked == ["bytes=1000000-"]


def test_a_finished_part_is_only_verified(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/file")
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert fetch("it", tmp_path).read_bytes() == CONTENT


def test_a_server_that_cannot_continue_starts_over(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/no-range")
    (tmp_path / "file.bin.part").write_bytes(b"old" * 1000)
    assert fetch("it", tmp_path).read_bytes() == CONTENT


def test_a_connection_that_breaks_is_taken_up_again(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/breaks")
    assert fetch("it", tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [None, "bytes=1500000-", "bytes=3000000-", "bytes=4500000-"]


def test_a_wrong_checksum_leaves_nothing(offer, tmp_path: Path) -> None:  # noqa: ANN001
    offer("/file", "0" * 64)
    with pytest.raises(UserError, match=r"arrived damaged: its sha256 is [0-9a-f]{64} .* removed"):
        fetch("it", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "message"), [("/missing", "answers 404"), ("/page", "web page instead of file.bin")])
def test_what_is_not_the_file_is_explained(offer, tmp_path: Path, path: str, message: str) -> None:  # noqa: ANN001
    offer(path)
    with pytest.raises(UserError, match=message) as caught:
        fetch("it", tmp_path)
    assert "itnas data import file.bin" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_connection_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    item = Download("file.bin", "http://127.0.0.1:9/file", "https://example.org", "sha256", "0" * 64, 1)
    monkeypatch.setitem(download.DOWNLOADS, "it", item)
    with pytest.raises(UserError, match=r"stopped at 0 bytes .* the same command continues it"):
        fetch("it", tmp_path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nas-bench-101-only108"):
        fetch("nas-bench-102", tmp_path)


def test_every_official_file_has_a_checksum_that_fits_its_name() -> None:
    for item in DOWNLOADS.values():
        assert item.url.startswith("https://")
        assert len(item.digest) in ({64} if item.algorithm == "sha256" else {6, 32})
        if item.algorithm == "md5":  # these names end with the md5's last digits
            assert item.file.removesuffix(".pth").endswith(item.digest[-6:])

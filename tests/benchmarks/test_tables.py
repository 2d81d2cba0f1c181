"""Tables are written at once or not at all, and long readings say how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from itnas.benchmarks import tables
from itnas.benchmarks.progress import progress
from itnas.benchmarks.tables import Provenance, Source, content_sha256, open_parquet, read_columns, write_table

PROVENANCE = Provenance("nas-bench-201", "made up", (Source("x.csv", "0" * 64, "CSV"),), 3, ("a note",))
COLUMNS: dict[str, Any] = {
    "name": ["a", "b", "c"],
    "n": np.array([1, 2, 3], np.int8),
    "x": np.array([0.1, np.nan, 3.0]),
}


def test_columns_and_provenance_come_back(tmp_path: Path) -> None:
    written = write_table(tmp_path / "t.parquet", COLUMNS, PROVENANCE)
    file = open_parquet(tmp_path / "t.parquet", tmp_path / "t.parquet")
    assert tables.read_provenance(file, tmp_path) == written
    back = read_columns(file, ["name", "n", "x"], tmp_path)
    assert back["name"] == COLUMNS["name"]
    assert back["n"].dtype == np.int8
    np.testing.assert_array_equal(back["x"], COLUMNS["x"])
    assert written.content_sha256 == content_sha256(back) == content_sha256(COLUMNS)


def test_the_content_checksum_sees_every_value_name_and_type() -> None:
    changes: list[dict[str, Any]] = [
        {"x": np.array([0.1, np.nan, 3.0000001])},
        {"x": np.array([0.1, 2.0, 3.0])},
        {"n": np.array([1, 2, 3], np.int16)},
        {"name": ["a", "b", "d"]},
    ]
    sums = {content_sha256({**COLUMNS, **change}) for change in [{}, *changes]}
    sums.add(content_sha256({"name2" if name == "name" else name: values for name, values in COLUMNS.items()}))
    assert len(sums) == 6


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, COLUMNS, PROVENANCE)
    before = path.read_bytes()

    def fail(_: object, where: Path, **__: object) -> None:
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.pq, "write_table", fail)
    with pytest.raises(OSError, match="No space"):
        write_table(path, COLUMNS, PROVENANCE)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.parquet"]


def test_progress_without_a_terminal_is_a_line_per_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading x", 100_000_000) as advance:
        for _ in range(100):
            advance(1_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading x: {tenth}0 %" for tenth in range(1, 11)]
    with progress("reading y", 1000) as advance:
        advance(1000)
    assert capsys.readouterr().err == ""

"""Records: identity, atomic writing, and one clear sentence for every damaged one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from itnas.errors import UserError
from itnas.records import (
    IDENTITY,
    SECTIONS,
    TABLES,
    canonical_json,
    read_meta,
    read_results,
    run_id,
    write_meta,
    write_table,
)


def meta(**changes: Any) -> dict[str, Any]:
    identity = dict.fromkeys(IDENTITY, "x") | {
        "schema_version": 1,
        "search_seed": 0,
        "status": "finished",
        "run_id": "abc",
    }
    return {**identity, **{section: {} for section in SECTIONS}, **changes}


def write_run(folder: Path, **changes: Any) -> Path:
    for name in TABLES:
        write_table(folder, name, []) if folder.mkdir(parents=True, exist_ok=True) is None else None
    write_meta(folder, meta(**changes))
    return folder


def test_canonical_json_ignores_key_order_and_the_run_id_is_its_sha256() -> None:
    assert canonical_json({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert run_id({"b": 1, "a": 2}) == run_id({"a": 2, "b": 1})
    assert run_id({}) == "44136fa355b3678a"  # sha256 of the two characters {}


def test_nan_is_no_identity() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"x": float("nan")})


def test_a_run_round_trips(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s" / "r")
    write_table(
        folder,
        "scores",
        [{"epoch": 1, "cell": -1, "group": "edges", "choice": "1<-0", "candidate": "none", "score": 0.5}],
    )
    records = read_results(tmp_path)
    row = records["scores"].iloc[0]
    assert (row["choice"], row["score"], row["run_id"]) == ("1<-0", 0.5, "abc")
    assert list(records.runs["method"]) == ["x"]
    assert not list(tmp_path.rglob("*.tmp"))


def test_meta_needs_exactly_its_keys(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exactly the keys"):
        write_meta(tmp_path, meta(extra=1))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"schema_version": 1, "run_', "is damaged"),
        ("[]", "not a run record"),
        ('{"schema_version": 99}', "schema version 99.*upgrade"),
        ('{"schema_version": 1}', "lacks run_id"),
    ],
)
def test_a_damaged_run_json_is_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=words):
        read_meta(tmp_path)


def test_a_finished_run_with_a_missing_or_truncated_table_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    path = folder / "epochs.parquet"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"epochs.parquet is damaged.*delete the folder"):
        read_results(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"epochs.parquet is missing"):
        read_results(tmp_path)


def test_a_run_without_an_optional_table_has_no_rows_of_it_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r")
    (folder / "eigenvalues.parquet").unlink()
    found = read_results(tmp_path)["eigenvalues"]
    assert found.empty
    assert list(found.columns)[-4:] == TABLES["eigenvalues"].names
    write_table(folder, "eigenvalues", [{"epoch": 2, "eigenvalue": 0.5, "smallest": -0.25, "n_images": 64}])
    assert read_results(tmp_path)["eigenvalues"].iloc[0][["epoch", "eigenvalue", "run_id"]].tolist() == [2, 0.5, "abc"]
    (folder / "eigenvalues.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"eigenvalues.parquet is damaged.*delete the folder"):
        read_results(tmp_path)


def test_unfinished_failed_and_duplicate_runs_are_left_out_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    write_meta(tmp_path / "c", meta(run_id="c", status="running"))
    write_meta(tmp_path / "d", meta(run_id="d", status="failed", result={"error": "the loss is nan"}))
    records = read_results(tmp_path)
    assert len(records.runs) == 1
    assert [note.split(":")[0] for note in sorted(records.notes)] == [
        "left out, duplicate of run abc",
        "left out, failed",
        "left out, unfinished",
    ]
    assert any("the loss is nan" in note for note in records.notes)


def test_a_folder_without_finished_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no finished run below"):
        read_results(tmp_path)
    write_meta(tmp_path / "c", meta(status="running"))
    with pytest.raises(UserError, match="1 unfinished or failed"):
        read_results(tmp_path)


def test_run_json_is_readable_by_people(tmp_path: Path) -> None:
    write_meta(tmp_path, meta())
    text = (tmp_path / "run.json").read_text()
    assert list(json.loads(text)) == [*IDENTITY, *SECTIONS]
    assert text.count("\n") > 10

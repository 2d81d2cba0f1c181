"""``itnas data`` and ``itnas query`` as a user types them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from itnas.benchmarks import NASBench201Table
from itnas.benchmarks.schema201 import benchmark_order
from itnas.benchmarks.tables import METADATA_KEY
from itnas.cli_data import data_main, query_main
from itnas.errors import UserError
from tests.benchmarks.makers import record

ARCH = benchmark_order()[10_000]
TEST = ["--dataset", "cifar10", "--split", "test", "--epochs", "200", "--seed", "mean"]


@pytest.fixture
def folder(made_up: NASBench201Table, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = made_up.path.parent.parent
    monkeypatch.setenv("ITNAS_DATA", str(root))
    return root


@pytest.mark.parametrize("arch", [ARCH, "10000", f"Structure(4 nodes with {ARCH})"])
def test_query_prints_value_n_and_rank(folder: Path, capsys: pytest.CaptureFixture[str], arch: str) -> None:
    query_main([arch, *TEST])
    assert capsys.readouterr().out == "51.0000 %  n not stated by the source  rank 5,625 of 15,625\n"
    query_main([arch, "--dataset", "cifar10-valid", "--split", "valid", "--epochs", "200", "--seed", "mean"])
    assert capsys.readouterr().out == "50.0000 %  n = 2  rank 5,625 of 15,625\n"


@pytest.mark.data
def test_query_answers_the_issues_example(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ITNAS_DATA", str(data))
    query_main(["6111", *TEST])
    assert capsys.readouterr().out.startswith("94.3733 %")
    query_main(["0000cb5372fad9d62c470df699ac6d52", *TEST[:5], "108", "--seed", "mean"])
    assert capsys.readouterr().out.startswith("92.2643 %")


@pytest.mark.parametrize("missing", range(0, 8, 2))
def test_no_part_of_a_query_has_a_default(folder: Path, capsys: pytest.CaptureFixture[str], missing: int) -> None:
    with pytest.raises(SystemExit) as stopped:
        query_main([ARCH, *TEST[:missing], *TEST[missing + 2 :]])
    assert stopped.value.code == 2
    assert TEST[missing] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([ARCH, *TEST[:-1], "777"], "for seed 777"),
        ([ARCH, "--dataset", "cifar10", "--split", "valid", *TEST[4:]], "ask for 'cifar10-valid'"),
        ([ARCH, *TEST[:5], "100", *TEST[6:]], "no schedule of 100 epochs"),
        (["|none~0|", *TEST], "malformed"),
        (["0" * 32, *TEST[:5], "108", *TEST[6:]], "there is no table at"),
    ],
)
def test_a_query_that_has_no_answer_is_one_sentence(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        query_main(arguments)


def test_import_list_and_verify_tell_the_provenance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "small.tfrecord"
    digest = "af1a7a2a1b4d2ff1c0a1e0c4c2a3d4e5"
    source.write_bytes(record(digest, 108, [[0, 1], [0, 0]], ["input", "output"], 5, (1.0, 0.9, 0.8, 0.7)))
    place = ["--data-dir", str(tmp_path)]
    with pytest.raises(UserError, match="holds 1 of 423,624"):
        data_main(["import", str(source), *place])
    data_main(["import", str(source), "--partial", *place])
    out = capsys.readouterr().out
    assert "nas-bench-101/table.parquet" in out
    assert "small.tfrecord (NAS-Bench-101 TFRecord), sha256 " in out
    data_main(["verify", *place])
    assert "nas-bench-101: intact, as imported from small.tfrecord" in capsys.readouterr().out
    data_main(["list", *place])
    out = capsys.readouterr().out
    assert "nas-bench-201: not there" in out
    assert "nas-bench-101: 1 of 423,624 architectures" in out
    assert "nats-bench-tss" in out
    query_main([digest, "--dataset", "cifar10", "--split", "valid", "--epochs", "108", "--seed", "0", *place])
    assert capsys.readouterr().out == "80.0000 %  n = 1  rank 1 of 1\n"


def test_verify_finds_a_changed_value_and_a_damaged_page(made_up: NASBench201Table, tmp_path: Path) -> None:
    path = tmp_path / "nas-bench-201" / "table.parquet"
    path.parent.mkdir()
    table = pq.read_table(made_up.path)
    values = table["c10_test_mean"].to_pylist()
    values[77] += 0.01
    place = table.column_names.index("c10_test_mean")
    pq.write_table(table.set_column(place, "c10_test_mean", [values]), path)
    assert METADATA_KEY in (pq.read_schema(path).metadata or {})
    with pytest.raises(UserError, match=r"was changed after it was imported; import cells\.csv again"):
        data_main(["verify", "--data-dir", str(tmp_path)])
    for name in ("c10_test_mean", "unique_string"):  # one column that every opening reads, one that only verify reads
        chunk = pq.ParquetFile(made_up.path).metadata.row_group(0).column(table.column_names.index(name))
        content = bytearray(made_up.path.read_bytes())
        content[chunk.data_page_offset + chunk.total_compressed_size // 3] ^= 0xFF
        path.write_bytes(bytes(content))
        with pytest.raises(UserError, match="not a readable table"):
            data_main(["verify", "--data-dir", str(tmp_path)])


def test_a_newer_schema_is_refused(made_up: NASBench201Table, tmp_path: Path) -> None:
    table = pq.read_table(made_up.path)
    metadata = (table.schema.metadata or {})[METADATA_KEY].replace(b'"schema_version": 1', b'"schema_version": 2')
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), tmp_path / "table.parquet")
    with pytest.raises(UserError, match="schema version 2, this itnas reads up to 1; upgrade itnas"):
        NASBench201Table.open(tmp_path / "table.parquet")
    metadata = metadata.replace(b'"notes"', b'"remarks"')
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: metadata}), tmp_path / "table.parquet")
    with pytest.raises(UserError, match="upgrade itnas"):
        NASBench201Table.open(tmp_path / "table.parquet")


def test_a_folder_must_be_named_and_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ITNAS_DATA", raising=False)
    with pytest.raises(UserError, match="no data folder is named; set ITNAS_DATA"):
        data_main(["list"])
    with pytest.raises(UserError, match="does not exist"):
        data_main(["list", "--data-dir", str(tmp_path / "missing")])
    with pytest.raises(UserError, match="holds no benchmark table"):
        data_main(["verify", "--data-dir", str(tmp_path)])
    with pytest.raises(UserError, match="name the file to import"):
        data_main(["import", "--data-dir", str(tmp_path)])

"""NAS-Bench-101's TFRecords import to the rows they were written from, and a flipped byte is named by its record."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnas.benchmarks import MissingValue, NASBench101Table, NotInSource
from itnas.benchmarks.graphs import Graph
from itnas.benchmarks.importers import import_files
from itnas.benchmarks.tfrecord import BATCH, RecordError, masked_crc, read_records
from itnas.errors import UserError
from tests.benchmarks.makers import crc32c, frame, masked, metrics, record

GRAPH = Graph(((0, 1, 0), (0, 0, 1), (0, 0, 0)), ("input", "conv1x1-bn-relu", "output"))


def some_records(count: int, graphs: list[Graph] | None = None) -> list[bytes]:
    """Return three trainings of 108 epochs for each of ``count`` graphs."""
    graphs = graphs or [GRAPH] * count
    made = []
    for number, graph in enumerate(graphs):
        digest = graph.hash() if graph is not GRAPH else f"{number:032x}"
        for repeat in range(3):
            final = (1000.0 + repeat, 1.0, (100 + number + repeat) / 9984, (200 + number + repeat) / 10_000)
            made.append(record(digest, 108, [list(row) for row in graph.matrix], list(graph.ops), 1000 + number, final))
    return made


def test_the_checksum_has_its_published_values() -> None:
    # RFC 3720 (iSCSI), appendix B.4: 32 bytes of zeros, of ones, ascending; and the customary "123456789".
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E, b"123456789": 0xE3069283}
    for data, value in known.items():
        assert crc32c(data) == value
        assert struct.pack("<I", masked_crc(data)) == masked(data)


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=0, max_size=60), min_size=1, max_size=20))
def test_batches_of_checksums_equal_single_ones(payloads: list[bytes]) -> None:
    stream = io.BytesIO(b"".join(map(frame, payloads)))
    with pytest.raises(RecordError, match="record 0 is not what NAS-Bench-101 writes"):
        list(read_records(stream))  # checksums passed, or the message would be another


@pytest.mark.data
@pytest.mark.parametrize("full", [False, True])
def test_rows_of_the_real_table_come_back(data: Path, tmp_path: Path, full: bool) -> None:
    real = pd.read_parquet(data / "nas-bench-101" / "table.parquet")
    rows = real.iloc[:: len(real) // 400].sample(frac=1, random_state=0)  # any order of records
    schedules = (4, 12, 36, 108) if full else (108,)
    source = tmp_path / "nasbench.tfrecord"
    with source.open("wb") as out:
        for row in rows.itertuples():
            graph = Graph.from_bits(row.n_vertices, row.adj_bits, row.ops)  # type: ignore[arg-type]
            matrix = [list(line) for line in graph.matrix]
            for epochs in schedules:
                for offset in (0.0, -0.01, 0.01):  # three trainings with the real mean
                    test = row.test_acc_108_mean + offset * (epochs == 108)  # type: ignore[operator]
                    final = (10.0 * epochs + offset, 1.0, 0.5 + offset, min(test, 1.0))
                    out.write(record(str(row.hash), epochs, matrix, list(graph.ops), int(row.params), final))  # type: ignore[arg-type]
    path, provenance = import_files([source], tmp_path, partial=True)
    assert provenance.benchmark_version == f"NAS-Bench-101 {'full' if full else 'only108'}"
    got, want = pd.read_parquet(path), rows.sort_values("hash").reset_index(drop=True)
    for name in ("hash", "n_vertices", "adj_bits", "ops", "params"):
        assert list(got[name]) == list(want[name])
    np.testing.assert_allclose(got["test_acc_108_mean"], want["test_acc_108_mean"], rtol=0, atol=1e-15)
    table = NASBench101Table.open(tmp_path)
    graph = Graph.from_bits(want.n_vertices[7], want.adj_bits[7], want.ops[7])
    value = table.lookup(graph, dataset="cifar10", split="test", epochs=108, repeat=1)
    assert value == pytest.approx(100 * (want.test_acc_108_mean[7] - 0.01), abs=1e-12)
    assert table.count(graph, dataset="cifar10", split="test", epochs=108, repeat="mean") == 3
    assert table.graph(table.index(graph)) == graph
    if full:
        assert table.lookup(graph, dataset="cifar10", split="valid", epochs=4, repeat=2) == pytest.approx(51)
        assert table.train_seconds(graph, epochs=36, repeat=0) == 360.0
    else:
        with pytest.raises(NotInSource, match="does not give valid accuracy after 12 epochs"):
            table.lookup(graph, dataset="cifar10", split="valid", epochs=12, repeat="mean")


@pytest.mark.parametrize("number", [0, 4, 8])
@pytest.mark.parametrize("place", ["length", "length checksum", "payload", "payload checksum"])
def test_a_flipped_byte_is_reported_with_its_record_and_nothing_remains(
    tmp_path: Path, number: int, place: str
) -> None:
    records = some_records(3)
    offsets = {"length": 1, "length checksum": 9, "payload": 50, "payload checksum": len(records[number]) - 2}
    broken = bytearray(records[number])
    broken[offsets[place]] ^= 0x10
    source, data_dir = tmp_path / "nasbench.tfrecord", tmp_path / "data"
    data_dir.mkdir()
    source.write_bytes(b"".join([*records[:number], bytes(broken), *records[number + 1 :]]))
    with pytest.raises(UserError, match=rf"record {number} is (damaged|truncated)"):
        import_files([source], data_dir, partial=True)
    assert list(data_dir.iterdir()) == []


def test_a_damaged_record_in_a_later_batch_has_its_number() -> None:
    payload = json.dumps(["0" * 32, 108, "0100", "input,output", "EAE="]).encode()
    good = frame(payload)
    bad = bytearray(good)
    bad[20] ^= 1
    count = BATCH + 17
    with pytest.raises(RecordError, match=f"record {count} is damaged"):
        list(read_records(io.BytesIO(good * count + bytes(bad) + good)))


@pytest.mark.parametrize("cut", [5, 14, 200])
def test_a_truncated_file_names_the_record_where_it_ends(cut: int) -> None:
    records = some_records(2)
    content = b"".join(records[:4]) + records[4][:cut]
    with pytest.raises(RecordError, match="record 4 is truncated"):
        list(read_records(io.BytesIO(content)))


def test_fields_in_another_order_and_unknown_fields_are_read() -> None:
    evaluation = (108.0, 1234.0, 0.9, 0.8, 0.7)
    message = metrics([evaluation] * 3, 77)
    unknown = b"\xfa\x01\x03abc" + b"\x85\x02" + b"\0\0\0\0"  # field 31 (bytes) and field 32 (32 bits)
    payload = json.dumps(["0" * 32, 108, "0100", "input,output", base64.b64encode(unknown + message).decode()])
    (only,) = read_records(io.BytesIO(frame(payload.encode())))
    assert only.params == 77
    assert only.evaluations == (evaluation,) * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 100}, "100 epochs"),
        ({"final": (1.0, 1.0, 91.0, 0.5)}, "no fractions"),
        ({"ops": ["input", "conv5x5", "output"]}, "unknown NAS-Bench-101 operation 'conv5x5'"),
        ({"digest": "abc"}, "unreadable graph"),
    ],
)
def test_impossible_records_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "digest": "0" * 32, "epochs": 108, "matrix": [list(row) for row in GRAPH.matrix], "ops": list(GRAPH.ops),
        "params": 1, "final": (1.0, 1.0, 0.9, 0.9),
    }  # fmt: skip
    (tmp_path / "x.tfrecord").write_bytes(record(**{**values, **change}))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        import_files([tmp_path / "x.tfrecord"], tmp_path, partial=True)


def test_a_fourth_training_is_refused_and_a_missing_one_stays_missing(tmp_path: Path) -> None:
    records = some_records(2)
    (tmp_path / "four.tfrecord").write_bytes(b"".join([*records, records[0]]))
    with pytest.raises(UserError, match="more than 3 trainings"):
        import_files([tmp_path / "four.tfrecord"], tmp_path, partial=True)
    (tmp_path / "five.tfrecord").write_bytes(b"".join(records[:5]))
    import_files([tmp_path / "five.tfrecord"], tmp_path, partial=True)
    table = NASBench101Table.open(tmp_path)
    second = f"{1:032x}"
    assert table.count(second, dataset="cifar10", split="test", epochs=108, repeat="mean") == 2
    assert table.lookup(second, dataset="cifar10", split="test", epochs=108, repeat="mean") == pytest.approx(2.015)
    with pytest.raises(MissingValue, match="for repeat 2"):
        table.lookup(second, dataset="cifar10", split="test", epochs=108, repeat=2)
    with pytest.raises(MissingValue, match="no graph with the hash"):
        table.lookup("f" * 32, dataset="cifar10", split="test", epochs=108, repeat="mean")
    with pytest.raises(UserError, match="32 hex digits"):
        table.lookup("zzz", dataset="cifar10", split="test", epochs=108, repeat="mean")
    with pytest.raises(NotInSource, match="no data set 'cifar100'"):
        table.lookup(second, dataset="cifar100", split="test", epochs=108, repeat="mean")  # type: ignore[arg-type]

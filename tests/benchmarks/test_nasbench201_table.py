"""Facts of the real NAS-Bench-201 table come out of the lookup, and what it does not have is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from itnas.benchmarks import MissingValue, NASBench201Table, NotInSource, data_root
from itnas.benchmarks.nasbench201 import REPORTED
from itnas.benchmarks.schema201 import column_name
from itnas.errors import UserError
from itnas.spaces.nasbench201 import isomorphism_class

ALL_SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
VALID: dict[str, Any] = {"dataset": "cifar10-valid", "split": "valid", "epochs": 200, "seed": "mean"}
TEST: dict[str, Any] = {"dataset": "cifar10", "split": "test", "epochs": 200, "seed": "mean"}


def but(query: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**query, **changes}


# The data README's optima (row index) and all-skip row, in the order of REPORTED.
OPTIMA = [(91.6067, 6111), (94.3733, 6111), (73.4933, 9930), (73.5133, 9930), (46.7333, 10676), (47.3111, 857)]
SKIPS = [39.77, 54.30, 15.03, 15.61, 16.43, 16.32]


@pytest.mark.data
@pytest.mark.parametrize(("key", "optimum", "skip"), list(zip(REPORTED, OPTIMA, SKIPS, strict=True)))
def test_optima_and_all_skip_row_are_the_published_ones(
    real201: NASBench201Table, key: tuple[str, str], optimum: tuple[float, int], skip: float
) -> None:
    query: dict[str, Any] = {"dataset": REPORTED[key], "split": key[1], "epochs": 200, "seed": "mean"}
    best = real201.optimum(**query)
    assert (round(best.value, 4), best.index) == optimum
    assert real201.lookup(best.arch, **query) == best.value
    assert real201.rank(best.arch, **query) == (1, 15_625)
    assert real201.index(ALL_SKIP) == 1835
    assert real201.lookup(ALL_SKIP, **query) == pytest.approx(skip, abs=0.005)
    assert real201.reference()["optimum"]["/".join(key)] == best.value


@pytest.mark.data
def test_lookup_equals_an_independent_reader_for_every_column(real201: NASBench201Table, data: Path) -> None:
    frame = pd.read_parquet(data / "nas-bench-201" / "table.parquet").set_index("arch")
    for arch in frame.index[::1500]:
        for seed in (777, 888, "mean"):
            assert real201.lookup(arch, **but(VALID, seed=seed)) == frame.loc[arch, f"c10_valid_{seed}"]
        assert real201.lookup(arch, **but(TEST, epochs=12)) == frame.loc[arch, "c10_test_e12"]
    np.testing.assert_array_equal(real201.column(**but(VALID, seed=999)), frame["c10_valid_999"].to_numpy())
    np.testing.assert_array_equal(
        real201.lookup_many(list(frame.index[::-1]), **TEST), frame["c10_test_mean"].to_numpy()[::-1]
    )


@pytest.mark.data
def test_a_missing_seed_is_an_error_and_never_imputed(real201: NASBench201Table) -> None:
    missing = np.flatnonzero(np.isnan(real201.column(**but(VALID, seed=999))))
    assert len(missing) == 7456
    arch = real201.archs[missing[0]]
    with pytest.raises(MissingValue, match=r"seed 999 .* it has mean, 777, 888"):
        real201.lookup(arch, **but(VALID, seed=999))
    assert real201.count(arch, **VALID) == 2
    assert np.isnan(real201.lookup_many([arch], **but(VALID, seed=999))).all()
    assert "999" not in {row["seed"] for row in real201.evaluation_rows([arch])}


@pytest.mark.data
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "valid"}, "ask for 'cifar10-valid'"),
        ({"dataset": "cifar10-valid"}, "reported is that of data set 'cifar10'"),
        ({"dataset": "imagenet"}, "no data set 'imagenet'"),
        ({"dataset": "cifar100", "split": "train"}, "choose one of valid, test, valtest"),
        ({"epochs": 90}, "no schedule of 90 epochs"),
        ({"seed": "777"}, "no training seed '777'"),
        ({"seed": 777}, "does not give cifar10 test after 200 epochs for seed 777"),
        ({"dataset": "imagenet16-120", "seed": 888}, "does not give imagenet16-120 test"),
    ],
)
def test_what_the_source_does_not_have_is_an_error_that_says_so(
    real201: NASBench201Table, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(NotInSource, match=message) as caught:
        real201.lookup(ALL_SKIP, **but(TEST, **change))
    assert isinstance(caught.value, UserError)
    assert isinstance(caught.value, LookupError)


@pytest.mark.data
def test_every_argument_is_required(real201: NASBench201Table) -> None:
    for name in TEST:
        with pytest.raises(TypeError, match=name):
            real201.lookup(ALL_SKIP, **{key: value for key, value in TEST.items() if key != name})


@pytest.mark.data
def test_there_are_6466_classes_and_341_cells_at_chance(real201: NASBench201Table) -> None:
    assert len({isomorphism_class(arch) for arch in real201.archs}) == 6466
    assert (real201.column(**TEST) == 10.0).sum() == 341


@pytest.mark.data
def test_evaluation_rows_name_the_reported_data_sets(real201: NASBench201Table) -> None:
    rows = pd.DataFrame(real201.evaluation_rows([ALL_SKIP]))
    means = rows[rows["seed"] == "mean"]
    assert list(zip(means["dataset"], means["split"], strict=True)) == list(REPORTED)
    assert set(rows["epochs"]) == {200}
    assert means.set_index(["dataset", "split"]).loc[("cifar10", "valid"), "value"] == pytest.approx(39.77, abs=0.005)
    assert len(rows) == 6 + 3  # per-seed values of this table: CIFAR-10 valid only


def test_column_names_follow_one_rule() -> None:
    assert column_name("cifar10", "test", 12, "mean") == "c10_test_e12"
    assert column_name("cifar10-valid", "valid", 12, 111) == "c10_valid_111_e12"


def test_data_root_is_none_or_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ITNAS_DATA", raising=False)
    assert data_root() is None
    monkeypatch.setenv("ITNAS_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.setenv("ITNAS_DATA", str(tmp_path / "missing"))
    with pytest.raises(UserError, match="ITNAS_DATA names"):
        data_root()


@pytest.mark.data
def test_missing_truncated_and_foreign_files_are_one_sentence(real201: NASBench201Table, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with pytest.raises(UserError, match="there is no NAS-Bench-201 table at"):
        NASBench201Table.open(path)
    content = real201.path.read_bytes()
    for damaged in (content[:100_000], b"", b"\0" * 1000):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="not a readable table"):
            NASBench201Table.open(path)
    table = pq.read_table(real201.path)
    pq.write_table(table.slice(0, 15_000), path)
    with pytest.raises(UserError, match="15,000 rows"):
        NASBench201Table.open(path)
    pq.write_table(table.drop(["arch"]), path)
    with pytest.raises(UserError, match="lacks the column arch"):
        NASBench201Table.open(path)
    pq.write_table(table.take(np.roll(np.arange(15_625), 1)), path)
    with pytest.raises(UserError, match="benchmark order"):
        NASBench201Table.open(path)

"""Where the worth of a derived cell comes from: the table of its space, or training."""

from __future__ import annotations

from pathlib import Path

import pytest

from itnas.benchmarks.nasbench1shot1 import NASBench1Shot1Table
from itnas.benchmarks.nasbench201 import NASBench201Table
from itnas.benchmarks.tables import Provenance, write_table
from itnas.config import EvaluationConfig
from itnas.errors import UserError
from itnas.evaluate import find_truth
from itnas.spaces import SPACES, get_space

SHOT = get_space("nasbench1shot1-2")


@pytest.mark.parametrize("name", list(SPACES))
def test_without_a_table_auto_means_training(name: str, tmp_path: Path) -> None:
    for root in (None, tmp_path):
        truth = find_truth(EvaluationConfig(), get_space(name), root)
        assert (truth.kind, truth.table, truth.describe()) == ("trained", None, None)


def test_a_demanded_table_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set ITNAS_DATA"):
        find_truth(EvaluationConfig("table"), SHOT, None)
    with pytest.raises(UserError, match=r"there is no table at .*nas-bench-101"):
        find_truth(EvaluationConfig("table"), SHOT, tmp_path)


def test_a_partial_table_is_refused(tmp_path: Path) -> None:
    import numpy as np

    columns = {"hash": ["0" * 32], "n_vertices": np.array([2]), "adj_bits": np.array([1]), "ops": [""]}
    columns["test_acc_108_mean"] = np.array([0.5])
    path = tmp_path / "nas-bench-101" / "table.parquet"
    write_table(path, columns, Provenance("nas-bench-101", "made up", (), 1))
    with pytest.raises(UserError, match=r"knows 1 of 423624 cells; import the whole benchmark"):
        find_truth(EvaluationConfig(), SHOT, tmp_path)


@pytest.mark.data
def test_every_space_is_asked_in_its_own_table(data_root: Path) -> None:
    truth = find_truth(EvaluationConfig(), SHOT, data_root)
    assert truth.kind == "table"
    assert isinstance(truth.table, NASBench1Shot1Table)
    assert truth.table.space.name == "nasbench1shot1-2"
    assert (truth.describe() or {})["name"] == "nas-bench-101"
    assert isinstance(find_truth(EvaluationConfig(), get_space("nasbench201"), data_root).table, NASBench201Table)

"""NASLib's spelling of architectures and ours: every NAS-Bench-201 cell there and back, and accuracies from our table."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from itnas.benchmarks import NASBench201Table
from itnas.errors import UserError
from itnas.spaces import get_space
from itnas.spaces.nasbench201 import all_cells, format_ops
from tests.naslib import stand_in

CELL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|none~2|"
INDICES = (2, 3, 0, 1, 4, 1)
"""The same cell by hand: NASLib's edges (1,2)(1,3)(1,4)(2,3)(2,4)(3,4), operations skip, none, 3x3, 1x1, pool."""


def test_all_cells_there_and_back(stand_in_naslib: ModuleType) -> None:
    from itnas.naslib.genotypes import from_op_indices, to_op_indices

    assert to_op_indices(CELL) == INDICES
    assert from_op_indices(INDICES) == CELL
    genotypes = [format_ops(cell) for cell in all_cells()]
    assert [from_op_indices(to_op_indices(genotype)) for genotype in genotypes] == genotypes


def test_a_graph_set_to_a_genotype_has_it(stand_in_naslib: ModuleType) -> None:
    graph = stand_in.NasBench201SearchSpace()
    stand_in_naslib.set_genotype(graph, CELL)
    assert graph.get_hash() == INDICES
    assert stand_in_naslib.genotype_of(graph) == CELL
    with pytest.raises(UserError, match="malformed"):
        stand_in_naslib.set_genotype(stand_in.NasBench201SearchSpace(), "|none~0|")
    with pytest.raises(UserError, match="no genotype for NASLib's space Graph"):
        stand_in_naslib.genotype_of(stand_in.Graph())
    with pytest.raises(UserError, match="six indices from 0 to 4"):
        stand_in_naslib.genotypes.from_op_indices((0, 1, 2, 3, 4, 5))


def test_darts_cells_there_and_back(stand_in_naslib: ModuleType) -> None:
    from itnas.naslib.genotypes import from_compact, to_compact

    normal = ((0, 0), (1, 1), (0, 2), (2, 3), (1, 4), (3, 5), (0, 6), (4, 0))
    reduce = ((0, 6), (1, 5), (1, 4), (2, 3), (2, 2), (3, 1), (2, 0), (4, 6))
    text = (
        "Genotype(normal=[('max_pool_3x3', 0), ('avg_pool_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 2), "
        "('sep_conv_5x5', 1), ('dil_conv_3x3', 3), ('dil_conv_5x5', 0), ('max_pool_3x3', 4)], normal_concat=range(2, 6), "
        "reduce=[('dil_conv_5x5', 0), ('dil_conv_3x3', 1), ('sep_conv_5x5', 1), ('sep_conv_3x3', 2), "
        "('skip_connect', 2), ('avg_pool_3x3', 3), ('max_pool_3x3', 2), ('dil_conv_5x5', 4)], reduce_concat=range(2, 6))"
    )
    assert from_compact((normal, reduce)) == text
    assert to_compact(text) == (normal, reduce)
    space, rng = get_space("darts"), np.random.default_rng(0)
    for genotype in (space.random(rng, exclude_none=True) for _ in range(200)):
        assert from_compact(to_compact(genotype)) == space.canonical(genotype)
    with pytest.raises(UserError, match="two cells of eight pairs"):
        from_compact((normal, reduce[:2]))
    with pytest.raises(UserError, match="name an input or an operation"):
        from_compact((((0, 7), *normal[1:]), reduce))
    with pytest.raises(UserError, match="twice"):
        from_compact((((1, 0), *normal[1:]), reduce))


@pytest.mark.data
def test_test_accuracy_is_the_test_sets_and_not_the_validation_sets(
    stand_in_naslib: ModuleType, data_root: Path
) -> None:
    table = NASBench201Table.open(data_root)
    graph = stand_in.NasBench201SearchSpace()
    skips = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    stand_in_naslib.set_genotype(graph, skips)
    answers = [
        stand_in_naslib.query(graph, table, dataset=dataset, metric=metric)
        for dataset in ("cifar10", "cifar100", "ImageNet16-120")
        for metric in ("VAL_ACCURACY", "TEST_ACCURACY")
    ]
    assert np.allclose(answers, (39.77, 54.30, 15.03, 15.61, 16.43, 16.32), atol=0.01)
    graph.query = stand_in_naslib.TableQuery(graph)
    metric = SimpleNamespace(name="TEST_ACCURACY")
    assert graph.query(metric=metric, dataset="cifar10", dataset_api=table) == answers[1]
    assert graph.query(metric=metric, dataset="cifar10", dataset_api={graph.get_hash(): 7.0}) == 7.0
    with pytest.raises(UserError, match="does not answer TRAIN_TIME on cifar10"):
        stand_in_naslib.query(graph, table, dataset="cifar10", metric="TRAIN_TIME")

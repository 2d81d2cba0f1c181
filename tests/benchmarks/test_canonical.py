"""Every spelling of a NAS-Bench-201 cell comes back, and isomorphic cells have one representative."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnas.benchmarks.canonical import (
    canonical_cell,
    expression,
    from_naslib,
    from_structure,
    read_cell,
    to_naslib,
    to_structure,
)
from itnas.benchmarks.schema201 import benchmark_order
from itnas.errors import UserError
from itnas.spaces.nasbench201 import EDGES, format_ops, isomorphism_class, parse

cells = st.lists(st.integers(0, 4), min_size=6, max_size=6).map(format_ops)


def test_all_15625_cells_come_back_from_every_spelling() -> None:
    for index, arch in enumerate(benchmark_order()):
        assert from_naslib(to_naslib(arch)) == arch
        assert from_structure(to_structure(arch)) == arch
        if index % 50 == 0:
            assert read_cell(str(index)) == arch
            assert read_cell(str(to_naslib(arch))) == arch
            assert read_cell(repr(list(to_structure(arch)))) == arch
            assert read_cell(f"Structure(4 nodes with {arch})") == arch


def test_the_benchmark_counts_6466_classes_and_4930_of_them_differ_in_more_than_numbering() -> None:
    by_class: dict[str, set[str]] = {}
    for arch in benchmark_order():
        by_class.setdefault(isomorphism_class(arch), set()).add(canonical_cell(arch))
    assert len(by_class) == 6466
    assert all(len(representatives) == 1 for representatives in by_class.values())
    assert len(set.union(*by_class.values())) == 4930


def test_classes_are_the_ones_that_the_benchmarks_own_code_prints() -> None:
    official = pytest.importorskip("nats_bench.genotype_utils", reason="pip install --no-deps nats-bench")
    for arch in benchmark_order():
        assert isomorphism_class(arch) == official.topology_str2structure(arch).to_unique_str(consider_zero=True)


@given(cells)
def test_canonicalisation_is_idempotent(arch: str) -> None:
    canonical = canonical_cell(arch)
    assert canonical_cell(canonical) == canonical
    assert expression(canonical) == expression(arch)


@given(cells)
def test_swapping_the_two_inner_nodes_does_not_change_the_representative(arch: str) -> None:
    ops = dict(zip(EDGES, parse(arch), strict=True))
    ops[2, 1] = 0  # without the edge between them the inner nodes are interchangeable
    swap = {0: 0, 1: 2, 2: 1, 3: 3}
    swapped = {edge: ops.get((swap[edge[0]], swap[edge[1]]), 0) for edge in EDGES}
    assert canonical_cell(format_ops(list(swapped.values()))) == canonical_cell(format_ops(list(ops.values())))


@given(cells)
def test_contracting_a_skip_connection_does_not_change_the_representative(arch: str) -> None:
    ops = dict(zip(EDGES, parse(arch), strict=True))
    ops |= {(1, 0): 1, (3, 0): 0}  # node 1 is the input, so an edge from it can start at the input instead
    moved = {**ops, (3, 1): 0, (3, 0): ops[3, 1]}
    assert canonical_cell(format_ops(list(moved.values()))) == canonical_cell(format_ops(list(ops.values())))


@given(cells)
def test_what_a_dead_node_feeds_does_not_matter(arch: str) -> None:
    ops = dict(zip(EDGES, parse(arch), strict=True))
    ops[1, 0] = 0  # node 1 gets nothing, so its outgoing edges carry nothing
    others = {**ops, (2, 1): 3, (3, 1): 4}
    assert canonical_cell(format_ops(list(others.values()))) == canonical_cell(format_ops(list(ops.values())))


def test_naslibs_order_of_edges_and_operations() -> None:
    # NASLib: edges (1,2) (1,3) (1,4) (2,3) (2,4) (3,4); Identity, Zero, ReLUConvBN3x3, ReLUConvBN1x1, AvgPool1x1.
    expected = "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|skip_connect~2|"
    assert from_naslib((0, 1, 2, 3, 4, 0)) == expected


def test_darts_pts_genotypes() -> None:
    resnet = [(("nor_conv_3x3", 0),), (("nor_conv_3x3", 1),), (("skip_connect", 0), ("skip_connect", 2))]
    assert from_structure(resnet) == "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no NAS-Bench-201 cell"),
        ("15625", "no NAS-Bench-201 cell"),
        ("(1, 2, 3)", "six indices"),
        ("(5, 0, 0, 0, 0, 0)", "six indices"),
        ("[(('none', 0),), (('none', 0),)]", "three nodes"),
        ("[(('none', 1),), (('none', 0),), (('none', 0),)]", "does not exist"),
        ("[(('none', 0), ('skip_connect', 0)), (('none', 0),), (('none', 0),)]", "two operations"),
        ("[(('pool', 0),), (('none', 0),), (('none', 0),)]", "'pool'"),
        ("__import__('os')", "no NAS-Bench-201 cell"),
        ("|none~0|+|none~0|", "malformed"),
    ],
)
def test_what_is_no_cell_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_cell(text)

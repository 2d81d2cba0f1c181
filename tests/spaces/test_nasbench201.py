"""NAS-Bench-201 as a space: codec, derivation, isomorphism."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnas.errors import UserError
from itnas.spaces import get_space
from itnas.spaces.nasbench201 import (
    EDGES,
    OPERATIONS,
    PATHS,
    NASBench201,
    all_cells,
    format_ops,
    is_connected,
    isomorphism_class,
    parse,
)

CELLS = st.tuples(*[st.integers(0, 4)] * 6)


def test_all_15625_strings_round_trip() -> None:
    strings = {format_ops(cell) for cell in all_cells()}
    assert len(strings) == 15_625
    assert all(format_ops(parse(text)) == text for text in strings)


def test_edges_are_sorted_and_the_string_names_their_sources() -> None:
    assert tuple(sorted(EDGES)) == EDGES
    text = format_ops([3, 3, 3, 1, 3, 3])
    assert text == "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert [choice.name for choice in NASBench201.groups["edges"]] == ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]


def test_there_are_6466_isomorphism_classes() -> None:
    assert len({isomorphism_class(format_ops(cell)) for cell in all_cells()}) == 6_466


@pytest.mark.data
def test_classes_agree_with_the_benchmarks_unique_strings(data_root) -> None:  # noqa: ANN001
    import pyarrow.parquet as pq

    table = pq.read_table(data_root / "nas-bench-201" / "table.parquet", columns=["arch", "unique_string"]).to_pylist()
    assert all(isomorphism_class(row["arch"]) == row["unique_string"] for row in table)


def test_341_cells_have_no_live_path() -> None:
    assert sum(not is_connected(format_ops(cell)) for cell in all_cells()) == 341


def test_two_edges_lie_on_two_paths() -> None:
    times = [sum(edge in path for path in PATHS) for edge in range(6)]
    assert times == [2, 1, 1, 1, 1, 2]


@given(CELLS)
def test_skip_to_an_intermediate_node_equals_the_direct_edge(cell: tuple[int, ...]) -> None:
    """With node 1 = skip of the input, an operation on 3<-1 and the same one on 3<-0 can change places."""
    a = (1, cell[1], cell[2], cell[3], cell[4], cell[5])
    b = (1, cell[2], cell[1], cell[4], cell[3], cell[5])
    assert isomorphism_class(format_ops(a)) == isomorphism_class(format_ops(b))


def test_derivation_takes_the_argmax_and_ties_go_to_the_lower_index() -> None:
    space = NASBench201()
    scores = np.full((6, 5), 0.2)
    assert space.operations(space.derive({"edges": scores}, exclude_none=False)) == ["none"] * 6
    assert space.operations(space.derive({"edges": scores}, exclude_none=True)) == ["skip_connect"] * 6
    scores[2, 4] = 0.3
    scores[:, 0] = 0.9
    assert space.operations(space.derive({"edges": scores}, exclude_none=False)) == ["none"] * 6
    assert space.operations(space.derive({"edges": scores}, exclude_none=True))[2] == "avg_pool_3x3"


def test_bad_scores_are_refused() -> None:
    space = NASBench201()
    with pytest.raises(ValueError, match="NaN"):
        space.derive({"edges": np.full((6, 5), np.nan)}, exclude_none=False)
    with pytest.raises(ValueError, match="shape"):
        space.derive({"edges": np.zeros((5, 5))}, exclude_none=False)
    with pytest.raises(ValueError, match="lack the group"):
        space.derive({}, exclude_none=False)


def test_random_cells_are_uniform_over_operations() -> None:
    rng = np.random.default_rng(0)
    ops = np.array([parse(NASBench201().random(rng, exclude_none=True)) for _ in range(400)])
    assert set(ops.ravel()) == {1, 2, 3, 4}
    assert np.allclose([(ops == k).mean() for k in range(1, 5)], 0.25, atol=0.04)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1 of 3 nodes"),
        ("|none~0|+|none~0|none~1|", "2 of 3 nodes"),
        ("|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|", "unknown operation 'conv' at node 1"),
        ("|none~0|+|none~0|none~0|+|none~0|none~1|none~2|", "'none~0' for 'op~1'"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2"),
        ("none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "'none'"),
    ],
)
def test_malformed_strings_say_where(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("|", r"\|")):
        parse(text)


def test_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="nasbench201"):
        get_space("nasbench202")


def test_operation_order_is_the_benchmarks() -> None:
    assert OPERATIONS == ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")

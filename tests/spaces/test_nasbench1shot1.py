"""NAS-Bench-1Shot1 as a space: codec, derivation, enumeration, and what the benchmark's paper counted."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnas.errors import UserError
from itnas.spaces import get_space
from itnas.spaces.nasbench1shot1 import (
    OPERATIONS,
    Cell,
    NASBench1Shot1,
    NASBench1Shot11,
    NASBench1Shot12,
    NASBench1Shot13,
    all_cells,
    all_graphs,
    close,
    to_spec,
)

SPACES = (NASBench1Shot11(), NASBench1Shot12(), NASBench1Shot13())
POOL, CONV3, CONV1 = OPERATIONS
ALL = pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)


def one_hot(space: NASBench1Shot1, operations: list[int], parents: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    scores = {group: np.zeros((len(c), len(c[0].candidates))) for group, c in space.groups.items()}
    scores["operations"][np.arange(len(operations)), operations] = 1
    for group, kept in parents.items():
        scores[group][0, list(kept)] = 1
    return scores


def random_scores(space: NASBench1Shot1, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {group: rng.normal(size=(len(c), len(c[0].candidates))) for group, c in space.groups.items()}


# --- what can be chosen -----------------------------------------------------------------------------------------------


@ALL
def test_nine_edges_and_a_choice_wherever_a_node_leaves_earlier_nodes_out(space: NASBench1Shot1) -> None:
    assert sum(space.n_parents) == 9
    assert OPERATIONS == ("maxpool3x3", "conv3x3-bn-relu", "conv1x1-bn-relu")
    assert all(choice.candidates == OPERATIONS for choice in space.groups["operations"])
    for node, group in space.input_groups.items():
        (choice,) = space.groups[group]
        assert choice.candidates == tuple(str(earlier) for earlier in range(node))
        assert space.n_parents[node - 1] < node


def test_groups_are_those_of_the_benchmark() -> None:
    assert [list(space.groups) for space in SPACES] == [
        ["operations", "input-3", "input-4", "output"],
        ["operations", "input-2", "input-3", "input-4", "output"],
        ["operations", "input-2", "input-3", "input-4", "input-5", "output"],
    ]
    assert [len(space.groups["operations"]) for space in SPACES] == [4, 4, 5]
    assert [len(space.groups["output"][0].candidates) for space in SPACES] == [5, 5, 6]
    assert all(get_space(f"nasbench1shot1-{number}").name == f"nasbench1shot1-{number}" for number in (1, 2, 3))


# --- genotypes --------------------------------------------------------------------------------------------------------

GENOTYPE = "0;0,1;1,2;-;2,3|conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;-"


def test_a_genotype_says_parents_and_operations_per_node() -> None:
    space = SPACES[0]
    assert space.parse(GENOTYPE) == Cell(((0,), (0, 1), (1, 2), (), (2, 3)), (1, 0, 2, -1))
    assert space.operations(GENOTYPE) == [CONV3, POOL, CONV1, "-"]
    assert space.chosen(GENOTYPE) == {
        "operations": [(1,), (0,), (2,), ()],
        "input-3": [(1, 2)],
        "input-4": [()],
        "output": [(2, 3)],
    }
    assert space.count(GENOTYPE, POOL) == 1


def test_loose_ends_and_the_order_of_parents_do_not_matter() -> None:
    spelt = " 0; 1,0; 2,1; 0,3; 3,2 | conv3x3-bn-relu;maxpool3x3;conv1x1-bn-relu;conv1x1-bn-relu "
    assert SPACES[0].canonical(spelt) == GENOTYPE  # nothing uses node 4


@ALL
def test_every_cell_has_one_text(space: NASBench1Shot1) -> None:
    graph_of, ops = all_cells(space)
    graphs = all_graphs(space.n_parents)
    some = np.random.default_rng(0).choice(len(ops), 1000, replace=False)
    cells = [Cell(graphs[graph_of[i]], tuple(ops[i].tolist())) for i in some]
    assert all(space.parse(str(cell)) == cell and space.canonical(str(cell)) == str(cell) for cell in cells)
    assert len({str(cell) for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        ("0;0,1;1,2;0,1;2,4", "needs 5 fields of parents, a bar and 4 operations"),
        (GENOTYPE + ";-", "needs 5 fields of parents, a bar and 4 operations"),
        (GENOTYPE.replace("1,2", "1,4"), "node 3 has the parent 4, which is not an earlier node"),
        (GENOTYPE.replace("1,2", "1,3"), "node 3 has the parent 3, which is not an earlier node"),
        (GENOTYPE.replace("1,2", "0,1,2"), "node 3 has 3 parents, nasbench1shot1-1 gives it 2, so .* at most nine edges"),
        (GENOTYPE.replace("1,2", "2"), "node 3 has 1 parent, nasbench1shot1-1 gives it 2"),
        (GENOTYPE.replace("1,2", "1,1"), "one of them twice"),
        (GENOTYPE.replace("1,2", "a"), "node 3 has 'a' instead of its parents"),
        (GENOTYPE.replace("2,3|", "-|"), "the output has '-' instead of its parents"),
        (GENOTYPE.replace("1,2", "-"), "the output is reached from node 3, which has no parents"),
        (GENOTYPE.replace("maxpool3x3", "-"), "the output is reached from node 2, which has no operation"),
        (GENOTYPE.replace("maxpool3x3", "maxpool"), "unknown operation 'maxpool' at node 2"),
    ],
)  # fmt: skip
def test_malformed_genotypes_are_refused_in_one_sentence(genotype: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        SPACES[0].canonical(genotype)
    assert "\n" not in str(error.value)


# --- derivation -------------------------------------------------------------------------------------------------------


def test_the_best_operation_and_the_best_parents_are_taken_and_loose_ends_dropped() -> None:
    scores = one_hot(SPACES[0], [1, 0, 2, 2], {"input-3": (1, 2), "input-4": (0, 3), "output": (2, 3)})
    assert SPACES[0].derive(scores, exclude_none=True) == GENOTYPE
    scores["output"][0] = [0.3, 0.1, 0.0, 0.0, 0.2]  # input and node 4, which is fed by the input and by node 3
    assert SPACES[0].derive(scores, exclude_none=False).startswith("0;0,1;1,2;0,3;0,4|")


@ALL
def test_ties_go_to_the_lower_index(space: NASBench1Shot1) -> None:
    scores = {group: np.zeros((len(c), len(c[0].candidates))) for group, c in space.groups.items()}
    cell = space.parse(space.derive(scores, exclude_none=True))
    assert cell.parents[-1] == tuple(range(space.n_parents[-1]))
    assert set(cell.ops) <= {0, -1}


@given(st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_what_was_chosen_derives_to_the_same_cell(number: int, seed: int) -> None:
    space = SPACES[number]
    genotype = space.random(np.random.default_rng(seed), exclude_none=False)
    kept = space.chosen(genotype)
    operations = [op[0] if op else 0 for op in kept["operations"]]
    scores = one_hot(space, operations, {group: kept[group][0] for group in space.input_groups.values()})
    assert space.derive(scores, exclude_none=True) == genotype


@ALL
def test_scores_of_another_shape_are_refused(space: NASBench1Shot1) -> None:
    scores = random_scores(space, np.random.default_rng(0))
    del scores["output"]
    with pytest.raises(ValueError, match="lack the group 'output'"):
        space.derive(scores, exclude_none=True)


# --- counting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "graphs", "cells", "full", "raw"),
    [(1, 66, 3_702, 3_078, 14_580), (2, 190, 12_474, 11_178, 29_160), (3, 876, 135_900, 108_135, 1_312_200)],
)
def test_the_exact_enumeration(number: int, graphs: int, cells: int, full: int, raw: int) -> None:
    space = SPACES[number - 1]
    graph_of, ops = all_cells(space)
    assert (len(all_graphs(space.n_parents)), len(ops)) == (graphs, cells)
    assert (ops >= 0).all(axis=1).sum() == full
    assert len(np.unique(np.column_stack([graph_of, ops]), axis=0)) == cells
    choices = np.prod([len(list(combinations(range(v), p))) for v, p in enumerate(space.n_parents, start=1)])
    assert choices * 3**space.n_blocks == raw


def lossy_graphs(n_parents: tuple[int, ...]) -> set[tuple[frozenset[int], ...]]:
    """Return the graphs that the released generator yields: it follows only the parent it has just added."""
    last, wanted, found = len(n_parents), (0, *n_parents), set()

    def is_complete(parents: tuple[frozenset[int], ...]) -> bool:
        used = {last}
        for node in range(last, 0, -1):
            if node in used and len(parents[node]) != wanted[node]:
                return False
            used |= parents[node] if node in used else set()
        return True

    def grow(parents: tuple[frozenset[int], ...], node: int) -> None:
        if is_complete(parents):
            found.add(parents)
            return
        free = [earlier for earlier in range(node) if earlier not in parents[node]]
        for added in combinations(free, wanted[node] - len(parents[node])):
            grown = list(parents)
            for parent in added:
                grown[node] = grown[node] | {parent}
                grow(tuple(grown), parent)

    grow((frozenset(),) * (last + 1), last)
    return found


@pytest.mark.parametrize(("number", "graphs", "published"), [(1, 49, 2_487), (2, 65, 3_609), (3, 234, 24_066)])
def test_the_papers_counts_are_those_of_its_lossy_recursion(number: int, graphs: int, published: int) -> None:
    n_parents = SPACES[number - 1].n_parents
    found = lossy_graphs(n_parents)
    assert len(found) == graphs
    assert sum(3 ** sum(map(bool, graph[1:-1])) for graph in found) == published
    assert {tuple(tuple(sorted(nodes)) for nodes in graph[1:]) for graph in found} < set(all_graphs(n_parents))


@ALL
def test_random_cells_are_uniform_over_the_distinct_cells(space: NASBench1Shot1) -> None:
    rng = np.random.default_rng(0)
    blocks = [sum(op != "-" for op in space.operations(space.random(rng, exclude_none=True))) for _ in range(2000)]
    used = (all_cells(space)[1] >= 0).sum(axis=1)
    assert np.mean(blocks) == pytest.approx(used.mean(), abs=5 * used.std() / 2000**0.5)


def test_random_reaches_every_cell_of_space_1() -> None:
    rng = np.random.default_rng(1)
    drawn = {SPACES[0].random(rng, exclude_none=True) for _ in range(12_000)}
    missed = np.exp(-12_000 / 3_702) * 3_702  # expected number of cells never drawn
    assert 3_702 - len(drawn) == pytest.approx(missed, abs=5 * missed**0.5)


# --- as NAS-Bench-101 takes it ----------------------------------------------------------------------------------------


def test_the_dummy_vertex_stands_before_the_output() -> None:
    matrix, ops = to_spec(SPACES[0].parse(GENOTYPE))
    assert ops == ("input", CONV3, POOL, CONV1, CONV1, "conv1x1-bn-relu", "output")
    edges = {(x, y) for x in range(7) for y in range(7) if matrix[x][y]}
    assert edges == {(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 6), (3, 6)}
    assert not any(matrix[5]) and not any(row[5] for row in matrix)


def test_space_3_has_seven_vertices_and_no_dummy() -> None:
    cell = close([(0,), (1,), (2,), (0, 3), (0, 4), (0, 5)], (0, 1, 2, 0, 1))
    matrix, ops = to_spec(cell)
    assert ops == ("input", POOL, CONV3, CONV1, POOL, CONV3, "output")
    assert np.sum(matrix) == 9


def test_the_space_imports_neither_torch_nor_a_benchmark() -> None:
    import subprocess
    import sys

    code = "import sys, itnas.spaces; print([m for m in ('torch', 'itnas.benchmarks') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.data
@ALL
def test_the_cells_are_those_of_the_shared_table(space: NASBench1Shot1, data_root: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(data_root / "nas-bench-1shot1" / f"s{space.name[-1]}.parquet", columns=["parents", "ops"])
    digits = dict(zip("012-", (1, 2, 0, -1), strict=True))  # NAS-Bench-101's order of operations
    theirs = {(p, tuple(digits[op] for op in ops)) for p, ops in zip(table["parents"], table["ops"], strict=True)}
    graph_of, ops = all_cells(space)
    texts = [";".join(",".join(map(str, nodes)) for nodes in graph) for graph in all_graphs(space.n_parents)]
    assert {(texts[graph], tuple(row)) for graph, row in zip(graph_of, ops.tolist(), strict=True)} == theirs

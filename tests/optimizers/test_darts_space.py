"""Methods on DARTS-like cells: DARTS-PT's phases and topology, RLNAS's angle and evolution, AGNAS's stage-wise cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from itnas.nn.build import build_supernet
from itnas.nn.darts_networks import build_cell_network
from itnas.nn.darts_supernet import CellNetworkConfig, CellSuperCell, CellSupernet
from itnas.nn.mixing import SinglePath
from itnas.optimizers.agnas import AGNAS, AGNASConfig
from itnas.optimizers.angles import products
from itnas.optimizers.darts_angles import CellAngles
from itnas.optimizers.darts_pt import DARTSPT
from itnas.spaces import get_space
from itnas.spaces.darts import EDGES, INCOMING, CellSpace

SIZE = CellNetworkConfig(channels=4, cells_per_stage=1)


def space_of(name: str) -> CellSpace:
    space = get_space(name)
    assert isinstance(space, CellSpace)
    return space


# --- DARTS-PT ---------------------------------------------------------------------------------------------------------


def test_phases_are_14_operations_and_then_3_nodes_per_cell_type() -> None:
    operations, inputs = space_of("s2").phases()
    assert [len(queue) for queue in operations] == [14, 14]
    assert [len(queue) for queue in inputs] == [3, 3]
    assert all(d.keep == 2 and d.topology for queue in inputs for d in queue)
    assert [len(d.options) for d in inputs[0]] == [3, 4, 5]
    assert inputs[1][2].options == tuple((edge, None) for edge in INCOMING[3])
    assert {d.group for d in inputs[1]} == {"reduce"}


@pytest.fixture
def darts_pt(prepare: Callable) -> Callable[..., tuple[DARTSPT, list[int], list[int]]]:
    """Return a function that selects on S2 with a made-up accuracy, and what was decided and tuned when."""

    def run(topology: str, worth: Callable[[DARTSPT, object], float], between: int = 5) -> tuple:
        optimizer, train, valid = prepare("darts-pt", space="s2")
        optimizer.config = replace(optimizer.config, topology=topology, tune_epochs_between=between)
        decided: list[int] = []
        tuned: list[int] = []
        original = optimizer.decide_next

        def decide_next(phases: object, data: object) -> None:
            decided.append(len(tuned))
            original(phases, data)

        optimizer.decide_next = decide_next
        optimizer.train_epoch = lambda *_: tuned.append(1)
        optimizer.masked_accuracy = lambda valid, state, option=None: worth(optimizer, option)
        return optimizer, optimizer.select(train, valid), decided, tuned

    return run


def test_schedule_is_the_published_one(darts_pt: Callable) -> None:
    """Operations before epochs 0, 5, ..., 65, inputs before 70, 75 and 80; 81 epochs of tuning."""
    _, _, decided, tuned = darts_pt("greedy", lambda optimizer, option: 50.0)
    assert decided == list(range(0, 81, 5))
    assert len(tuned) == 81


def test_an_operation_and_inputs_that_alone_are_useful_are_chosen(darts_pt: Callable) -> None:
    """Masking sep_conv_3x3 costs 10 points, masking an edge as many points as its number."""

    def worth(optimizer: DARTSPT, option: tuple[int, int | None] | None) -> float:
        gone = set(optimizer.measured.masked) | ({option} if option else set())
        return 90.0 - sum(10.0 * k if k is not None else float(edge) for edge, k in gone)

    for topology in ("greedy", "single"):
        optimizer, selection, _, _ = darts_pt(topology, worth, 1)
        chosen = optimizer.space.chosen(selection.genotype)
        for group in ("normal", "reduce"):
            kept = [edge for edge, options in enumerate(chosen[group]) if options]
            assert kept == [edge for edges in INCOMING for edge in edges[-2:]]  # the highest numbers cost most
            assert set(chosen[group]) == {(), (1,)}


def test_greedy_remembers_what_it_removed_and_single_does_not(darts_pt: Callable) -> None:
    """Edges 9 and 10 do the same work: losing either costs nothing, losing both 30 points; the others cost 5, 6 and 7."""

    def worth(optimizer: DARTSPT, option: tuple[int, int | None] | None) -> float:
        gone = {edge for edge, k in set(optimizer.measured.masked) | ({option} if option else set()) if k is None}
        return 90.0 - 30.0 * ({9, 10} <= gone) - sum({11: 5.0, 12: 6.0, 13: 7.0}.get(edge, 0.0) for edge in gone)

    kept = {}
    for topology in ("greedy", "single"):
        optimizer, selection, _, _ = darts_pt(topology, worth, 1)
        chosen = optimizer.space.chosen(selection.genotype)["normal"]
        kept[topology] = [edge for edge in INCOMING[3] if chosen[edge]]
    assert kept["single"] == [12, 13]
    assert len(set(kept["greedy"]) & {9, 10}) == 1
    assert 13 in kept["greedy"]


# --- RLNAS ------------------------------------------------------------------------------------------------------------


def paths(present: list[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield every path of present edges from an input to a node, as edge numbers, by plain recursion."""

    def extend(state: int, so_far: list[int]) -> Iterator[list[int]]:
        for node, source in present:
            if source == state:
                longer = [*so_far, EDGES.index((node, source))]
                yield longer
                yield from extend(node, longer)

    for start in (0, 1):
        yield from extend(start, [])


def test_all_14_edges_make_30_paths() -> None:
    assert len(list(paths(list(EDGES)))) == 30


@pytest.mark.parametrize("name", ["darts", "s1", "s4"])
def test_the_angle_equals_a_plain_concatenation_along_all_paths(name: str) -> None:
    torch.manual_seed(0)
    space = space_of(name)
    graph = build_supernet(space, SinglePath, SIZE, 1, 10, affine=True, track=True)
    assert isinstance(graph, CellSupernet)
    angles = CellAngles(space)

    def vector(genotype: str) -> torch.Tensor:
        found = [*graph.stem.parameters(), graph.classifier.weight]
        for cell in graph.supercells:
            assert isinstance(cell, CellSuperCell)
            found += list(cell.preprocess.parameters())
            chosen = space.chosen(genotype)[cell.group]
            for path in paths([EDGES[edge] for edge, kept in enumerate(chosen) if kept]):
                for edge in path:
                    operation = space.groups[cell.group][edge].candidates[chosen[edge][0]]
                    if operation == "skip_connect" and not (cell.place.reduction and EDGES[edge][1] < 2):
                        found.append(torch.eye(cell.place.channels))
                    if "pool" in operation:
                        found.append(torch.full((cell.place.channels, 3, 3), 1 / 9))
                    found += cell.weights(edge, chosen[edge][0])
        return torch.cat([part.detach().double().flatten() for part in found])

    rng = np.random.default_rng(0)
    codes = np.array([angles.draw_candidate(rng, exclude_none=True) for _ in range(3)])
    genotypes = [angles.genotype(code) for code in codes]
    start = {part: [w.detach().clone() for w in ws] for part, ws in angles.parts(graph).items()}
    before = [vector(genotype) for genotype in genotypes]
    assert np.allclose(angles.angles(products(start, angles.parts(graph)), codes), 0, atol=1e-6)
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    ours = angles.angles(products(start, angles.parts(graph)), codes)
    for genotype, a, angle in zip(genotypes, before, ours, strict=True):
        b = vector(genotype)
        assert angle == pytest.approx(torch.arccos(a @ b / (a.norm() * b.norm())).item(), abs=1e-9)


@pytest.mark.parametrize("name", ["darts", "s1", "s3"])
def test_codes_are_genotypes_with_two_inputs_per_node(name: str) -> None:
    space, rng = space_of(name), np.random.default_rng(0)
    angles = CellAngles(space)
    drawn = [angles.draw_candidate(rng, exclude_none=True) for _ in range(20)]
    crossed = [tuple(int(rng.integers(size)) for size in angles.sizes) for _ in range(20)]
    for code in [*drawn, *(angles.repair(code, rng) for code in crossed)]:
        genotype = angles.genotype(np.array(code))
        assert space.canonical(genotype) == genotype
        assert angles.code(space.chosen(genotype)) == code
        for start in (0, 14):
            assert [sum(code[start + edge] > 0 for edge in edges) for edges in INCOMING] == [2, 2, 2, 2]


def test_the_evolution_mutates_both_cells_and_finds_a_large_angle(prepare: Callable) -> None:
    optimizer, train, valid = prepare("rlnas", space="s2")
    optimizer.config = replace(optimizer.config, population=10, generations=4, parents=4)
    optimizer.train_epoch(train, valid)
    genotype = optimizer.evolve(exclude_none=True)
    best = optimizer.angles(np.array([optimizer.architectures.code(optimizer.space.chosen(genotype))]))[0]
    assert best > np.median(optimizer.angles())
    assert optimizer.space.canonical(genotype) == genotype


# --- AGNAS ------------------------------------------------------------------------------------------------------------


def test_stage_wise_cells_are_read_from_the_first_cell_of_each_stage_and_make_a_network() -> None:
    optimizer = AGNAS(AGNASConfig(aggregate="first"), CellNetworkConfig(channels=4))
    optimizer.adapt_search_space(space_of("darts-stagewise"), "digits")
    rng = np.random.default_rng(0)
    optimizer.measured.importance = {
        group: rng.random((len(optimizer.graph.cells_of(group)), 14, 8)) for group in optimizer.space.groups
    }
    assert optimizer.graph.cells_of("normal-2") == [3, 4]
    for group, scores in optimizer.scores().items():
        assert np.array_equal(scores, optimizer.cell_scores()[group][0])
    genotype = optimizer.derive(exclude_none=True)
    assert genotype.count("Normal_Genotype") == 3
    assert build_cell_network(genotype, 20, 4, 1, 10)(torch.randn(2, 1, 8, 8)).shape == (2, 10)

"""RLNAS on NAS-Bench-1Shot1: the exact angle against a naive walk over all paths, and its evolution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from itnas.nn.oneshot1 import OneShot1SuperCell, OneShot1Supernet
from itnas.optimizers.rlnas import RLNAS
from itnas.spaces.nasbench1shot1 import Cell, NASBench1Shot1

SEED = 5


def trained(prepare: Callable, space: str, **options: object) -> tuple[RLNAS, OneShot1Supernet]:
    """Return a supernet whose weights all moved, and a copy with the initial ones."""
    optimizer, _, _ = prepare("rlnas", SEED, space, **options)
    initial, _, _ = prepare("rlnas", SEED, space, **options)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in optimizer.graph.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return optimizer, initial.graph


def paths_to(cell: Cell, node: int) -> Iterator[tuple[int, ...]]:
    """Yield every path from the input to a node, without the input."""
    for parent in cell.parents[node - 1]:
        if parent == 0:
            yield (node,)
        else:
            for path in paths_to(cell, parent):
                yield (*path, node)


def naive_vector(graph: OneShot1Supernet, cell: Cell, tensors: int | None = None) -> Tensor:
    """Concatenate the weights path by path, cell by cell."""
    pieces = [p for module in graph.fixed_modules() for p in module.parameters()]
    last = len(cell.parents)
    for supercell in graph.supercells:
        assert isinstance(supercell, OneShot1SuperCell)
        for path in paths_to(cell, last):
            pieces += supercell.projection_weights(path[0])[:tensors]
            for node in path:
                if node < last:
                    weights = supercell.operation_weights(node, cell.ops[node - 1])[:tensors]
                    pieces += weights or [torch.full((supercell.channels, 3, 3), 1 / 9)]
    return torch.cat([p.detach().double().flatten() for p in pieces])


@pytest.mark.parametrize(
    ("name", "batchnorm"), [("nasbench1shot1-1", True), ("nasbench1shot1-1", False), ("nasbench1shot1-3", True)]
)
def test_exact_angle_equals_naive_concatenation(name: str, batchnorm: bool, prepare: Callable) -> None:
    optimizer, initial = trained(prepare, name, angle_batchnorm=batchnorm)
    space = optimizer.space
    assert isinstance(space, NASBench1Shot1)
    codes = optimizer.architectures.codes()
    rng = np.random.default_rng(0)
    sample = codes[rng.choice(len(codes), 25, replace=False)]
    genotypes = [optimizer.architectures.genotype(code) for code in sample]
    for genotype, angle in zip(genotypes, optimizer.angles(sample), strict=True):
        tensors = None if batchnorm else 1
        a, b = (naive_vector(graph, space.parse(genotype), tensors) for graph in (initial, optimizer.graph))
        assert math.isclose(angle, math.acos(float(a @ b / (a.norm() * b.norm()))), abs_tol=1e-9), genotype


@pytest.mark.parametrize(("name", "cells"), [("nasbench1shot1-1", 3_702), ("nasbench1shot1-2", 12_474)])
def test_codes_are_all_distinct_cells_and_scores_are_maxima_over_those_that_keep_a_candidate(
    name: str, cells: int, prepare: Callable
) -> None:
    optimizer, _ = trained(prepare, name)
    codes = optimizer.architectures.codes()
    genotypes = [optimizer.architectures.genotype(code) for code in codes]
    assert len(codes) == len(set(genotypes)) == cells
    angles, scores = optimizer.angles(), optimizer.scores()
    assert optimizer.derive(exclude_none=False) == genotypes[int(angles.argmax())]
    chosen = [optimizer.space.chosen(genotype) for genotype in genotypes]
    for group, choice, candidate in (("operations", 0, 2), ("operations", 3, 0), ("input-4", 0, 1), ("output", 0, 4)):
        has = [candidate in kept[group][choice] for kept in chosen]
        assert scores[group][choice, candidate] == angles[has].max()


def test_evolution_comes_near_the_exact_optimum_in_space_3(prepare: Callable) -> None:
    optimizer, _ = trained(prepare, "nasbench1shot1-3")
    assert optimizer.config.search == "evolution"
    angles = optimizer.angles()
    found = optimizer.evolve(exclude_none=False)
    codes = optimizer.architectures.codes()
    index = next(i for i in np.argsort(-angles) if optimizer.architectures.genotype(codes[i]) == found)
    assert (angles > angles[index]).mean() < 0.001


def test_paths_are_drawn_uniformly_from_the_choices(prepare: Callable) -> None:
    optimizer, _, _ = prepare("rlnas", SEED, "nasbench1shot1-2")
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([optimizer.architectures.draw(generator) for _ in range(600)])
    for gene, size in enumerate(optimizer.architectures.sizes):
        share = np.bincount(drawn[:, gene], minlength=size) / len(drawn)
        assert np.abs(share - 1 / size).max() < 4 * math.sqrt((1 / size) * (1 - 1 / size) / len(drawn))

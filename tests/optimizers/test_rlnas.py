"""RLNAS: the exact angle against a naive concatenation, random labels, path sampling, evolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from itnas.nn.operations import ResNetBlock
from itnas.nn.supernets import NASBench201SuperCell, NASBench201Supernet
from itnas.optimizers.angles import NASBench201Angles
from itnas.optimizers.rlnas import RLNAS
from itnas.spaces.nasbench201 import EDGES, OPERATIONS, PATHS, all_cells, parse

SEED = 5


def trained(prepare: Callable) -> tuple[RLNAS, NASBench201Supernet]:
    """Return a supernet whose weights all moved, and a copy with the initial ones."""
    optimizer, _, _ = prepare("rlnas", SEED)
    initial, _, _ = prepare("rlnas", SEED)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in optimizer.graph.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return optimizer, initial.graph


def weights_of(optimizer: RLNAS) -> dict[object, list[Tensor]]:
    return dict(optimizer.architectures.parts(optimizer.graph))


def naive_vector(graph: NASBench201Supernet, ops: tuple[int, ...]) -> Tensor:
    """Concatenate what RLNAS concatenates, path by path and module by module."""
    pieces: list[Tensor] = []
    reductions_done = False
    for path in PATHS:
        if any(OPERATIONS[ops[edge]] == "none" for edge in path):
            continue
        for module in graph.stages:
            if isinstance(module, ResNetBlock):
                if not reductions_done:
                    pieces += [p for p in module.parameters()]
                continue
            assert isinstance(module, NASBench201SuperCell)
            for edge in path:
                name = OPERATIONS[ops[edge]]
                if name == "avg_pool_3x3":
                    pieces.append(torch.full((module.bundles[0].channels, 3, 3), 1 / 9))  # type: ignore[arg-type]
                elif name != "skip_connect":
                    weight = module.weight(edge, ops[edge])
                    assert weight is not None
                    pieces.append(weight)
        reductions_done = True
    if not pieces:
        return torch.zeros(0, dtype=torch.float64)
    for fixed in (graph.stem, graph.lastact, graph.classifier):
        pieces += list(fixed.parameters())
    return torch.cat([p.detach().double().flatten() for p in pieces])


def naive_angle(before: NASBench201Supernet, after: NASBench201Supernet, ops: tuple[int, ...]) -> float:
    a, b = naive_vector(before, ops), naive_vector(after, ops)
    return 0.0 if len(a) == 0 else math.acos(float(a @ b / (a.norm() * b.norm())))


def test_exact_angle_equals_naive_concatenation_for_random_cells(prepare: Callable) -> None:
    optimizer, initial = trained(prepare)
    angles = optimizer.angles()
    cells = all_cells()
    for index in np.random.default_rng(0).choice(len(cells), 60, replace=False):
        ops = tuple(int(op) for op in cells[index])
        assert math.isclose(angles[index], naive_angle(initial, optimizer.graph, ops), abs_tol=1e-9)


def test_edges_1_0_and_3_2_count_twice(prepare: Callable) -> None:
    """Turning only the weights of one edge moves the angle as a doubled block would, for those two edges."""
    optimizer, _, _ = prepare("rlnas", SEED)
    cell = [1, 1, 1, 1, 1, 1]
    for edge, (target, source) in enumerate(EDGES):
        ops = list(cell)
        ops[edge] = OPERATIONS.index("nor_conv_3x3")
        times = 2 if (target, source) in ((1, 0), (3, 2)) else 1
        weights = [c.weight(edge, ops[edge]) for c in optimizer.graph.supercells]
        before = [w.detach().clone() for w in weights if w is not None]
        with torch.no_grad():
            for w in weights:
                assert w is not None
                w += 0.1 * torch.randn_like(w)
        fixed = torch.cat([p.detach().double().flatten() for p in optimizer.initial.parts["fixed"]])
        v0 = torch.cat([w.double().flatten() for w in before])
        v1 = torch.cat([w.detach().double().flatten() for w in weights if w is not None])
        dot, n0, n1 = (fixed @ fixed + times * (x @ y) for x, y in ((v0, v1), (v0, v0), (v1, v1)))
        index = int(np.flatnonzero((all_cells() == ops).all(1))[0])
        assert math.isclose(optimizer.angles()[index], float(torch.arccos(dot / (n0 * n1).sqrt())), abs_tol=1e-9)
        with torch.no_grad():
            for w, old in zip(weights, before, strict=True):
                assert w is not None
                w.copy_(old)


def test_angles_are_zero_at_initialisation_and_for_cells_without_a_live_path(prepare: Callable) -> None:
    optimizer, _, _ = prepare("rlnas")
    assert np.abs(optimizer.angles()).max() < 1e-6
    moved, _ = trained(prepare)
    alive = np.stack([(all_cells()[:, list(path)] != 0).all(1) for path in PATHS]).any(0)
    assert (moved.angles()[~alive] == 0).all()
    assert (moved.angles()[alive] > 0).all()
    assert (~alive).sum() == 341


def test_choice_is_the_largest_angle_and_scores_are_maxima(prepare: Callable) -> None:
    optimizer, _ = trained(prepare)
    angles, cells = optimizer.angles(), all_cells()
    assert parse(optimizer.derive(exclude_none=False)) == tuple(cells[angles.argmax()])
    free = np.where((cells > 0).all(1))[0]
    assert parse(optimizer.derive(exclude_none=True)) == tuple(cells[free[angles[free].argmax()]])
    scores = optimizer.scores()["edges"]
    assert scores.max() == angles.max()
    assert scores[2, 4] == angles[cells[:, 2] == 4].max()


def test_random_labels_are_fixed_uniform_and_leave_images_and_validation_alone(prepare: Callable) -> None:
    optimizer, train, valid = prepare("rlnas")
    _, plain, plain_valid = prepare("darts")
    assert not torch.equal(train.labels, plain.labels)
    assert torch.equal(train.images, plain.images)
    assert torch.equal(valid.labels, plain_valid.labels)
    counts = torch.bincount(train.labels, minlength=10)
    assert counts.sum() == 64
    assert (counts > 0).sum() >= 8
    again, same, _ = prepare("rlnas")
    assert torch.equal(same.labels, train.labels)
    assert again is not optimizer


def test_no_node_of_a_sampled_path_is_fed_by_none_alone_and_operations_are_all_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    paths = [NASBench201Angles().draw(generator).tolist() for _ in range(500)]
    for path in paths:
        for target in (1, 2, 3):
            assert any(path[edge] for edge, (end, _) in enumerate(EDGES) if end == target)
    drawn = np.array(paths)
    assert set(drawn[:, 0]) == {1, 2, 3, 4}  # the only edge into node 1 is never `none`
    assert all(set(drawn[:, edge]) == {0, 1, 2, 3, 4} for edge in range(1, 6))


def test_a_step_trains_exactly_the_convolutions_of_the_sampled_path(prepare: Callable) -> None:
    optimizer, train, _ = prepare("rlnas")
    optimizer.config = replace(optimizer.config, weights=replace(optimizer.config.weights, weight_decay=0.0))
    optimizer.op_optimizer = optimizer.get_op_optimizer()
    paths = [[3, 2, 1, 4, 3, 2], [2, 3, 3, 1, 1, 3], [1, 1, 2, 3, 2, 4]]
    before = {part: [w.detach().clone() for w in ws] for part, ws in weights_of(optimizer).items()}
    optimizer.graph.train()
    optimizer.graph.set_paths([{"edges": [(op,) for op in path]} for path in paths])
    super(RLNAS, optimizer).step(next(iter(train)), None)
    after = weights_of(optimizer)
    for edge in range(6):
        for op in (2, 3):
            for cell, path in enumerate(paths):
                moved = not torch.equal(before[edge, op][cell], after[edge, op][cell])
                assert moved == (path[edge] == op), (cell, edge, OPERATIONS[op])
    assert isinstance(optimizer.graph.classifier, nn.Linear)


def test_evolution_finds_a_cell_near_the_exact_optimum(prepare: Callable) -> None:
    optimizer, _ = trained(prepare)
    angles = np.sort(optimizer.angles())
    index = {tuple(cell): i for i, cell in enumerate(all_cells().tolist())}
    found = optimizer.angles()[index[parse(optimizer.evolve(exclude_none=False))]]
    assert found >= angles[-20]
    assert "none" not in optimizer.evolve(exclude_none=True)

"""The DARTS-like supernet: layout, agreement with the stand-alone network and with a plain loop, discretization, paths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from itnas.nn.build import build_supernet
from itnas.nn.darts_networks import CellNetwork, GenotypeCell
from itnas.nn.darts_operations import POOLS, make_cell_operation
from itnas.nn.darts_supernet import BUNDLES, CellNetworkConfig, CellSuperCell, CellSupernet
from itnas.nn.mixing import Alphas, Mixing, SinglePath, Site, SoftmaxMixing
from itnas.spaces import get_space
from itnas.spaces.darts import EDGES, CellSpace
from itnas.spaces.darts_genotype import parse_genotype
from tests.spaces.published import AGNAS, DARTS_PT, DARTS_V1, DARTS_V2

SMALL = CellNetworkConfig(channels=4, cells_per_stage=1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def space_of(name: str) -> CellSpace:
    space = get_space(name)
    assert isinstance(space, CellSpace)
    return space


def single_path(name: str, size: CellNetworkConfig = SMALL, affine: bool = False) -> CellSupernet:
    graph = build_supernet(space_of(name), SinglePath, size, 1, 10, affine=affine, track=True)
    assert isinstance(graph, CellSupernet)
    return graph


def with_alphas(name: str, size: CellNetworkConfig = SMALL) -> tuple[CellSupernet, dict[str, Alphas]]:
    space = space_of(name)
    alphas = {group: Alphas(14, len(choices[0].candidates)) for group, choices in space.groups.items()}

    def make(site: Site) -> Mixing:
        return SoftmaxMixing(site, alphas[site.group])

    graph = build_supernet(space, make, size, 1, 10, affine=False, track=True)
    assert isinstance(graph, CellSupernet)
    return graph, alphas


def copy_weights(network: CellNetwork, graph: CellSupernet) -> None:
    """Give the stand-alone network the supernet's weights, operation by operation."""
    network.stem.load_state_dict(graph.stem.state_dict())
    network.classifier.load_state_dict(graph.classifier.state_dict())
    for cell, supercell in zip(network.stages, graph.supercells, strict=True):
        assert isinstance(cell, GenotypeCell)
        assert isinstance(supercell, CellSuperCell)
        cell.preprocess.load_state_dict(supercell.preprocess.state_dict())
        for number, (name, source) in enumerate(cell.genes):
            edge = EDGES.index((2 + number // 2, source))
            candidate = supercell.bundles[source].candidates[BUNDLES[source].index(edge)].index(name)
            cell.operations[number].load_state_dict(supercell.edge_state(edge, candidate))


@pytest.mark.parametrize(
    ("name", "genotype"),
    [
        ("darts", DARTS_V1),
        ("darts-no-none", DARTS_V2),
        ("darts-stagewise", AGNAS),
        ("s1", DARTS_PT["darts_pt_s1_1"]),
        ("s2", DARTS_PT["darts_pt_s2_1"]),
        ("s3", DARTS_PT["darts_pt_s3_1"]),
    ],
)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_one_path_reproduces_the_stand_alone_network_with_copied_weights(name: str, genotype: str, mode: str) -> None:
    size = CellNetworkConfig(channels=4, cells_per_stage=2)
    graph = single_path(name, size)
    with torch.no_grad():  # let running statistics differ from their start
        graph.set_paths([get_space(name).chosen(genotype)] * 8)
        graph(torch.randn(8, 1, 12, 12))
    network = CellNetwork(parse_genotype(genotype), 8, 4, 1, 10, affine=False, pool_bn=True)
    copy_weights(network, graph)
    x = torch.randn(4, 1, 12, 12)
    for module in (graph, network):
        module.train(mode == "train")
    assert torch.allclose(graph(x), network(x), atol=1e-5)


def test_one_hot_alphas_reproduce_the_stand_alone_network() -> None:
    graph, alphas = with_alphas("s2")
    genotype = DARTS_PT["darts_pt_s2_1"]
    for group, choices in space_of("s2").chosen(genotype).items():
        for edge, kept in enumerate(choices):
            alphas[group].decide(edge, kept)
    network = CellNetwork(parse_genotype(genotype), 5, 4, 1, 10, affine=False, pool_bn=True)
    copy_weights(network, graph)
    x = torch.randn(4, 1, 12, 12)
    assert torch.allclose(graph(x), network(x), atol=1e-5)


def test_eight_cells_with_reductions_at_two_and_five() -> None:
    graph = single_path("s2", CellNetworkConfig(channels=4))
    assert len(graph.supercells) == 8
    assert graph.cells_of("reduce") == [2, 5]
    assert graph.cells_of("normal") == [0, 1, 3, 4, 6, 7]
    assert [graph.stage_of(cell) for cell in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]
    stages = single_path("darts-stagewise", CellNetworkConfig(channels=4))
    names = [next(iter(stages.groups_of(cell))) for cell in range(8)]
    assert names == ["normal-1"] * 2 + ["reduce-1"] + ["normal-2"] * 2 + ["reduce-2"] + ["normal-3"] * 2


def test_bundles_are_the_edges_that_leave_a_state() -> None:
    assert BUNDLES == ((0, 2, 5, 9), (1, 3, 6, 10), (4, 7, 11), (8, 12), (13,))


def test_no_batchnorm_but_the_stems_is_affine_and_pools_are_normalised() -> None:
    graph = single_path("darts")
    affine = {name for name, m in graph.named_modules() if isinstance(m, nn.BatchNorm2d) and m.affine}
    assert affine == {"stem.1"}
    everywhere = single_path("darts", affine=True)
    layers = [m for m in everywhere.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.affine for m in layers)
    assert everywhere.supercells[0].edge_state(3, 1).keys() == {
        *("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.num_batches_tracked")
    }


@pytest.mark.parametrize("affine", [False, True])
def test_a_cell_equals_a_plain_loop_over_its_edges(affine: bool) -> None:
    """Softmax-weighted sums of separately built operations with the same weights, one edge after another."""
    space = space_of("darts")
    alphas = {group: Alphas(14, 8) for group in space.groups}
    graph = build_supernet(
        space, lambda site: SoftmaxMixing(site, alphas[site.group]), SMALL, 1, 10, affine=affine, track=True
    )
    for number in (0, 1):
        cell = graph.supercells[number]
        assert isinstance(cell, CellSuperCell)
        place = cell.place
        state = (torch.randn(3, place.c_before_last, 8, 8), torch.randn(3, place.c_last, 8, 8))
        states: list[Tensor] = cell.preprocess(state)
        weights = alphas[cell.group].logits.softmax(1)
        for node in range(2, 6):
            total = torch.zeros(())
            for edge, (target, source) in enumerate(EDGES):
                if target != node:
                    continue
                stride = 2 if place.reduction and source < 2 else 1
                for k, name in enumerate(space.groups[cell.group][edge].candidates):
                    operation = make_cell_operation(name, place.channels, stride, affine=affine, pool_bn=True)
                    operation.load_state_dict(cell.edge_state(edge, k))
                    total = total + weights[edge, k] * operation(states[source])
            states.append(total)
        (newer, out), _ = cell.with_importance(state)
        assert newer is state[1]
        assert torch.allclose(out, torch.cat(states[2:], 1), atol=1e-5)


def test_pooling_is_computed_once_per_state(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = nn.functional.max_pool2d
    monkeypatch.setattr(nn.functional, "max_pool2d", lambda *a, **k: (calls.append(1), original(*a, **k))[1])
    graph, _ = with_alphas("darts")
    graph(torch.randn(2, 1, 8, 8))
    assert len(calls) == 5 * 5  # cells x states, not 14 edges


def test_prefix_and_suffix_make_the_whole() -> None:
    graph, _ = with_alphas("s1")
    graph.eval()
    x = torch.randn(2, 1, 12, 12)
    for start in range(5):
        state = graph.prefix(x, start)
        assert isinstance(state, tuple)
        assert torch.equal(graph.suffix(state, start), graph(x))


def test_importance_is_given_per_group_cell_and_choice() -> None:
    graph, alphas = with_alphas("s3")
    logits, importance = graph.with_importance(torch.randn(2, 1, 8, 8))
    assert logits.shape == (2, 10)
    assert importance["normal"].shape == (3, 1, 14, 3)
    assert importance["reduce"].shape == (2, 1, 14, 3)
    for group, part in importance.items():
        assert torch.allclose(part[1, 0], alphas[group].logits.softmax(1))


def test_discretizing_prunes_one_edge_of_one_cell_or_of_all() -> None:
    graph, _ = with_alphas("s2")
    graph.eval()
    x = torch.randn(2, 1, 12, 12)
    before = graph(x)
    with graph.discretized({"normal": {3: (1,)}}, 0):
        one = graph(x)
    with graph.discretized({"normal": {3: (1,)}}):
        everywhere = graph(x)
    assert not torch.equal(before, one)
    assert not torch.equal(one, everywhere)
    with graph.discretized({"reduce": {3: (1,)}}, 0):
        assert torch.equal(graph(x), before)  # cell 0 is a normal cell
    assert torch.equal(graph(x), before)


def test_a_single_path_trains_its_two_inputs_per_node_and_nothing_else() -> None:
    graph = single_path("darts", affine=True)
    space = space_of("darts")
    genotype = space.random(np.random.default_rng(3), exclude_none=True)
    graph.set_paths([space.chosen(genotype)] * 5)
    graph(torch.randn(4, 1, 8, 8)).sum().backward()
    for cell in graph.supercells:
        assert isinstance(cell, CellSuperCell)
        chosen = space.chosen(genotype)[cell.group]
        for edge in range(14):
            for k in range(8):
                moved = [bool((g != 0).any()) for g in gradients(cell, edge, k)]
                assert all(moved) if k in chosen[edge] else not any(moved)


def gradients(cell: CellSuperCell, edge: int, candidate: int) -> list[Tensor]:
    """Return the gradients of a candidate's parameters on one edge, sliced as the parameters are."""
    bundle = cell.bundles[EDGES[edge][1]]
    place = BUNDLES[EDGES[edge][1]].index(edge)
    name = bundle.candidates[place][candidate]
    n, at = len(bundle.members[name]), bundle.members[name].index(place)
    return [
        torch.zeros_like(p).chunk(n)[at] if p.grad is None else p.grad.chunk(n)[at]
        for p in bundle.operations[name].parameters()
    ]


def test_noise_keeps_the_gradient_of_its_weight() -> None:
    graph, alphas = with_alphas("s4")
    graph(torch.randn(2, 1, 8, 8)).square().sum().backward()
    grad = alphas["normal"].logits.grad
    assert grad is not None
    assert (grad != 0).all()


def test_odd_images_work() -> None:
    graph, _ = with_alphas("darts")
    assert graph(torch.randn(2, 1, 9, 9)).shape == (2, 10)


def test_every_pool_of_the_space_is_known() -> None:
    assert set(POOLS) == {name for name in space_of("darts").groups["normal"][0].candidates if "pool" in name}

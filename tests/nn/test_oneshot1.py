"""NAS-Bench-1Shot1's networks: sizes, and that a decided supernet is the stand-alone network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from itnas.errors import UserError
from itnas.nn.build import build_network, build_supernet
from itnas.nn.mixing import Alphas, Mixing, SinglePath, Site, SoftmaxMixing
from itnas.nn.networks import NetworkConfig
from itnas.nn.oneshot1 import OneShot1Cell, OneShot1NetworkConfig, OneShot1SuperCell, OneShot1Supernet
from itnas.spaces import NASBench1Shot1, get_space

SMALL = OneShot1NetworkConfig(channels=4, cells_per_stage=1)
SPACES = ("nasbench1shot1-1", "nasbench1shot1-2", "nasbench1shot1-3")


def space_of(name: str) -> NASBench1Shot1:
    space = get_space(name)
    assert isinstance(space, NASBench1Shot1)
    return space


def supernet(name: str, make: object, size: NetworkConfig = SMALL) -> OneShot1Supernet:
    net = build_supernet(space_of(name), make, size, 3, 10, affine=True, track=True)  # type: ignore[arg-type]
    assert isinstance(net, OneShot1Supernet)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net


def darts(name: str, size: NetworkConfig = SMALL) -> tuple[OneShot1Supernet, dict[str, Alphas]]:
    alphas = {g: Alphas(len(choices), len(choices[0].candidates)) for g, choices in space_of(name).groups.items()}
    return supernet(name, lambda site: SoftmaxMixing(site, alphas[site.group]), size), alphas


def copy_weights(net: OneShot1Supernet, network: nn.Module) -> None:
    """Copy a supernet's weights and statistics into the stand-alone network of one of its cells."""
    for ours, theirs in zip(network.fixed_modules(), net.fixed_modules(), strict=True):  # type: ignore[operator]
        ours.load_state_dict(theirs.state_dict())
    for ours, theirs in zip(network.stages, net.stages, strict=True):  # type: ignore[arg-type]
        if not isinstance(ours, OneShot1Cell):
            continue
        assert isinstance(theirs, OneShot1SuperCell)
        for node, projection in ours.projections.items():
            own = theirs.projection_channels(int(node))
            source = theirs.projection.state_dict()
            projection.load_state_dict({k: v[own] if v.ndim else v for k, v in source.items()})
        for node, operation in ours.operations.items():
            same = [m for m in theirs.blocks[int(node) - 1] if m.state_dict().keys() == operation.state_dict().keys()]  # type: ignore[union-attr]
            for module in same:
                if all(a.shape == b.shape for a, b in zip(module.parameters(), operation.parameters(), strict=True)):
                    operation.load_state_dict(module.state_dict())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SPACES)
def test_one_hot_scores_reproduce_the_stand_alone_network(name: str, training: bool) -> None:
    torch.manual_seed(0)
    space, rng = space_of(name), np.random.default_rng(0)
    for layout in (torch.contiguous_format, torch.channels_last):
        net, alphas = darts(name)
        genotype = space.random(rng, exclude_none=False)
        for group, kept in space.chosen(genotype).items():
            for choice, candidates in enumerate(kept):
                alphas[group].decide(choice, candidates)
        network = build_network(space, genotype, SMALL, 3, 10)
        copy_weights(net, network)
        x = torch.randn(4, 3, 16, 16).contiguous(memory_format=layout)
        assert torch.allclose(net.train(training)(x), network.train(training)(x), atol=1e-4), genotype


@pytest.mark.parametrize("name", SPACES)
def test_single_path_and_discretization_reproduce_it_too(name: str) -> None:
    torch.manual_seed(0)
    space = space_of(name)
    genotype = space.random(np.random.default_rng(1), exclude_none=False)
    kept = space.chosen(genotype)
    x = torch.randn(4, 3, 16, 16)
    single = supernet(name, SinglePath).eval()
    single.set_paths([kept] * 3)
    mixed, _ = darts(name)
    mixed.eval()
    for net in (single, mixed):
        network = build_network(space, genotype, SMALL, 3, 10).eval()
        copy_weights(net, network)
        everything = {group: dict(enumerate(choices)) for group, choices in kept.items()}
        with net.discretized(everything if net is mixed else {}):
            assert torch.allclose(net(x), network(x), atol=1e-4)


def naive(cell: OneShot1SuperCell, space: NASBench1Shot1, weights: dict[str, Tensor], s: Tensor) -> Tensor:
    """The cell as the paper writes it: node by node, parent by parent, operation by operation."""
    K = space.n_blocks

    def conv_bn_relu(x: Tensor, w: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        y = nn.functional.conv2d(x, w, padding=w.shape[-1] // 2)
        return torch.relu(nn.functional.batch_norm(y, None, None, scale, shift, training=True))

    def project(node: int) -> Tensor:
        w, scale, shift = cell.projection_weights(node)
        return conv_bn_relu(s, w, scale, shift)

    h: list[Tensor] = []
    for node in range(1, K + 1):
        z = [project(node), *h]
        given = weights.get(f"input-{node}")
        u = sum(x if given is None else given[0, k] * x for k, x in enumerate(z))
        ops = [
            nn.functional.max_pool2d(u, 3, 1, 1),
            *(conv_bn_relu(u, *cell.operation_weights(node, k)) for k in (1, 2)),
        ]
        h.append(sum(weights["operations"][node - 1, k] * op for k, op in enumerate(ops)))  # type: ignore[arg-type]
    out = weights["output"][0]
    return out[0] * project(K + 1) + torch.cat([out[k] * x for k, x in enumerate(h, start=1)], dim=1)


@pytest.mark.parametrize("name", SPACES)
def test_mixed_cell_equals_a_naive_loop_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    net, alphas = darts(name)
    for alpha in alphas.values():
        alpha.logits.data.normal_()
    cell = net.supercells[1]
    assert isinstance(cell, OneShot1SuperCell)
    s = torch.randn(3, space_of(name).n_blocks * 4, 8, 8, requires_grad=True)
    ours = cell(s)
    theirs = naive(cell, space_of(name), {g: a.weights() for g, a in alphas.items()}, s)
    assert torch.allclose(ours, theirs, atol=1e-4)
    inputs, probe = [s, *cell.parameters()], torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, inputs, probe), torch.autograd.grad(theirs, inputs, probe), strict=True):
        assert torch.allclose(a, b, atol=2e-3)


@pytest.mark.parametrize(("padding", "sides"), [(0, [32, 16, 8]), (1, [32, 17, 9])])
def test_pooling_halves_maps_and_padding_is_the_released_codes_quirk(padding: int, sides: list[int]) -> None:
    size = OneShot1NetworkConfig(channels=4, cells_per_stage=3, pool_padding=padding)
    net, _ = darts("nasbench1shot1-1", size)
    maps = [net.prefix(torch.randn(2, 3, 32, 32), net.module_of(cell)) for cell in range(9)]
    assert [m.shape[-1] for m in maps] == [side for side in sides for _ in range(3)]
    assert [m.shape[1] for m in maps] == [4, 16, 16, 16, 32, 32, 32, 64, 64]
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("name", SPACES)
def test_parameters_in_the_published_order_are_shared_by_all_cells(name: str) -> None:
    net, alphas = darts(name)
    space = space_of(name)
    assert alphas["operations"].logits.shape == (space.n_blocks, 3)
    assert alphas["output"].logits.shape == (1, space.n_blocks + 1)
    learned = [node for node in range(1, space.n_blocks + 1) if space.n_parents[node - 1] < node]
    assert [alphas[f"input-{node}"].logits.shape for node in learned] == [(1, node) for node in learned]
    sites = [mixing.site for mixing in net.modules() if isinstance(mixing, Mixing)]
    assert len(sites) == 3 * (space.n_blocks + len(learned) + 1)
    assert {type(site) for site in sites} == {Site}


def test_momentum_is_a_field_and_the_published_one_keeps_the_last_batch() -> None:
    size = OneShot1NetworkConfig(channels=4, cells_per_stage=1, bn_momentum=0.997)
    net, _ = darts("nasbench1shot1-2", size)
    momenta = {module.momentum for module in net.modules() if isinstance(module, nn.BatchNorm2d)}
    assert momenta == {0.997}
    x = torch.randn(8, 3, 8, 8)
    net.train()(x)
    last = net.stem.conv(x).mean((0, 2, 3))
    assert torch.allclose(net.stem.bn.running_mean, last, atol=0.02)  # type: ignore[arg-type]


def test_the_size_of_another_space_is_refused_in_a_sentence() -> None:
    with pytest.raises(UserError, match="OneShot1NetworkConfig"):
        build_network(space_of("nasbench1shot1-1"), "", NetworkConfig(), 3, 10)

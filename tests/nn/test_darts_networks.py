"""Operations and stand-alone networks of DARTS-like cells: shapes, published parameter counts, drop-path, auxiliary head."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from itnas.errors import UserError
from itnas.nn.darts_networks import CellNetwork, build_cell_network, cell_plan, drop_paths, reductions
from itnas.nn.darts_operations import FactorizedReduce, make_cell_operation
from itnas.spaces import get_space
from itnas.spaces.darts import DARTS_SPACES
from itnas.spaces.darts_genotype import parse_genotype
from tests.spaces.published import AGNAS, AMOEBANET, DARTS_PT, DARTS_PT_MILLIONS, DARTS_V1, DARTS_V2, PC_DARTS

NAMES = sorted({name for s in DARTS_SPACES for c in s.groups.values() for choice in c for name in choice.candidates})


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_operations_keep_channels_and_round_sizes_up(name: str, stride: int, size: int) -> None:
    y = make_cell_operation(name, 4, stride, pool_bn=True)(torch.randn(2, 4, size, size))
    assert y.shape == (2, 4, -(-size // stride), -(-size // stride))


@pytest.mark.parametrize(
    ("name", "stride", "count"),
    [
        # depthwise k*k*C, pointwise C*C, BatchNorm 2C; C = 4
        ("sep_conv_3x3", 1, 2 * (9 * 4 + 16 + 8)),
        ("sep_conv_5x5", 2, 2 * (25 * 4 + 16 + 8)),
        ("dil_conv_3x3", 1, 9 * 4 + 16 + 8),
        ("dil_conv_5x5", 2, 25 * 4 + 16 + 8),
        ("skip_connect", 1, 0),
        ("skip_connect", 2, 16 + 8),
        ("max_pool_3x3", 1, 0),
        ("noise", 1, 0),
        ("none", 2, 0),
    ],
)
def test_parameters_of_an_operation(name: str, stride: int, count: int) -> None:
    assert sum(p.numel() for p in make_cell_operation(name, 4, stride).parameters()) == count


def test_dilated_convolution_sees_two_pixels_away_and_not_one() -> None:
    operation = make_cell_operation("dil_conv_3x3", 1, 1).eval()
    x = torch.rand(1, 1, 9, 9) + 0.1
    x.requires_grad_()
    operation(x)[0, 0, 4, 4].backward()
    assert x.grad is not None
    rows, columns = torch.nonzero(x.grad[0, 0], as_tuple=True)
    assert set(zip(rows.tolist(), columns.tolist(), strict=True)) == {(r, c) for r in (2, 4, 6) for c in (2, 4, 6)}


def test_factorized_reduce_reads_the_even_and_the_odd_pixels() -> None:
    module = FactorizedReduce(2, 4).eval()
    x = torch.rand(1, 2, 4, 4)
    by_hand = [
        torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], x[:, :, start::2, start::2])
        for start, conv in ((0, module.conv_1), (1, module.conv_2))
    ]
    assert torch.allclose(module(x), torch.cat(by_hand, 1) / (1 + 1e-5) ** 0.5, atol=1e-6)


def test_average_pooling_ignores_the_border_and_is_normalised_in_supernets_only() -> None:
    x = torch.ones(1, 2, 4, 4)
    assert torch.equal(make_cell_operation("avg_pool_3x3", 2, 1)(x), x)
    for bn in (True, False):
        modules = list(make_cell_operation("max_pool_3x3", 2, 1, pool_bn=bn).modules())
        assert any(isinstance(m, nn.BatchNorm2d) for m in modules) == bn


def test_noise_is_standard_normal_fresh_and_without_gradient() -> None:
    operation = make_cell_operation("noise", 8, 2).eval()
    x = torch.zeros(16, 8, 16, 16, requires_grad=True)
    a, b = operation(x), operation(x)
    assert not torch.equal(a, b)
    assert not a.requires_grad
    assert a.mean().abs() < 0.03
    assert (a.std() - 1).abs() < 0.03


def test_unknown_operations_are_named() -> None:
    with pytest.raises(UserError, match="conv_7x1_1x7"):
        make_cell_operation("conv_7x1_1x7", 4, 1)
    with pytest.raises(UserError, match="no cell can be built with the operation"):
        build_cell_network(AMOEBANET, 8, 4, 3, 10)


def test_second_order_darts_has_the_printed_3349_thousand_parameters() -> None:
    """README of github quark0/darts: "3.349MB params"; Table 1 of the DARTS paper: 3.3 M."""
    assert build_cell_network(DARTS_V2, 20, 36, 3, 10).millions() == pytest.approx(3.349, abs=5e-4)


@pytest.mark.parametrize(
    ("genotype", "printed", "digits"),
    [
        (PC_DARTS, 3.6, 1),  # PC-DARTS, Table 1
        (AGNAS, 3.6, 1),  # AGNAS, Table 1
        *[(DARTS_PT[name], value, 2 if value != 4.7 else 1) for name, value in DARTS_PT_MILLIONS.items()],
    ],
)
def test_published_genotypes_have_the_printed_millions(genotype: str, printed: float, digits: int) -> None:
    assert round(build_cell_network(genotype, 20, 36, 3, 10).millions(), digits) == printed


def test_the_auxiliary_head_is_not_counted_and_answers_only_in_training() -> None:
    plain, helped = (build_cell_network(DARTS_V2, 8, 4, 3, 10, auxiliary=a) for a in (False, True))
    assert plain.millions() == helped.millions()
    x = torch.randn(2, 3, 32, 32)
    logits, auxiliary = helped.with_auxiliary(x)
    assert auxiliary is not None
    assert logits.shape == auxiliary.shape == (2, 10)
    assert helped.eval().with_auxiliary(x)[1] is None
    assert plain.with_auxiliary(x)[1] is None


@pytest.mark.parametrize(("size", "channels"), [(12, 1), (16, 3), (8, 3)])
def test_small_images_work_with_the_auxiliary_head(size: int, channels: int) -> None:
    network = build_cell_network(DARTS_V1, 5, 4, channels, 10, auxiliary=True)
    logits, auxiliary = network.with_auxiliary(torch.randn(2, channels, size, size))
    assert auxiliary is not None
    (logits.sum() + auxiliary.sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without


def test_reductions_stand_at_a_third_and_two_thirds() -> None:
    assert reductions(20) == (6, 13)
    assert reductions(8) == (2, 5)
    kinds = [cell.kind for cell in cell_plan(parse_genotype(DARTS_V2), 8)]
    assert kinds == ["normal", "normal", "reduce", "normal", "normal", "reduce", "normal", "normal"]


def test_stage_wise_cells_stand_in_their_stage() -> None:
    cells = parse_genotype(AGNAS)
    plan = cell_plan(cells, 20)
    assert [cells.index(cell) for cell in plan] == [0] * 6 + [1] + [2] * 6 + [3] + [4] * 6
    with pytest.raises(UserError, match="has 2 and 1"):
        cell_plan(cells[:3], 20)


def test_sizes_and_channels_through_a_network() -> None:
    network = build_cell_network(DARTS_V2, 5, 6, 3, 10).eval()
    shapes = []
    for cell in network.stages:
        cell.register_forward_hook(lambda module, args, out: shapes.append(tuple(out[1].shape[1:])))
    network(torch.randn(1, 3, 16, 16))
    assert shapes == [(24, 16, 16), (48, 8, 8), (48, 8, 8), (96, 4, 4), (96, 4, 4)]


def test_a_cell_is_the_sum_of_its_two_operations_per_node() -> None:
    cell = build_cell_network(DARTS_V2, 5, 4, 3, 10).eval().stages[0]
    a, b = torch.randn(2, 2, 12, 8, 8)
    states = cell.preprocess((a, b))
    genes = [0, 1, 0, 1, 1, 0, 0, 2]  # sources of the normal cell's eight genes
    for node in range(4):
        states.append(sum(cell.operations[2 * node + i](states[genes[2 * node + i]]) for i in (0, 1)))
    assert torch.allclose(cell((a, b))[1], torch.cat(states[2:], 1), atol=1e-6)


def test_drop_path_drops_whole_images_and_keeps_the_mean() -> None:
    x = torch.ones(4000, 2, 1, 1)
    y = drop_paths(x, 0.2)
    assert set(y.unique().tolist()) <= {0.0, 1.25}
    assert torch.equal(y[:, 0], y[:, 1])
    assert y.mean().item() == pytest.approx(1.0, abs=0.03)


def test_drop_path_acts_in_training_on_everything_but_identities() -> None:
    network = build_cell_network(DARTS_V2, 3, 4, 3, 10)
    x = torch.randn(4, 3, 8, 8)
    network.set_drop_path(0.5)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    skips = "[" + ", ".join(f"('skip_connect', {source})" for source in (0, 1) * 4) + "]"
    only = f"Genotype(normal={skips}, normal_concat=range(2, 6), reduce={skips}, reduce_concat=range(2, 6))"
    cell = CellNetwork(parse_genotype(only), 6, 4, 3, 10).stages[0].train()
    state = tuple(torch.randn(2, 4, 12, 8, 8))
    before = cell(state)[1]
    cell.drop_path = 0.5
    assert torch.equal(cell(state)[1], before)


@pytest.mark.parametrize("name", ["darts", "s1", "s2", "s3", "s4", "darts-stagewise"])
def test_every_random_genotype_builds_a_network_that_trains(name: str) -> None:
    import numpy as np

    genotype = get_space(name).random(np.random.default_rng(0), exclude_none=True)
    network = build_cell_network(genotype, 6, 4, 1, 10)
    F.cross_entropy(network(torch.randn(4, 1, 12, 12)), torch.arange(4)).backward()
    assert network.stem[0].weight.grad is not None

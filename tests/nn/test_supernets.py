"""The supernet: skeleton, candidates, agreement with stand-alone networks and with a naive implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.config import DiscretizationConfig
from itnas.data import digits
from itnas.data.images import Loader
from itnas.measure import discretization_accuracy
from itnas.nn.mixing import Alphas, ChannelAttention, SinglePath, SoftmaxMixing
from itnas.nn.networks import Cell, MacroNetwork, NetworkConfig, build_nasbench201
from itnas.nn.operations import EdgeBundle, ReLUConvBN, ResNetBlock, average_pool
from itnas.nn.supernets import BUNDLES, NASBench201SuperCell, NASBench201Supernet
from itnas.spaces.nasbench201 import EDGES, OPERATIONS, NASBench201, format_ops

SMALL = NetworkConfig(channels=4, cells_per_stage=1)


def darts_supernet(size: NetworkConfig = SMALL, **options: bool) -> tuple[NASBench201Supernet, Alphas]:
    alphas = Alphas(6, 5)
    net = NASBench201Supernet(lambda site: SoftmaxMixing(site, alphas), size, 3, 10, **options)
    return net, alphas


def copy_weights(supernet: NASBench201Supernet, network: MacroNetwork) -> None:
    """Copy a supernet's weights and statistics into the stand-alone network of one of its cells."""
    for name in ("stem", "lastact", "classifier"):
        getattr(network, name).load_state_dict(getattr(supernet, name).state_dict())
    for ours, theirs in zip(network.stages, supernet.stages, strict=True):
        if isinstance(ours, ResNetBlock):
            ours.load_state_dict(theirs.state_dict())
            continue
        assert isinstance(ours, Cell)
        assert isinstance(theirs, NASBench201SuperCell)
        for edge, operation in enumerate(ours.operations):
            if isinstance(operation, ReLUConvBN):
                name = "nor_conv_1x1" if operation.conv.kernel_size == (1, 1) else "nor_conv_3x3"
                bundle = next(i for i, edges in enumerate(BUNDLES) if edge in edges)
                conv = theirs.bundles[bundle].convs[name]  # pyright: ignore
                own = conv.edge_slice(BUNDLES[bundle].index(edge))
                operation.conv.weight.data.copy_(conv.conv.weight[own])
                operation.bn.running_mean.copy_(conv.bn.running_mean[own])  # pyright: ignore
                operation.bn.running_var.copy_(conv.bn.running_var[own])  # pyright: ignore


def randomise_statistics(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)  # pyright: ignore


def test_paper_size_has_17_modules_64_channels_and_8x8_maps() -> None:
    net, alphas = darts_supernet(NetworkConfig(16, 5))
    assert len(net.stages) == 17
    assert [i for i, module in enumerate(net.stages) if isinstance(module, ResNetBlock)] == [5, 11]
    assert alphas.logits.shape == (6, 5)
    assert net.prefix(torch.randn(2, 3, 32, 32), 17).shape == (2, 64, 8, 8)
    assert isinstance(net.stem[0], nn.Conv2d)
    assert len(net.stem) == 2


def test_candidate_batchnorm_has_no_affine_parameters_and_the_fixed_ones_have() -> None:
    net, _ = darts_supernet()
    candidate = [m for cell in net.supercells for m in cell.modules() if isinstance(m, nn.BatchNorm2d)]
    fixed = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d) and m not in candidate]
    assert candidate
    assert not any(m.affine for m in candidate)
    assert all(m.track_running_stats for m in candidate)
    assert all(m.affine for m in fixed)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_one_hot_alphas_reproduce_the_stand_alone_network(training: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for _ in range(5):
        ops = rng.integers(0, 5, 6)
        supernet, alphas = darts_supernet()
        randomise_statistics(supernet)
        network = build_nasbench201(format_ops(ops), SMALL, 3, 10)
        copy_weights(supernet, network)
        for edge, op in enumerate(ops):
            alphas.decide(edge, [op])
        x = torch.randn(4, 3, 16, 16).contiguous(memory_format=layout)
        supernet.train(training)
        network.train(training)
        assert torch.allclose(supernet(x), network(x), atol=1e-5)


def test_single_path_equals_the_stand_alone_network() -> None:
    torch.manual_seed(0)
    ops = [3, 2, 0, 4, 1, 3]
    supernet = NASBench201Supernet(SinglePath, SMALL, 3, 10).eval()
    randomise_statistics(supernet)
    supernet.set_paths([{"edges": [(op,) for op in ops]}] * 3)
    network = build_nasbench201(format_ops(ops), SMALL, 3, 10).eval()
    copy_weights(supernet, network)
    x = torch.randn(4, 3, 16, 16)
    assert torch.allclose(supernet(x), network(x), atol=1e-5)


def naive_mixed_cell(cell: NASBench201SuperCell, weights: Tensor, x: Tensor) -> Tensor:
    """Edge by edge, operation by operation, as a paper would write it."""
    nodes = [x, torch.zeros_like(x), torch.zeros_like(x), torch.zeros_like(x)]
    for edge, (target, source) in enumerate(EDGES):
        z = nodes[source]
        for k, name in enumerate(OPERATIONS):
            if name == "none":
                continue
            weight = cell.weight(edge, k)
            if weight is None:
                f = z if name == "skip_connect" else F.avg_pool2d(z, 3, 1, 1, count_include_pad=False)
            else:
                f = F.batch_norm(F.conv2d(F.relu(z), weight, padding=weight.shape[-1] // 2), None, None, training=True)
            nodes[target] = nodes[target] + weights[edge, k] * f
    return nodes[3]


def test_bundled_cell_equals_a_naive_loop_forward_and_backward() -> None:
    torch.manual_seed(0)
    net, alphas = darts_supernet()
    alphas.logits.data.normal_()
    cell = net.supercells[0]
    x = torch.randn(3, 4, 8, 8, requires_grad=True)
    ours = cell(x)
    theirs = naive_mixed_cell(cell, alphas.weights(), x)
    assert torch.allclose(ours, theirs, atol=1e-5)
    probe = torch.randn_like(ours)
    inputs = [x, alphas.logits, *(p for p in cell.parameters() if p is not alphas.logits)]
    for a, b in zip(torch.autograd.grad(ours, inputs, probe), torch.autograd.grad(theirs, inputs, probe), strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_average_pool_of_a_constant_is_that_constant_up_to_the_border() -> None:
    assert torch.allclose(average_pool(torch.full((1, 2, 5, 5), 3.0)), torch.full((1, 2, 5, 5), 3.0))


def test_zero_input_to_a_bundle_of_none_only_is_zero() -> None:
    bundle = EdgeBundle(OPERATIONS, 2, 4, affine=False, track=True)
    candidates = bundle(torch.randn(2, 4, 3, 3))
    assert candidates.all()[0] is None
    assert candidates.one(0, 0) is None


def loaders() -> tuple[Loader, Loader]:
    data, generator = digits.load(), torch.Generator().manual_seed(0)
    return Loader(data.train, data.info, 32, generator, "cpu"), Loader(data.valid, data.info, 32, generator, "cpu")


@pytest.mark.parametrize("bn", ["recalib", "eval", "train"])
@pytest.mark.parametrize(("weight", "gate"), [("one", "full"), ("keep", "full"), ("keep", "masked")])
def test_discretization_leaves_the_supernet_bit_by_bit_as_it_was(bn: str, weight: str, gate: str) -> None:
    torch.manual_seed(0)
    net = NASBench201Supernet(ChannelAttention, SMALL, 1, 10)
    train, valid = loaders()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    momenta = [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    protocol = DiscretizationConfig(bn, weight, gate, max_images=50, recalibration_images=60)  # type: ignore[arg-type]
    rows = discretization_accuracy(net, NASBench201(), valid, train, protocol, "valid")
    assert len(rows) == (3 + 1) * 6 * 5
    assert {row["n_images"] for row in rows} == {50}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in before.items())
    assert momenta == [m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not mixing.kept for cell in net.supercells for mixing in cell.mixings)  # pyright: ignore


def test_discretized_accuracy_equals_a_direct_evaluation() -> None:
    """The prefix computed once gives the number that a plain pass over the whole supernet gives."""
    torch.manual_seed(0)
    net, _ = darts_supernet()
    net = NASBench201Supernet(ChannelAttention, SMALL, 1, 10)
    randomise_statistics(net)
    train, valid = loaders()
    protocol = DiscretizationConfig("eval", "keep", "full", max_images=200)
    rows = discretization_accuracy(net, NASBench201(), valid, train, protocol, "valid")
    images, labels = next(valid.clean(200))
    for cell, edge, k in ((2, 4, 3), (0, 0, 1), (-1, 5, 0), (1, 3, 2)):
        with (
            net.eval().discretized({"edges": {edge: (k,)}}, None if cell < 0 else cell, weight="keep", gate="full"),
            torch.no_grad(),
        ):
            expected = 100 * (net(images).argmax(1) == labels).float().mean().item()
        name = NASBench201.groups["edges"][edge].name
        row = next(r for r in rows if (r["cell"], r["choice"], r["candidate"]) == (cell, name, OPERATIONS[k]))
        assert row["accuracy"] == pytest.approx(expected)


def test_weight_one_makes_the_edge_its_operation_alone() -> None:
    torch.manual_seed(0)
    net = NASBench201Supernet(ChannelAttention, SMALL, 3, 10).eval()
    cell = net.supercells[0]
    x = torch.randn(2, 4, 6, 6)
    with net.discretized({"edges": {0: (OPERATIONS.index("skip_connect"),)}}, 0):
        outputs, _ = cell.mixings[0](cell.bundles[0](x))
    assert torch.equal(outputs[0], x)

"""A training step of the supernet, edges computed together, beside a plain loop over edges and operations.

``pytest -m speed -s speed/test_supernet.py``; one thread, the two in turn, medians and their ratio.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.nn.lite_transformer import LiteTransformer, LiteTransformerConfig
from itnas.nn.mixing import Alphas, ChannelAttention, MixingFactory, SoftmaxMixing
from itnas.nn.networks import MacroNetwork, NetworkConfig
from itnas.nn.operations import ReLUConvBN, average_pool
from itnas.nn.supernets import NASBench201Supernet
from itnas.spaces.nasbench201 import EDGES

SIZE, BATCH, SIDE = NetworkConfig(channels=8, cells_per_stage=1), 32, 12


class LoopCell(nn.Module):
    """DARTS's mixed cell as a paper writes it: edge by edge, operation by operation."""

    def __init__(self, channels: int, alphas: Alphas) -> None:
        super().__init__()
        self.alphas = alphas
        self.convs = nn.ModuleList(
            nn.ModuleList(ReLUConvBN(channels, channels, kernel, affine=False) for kernel in (1, 3)) for _ in EDGES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``[B, C, H, W]``."""
        weights, nodes = self.alphas.weights(), [x]
        for target in (1, 2, 3):
            total = torch.zeros_like(x)
            for edge, (end, source) in enumerate(EDGES):
                if end == target:
                    z, (one, three) = nodes[source], self.convs[edge]  # pyright: ignore
                    outputs = (z, one(z), three(z), average_pool(z))
                    total = total + sum(w * y for w, y in zip(weights[edge, 1:], outputs, strict=True))
            nodes.append(total)
        return nodes[-1]


def stepper(network: nn.Module) -> Callable[[], float]:
    """Return a function that takes one training step and returns its seconds."""
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    x = torch.randn(BATCH, 1, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,))

    def step() -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


@pytest.mark.speed
def test_bundled_edges_beside_a_loop() -> None:
    """Print medians and ratios of the three mixings and the loop."""
    torch.set_num_threads(1)
    alphas, loop_alphas = Alphas(6, 5), Alphas(6, 5)
    mixings: dict[str, MixingFactory] = {
        "softmax alphas": lambda site: SoftmaxMixing(site, alphas),
        "channel attention": ChannelAttention,
        "lite transformer": lambda site: LiteTransformer(site, LiteTransformerConfig()),
    }
    steps = {name: stepper(NASBench201Supernet(mixing, SIZE, 1, 10)) for name, mixing in mixings.items()}
    loop = stepper(MacroNetwork(lambda cell, stage, channels: LoopCell(channels, loop_alphas), SIZE, 1, 10))
    times: dict[str, list[float]] = {name: [] for name in (*steps, "loop")}
    for turn in range(25):
        for name, step in (*steps.items(), ("loop", loop)):
            seconds = step()
            if turn >= 5:
                times[name].append(seconds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(
            f"{name:18} {1e3 * seconds:7.1f} ms a step   {seconds / medians['loop']:.2f} of the loop (softmax alphas)"
        )
    assert medians["softmax alphas"] < medians["loop"]

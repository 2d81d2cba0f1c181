"""Candidate operations of the DARTS space and of S1 to S4, for one edge or for several that read the same input.

In a supernet every pooling is followed by BatchNorm and no BatchNorm is affine; in a stand-alone network pooling stands
alone and BatchNorm is affine (DARTS's released code). An edge that leaves an input of a reduction cell has stride 2; sizes
are rounded up, so that odd images work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.errors import UserError
from itnas.nn.operations import Zero

KERNELS = {"sep_conv_3x3": 3, "sep_conv_5x5": 5, "dil_conv_3x3": 3, "dil_conv_5x5": 5}
"""Kernel size of each convolution by operation name."""
POOLS = ("max_pool_3x3", "avg_pool_3x3")
"""The operations without weights of their own that a supernet follows with BatchNorm."""


class EdgeBatchNorm(nn.BatchNorm2d):
    """BatchNorm of several edges side by side in the channels."""

    def one(self, x: Tensor, own: slice) -> Tensor:
        """Normalise the channels of one edge alone; its running statistics follow, the others' rest."""
        mean, var = (None, None) if self.running_mean is None else (self.running_mean[own], self.running_var[own])  # pyright: ignore
        weight, bias = (self.weight[own], self.bias[own]) if self.affine else (None, None)
        momentum = 0.0 if self.momentum is None else self.momentum
        return F.batch_norm(x, mean, var, weight, bias, self.training or mean is None, momentum, self.eps)


class DepthwiseRound(nn.Module):
    """Depthwise convolution, pointwise convolution, BatchNorm, for one edge or for several side by side in the channels."""

    def __init__(
        self, channels: int, kernel: int, stride: int, dilation: int, *, n_edges: int, affine: bool, track: bool
    ) -> None:
        super().__init__()
        self.n_edges, self.channels, wide = n_edges, channels, n_edges * channels
        padding = dilation * (kernel // 2)
        self.depthwise = nn.Conv2d(wide, wide, kernel, stride, padding, dilation, groups=wide, bias=False)
        self.pointwise = nn.Conv2d(wide, wide, 1, groups=n_edges, bias=False)
        self.bn = EdgeBatchNorm(wide, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, E*C, H, W]`` (after ReLU) to the same, smaller by the stride."""
        return self.bn(pointwise(self.depthwise(x), self.pointwise.weight, self.n_edges))

    def one(self, x: Tensor, edge: int) -> Tensor:
        """Compute one edge alone: ``[B, C, H, W]`` (after ReLU)."""
        own, conv = slice(edge * self.channels, (edge + 1) * self.channels), self.depthwise
        y = F.conv2d(x, conv.weight[own], None, conv.stride, conv.padding, conv.dilation, self.channels)  # pyright: ignore
        return self.bn.one(pointwise(y, self.pointwise.weight[own], 1), own)


def pointwise(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """Apply a 1x1 convolution; ungrouped on channels-last memory of a CPU as a product, which is twice as fast."""
    if groups > 1 or x.is_cuda or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, groups=groups)
    return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1)).permute(0, 3, 1, 2)


class DepthwiseConvs(nn.Module):
    """``sep_conv``: two rounds, the first strided, ReLU before each; ``dil_conv``: one round of dilation 2 after a ReLU."""

    def __init__(
        self, name: str, channels: int, stride: int, *, n_edges: int = 1, affine: bool = True, track: bool = True
    ) -> None:
        super().__init__()
        strides, dilation = ((stride, 1), 1) if name.startswith("sep") else ((stride,), 2)
        words = {"n_edges": n_edges, "affine": affine, "track": track}
        self.rounds = nn.ModuleList(
            DepthwiseRound(channels, KERNELS[name], step, dilation, **words) for step in strides
        )
        self.n_edges = n_edges

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, E*C, H/stride, W/stride]``."""
        return self.activated(F.relu(x))

    def activated(self, x: Tensor) -> Tensor:
        """Map an input that went through a ReLU."""
        x = torch.cat([x] * self.n_edges, dim=1) if self.n_edges > 1 else x
        for number, step in enumerate(self.rounds):
            x = step(F.relu(x) if number else x)
        return x

    def one(self, x: Tensor, edge: int) -> Tensor:
        """Compute one edge alone from an input that went through a ReLU."""
        for number, step in enumerate(self.rounds):
            assert isinstance(step, DepthwiseRound)
            x = step.one(F.relu(x) if number else x, edge)
        return x


class FactorizedReduce(nn.Module):
    """Halve the image without losing a pixel: ReLU, two 1x1 convolutions of stride 2 a pixel apart, side by side, BatchNorm."""

    def __init__(self, c_in: int, c_out: int, *, n_edges: int = 1, affine: bool = True, track: bool = True) -> None:
        super().__init__()
        self.parts = (c_out // 2, c_out - c_out // 2)
        self.conv_1, self.conv_2 = (nn.Conv2d(c_in, n_edges * part, 1, stride=2, bias=False) for part in self.parts)
        self.bn = EdgeBatchNorm(n_edges * c_out, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, E*c_out, ceil(H/2), ceil(W/2)]``."""
        return self.activated(F.relu(x))

    def activated(self, x: Tensor) -> Tensor:
        """Map an input that went through a ReLU."""
        halves = [F.conv2d(pixels, conv.weight, stride=2).split(part, 1) for pixels, conv, part in self._halves(x)]
        return self.bn(torch.cat([half for pair in zip(*halves, strict=True) for half in pair], dim=1))

    def one(self, x: Tensor, edge: int) -> Tensor:
        """Compute one edge alone from an input that went through a ReLU."""
        halves = [
            F.conv2d(pixels, conv.weight[edge * part : (edge + 1) * part], stride=2)
            for pixels, conv, part in self._halves(x)
        ]
        width = sum(self.parts)
        return self.bn.one(torch.cat(halves, dim=1), slice(edge * width, (edge + 1) * width))

    def _halves(self, x: Tensor) -> list[tuple[Tensor, nn.Conv2d, int]]:
        height, width = x.shape[2:]
        shifted = F.pad(x, [0, width % 2, 0, height % 2])[:, :, 1:, 1:]
        return list(zip((x, shifted), (self.conv_1, self.conv_2), self.parts, strict=True))


class PoolBN(nn.Module):
    """3x3 pooling (borders averaged over the pixels that exist), then BatchNorm if asked for."""

    def __init__(
        self,
        name: str,
        channels: int,
        stride: int,
        *,
        bn: bool = False,
        n_edges: int = 1,
        affine: bool = True,
        track: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.stride, self.n_edges, self.channels = name, stride, n_edges, channels
        wide = n_edges * channels
        self.bn = EdgeBatchNorm(wide, affine=affine, track_running_stats=track) if bn else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, E*C, ceil(H/stride), ceil(W/stride)]``."""
        return self.pooled(pool(self.name, x, self.stride))

    def pooled(self, y: Tensor) -> Tensor:
        """Normalise what was pooled."""
        return y if self.bn is None else self.bn(torch.cat([y] * self.n_edges, dim=1) if self.n_edges > 1 else y)

    def one(self, y: Tensor, edge: int) -> Tensor:
        """Normalise what was pooled, for one edge alone."""
        return y if self.bn is None else self.bn.one(y, slice(edge * self.channels, (edge + 1) * self.channels))


def pool(name: str, x: Tensor, stride: int) -> Tensor:
    """Return ``max_pool_3x3`` or ``avg_pool_3x3`` of ``x``, without BatchNorm."""
    if name == "max_pool_3x3":
        return F.max_pool2d(x, 3, stride, padding=1)
    return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)


class Noise(nn.Module):
    """``noise`` of S4: standard normal numbers of the (strided) shape, independent of the input, fresh at every call."""

    def __init__(self, stride: int, *, n_edges: int = 1) -> None:
        super().__init__()
        self.stride, self.n_edges = stride, n_edges

    def forward(self, x: Tensor) -> Tensor:
        """Return noise ``[B, E*C, ceil(H/stride), ceil(W/stride)]``, also in evaluation mode."""
        return self._draw(x, self.n_edges)

    def one(self, x: Tensor, edge: int) -> Tensor:
        """Return noise for one edge alone."""
        return self._draw(x, 1)

    def _draw(self, x: Tensor, n_edges: int) -> Tensor:
        """Draw contiguously into channels-last memory; on a CPU ``randn_like`` of such an input takes seven times as long."""
        batch, channels, height, width = strided(x, self.stride).shape
        shape = (batch, height, width, n_edges * channels)
        return torch.randn(shape, dtype=x.dtype, device=x.device).permute(0, 3, 1, 2)


class StridedZero(Zero):
    """``none``: zeros of the (strided) shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros ``[B, C, ceil(H/stride), ceil(W/stride)]``."""
        return super().forward(strided(x, self.stride))


def strided(x: Tensor, stride: int) -> Tensor:
    """Return every ``stride``-th pixel of ``[B, C, H, W]``."""
    return x if stride == 1 else x[:, :, ::stride, ::stride]


def make_cell_operation(
    name: str,
    channels: int,
    stride: int,
    *,
    n_edges: int = 1,
    affine: bool = True,
    track: bool = True,
    pool_bn: bool = False,
) -> nn.Module:
    """Return the operation ``name`` of the DARTS space or of S1 to S4.

    Args:
        name: the operation's published name.
        channels: channels of input and output.
        stride: 1, or 2 on the edges that leave an input of a reduction cell.
        n_edges: how many edges that read the same input have the operation, each with its own weights; their outputs lie
            side by side in the channels.
        affine: affine BatchNorm (stand-alone networks; supernets have none).
        track: running BatchNorm statistics.
        pool_bn: BatchNorm after pooling (supernets).

    Raises:
        UserError: there is no such operation.
    """
    words = {"n_edges": n_edges, "affine": affine, "track": track}
    if name in POOLS:
        return PoolBN(name, channels, stride, bn=pool_bn, **words)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, **words)
    if name in KERNELS:
        return DepthwiseConvs(name, channels, stride, **words)
    if name in ("none", "noise"):
        return StridedZero(stride) if name == "none" else Noise(stride, n_edges=n_edges)
    known = ", ".join(("none", "noise", "skip_connect", *POOLS, *KERNELS))
    raise UserError(f"no cell can be built with the operation {name!r}; known are {known}")

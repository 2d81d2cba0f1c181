"""Candidate operations of the DARTS space and of S1 to S4, one edge at a time.

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


class Pointwise(nn.Conv2d):
    """A 1x1 convolution without bias; on a CPU twice as fast as torch's on channels-last memory."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, c_out, H, W]``."""
        if x.is_cuda or not x.is_contiguous(memory_format=torch.channels_last):
            return super().forward(x)
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1)).permute(0, 3, 1, 2)


class Activated(nn.Sequential):
    """Modules of which the first is a ReLU."""

    def activated(self, x: Tensor) -> Tensor:
        """Apply all but the ReLU, to an input that went through one already."""
        for module in list(self.children())[1:]:
            x = module(x)
        return x


class SepConv(Activated):
    """Two rounds of ReLU, depthwise convolution, pointwise convolution, BatchNorm; only the first is strided."""

    def __init__(self, channels: int, kernel: int, stride: int, *, affine: bool = True, track: bool = True) -> None:
        super().__init__(
            *_depthwise_round(channels, kernel, stride, kernel // 2, 1, affine, track),
            *_depthwise_round(channels, kernel, 1, kernel // 2, 1, affine, track),
        )


class DilConv(Activated):
    """ReLU, depthwise convolution of dilation 2, pointwise convolution, BatchNorm."""

    def __init__(self, channels: int, kernel: int, stride: int, *, affine: bool = True, track: bool = True) -> None:
        super().__init__(*_depthwise_round(channels, kernel, stride, kernel - 1, 2, affine, track))


def _depthwise_round(
    channels: int, kernel: int, stride: int, padding: int, dilation: int, affine: bool, track: bool
) -> list[nn.Module]:
    depthwise = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    pointwise = Pointwise(channels, channels, 1, bias=False)
    return [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels, affine=affine, track_running_stats=track)]


class FactorizedReduce(nn.Module):
    """Halve the image without losing a pixel: ReLU, two 1x1 convolutions of stride 2 a pixel apart, side by side, BatchNorm."""

    def __init__(self, c_in: int, c_out: int, *, affine: bool = True, track: bool = True) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine, track_running_stats=track)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, c_in, H, W]`` to ``[B, c_out, ceil(H/2), ceil(W/2)]``."""
        return self.activated(F.relu(x))

    def activated(self, x: Tensor) -> Tensor:
        """Apply all but the ReLU, to an input that went through one already."""
        height, width = x.shape[2:]
        shifted = F.pad(x, [0, width % 2, 0, height % 2])[:, :, 1:, 1:]
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))


class PoolBN(nn.Module):
    """3x3 pooling (borders averaged over the pixels that exist), then BatchNorm if asked for."""

    def __init__(
        self, name: str, channels: int, stride: int, *, bn: bool = False, affine: bool = True, track: bool = True
    ) -> None:
        super().__init__()
        self.name, self.stride = name, stride
        self.bn = nn.BatchNorm2d(channels, affine=affine, track_running_stats=track) if bn else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C, ceil(H/stride), ceil(W/stride)]``."""
        return self.bn(pool(self.name, x, self.stride))


def pool(name: str, x: Tensor, stride: int) -> Tensor:
    """Return ``max_pool_3x3`` or ``avg_pool_3x3`` of ``x``, without BatchNorm."""
    if name == "max_pool_3x3":
        return F.max_pool2d(x, 3, stride, padding=1)
    return F.avg_pool2d(x, 3, stride, padding=1, count_include_pad=False)


class Noise(nn.Module):
    """``noise`` of S4: standard normal numbers of the (strided) shape, independent of the input, fresh at every call."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return noise ``[B, C, ceil(H/stride), ceil(W/stride)]``, also in evaluation mode."""
        return torch.randn_like(strided(x, self.stride))


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
    name: str, channels: int, stride: int, *, affine: bool = True, track: bool = True, pool_bn: bool = False
) -> nn.Module:
    """Return the operation ``name`` of the DARTS space or of S1 to S4.

    Args:
        name: the operation's published name.
        channels: channels of input and output.
        stride: 1, or 2 on the edges that leave an input of a reduction cell.
        affine: affine BatchNorm (stand-alone networks; supernets have none).
        track: running BatchNorm statistics.
        pool_bn: BatchNorm after pooling (supernets).

    Raises:
        UserError: there is no such operation.
    """
    words = {"affine": affine, "track": track}
    if name in POOLS:
        return PoolBN(name, channels, stride, bn=pool_bn, **words)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, **words)
    if name in KERNELS:
        kind = SepConv if name.startswith("sep") else DilConv
        return kind(channels, KERNELS[name], stride, **words)
    if name in ("none", "noise"):
        return StridedZero(stride) if name == "none" else Noise(stride)
    known = ", ".join(("none", "noise", "skip_connect", *POOLS, *KERNELS))
    raise UserError(f"no cell can be built with the operation {name!r}; known are {known}")

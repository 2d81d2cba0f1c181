"""The supernet and the stand-alone network of every search space."""

from __future__ import annotations

from itnas.errors import UserError
from itnas.nn.darts_supernet import CellNetworkConfig, CellSupernet, build_genotype_network
from itnas.nn.mixing import MixingFactory
from itnas.nn.networks import Network, NetworkConfig, build_nasbench201
from itnas.nn.oneshot1 import OneShot1NetworkConfig, OneShot1Supernet, build_oneshot1
from itnas.nn.supernets import NASBench201Supernet, Supernet
from itnas.spaces.base import SearchSpace
from itnas.spaces.darts import CellSpace
from itnas.spaces.nasbench1shot1 import NASBench1Shot1


def build_supernet(
    space: SearchSpace,
    make_mixing: MixingFactory,
    size: NetworkConfig,
    in_channels: int,
    n_classes: int,
    *,
    affine: bool,
    track: bool,
) -> Supernet:
    """Return the supernet of ``space``; ``affine`` and ``track`` configure the BatchNorm of candidate operations.

    Raises:
        UserError: the size is one of another space.
    """
    if isinstance(space, NASBench1Shot1):
        return OneShot1Supernet(
            space, make_mixing, _oneshot1(space, size), in_channels, n_classes, affine=affine, track=track
        )
    if isinstance(space, CellSpace):
        return CellSupernet(space, make_mixing, _cells(space, size), in_channels, n_classes, affine=affine, track=track)
    return NASBench201Supernet(make_mixing, size, in_channels, n_classes, affine=affine, track=track)


def build_network(space: SearchSpace, genotype: str, size: NetworkConfig, in_channels: int, n_classes: int) -> Network:
    """Return the stand-alone network of a genotype (BatchNorm affine and tracked everywhere)."""
    if isinstance(space, NASBench1Shot1):
        return build_oneshot1(space, genotype, _oneshot1(space, size), in_channels, n_classes)
    if isinstance(space, CellSpace):
        return build_genotype_network(genotype, _cells(space, size), in_channels, n_classes)
    return build_nasbench201(genotype, size, in_channels, n_classes)


def _oneshot1(space: SearchSpace, size: NetworkConfig) -> OneShot1NetworkConfig:
    if not isinstance(size, OneShot1NetworkConfig):
        raise UserError(f"space {space.name} needs a OneShot1NetworkConfig, not {type(size).__name__}")
    return size


def _cells(space: SearchSpace, size: NetworkConfig) -> CellNetworkConfig:
    if not isinstance(size, CellNetworkConfig):
        raise UserError(f"space {space.name} needs a CellNetworkConfig, not {type(size).__name__}")
    return size

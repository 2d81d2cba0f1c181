"""Supernets: the macro network whose cells hold every candidate operation and a mixing per edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from itnas.nn.mixing import Mixing, MixingFactory
from itnas.nn.networks import MacroNetwork, NetworkConfig
from itnas.nn.operations import EdgeBundle, ResNetBlock
from itnas.spaces.nasbench201 import EDGES, OPERATIONS

BUNDLES = tuple(tuple(i for i, (_, source) in enumerate(EDGES) if source == node) for node in range(3))
"""Edge indices by source node: the edges that read the same input are computed together."""
_ORDER = [sum(BUNDLES, ()).index(edge) for edge in range(len(EDGES))]


class SuperCell(nn.Module):
    """A NAS-Bench-201 cell with all candidates on every edge."""

    def __init__(
        self, cell: int, stage: int, channels: int, make_mixing: MixingFactory, *, affine: bool, track: bool
    ) -> None:
        super().__init__()
        self.bundles = nn.ModuleList(
            EdgeBundle(OPERATIONS, len(edges), channels, affine=affine, track=track) for edges in BUNDLES
        )
        self.mixings = nn.ModuleList(make_mixing(cell, stage, edges, len(OPERATIONS), channels) for edges in BUNDLES)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``[B, C, H, W]``."""
        return self.with_importance(x)[0]

    def with_importance(self, x: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Return the output and the importance ``[B or 1, E, m]`` of each bundle, in the order of ``BUNDLES``."""
        nodes: list[Tensor | None] = [x, None, None, None]
        importances = []
        for source, (bundle, mixing) in enumerate(zip(self.bundles, self.mixings, strict=True)):
            outputs, importance = mixing(bundle(nodes[source]))
            importances.append(importance)
            for edge, output in zip(BUNDLES[source], outputs, strict=True):
                target = EDGES[edge][0]
                nodes[target] = output if nodes[target] is None else nodes[target] + output  # pyright: ignore
        assert nodes[3] is not None
        return nodes[3], importances

    def bundle_of(self, edge: int) -> tuple[int, int]:
        """Return the bundle that holds an edge and the edge's place in it."""
        bundle = next(i for i, edges in enumerate(BUNDLES) if edge in edges)
        return bundle, BUNDLES[bundle].index(edge)

    def weight(self, edge: int, candidate: int) -> Tensor | None:
        """Return the convolution weight of a candidate on an edge, or None where it has none."""
        bundle, place = self.bundle_of(edge)
        return self.bundles[bundle].weight(place, candidate)  # pyright: ignore


class NASBench201Supernet(MacroNetwork):
    """The NAS-Bench-201 supernet; weights are per cell, what the mixings share is theirs to decide."""

    def __init__(
        self,
        make_mixing: MixingFactory,
        size: NetworkConfig,
        in_channels: int,
        n_classes: int,
        *,
        affine: bool = False,
        track: bool = True,
    ) -> None:
        """Build the supernet; ``affine`` and ``track`` configure the BatchNorm of candidate operations only."""

        def make_cell(cell: int, stage: int, channels: int) -> SuperCell:
            return SuperCell(cell, stage, channels, make_mixing, affine=affine, track=track)

        super().__init__(make_cell, size, in_channels, n_classes)

    @property
    def supercells(self) -> list[SuperCell]:
        """The searched cells, in order."""
        return [module for module in self.stages if isinstance(module, SuperCell)]

    def module_of(self, cell: int) -> int:
        """Return the position of a searched cell among the modules of ``stages``."""
        return next(i for i, module in enumerate(self.stages) if module is self.supercells[cell])

    def with_importance(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits ``[B, n_classes]`` and the importance ``[cells, B or 1, choices, candidates]``, if there is one."""
        x = self.stem(x)
        importances = []
        for module in self.stages:
            if isinstance(module, ResNetBlock):
                x = module(x)
                continue
            x, parts = module.with_importance(x)  # pyright: ignore
            if all(part is not None for part in parts):
                importances.append(torch.cat(parts, dim=1)[:, _ORDER])
        return self.head(x), torch.stack(importances) if importances else None

    @contextmanager
    def discretized(
        self,
        edge: int,
        candidate: int,
        cell: int | None = None,
        *,
        weight: Literal["one", "keep"] = "one",
        gate: Literal["full", "masked"] = "full",
    ) -> Iterator[None]:
        """Keep one candidate on one edge, of one cell or (``cell=None``) of all cells, while the context lasts."""
        touched: list[tuple[Mixing, int]] = []
        for number, supercell in enumerate(self.supercells):
            if cell is None or number == cell:
                bundle, place = supercell.bundle_of(edge)
                mixing = supercell.mixings[bundle]
                assert isinstance(mixing, Mixing)
                mixing.kept, mixing.kept_weight, mixing.kept_gate = {place: candidate}, weight, gate
                touched.append((mixing, place))
        try:
            yield
        finally:
            for mixing, _ in touched:
                mixing.kept = {}

"""Supernets: networks whose searched cells hold every candidate and a mixing per choice.

:class:`Supernet` is what methods and measurements see, whatever the space: importance, discretization, single paths.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from itnas.nn.mixing import Mixing, MixingFactory, SinglePath, Site
from itnas.nn.networks import MacroNetwork, Network, NetworkConfig
from itnas.nn.operations import EdgeBundle
from itnas.spaces.base import Chosen
from itnas.spaces.nasbench201 import EDGES, OPERATIONS

Kept = Mapping[str, Mapping[int, tuple[int, ...]]]
"""Candidates that stay where choices are discretized: ``{group: {choice: candidates}}``."""
Importances = list[Tensor | None]
"""Importance ``[B or 1, E, m]`` of each mixing of a cell, in the order of its ``mixings``."""


class SuperCell(nn.Module, ABC):
    """A searched cell of a supernet: candidates and mixings.

    Attributes:
        mixings: the mixings of the cell's choices.
    """

    mixings: nn.ModuleList

    @abstractmethod
    def with_importance(self, state: Any) -> tuple[Any, Importances]:  # noqa: ANN401 - a network's state
        """Return the next state and the importance that each mixing measured."""

    def forward(self, state: Any) -> Any:  # noqa: ANN401
        """Map a state to the next."""
        return self.with_importance(state)[0]

    def sites(self) -> Iterator[tuple[Mixing, Site]]:
        """Yield the cell's mixings and where they stand."""
        for mixing in self.mixings:
            assert isinstance(mixing, Mixing)
            yield mixing, mixing.site

    def importance(self, importances: Importances) -> dict[str, Tensor]:
        """Return ``{group: [B or 1, choice, candidate]}`` of the groups whose choices all have an importance."""
        parts: dict[str, list[tuple[Site, Tensor | None]]] = {}
        for (_, site), part in zip(self.sites(), importances, strict=True):
            parts.setdefault(site.group, []).append((site, part))
        found = {}
        for group, members in parts.items():
            choices = [choice for site, _ in members for choice in site.choices]
            order = sorted(range(len(choices)), key=choices.__getitem__)
            measured = [part for _, part in members if part is not None]
            if len(measured) == len(members):
                found[group] = torch.cat(measured, dim=1)[:, order]
        return found


class Supernet(Network):
    """A network with searched cells; weights are per cell, what the mixings share is theirs to decide."""

    @property
    def supercells(self) -> list[SuperCell]:
        """The searched cells, in order."""
        return [module for module in self.stages if isinstance(module, SuperCell)]

    def module_of(self, cell: int) -> int:
        """Return the position of a searched cell among the modules of ``stages``."""
        return next(i for i, module in enumerate(self.stages) if module is self.supercells[cell])

    def groups_of(self, cell: int) -> set[str]:
        """Return the groups of choices that a searched cell decides."""
        return {site.group for _, site in self.supercells[cell].sites()}

    def cells_of(self, group: str) -> list[int]:
        """Return the searched cells that decide a group of choices."""
        return [cell for cell in range(len(self.supercells)) if group in self.groups_of(cell)]

    def stage_of(self, cell: int) -> int:
        """Return the stage of the network that a searched cell belongs to."""
        return next(site.stage for _, site in self.supercells[cell].sites())

    def with_importance(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits ``[B, n_classes]`` and ``{group: [cells of the group, B or 1, choices, candidates]}``.

        Groups whose mixings measure no importance are missing.
        """
        state = self.begin(x)
        gathered: dict[str, list[Tensor]] = {}
        for module in self.stages:
            if isinstance(module, SuperCell):
                state, parts = module.with_importance(state)
                for group, part in module.importance(parts).items():
                    gathered.setdefault(group, []).append(part)
            else:
                state = module(state)
        return self.head(state), {group: torch.stack(parts) for group, parts in gathered.items()}

    @contextmanager
    def discretized(
        self,
        kept: Kept,
        cell: int | None = None,
        *,
        weight: Literal["one", "keep"] = "one",
        gate: Literal["full", "masked"] = "full",
    ) -> Iterator[None]:
        """Keep only the given candidates of some choices, of one cell or of all (``cell=None``), while the context lasts."""
        touched: list[Mixing] = []
        for number, supercell in enumerate(self.supercells):
            for mixing, site in supercell.sites():
                decided = {
                    place: kept[site.group][choice]
                    for place, choice in enumerate(site.choices)
                    if choice in kept.get(site.group, {}) and cell in (None, number)
                }
                if decided:
                    mixing.kept, mixing.kept_weight, mixing.kept_gate = decided, weight, gate
                    touched.append(mixing)
        try:
            yield
        finally:
            for mixing in touched:
                mixing.kept = {}

    def set_paths(self, paths: Sequence[Chosen]) -> None:
        """Let the single paths of every searched cell run ``{group: candidates per choice}``."""
        for supercell, path in zip(self.supercells, paths, strict=True):
            for mixing, site in supercell.sites():
                assert isinstance(mixing, SinglePath), "only a single-path supernet has paths"
                mixing.path = [path[site.group][choice] for choice in site.choices]


BUNDLES = tuple(tuple(i for i, (_, source) in enumerate(EDGES) if source == node) for node in range(3))
"""NAS-Bench-201's edge indices by source node: the edges that read the same input are computed together."""


class NASBench201SuperCell(SuperCell):
    """A NAS-Bench-201 cell with all candidates on every edge."""

    def __init__(
        self, cell: int, stage: int, channels: int, make_mixing: MixingFactory, *, affine: bool, track: bool
    ) -> None:
        super().__init__()
        self.bundles = nn.ModuleList(
            EdgeBundle(OPERATIONS, len(edges), channels, affine=affine, track=track) for edges in BUNDLES
        )
        none = OPERATIONS.index("none")
        self.mixings = nn.ModuleList(
            make_mixing(Site("edges", edges, cell, stage, len(OPERATIONS), channels, none)) for edges in BUNDLES
        )

    def with_importance(self, state: Tensor) -> tuple[Tensor, Importances]:
        """Keep the shape ``[B, C, H, W]``; importances are those of ``BUNDLES``."""
        nodes: list[Tensor | None] = [state, None, None, None]
        importances = []
        for source, (bundle, mixing) in enumerate(zip(self.bundles, self.mixings, strict=True)):
            outputs, importance = mixing(bundle(nodes[source]))
            importances.append(importance)
            for edge, output in zip(BUNDLES[source], outputs, strict=True):
                target = EDGES[edge][0]
                nodes[target] = output if nodes[target] is None else nodes[target] + output  # pyright: ignore
        assert nodes[3] is not None
        return nodes[3], importances

    def weight(self, edge: int, candidate: int) -> Tensor | None:
        """Return the convolution weight of a candidate on an edge, or None where it has none."""
        bundle = next(i for i, edges in enumerate(BUNDLES) if edge in edges)
        return self.bundles[bundle].weight(BUNDLES[bundle].index(edge), candidate)  # pyright: ignore


class NASBench201Supernet(Supernet, MacroNetwork):
    """The NAS-Bench-201 supernet."""

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
            return NASBench201SuperCell(cell, stage, channels, make_mixing, affine=affine, track=track)

        MacroNetwork.__init__(self, make_cell, size, in_channels, n_classes)

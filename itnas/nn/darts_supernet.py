"""The supernet of the DARTS space and of S1 to S4.

3N + 2 cells (8 in the papers): three stages of N normal cells with a reduction between. All edges that leave one state of a
cell are computed and mixed together: ReLU and pooling once, each kind of convolution as one wider convolution with its own
weights per edge. The arithmetic is that of separate edges; the number of kernels is a third, and so nearly is the time of
small networks on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from itnas.nn.candidates import Candidates
from itnas.nn.darts_networks import CellNetwork, CellSkeleton, CellState, Place, Preprocess, build_cell_network
from itnas.nn.darts_operations import (
    POOLS,
    DepthwiseConvs,
    FactorizedReduce,
    PoolBN,
    make_cell_operation,
    pool,
    strided,
)
from itnas.nn.mixing import MixingFactory, Site
from itnas.nn.networks import NetworkConfig
from itnas.nn.supernets import Importances, SuperCell, Supernet
from itnas.spaces.base import Choice
from itnas.spaces.darts import EDGES, CellSpace, kind_of

BUNDLES = tuple(tuple(edge for edge, (_, source) in enumerate(EDGES) if source == state) for state in range(5))
"""Edge indices by the state that they leave."""
N_NODES = 4


@dataclass(frozen=True)
class CellNetworkConfig(NetworkConfig):
    """Size of a supernet of the DARTS space or of S1 to S4; stand-alone networks have their own, in `evaluation`."""

    channels: int = 16
    """Channels C of a node in the first stage; doubled by each reduction. Cells return 4 C channels."""
    cells_per_stage: int = 2
    """Normal cells N in each of three stages; with the two reductions there are 3 N + 2 cells, 8 in the papers."""

    @property
    def cells(self) -> int:
        """The number of cells."""
        return 3 * self.cells_per_stage + 2


class StateBundle(nn.Module):
    """Candidate operations of all edges that leave one state of a cell.

    An operation stands once for all edges that have it, each with its own weights.
    """

    def __init__(
        self, candidates: Sequence[tuple[str, ...]], channels: int, stride: int, *, affine: bool, track: bool
    ) -> None:
        """Make the operations; ``candidates`` are those of each edge, equally many."""
        super().__init__()
        self.candidates, self.channels, self.stride, self.affine = tuple(candidates), channels, stride, affine
        names = sorted({name for names in candidates for name in names})
        self.members = {name: tuple(e for e, names in enumerate(candidates) if name in names) for name in names}
        self.operations = nn.ModuleDict(
            {
                name: make_cell_operation(
                    name,
                    channels,
                    stride,
                    n_edges=1 if self.shares(name) else len(self.members[name]),
                    affine=affine,
                    track=track,
                    pool_bn=True,
                )
                for name in names
            }
        )

    def shares(self, name: str) -> bool:
        """Return whether an operation is the same on all edges: it has no parameters and depends on the state only."""
        return name == "none" or (name == "skip_connect" and self.stride == 1) or (name in POOLS and not self.affine)

    def forward(self, x: Tensor) -> StateCandidates:
        """Return the operations' outputs at ``x`` ``[B, C, H, W]``, computed when asked for."""
        return StateCandidates(self, x)

    def edge_state(self, edge: int, candidate: int) -> dict[str, Tensor]:
        """Return the state of a candidate's operation on one edge alone, named as in an operation of one edge."""
        name = self.candidates[edge][candidate]
        state, n = dict(self.operations[name].state_dict(keep_vars=True)), len(self.members[name])
        if self.shares(name) or n == 1:
            return state
        place = self.members[name].index(edge)
        return {key: v if v.ndim == 0 else v.chunk(n)[place] for key, v in state.items()}


class StateCandidates(Candidates):
    """Outputs of a bundle's operations at one state; what edges share is computed once."""

    def __init__(self, bundle: StateBundle, x: Tensor) -> None:
        self.bundle, self.x = bundle, x
        self.n_edges, self.n_candidates = len(bundle.candidates), len(bundle.candidates[0])
        self.channels = bundle.channels
        self.computed: dict[str, Tensor] = {}

    def all(self) -> list[Tensor | None]:
        """Return one entry per candidate: what all edges share, or the edges' outputs side by side."""
        outputs: list[Tensor | None] = []
        for k in range(self.n_candidates):
            names = [names[k] for names in self.bundle.candidates]
            if len(set(names)) == 1:
                outputs.append(self._output(names[0]))
            else:
                outputs.append(torch.cat([self._slice(name, edge) for edge, name in enumerate(names)], dim=1))
        return outputs

    def one(self, edge: int, candidate: int) -> Tensor | None:
        """Compute one operation on one edge, or what all edges share once."""
        name = self.bundle.candidates[edge][candidate]
        if self.bundle.shares(name):
            return self._output(name)
        place, operation = self.bundle.members[name].index(edge), self.bundle.operations[name]
        return operation.one(self._input(name), place)  # pyright: ignore

    def zeros(self) -> Tensor:
        """Return zeros of an edge's output."""
        return torch.zeros_like(strided(self.x, self.bundle.stride))

    def _output(self, name: str) -> Tensor | None:
        """Return an operation's output ``[B, E*C, H, W]`` on the edges that have it (``[B, C, H, W]`` if shared)."""
        if name == "none":
            return None
        operation: Any = self.bundle.operations[name]
        if isinstance(operation, PoolBN):
            return self._once(name, lambda: operation.pooled(self._input(name)))
        if isinstance(operation, DepthwiseConvs | FactorizedReduce):
            return self._once(name, lambda: operation.activated(self._input(name)))
        return self._once(name, lambda: operation(self.x))

    def _slice(self, name: str, edge: int) -> Tensor:
        output = self._output(name)
        if output is None or output.shape[1] == self.channels:
            return self.zeros() if output is None else output
        return output.split(self.channels, dim=1)[self.bundle.members[name].index(edge)]

    def _input(self, name: str) -> Tensor:
        """Return what an operation's ``one`` reads: the pooled state, the state after a ReLU, or the state."""
        if name in POOLS:
            return self._once(f"pool {name}", lambda: pool(name, self.x, self.bundle.stride))
        return self.x if name == "noise" else self._once("relu", lambda: F.relu(self.x))

    def _once(self, what: str, compute: Callable[[], Tensor]) -> Tensor:
        if what not in self.computed:
            self.computed[what] = compute()
        return self.computed[what]


class CellSuperCell(SuperCell):
    """A normal or reduction cell with all candidates on every edge."""

    def __init__(
        self,
        group: str,
        choices: Sequence[Choice],
        make_mixing: MixingFactory,
        place: Place,
        *,
        affine: bool,
        track: bool,
    ) -> None:
        super().__init__()
        self.group, self.place, self.width = group, place, N_NODES * place.channels
        self.preprocess = Preprocess(place, affine=affine, track=track)
        names = [choice.candidates for choice in choices]
        self.bundles = nn.ModuleList(
            StateBundle(
                [names[edge] for edge in edges],
                place.channels,
                2 if place.reduction and state < 2 else 1,
                affine=affine,
                track=track,
            )
            for state, edges in enumerate(BUNDLES)
        )
        none = names[0].index("none") if "none" in names[0] else None
        self.mixings = nn.ModuleList(
            make_mixing(Site(group, edges, place.cell, place.stage, len(names[0]), place.channels, none))
            for edges in BUNDLES
        )

    def with_importance(self, state: CellState) -> tuple[CellState, Importances]:
        """Map the two inputs to the newer one and the output ``[B, 4C, H, W]``; importances are those of ``BUNDLES``."""
        states: list[Tensor | None] = [*self.preprocess(state), *[None] * N_NODES]
        importances: Importances = []
        for source, (bundle, mixing) in enumerate(zip(self.bundles, self.mixings, strict=True)):
            outputs, importance = mixing(bundle(states[source]))
            importances.append(importance)
            for edge, output in zip(BUNDLES[source], outputs, strict=True):
                node = EDGES[edge][0]
                before = states[node]
                states[node] = output if before is None else before + output
        return (state[1], torch.cat([y for y in states[2:] if y is not None], dim=1)), importances

    def edge_state(self, edge: int, candidate: int) -> dict[str, Tensor]:
        """Return parameters and statistics of a candidate on an edge, named as in an operation of that edge alone."""
        state = EDGES[edge][1]
        bundle = self.bundles[state]
        assert isinstance(bundle, StateBundle)
        return bundle.edge_state(BUNDLES[state].index(edge), candidate)

    def weights(self, edge: int, candidate: int) -> list[Tensor]:
        """Return the parameters of a candidate on an edge."""
        return [value for value in self.edge_state(edge, candidate).values() if value.requires_grad]


class CellSupernet(Supernet, CellSkeleton):
    """The supernet: every cell is searched, cells of a group decide the same choices."""

    def __init__(
        self,
        space: CellSpace,
        make_mixing: MixingFactory,
        size: CellNetworkConfig,
        in_channels: int,
        n_classes: int,
        *,
        affine: bool = False,
        track: bool = True,
    ) -> None:
        """Build the supernet; ``affine`` and ``track`` configure every BatchNorm but the stem's."""

        def make_cell(place: Place) -> SuperCell:
            group = group_at(space, place)
            return CellSuperCell(group, space.groups[group], make_mixing, place, affine=affine, track=track)

        CellSkeleton.__init__(self, make_cell, size.cells, size.channels, in_channels, n_classes)


def group_at(space: CellSpace, place: Place) -> str:
    """Return the group that the cell at a place belongs to: the one of its kind, or of its kind and stage."""
    kind = "reduce" if place.reduction else "normal"
    groups = [group for group in space.groups if kind_of(group) == kind]
    return groups[0] if len(groups) == 1 else groups[place.stage - place.reduction]


def build_genotype_network(genotype: str, size: CellNetworkConfig, in_channels: int, n_classes: int) -> CellNetwork:
    """Return the stand-alone network of a genotype in the supernet's size."""
    return build_cell_network(genotype, size.cells, size.channels, in_channels, n_classes)

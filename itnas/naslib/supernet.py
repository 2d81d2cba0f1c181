"""A NASLib graph as the supernet that our methods see, and the scores that travel with its checkpoints. Needs NASLib."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from itnas.naslib.edges import MixedEdge, output_channels
from itnas.naslib.layout import SearchedEdge
from itnas.nn.mixing import Mixing, MixingFactory, Site
from itnas.nn.supernets import Importances, SuperCell, Supernet
from itnas.optimizers.angles import Parts
from itnas.spaces.base import SearchSpace


class GraphCell(SuperCell):
    """One searched cell of a NASLib graph: its mixed edges."""

    def __init__(self, edges: list[MixedEdge]) -> None:
        super().__init__()
        self.edges = edges

    def with_importance(self, state: Any) -> tuple[Any, Importances]:  # noqa: ANN401
        """Not available: the graph runs its cells itself."""
        raise NotImplementedError("a NASLib graph runs its cells itself")

    def sites(self) -> Iterator[tuple[Mixing, Site]]:
        """Yield the mixings of the edges and where they stand."""
        for edge in self.edges:
            yield edge.mixing, edge.mixing.site


class GraphSupernet(Supernet):
    """A NASLib graph whose searched edges hold our mixings; to our measurements it is one module, the graph."""

    def __init__(self, graph: Any, edges: list[SearchedEdge], space: SearchSpace, make_mixing: MixingFactory) -> None:  # noqa: ANN401
        """Put a :class:`MixedEdge` on every searched edge of ``graph``, in place, and parse it."""
        nn.Module.__init__(self)
        by_cell: dict[int, list[MixedEdge]] = {}
        self.order: dict[tuple[str, int], tuple[int, ...]] = {}
        for edge in edges:
            candidates = space.groups[edge.group][edge.choice].candidates
            site = Site(
                edge.group,
                (edge.choice,),
                edge.cell,
                edge.stage,
                len(candidates),
                output_channels(edge.data.op),
                candidates.index("none") if "none" in candidates else None,
            )
            mixed = MixedEdge(edge.data.op, edge.order, make_mixing(site))
            edge.data.set("op", mixed)
            by_cell.setdefault(edge.cell, []).append(mixed)
            self.order[edge.group, edge.choice] = edge.order
        graph.parse()
        self.stages = nn.ModuleList([graph])
        self.cells = [GraphCell(mixed) for mixed in by_cell.values()]  # a plain list: their modules are the graph's

    @property
    def supercells(self) -> list[GraphCell]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The searched cells, in the order data flow."""
        return self.cells

    def begin(self, images: Tensor) -> Tensor:
        """Return the images, which the graph reads."""
        return images

    def head(self, state: Tensor) -> Tensor:
        """Return the graph's output, the logits."""
        return state

    def module_of(self, cell: int) -> int:
        """Return the position of the only module."""
        return 0

    def with_importance(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits and ``{group: [cells of the group, B or 1, choices, candidates]}``."""
        logits = self(x)
        gathered: dict[str, list[Tensor]] = {}
        for cell in self.supercells:
            for group, part in cell.importance([edge.importance for edge in cell.edges]).items():
                gathered.setdefault(group, []).append(part)
        return logits, {group: torch.stack(parts) for group, parts in gathered.items()}


class SavedScores(nn.Module):
    """The scores an architecture is derived from, as buffers of the graph, and so in every checkpoint of it.

    NASLib's Trainer saves nothing but the graph. Before a checkpoint is made, the optimizer is asked to bring its scores up to
    date.

    Attributes:
        trained: training steps taken.
        measured: training steps after which the scores were measured, -1 before.
        decided: whether they are a finished selection and no passing state.
    """

    trained: Tensor
    measured: Tensor
    decided: Tensor

    def __init__(self, space: SearchSpace, owner: Any) -> None:  # noqa: ANN401 - an optimizer with update_scores()
        super().__init__()
        self.groups = tuple(space.groups)
        for number, choices in enumerate(space.groups.values()):
            self.register_buffer(f"scores_{number}", torch.zeros(len(choices), len(choices[0].candidates)).double())
        self.register_buffer("trained", torch.zeros((), dtype=torch.long))
        self.register_buffer("measured", torch.full((), -1, dtype=torch.long))
        self.register_buffer("decided", torch.zeros((), dtype=torch.bool))
        self.owner = weakref.ref(owner)  # a deep copy of the graph shall not copy the optimizer

    def put(self, scores: Mapping[str, np.ndarray], *, decided: bool = False) -> None:
        """Store scores ``{group: [choice, candidate]}`` measured now."""
        for number, group in enumerate(self.groups):
            buffer = self.get_buffer(f"scores_{number}")
            buffer.copy_(torch.as_tensor(np.asarray(scores[group]), dtype=buffer.dtype))
        self.measured.copy_(self.trained)
        self.decided.fill_(decided)

    def get(self) -> dict[str, np.ndarray]:
        """Return the stored scores."""
        return {g: self.get_buffer(f"scores_{number}").cpu().numpy() for number, g in enumerate(self.groups)}

    def is_current(self) -> bool:
        """Return whether no step was taken since the scores were measured."""
        return bool(self.measured == self.trained)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:  # noqa: ANN401
        owner = self.owner()
        if owner is not None and owner.saved is self:
            owner.update_scores()
        super()._save_to_state_dict(destination, prefix, keep_vars)


class InitialParts(nn.Module):
    """The weights before training as buffers of the graph, so that a resumed search still measures angles from them."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.sizes = {part: len(tensors) for part, tensors in parts.items()}
        for number, tensor in enumerate(tensor for tensors in parts.values() for tensor in tensors):
            self.register_buffer(f"weight_{number}", tensor)

    def parts(self) -> dict[Any, list[Tensor]]:
        """Return the buffers by part."""
        buffers = iter(self.buffers())
        return {part: [next(buffers) for _ in range(size)] for part, size in self.sizes.items()}

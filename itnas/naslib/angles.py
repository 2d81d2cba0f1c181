"""RLNAS's angles on the weights of a NASLib graph: the spaces' own formulas, given the graph's tensors. Needs NASLib."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from itnas.errors import UserError
from itnas.naslib.edges import MixedEdge
from itnas.naslib.supernet import GraphSupernet
from itnas.nn.supernets import Supernet
from itnas.optimizers.angles import ArchitectureAngles, NASBench201Angles, Parts, constant_pool
from itnas.optimizers.darts_angles import CellAngles, operation_weights
from itnas.spaces.darts import EDGES as CELL_EDGES
from itnas.spaces.nasbench201 import EDGES, OPERATIONS


class GraphAngles201(NASBench201Angles):
    """The angle of NAS-Bench-201."""

    def parts(self, graph: Supernet) -> Parts:
        """Return ``{(edge, operation): ..., "fixed": ...}``; fixed is everything outside the searched edges."""
        assert isinstance(graph, GraphSupernet)
        device = next(graph.parameters()).device
        found: dict[Any, list[Tensor]] = {(e, op): [] for e in range(len(EDGES)) for op in range(len(OPERATIONS))}
        for edge in _edges(graph):
            site = edge.mixing.site
            for op, name in enumerate(OPERATIONS):
                pool = [constant_pool(site.channels).to(device)] if name == "avg_pool_3x3" else []
                found[site.choices[0], op] += edge.weight_tensors(op) or pool
        return {**found, "fixed": _fixed(graph)}


class GraphCellAngles(CellAngles):
    """The angle of the DARTS space."""

    def parts(self, graph: Supernet) -> Parts:
        """Return ``{(group, edge, candidate): ..., "fixed": ...}``.

        Fixed is everything outside the searched edges but the classifier's bias.
        """
        assert isinstance(graph, GraphSupernet)
        device = next(graph.parameters()).device
        found: dict[Any, list[Tensor]] = {}
        for mixed in _edges(graph):
            site = mixed.mixing.site
            (edge,) = site.choices
            stride = 2 if site.group == "reduce" and CELL_EDGES[edge][1] < 2 else 1
            for k in self.operations[site.group][edge]:
                name = self.space.groups[site.group][edge].candidates[k]
                weights = operation_weights(name, mixed.weight_tensors(k), site.channels, stride)
                found.setdefault((site.group, edge, k), []).extend(w.to(device) for w in weights)
        biases = {id(m.bias) for m in graph.modules() if isinstance(m, nn.Linear)}
        return {**found, "fixed": [p for p in _fixed(graph) if id(p) not in biases]}


def angles_on_graph(angles: ArchitectureAngles) -> ArchitectureAngles:
    """Return the same angles, on the weights of a NASLib graph.

    Raises:
        UserError: the space's weights are not known there.
    """
    if isinstance(angles, NASBench201Angles):
        return GraphAngles201()
    if isinstance(angles, CellAngles):
        return GraphCellAngles(angles.space)
    raise UserError(
        f"RLNAS cannot measure {type(angles).__name__} on a NASLib graph; it can on NAS-Bench-201 and DARTS"
    )


def _edges(graph: GraphSupernet) -> list[MixedEdge]:
    return [edge for cell in graph.supercells for edge in cell.edges]


def _fixed(graph: GraphSupernet) -> list[Tensor]:
    """Return the parameters outside the searched edges."""
    searched = {id(p) for edge in _edges(graph) for p in edge.parameters()}
    return [p for p in graph.parameters() if id(p) not in searched]

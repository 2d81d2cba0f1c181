"""Which edges of a NASLib graph are searched, and how they correspond to the choices of one of our spaces.

A NASLib graph nests: cells are graphs on nodes or edges of a macro graph, many copies of a few types told apart by name. An
edge that is searched holds a list of primitives. Nothing here needs NASLib; it reads the graph's public attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from itnas.errors import UserError
from itnas.spaces import Choice, SearchSpace, get_space
from itnas.spaces.base import Chosen, Scores

NAMES = {
    "Identity": "skip_connect",
    "FactorizedReduce": "skip_connect",
    "Zero": "none",
    "Zero1x1": "none",
    "ReLUConvBN1x1": "nor_conv_1x1",
    "ReLUConvBN3x3": "nor_conv_3x3",
    "AvgPool": "avg_pool_3x3",
    "AvgPool1x1": "avg_pool_3x3",
    "MaxPool": "max_pool_3x3",
    "MaxPool1x1": "max_pool_3x3",
    "SepConv3x3": "sep_conv_3x3",
    "SepConv5x5": "sep_conv_5x5",
    "DilConv3x3": "dil_conv_3x3",
    "DilConv5x5": "dil_conv_5x5",
}
"""The field's name of a NASLib primitive, by its ``get_op_name``; the poolings of size "1x1" are 3x3."""

KNOWN = {"nasbench201": {"cell": "edges"}, "darts": {"normal_cell": "normal", "reduction_cell": "reduce"}}
"""Our spaces that NASLib has too: the group of choices of each of NASLib's cell types."""


@dataclass(frozen=True)
class SearchedEdge:
    """An edge of a cell of a NASLib graph, and the choice it takes part in."""

    cell: int
    """Searched cell, from 0, in the order in which data flow."""
    stage: int
    """Stage of the network, from 0, as far as the cell's scope tells."""
    data: Any
    """NASLib's ``EdgeData``."""
    group: str
    """Group of choices of the space."""
    choice: int
    """Index of the choice in its group."""
    order: tuple[int, ...]
    """Place of each of the choice's candidates among the edge's primitives."""


@dataclass(frozen=True)
class _Cell:
    name: str
    scope: Any
    edges: dict[tuple[int, int], Any]


class GraphSpace(SearchSpace):
    """The choices of a NASLib graph that is none of our spaces: one group per cell type, candidates in NASLib's order.

    A genotype lists ``type:source->target=operation`` for every edge.
    """

    name = "naslib"  # pyright: ignore[reportAssignmentType]

    def __init__(self, groups: dict[str, tuple[Choice, ...]]) -> None:
        self.groups = groups  # pyright: ignore[reportAttributeAccessIssue]

    def derive(self, scores: Scores, *, exclude_none: bool) -> str:
        """Return the argmax of every edge; ties go to the lower index."""
        self.check_scores(scores)
        text = []
        for group, choices in self.groups.items():
            for choice, row in zip(choices, np.asarray(scores[group], dtype=float), strict=True):
                barred = [exclude_none and name == "none" for name in choice.candidates]
                best = int(np.where(barred, -np.inf, row).argmax())
                text.append(f"{group}:{choice.name}={choice.candidates[best]}")
        return " ".join(text)

    def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
        """Return a genotype drawn uniformly."""
        draws = {g: rng.random((len(choices), len(choices[0].candidates))) for g, choices in self.groups.items()}
        return self.derive(draws, exclude_none=exclude_none)

    def canonical(self, genotype: str) -> str:
        """Return the genotype with single blanks."""
        self.operations(genotype)
        return " ".join(genotype.split())

    def operations(self, genotype: str) -> list[str]:
        """Return the operations in the order of the choices."""
        tokens = [token.rpartition("=") for token in genotype.split()]
        found = {edge: operation for edge, _, operation in tokens}
        wanted = [f"{group}:{choice.name}" for group, choices in self.groups.items() for choice in choices]
        if set(found) != set(wanted):
            raise UserError(f"{genotype!r} is no genotype of this graph; it has the edges {', '.join(wanted)}")
        return [found[edge] for edge in wanted]

    def chosen(self, genotype: str) -> Chosen:
        """Return the operation of every edge."""
        names = iter(self.operations(genotype))
        return {
            group: [(choice.candidates.index(next(names)),) for choice in choices]
            for group, choices in self.groups.items()
        }


def read_layout(graph: Any, scope: Any) -> tuple[SearchSpace, list[SearchedEdge]]:  # noqa: ANN401 - a NASLib graph
    """Return the space whose choices a NASLib graph searches, and the graph's searched edges in the order data flow.

    NASLib's graphs of NAS-Bench-201 and of the DARTS space get our spaces, with their orders of edges and operations; any other
    graph gets a :class:`GraphSpace`.

    Args:
        graph: a search space, not yet adapted by any optimizer.
        scope: `all`, or the scope or scopes of the cells to search.

    Raises:
        UserError: nothing in scope can be searched, or edges of one cell type differ in their number of operations.
    """
    cells = [cell for cell in _cells(graph, scope) if cell.edges]
    if not cells:
        raise UserError(f"the graph has no edge with a list of operations in scope {scope!r}: nothing to search")
    types: dict[str, _Cell] = {}
    for cell in cells:
        types.setdefault(cell.name, cell)
    space, places = _known_space(types) or _own_space(types)
    edges = [
        SearchedEdge(number, _stage(cell.scope), data, *places[cell.name, edge])
        for number, cell in enumerate(cells)
        for edge, data in cell.edges.items()
    ]
    return space, edges


Places = dict[tuple[str, tuple[int, int]], tuple[str, int, tuple[int, ...]]]
"""``{(cell type, edge): (group, choice, order)}``."""


def _known_space(types: dict[str, _Cell]) -> tuple[SearchSpace, Places] | None:
    """Return one of our spaces if the cell types are those of it."""
    for name, groups in KNOWN.items():
        if set(groups) == set(types):
            space = get_space(name)
            parts = [_places(types[cell], space, group) for cell, group in groups.items()]
            if all(part is not None for part in parts):
                return space, {edge: place for part in parts if part is not None for edge, place in part.items()}
    return None


def _places(cell: _Cell, space: SearchSpace, group: str) -> Places | None:
    """Return where the edges of a cell type stand in a group, None if edges or operations are not the group's."""
    choices = space.groups[group]
    edges = [_naslib_edge(choice.name) for choice in choices]
    if set(cell.edges) != set(edges):
        return None
    places: Places = {}
    for number, (edge, choice) in enumerate(zip(edges, choices, strict=True)):
        names = operation_names(cell.edges[edge].op)
        if sorted(names) != sorted(choice.candidates):
            return None
        places[cell.name, edge] = (group, number, tuple(names.index(candidate) for candidate in choice.candidates))
    return places


def _naslib_edge(name: str) -> tuple[int, int]:
    """Return NASLib's edge (source, target), counted from 1, of our choice ``target<-source``, counted from 0."""
    target, source = name.split("<-")
    return int(source) + 1, int(target) + 1


def _own_space(types: dict[str, _Cell]) -> tuple[SearchSpace, Places]:
    groups: dict[str, tuple[Choice, ...]] = {}
    places: Places = {}
    for name, cell in types.items():
        choices = []
        for number, ((source, target), data) in enumerate(cell.edges.items()):
            names = operation_names(data.op)
            choices.append(Choice(f"{source}->{target}", names))
            places[name, (source, target)] = (name, number, tuple(range(len(names))))
        if len({len(choice.candidates) for choice in choices}) > 1:
            raise UserError(f"edges of {name!r} differ in their number of operations; that is not supported")
        groups[name] = tuple(choices)
    return GraphSpace(groups), places


def operation_names(primitives: Sequence[Any]) -> tuple[str, ...]:
    """Return the field's names of primitives, made unique where two are alike."""
    names: list[str] = []
    for primitive in primitives:
        own = getattr(primitive, "get_op_name", None) or getattr(primitive, "name", None) or type(primitive).__name__
        name = NAMES.get(own, own)
        names.append(name if name not in names else f"{name}-{len(names)}")
    return tuple(names)


def _stage(scope: Any) -> int:  # noqa: ANN401
    match = re.search(r"(\d+)$", str(scope))
    return int(match[1]) - 1 if match else 0


def _cells(graph: Any, scope: Any) -> Iterator[_Cell]:  # noqa: ANN401
    """Yield a graph's searched cells, depth first in the order of its node numbers."""
    if scope == "all" or graph.scope == scope or (isinstance(scope, list | tuple) and graph.scope in scope):
        yield _Cell(graph.name, graph.scope, dict(_searched(graph)))
    for node in sorted(graph.nodes):
        child = graph.nodes[node].get("subgraph")
        if child is not None:
            yield from _cells(child, scope)
        for _, data in sorted((v, data) for u, v, data in graph.edges.data() if u == node):
            for child in data.op if isinstance(data.op, list) else [data.op]:
                if hasattr(child, "nodes"):
                    yield from _cells(child, scope)


def _searched(graph: Any) -> Iterator[tuple[tuple[int, int], Any]]:  # noqa: ANN401
    for u, v, data in graph.edges.data():
        if not data.is_final() and isinstance(data.op, list):
            yield (u, v), data

"""Drawing a derived cell as a graph with its operations on edges or in nodes: graphviz if `dot` is there, else networkx."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from analysis import plotting
from analysis.common import Group
from itnas.spaces import NASBench1Shot1, nasbench1shot1
from itnas.spaces.base import SearchSpace

Edge = tuple[str, str, str]
"""(source, target, operation)."""
_EDGE = re.compile(r"(?P<target>\w+)<-(?P<source>\w+)")
SIDE_BY_SIDE = 4
"""Graphs drawn side by side."""
BOX = {"shape": "box", "fixedsize": "false", "height": "0.25", "margin": "0.06,0.03"}
"""How a node with more than a number in it is drawn."""
LOOKS = {"none": ("#bbbbbb", "dotted"), "skip_connect": ("#888888", "dashed")}
"""Colour and line of the operations that do nothing; all others are solid black."""


def cell_graphs(space: SearchSpace, genotype: str) -> list[tuple[str, list[Edge]]]:
    """Return the graphs of an architecture: (group, edges) for every group whose choices are edges named ``target<-source``.

    The group is empty where there is one only; an edge that the cell does not keep is left out. Cells of NAS-Bench-1Shot1
    have their operations in the nodes: an edge's is empty, its nodes are named ``number: operation``.
    """
    if isinstance(space, NASBench1Shot1):
        return [("", _node_edges(space.parse(genotype)))]
    graphs = []
    for group, kept in space.chosen(genotype).items():
        edges = []
        for choice, candidates in zip(space.groups[group], kept, strict=True):
            match = _EDGE.fullmatch(choice.name)
            if match and candidates:
                edges.append((match["source"], match["target"], choice.candidates[candidates[0]]))
        graphs += [(group, edges)] if edges else []
    return graphs if len(graphs) > 1 else [("", edges) for _, edges in graphs]


def _node_edges(cell: nasbench1shot1.Cell) -> list[Edge]:
    names = ["input", *(nasbench1shot1.OPERATIONS[op] for op in cell.ops), "output"]
    labels = [f"{number}: {name}" for number, name in enumerate(names)]
    return [(labels[p], labels[node], "") for node, found in enumerate(cell.parents, start=1) for p in found]


def draw_cells(cells: Sequence[tuple[str, list[Edge]]], group: Group, name: str, note: str) -> None:
    """Draw (title, edges) side by side and write ``<name>.png`` and ``.pdf`` for ``group``."""
    if shutil.which("dot"):
        _draw_graphviz(cells, group, name, note)
    else:
        _draw_networkx(cells, group, name, note)


def _draw_graphviz(cells: Sequence[tuple[str, list[Edge]]], group: Group, name: str, note: str) -> None:
    import graphviz

    graph = graphviz.Digraph(graph_attr={"label": note, "fontsize": "9", "fontname": "Helvetica", "size": "6.9,9"})
    graph.attr("node", shape="circle", fontsize="10", fontname="Helvetica", width="0.3", fixedsize="true")
    graph.attr("edge", fontsize="9", fontname="Helvetica", arrowsize="0.6")
    for number, (title, edges) in enumerate(cells):
        part = graphviz.Digraph(f"cluster_{number}")
        part.attr(label=title, color="white", fontsize="11", labelloc="t")
        for node in sorted({node for source, target, _ in edges for node in (source, target)}):
            part.node(f"{number}_{node}".replace(":", ""), node, **(BOX if len(node) > 2 else {}))
        for source, target, operation in edges:
            color, line = LOOKS.get(operation, ("black", "solid"))
            ends = (f"{number}_{node}".replace(":", "") for node in (source, target))
            part.edge(*ends, label=f" {operation} ", color=color, fontcolor=color, style=line)
        graph.subgraph(part)
    fine = graphviz.Source(
        graph.source.replace("{", f"{{dpi={plotting.REPORT_DPI * 4 // 5 if group.for_report else 200} ", 1)
    )

    def write() -> None:
        plotting.file(group, name, "png").write_bytes(fine.pipe("png"))
        if not group.for_report:
            plotting.file(group, name, "pdf").write_bytes(graph.pipe("pdf"))

    plotting.write_files(group, name, note, write)


def _draw_networkx(cells: Sequence[tuple[str, list[Edge]]], group: Group, name: str, note: str) -> None:
    import networkx as nx

    figure, axes = plotting.subplots(1, len(cells), plotting.PAGE if len(cells) > 1 else plotting.COLUMN, 2.6)
    for axis, (title, edges) in zip(axes[0], cells, strict=True):
        nodes = sorted({node for source, target, _ in edges for node in (source, target)})
        place = {node: (0.0, -float(row)) for row, node in enumerate(nodes)}
        graph = nx.DiGraph((source, target) for source, target, _ in edges)
        named = any(len(node) > 2 for node in nodes)
        box = {"boxstyle": "round", "facecolor": "white", "linewidth": 0.6} if named else None
        nx.draw_networkx_nodes(
            graph, place, ax=axis, node_size=140, node_color="white", edgecolors="white" if named else "black"
        )
        nx.draw_networkx_labels(graph, place, ax=axis, font_size=5 if named else 7, bbox=box)
        for source, target, operation in edges:
            span = nodes.index(target) - nodes.index(source)
            bend = f"arc3,rad={0 if span == 1 else (0.45 if span == 2 else -0.5)}"
            color, line = LOOKS.get(operation, ("black", "solid"))
            looks = {"ax": axis, "connectionstyle": bend, "node_size": 140}
            pair = [(source, target)]
            nx.draw_networkx_edges(graph, place, edgelist=pair, edge_color=color, style=line, arrowsize=6, **looks)
            labels = {pair[0]: operation}
            nx.draw_networkx_edge_labels(graph, place, labels, font_size=5, rotate=False, font_color=color, **looks)
        axis.set_title(title)
        axis.set_xlim(-1.6, 1.6)
        axis.axis("off")
    plotting.save(figure, group, name, note)

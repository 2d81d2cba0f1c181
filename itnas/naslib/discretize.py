"""From a searched NASLib graph to its architecture: what stands around the space's own discretization."""

from __future__ import annotations

from typing import Any


def forget_outputs(graph: Any) -> None:  # noqa: ANN401
    """Drop the auxiliary outputs that NASLib's graphs keep of their last forward pass, and that cannot be copied."""
    for module in graph.modules():
        kept = getattr(module, "graph", {})
        for key in [key for key in kept if str(key).startswith("out_from_")]:
            del kept[key]


def unparsed(graph: Any) -> Any:  # noqa: ANN401
    """Return ``graph.unparse()`` with the attributes that it forgets, such as the number of classes."""
    final = graph.unparse()
    for name, value in vars(graph).items():
        plain = isinstance(value, int | float | str | bool | list | tuple) or value is None
        if plain and not name.startswith("_") and name not in ("training", "is_parsed", "name", "scope"):
            setattr(final, name, value)
    return final


def keep_largest(edge: Any) -> None:  # noqa: ANN401 - NASLib's edge
    """Put the operation with the largest alpha on an edge that has alphas."""
    if edge.data.has("alpha"):
        edge.data.set("op", edge.data.op.get_embedded_ops()[int(edge.data.alpha.argmax())])

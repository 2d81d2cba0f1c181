"""One architecture, many spellings: NAS-Bench-201 cells as strings, NASLib tuples, darts-pt genotypes, and classes.

NAS-Bench-101 graphs are in :mod:`itnas.benchmarks.graphs`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache

from itnas.benchmarks.schema201 import benchmark_order
from itnas.errors import UserError
from itnas.spaces.nasbench201 import EDGES, OPERATIONS, format_ops, parse

NASLIB_OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
"""NASLib's order: Identity, Zero, ReLUConvBN3x3, ReLUConvBN1x1, AvgPool1x1 (a 3x3 pool in spite of its name)."""
NASLIB_EDGES = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1), (3, 2))
"""NASLib's order of edges, as ``(target, source)``: its (1,2), (1,3), (1,4), (2,3), (2,4), (3,4)."""
Structure = Sequence[Sequence[tuple[str, int]]]
"""darts-pt's genotype: per node the pairs ``(operation, source)``."""


def canonical_cell(arch: str) -> str:
    """Return the representative of all cells that compute the same: the one with the lowest benchmark index.

    Two cells are the same if one becomes the other by renaming inner nodes, by dropping what is never fed or never
    used, and by contracting skip connections; 4,930 are left. The benchmark's own count of 6,466
    (:func:`~itnas.spaces.nasbench201.isomorphism_class`) is finer: it keeps dropped edges in its text, and so tells
    cells apart that differ only in the numbering of their inner nodes. Both count a sum that is used twice as two sums.

    Raises:
        UserError: the string is malformed.
    """
    return _representatives()[expression(arch)]


def expression(arch: str) -> str:
    """Return the cell's output as a sum of nested operations on the input ``0``; empty for a cell without a live path.

    Raises:
        UserError: the string is malformed.
    """
    nodes: list[list[str]] = [["0"]]
    ops = dict(zip(EDGES, parse(arch), strict=True))
    for target in (1, 2, 3):
        terms: list[str] = []
        for source in range(target):
            name = OPERATIONS[ops[target, source]]
            if name == "skip_connect":
                terms += nodes[source]
            elif name != "none" and nodes[source]:
                terms.append(f"({'+'.join(nodes[source])})@{name}")
        nodes.append(sorted(terms))
    return "+".join(nodes[-1])


@lru_cache(maxsize=1)
def _representatives() -> dict[str, str]:
    return {expression(arch): arch for arch in reversed(benchmark_order())}


def from_naslib(op_indices: Sequence[int]) -> str:
    """Return the architecture string of NASLib's six operation indices (``get_hash()`` of its search space).

    Raises:
        UserError: these are not six indices from 0 to 4.
    """
    if len(op_indices) != len(EDGES) or any(op not in range(len(NASLIB_OPERATIONS)) for op in op_indices):
        raise UserError(f"NASLib writes a NAS-Bench-201 cell as six indices from 0 to 4, not {tuple(op_indices)}")
    by_edge = dict(zip(NASLIB_EDGES, op_indices, strict=True))
    return format_ops([OPERATIONS.index(NASLIB_OPERATIONS[by_edge[edge]]) for edge in EDGES])


def to_naslib(arch: str) -> tuple[int, ...]:
    """Return NASLib's six operation indices of an architecture string."""
    by_edge = dict(zip(EDGES, parse(arch), strict=True))
    return tuple(NASLIB_OPERATIONS.index(OPERATIONS[by_edge[edge]]) for edge in NASLIB_EDGES)


def from_structure(nodes: Structure) -> str:
    """Return the architecture string of darts-pt's genotype; an edge that it does not name is ``none``.

    Raises:
        UserError: there are not three nodes, an edge goes the wrong way or carries two operations.
    """
    if len(nodes) != 3:
        raise UserError(f"a NAS-Bench-201 genotype has three nodes, this one has {len(nodes)}: {nodes!r}")
    ops = dict.fromkeys(EDGES, 0)
    named: set[tuple[int, int]] = set()
    for target, node in enumerate(nodes, start=1):
        for operation, source in node:
            edge = (target, source)
            if edge not in ops or operation not in OPERATIONS:
                raise UserError(
                    f"node {target} of the genotype has {operation!r} from node {source}, which does not exist"
                )
            if edge in named:
                raise UserError(f"node {target} of the genotype has two operations from node {source}; a cell has one")
            named.add(edge)
            ops[edge] = OPERATIONS.index(operation)
    return format_ops(list(ops.values()))


def to_structure(arch: str) -> tuple[tuple[tuple[str, int], ...], ...]:
    """Return darts-pt's genotype of an architecture string: per node the pairs ``(operation, source)``."""
    ops = dict(zip(EDGES, parse(arch), strict=True))
    return tuple(
        tuple((OPERATIONS[op], source) for (end, source), op in ops.items() if end == target) for target in (1, 2, 3)
    )


def read_cell(text: str) -> str:
    """Return the architecture string of a cell in any spelling.

    Understood are the benchmark's string, a benchmark index, NASLib's ``(4, 0, 3, 1, 4, 3)``, darts-pt's genotype as a
    list of nodes and as it prints itself, ``Structure(4 nodes with |...|)``.

    Raises:
        UserError: the text is none of these.
    """
    stripped = text.strip()
    printed = re.fullmatch(r"\w+\(4 nodes with (.+)\)", stripped)
    if stripped.startswith("|") or printed:
        return format_ops(parse(printed[1] if printed else stripped))
    if stripped.isdecimal() and int(stripped) < len(benchmark_order()):
        return benchmark_order()[int(stripped)]
    try:
        value = ast.literal_eval(stripped)
        if all(isinstance(op, int) for op in value):
            return from_naslib(value)
        return from_structure([[(str(op), int(source)) for op, source in node] for node in value])
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise UserError(
            f"{text!r} is no NAS-Bench-201 cell; write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, an index below 15,625,"
            " NASLib's six indices, or darts-pt's genotype"
        ) from None

"""The published genotype text of DARTS-like cells, in both directions, without ``eval``.

``Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=[2, 3, 4, 5])`` is what
DARTS, RobustDARTS and DARTS-PT print; AGNAS's stage-wise cells are a list of ``Normal_Genotype(...)`` and
``Reduce_Genotype(...)``. Two genes ``(operation, source)`` per node; sources 0 and 1 are the outputs of the cell before the
last and of the last one, source ``2 + n`` is node ``n``.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from itnas.errors import UserError

Gene = tuple[str, int]
"""``(operation, source)``."""
KINDS = ("normal", "reduce")
"""The two kinds of cell."""
_NAMES = {"Normal_Genotype": "normal", "Reduce_Genotype": "reduce"}
_HINT = "expected Genotype(normal=[('op', source), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=...)"


@dataclass(frozen=True)
class CellGenes:
    """One cell as its genotype writes it down."""

    kind: str
    """`normal` or `reduce`."""
    genes: tuple[Gene, ...]
    """Two genes per node, nodes in order."""
    concat: tuple[int, ...] | range = range(2, 6)
    """Nodes whose concatenation is the cell's output; a range is printed as one, anything else as a list."""

    def fields(self) -> str:
        """Return the text ``normal=[...], normal_concat=...``."""
        concat = repr(self.concat) if isinstance(self.concat, range) else repr(list(self.concat))
        return f"{self.kind}={list(self.genes)!r}, {self.kind}_concat={concat}"


def format_genotype(cells: Sequence[CellGenes]) -> str:
    """Return the published text: ``Genotype(...)`` for a normal and a reduction cell, else a list of cells."""
    if [cell.kind for cell in cells] == list(KINDS):
        return f"Genotype({', '.join(cell.fields() for cell in cells)})"
    return "[" + ", ".join(f"{cell.kind.title()}_Genotype({cell.fields()})" for cell in cells) + "]"


def parse_genotype(text: str) -> tuple[CellGenes, ...]:
    """Return the cells of a published genotype text; ``format_genotype`` is its inverse.

    Any operation name is accepted: which ones a space knows is the space's business.

    Raises:
        UserError: the text is malformed; the message says where.
    """
    try:
        tree = ast.parse(" ".join(text.split()), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UserError(f"malformed genotype {_short(text)}: it is no single expression; {_HINT}") from None
    if isinstance(tree, ast.List):
        return tuple(cell for call in tree.elts for cell in _cells(call, _NAMES, text))
    return _cells(tree, {"Genotype": None}, text)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _cells(node: ast.expr, names: dict[str, str | None] | dict[str, str], text: str) -> tuple[CellGenes, ...]:
    """Return the cells of one call; its name says which kinds it must hold (None: both)."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names) or node.args:
        raise UserError(
            f"malformed genotype {_short(text)}: {ast.unparse(node)[:40]!r} is no {' or '.join(names)}(...)"
        )
    kind = names[node.func.id]
    kinds = KINDS if kind is None else (kind,)
    values = {keyword.arg: keyword.value for keyword in node.keywords}
    expected = [name for kind in kinds for name in (kind, f"{kind}_concat")]
    if len(node.keywords) != len(expected) or set(values) != set(expected):
        raise UserError(f"malformed genotype {_short(text)}: {node.func.id} needs exactly {', '.join(expected)}")
    return tuple(CellGenes(k, _genes(k, values[k], text), _concat(k, values[f"{k}_concat"], text)) for k in kinds)


def _genes(kind: str, node: ast.expr, text: str) -> tuple[Gene, ...]:
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    genes: list[Gene] = []
    for number, item in enumerate(items):
        gene = _literal(item)
        known = isinstance(gene, tuple) and len(gene) == 2 and isinstance(gene[0], str) and type(gene[1]) is int
        if not known or not 0 <= gene[1] < 2 + number // 2:
            raise UserError(
                f"malformed genotype {_short(text)}: gene {number} of the {kind} cell is {ast.unparse(item)}; node "
                f"{2 + number // 2} takes ('operation', source) with a source from 0 to {1 + number // 2}"
            )
        genes.append(gene)
    if not genes or len(genes) % 2:
        raise UserError(f"malformed genotype {_short(text)}: the {kind} cell has {len(genes)} genes, not two per node")
    return tuple(genes)


def _concat(kind: str, node: ast.expr, text: str) -> tuple[int, ...] | range:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range" and not node.keywords:
        bounds = [_literal(argument) for argument in node.args]
        if 1 <= len(bounds) <= 3 and all(type(bound) is int for bound in bounds) and 0 not in bounds[2:]:
            return range(*bounds)
    nodes = _literal(node)
    if isinstance(nodes, list | tuple) and nodes and all(type(number) is int for number in nodes):
        return tuple(nodes)
    raise UserError(
        f"malformed genotype {_short(text)}: {kind}_concat is {ast.unparse(node)[:40]}, not range(2, 6) or a list"
    )


def _literal(node: ast.expr) -> Any:  # noqa: ANN401
    """Return a literal's value, or None where the expression is none."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None

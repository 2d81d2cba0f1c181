"""Architectures of NASLib's graphs as genotypes of ours and back, and their accuracies from our tables.

NASLib writes an architecture as its graph's ``get_hash()``: NAS-Bench-201 as six operation indices, the DARTS space as pairs
(input, operation). Neither its edge order nor its operation order is the benchmark's. Nothing here needs NASLib.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from itnas.benchmarks import NASBench201Table
from itnas.benchmarks.schema201 import Dataset, Split
from itnas.errors import UserError
from itnas.spaces import nasbench201
from itnas.spaces.darts import EDGES, INCOMING, DARTSSpace

Compact = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
"""A DARTS architecture as NASLib hashes it: pairs (input, operation) of the normal and of the reduction cell. Inputs count as
ours do; operations are those of our space without `none`, in the same order."""
OPERATIONS_201 = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
"""NAS-Bench-201's operations in NASLib's order, by the benchmark's names."""
EDGES_201 = ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))
"""NAS-Bench-201's edges ``(source, target)`` in NASLib's order; its nodes count from 1."""
_PLACE_201 = tuple(EDGES_201.index((source + 1, target + 1)) for target, source in nasbench201.EDGES)

QUERIES: dict[tuple[str, str], tuple[Dataset, Split]] = {
    ("cifar10", "VAL_ACCURACY"): ("cifar10-valid", "valid"),
    ("cifar10", "TEST_ACCURACY"): ("cifar10", "test"),
    ("cifar100", "VAL_ACCURACY"): ("cifar100", "valid"),
    ("cifar100", "TEST_ACCURACY"): ("cifar100", "test"),
    ("ImageNet16-120", "VAL_ACCURACY"): ("imagenet16-120", "valid"),
    ("ImageNet16-120", "TEST_ACCURACY"): ("imagenet16-120", "test"),
}
"""Data set and metric as NASLib names them, and the table's data set and split."""


def genotype_of(architecture: Any) -> str:  # noqa: ANN401 - a NASLib graph
    """Return the genotype, in our space's spelling, of a derived or sampled NASLib graph.

    Raises:
        UserError: its space is neither NAS-Bench-201 nor the DARTS space (NASLib's `nasbench301`).
    """
    return _converters(architecture)[0](architecture.get_hash())


def set_genotype(architecture: Any, genotype: str) -> None:  # noqa: ANN401 - a NASLib graph
    """Make a NASLib search space, new and not yet set to any architecture, the architecture of ``genotype``.

    Raises:
        UserError: the text is no genotype of that space, or the space has no genotypes.
    """
    architecture.set_spec(_converters(architecture)[1](genotype))


def space_of(architecture: Any) -> str:  # noqa: ANN401 - a NASLib graph
    """Return NASLib's name of a graph's space, its class name where it has none."""
    return architecture.get_type() if hasattr(architecture, "get_type") else type(architecture).__name__


def _converters(architecture: Any) -> tuple[Callable[[Any], str], Callable[[str], Any]]:  # noqa: ANN401
    """Return from NASLib's spelling to ours, and back, for the space of a graph."""
    space = space_of(architecture)
    known: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
        "nasbench201": (from_op_indices, to_op_indices),
        "nasbench301": (from_compact, to_compact),
    }
    if space not in known:
        raise UserError(f"there is no genotype for NASLib's space {space}; there is one for {' and '.join(known)}")
    return known[space]


def from_op_indices(indices: Sequence[int]) -> str:
    """Return the NAS-Bench-201 architecture string of NASLib's six operation indices.

    Raises:
        UserError: they are not six indices below five.
    """
    if len(indices) != len(EDGES_201) or not all(0 <= int(i) < len(OPERATIONS_201) for i in indices):
        raise UserError(f"NASLib writes a NAS-Bench-201 cell as six indices from 0 to 4, not as {tuple(indices)}")
    names = [OPERATIONS_201[int(indices[place])] for place in _PLACE_201]
    return nasbench201.format_ops([nasbench201.OPERATIONS.index(name) for name in names])


def to_op_indices(genotype: str) -> tuple[int, ...]:
    """Return NASLib's six operation indices of a NAS-Bench-201 architecture string.

    Raises:
        UserError: the string is malformed.
    """
    names = [nasbench201.OPERATIONS[op] for op in nasbench201.parse(genotype)]
    indices = [0] * len(names)
    for place, name in zip(_PLACE_201, names, strict=True):
        indices[place] = OPERATIONS_201.index(name)
    return tuple(indices)


def from_compact(compact: Compact) -> str:
    """Return the DARTS-space genotype of NASLib's pairs ``(input, operation)``, eight for each of the two cells.

    Raises:
        UserError: they are no cells of the space.
    """
    space = DARTSSpace()
    if [len(cell) for cell in compact] != [2 * len(INCOMING)] * 2:
        raise UserError(f"NASLib writes a DARTS architecture as two cells of eight pairs, not as {compact}")
    try:
        kept = {
            group: sorted((INCOMING[n // 2][int(source)], 1 + int(op)) for n, (source, op) in enumerate(cell))
            for group, cell in zip(space.groups, compact, strict=True)
        }
        return space.canonical(space.genotype(kept))
    except IndexError:
        raise UserError(f"NASLib's pairs {compact} name an input or an operation that the DARTS space lacks") from None


def to_compact(genotype: str) -> Compact:
    """Return NASLib's pairs ``(input, operation)`` of a DARTS-space genotype, inputs in order.

    Raises:
        UserError: the text is no genotype of the DARTS space.
    """
    cells = [
        tuple((EDGES[edge][1], options[0] - 1) for edge, options in enumerate(edges) if options)
        for edges in DARTSSpace().chosen(genotype).values()
    ]
    return cells[0], cells[1]


def query(architecture: Any, table: NASBench201Table, *, dataset: str, metric: str) -> float:  # noqa: ANN401
    """Return the accuracy (percent, mean over training seeds, 200 epochs) of a NASLib NAS-Bench-201 graph.

    Unlike NASLib's own query, CIFAR-10's test accuracy is that of the networks trained on all 50,000 images, on the test set.

    Args:
        architecture: a derived or sampled graph.
        table: an opened table.
        dataset: as NASLib names it: `cifar10`, `cifar100` or `ImageNet16-120`.
        metric: `VAL_ACCURACY` or `TEST_ACCURACY`.

    Raises:
        UserError: the table does not answer that, or the architecture is of another space.
    """
    if (dataset, metric) not in QUERIES:
        known = ", ".join(" ".join(key) for key in QUERIES)
        raise UserError(f"the NAS-Bench-201 table does not answer {metric} on {dataset}; it answers {known}")
    key, split = QUERIES[dataset, metric]
    return table.lookup(genotype_of(architecture), dataset=key, split=split, epochs=200, seed="mean")


class TableQuery:
    """The ``query`` of a derived graph: from our table where one is given as ``dataset_api``, else NASLib's own.

    With it ``Trainer.evaluate(dataset_api=NASBench201Table.open(...))`` reports what the benchmark reports.
    """

    def __init__(self, architecture: Any) -> None:  # noqa: ANN401 - a NASLib graph
        self.architecture = architecture

    def __call__(
        self,
        metric: Any = None,  # noqa: ANN401 - a member of NASLib's enumeration
        dataset: str | None = None,
        *args: Any,  # noqa: ANN401
        dataset_api: Any = None,  # noqa: ANN401 - a table of ours, or whatever NASLib's query takes
        **keywords: Any,  # noqa: ANN401
    ) -> float:
        """Answer as NASLib's ``Graph.query`` does."""
        if isinstance(dataset_api, NASBench201Table):
            name = getattr(metric, "name", str(metric))
            return query(self.architecture, dataset_api, dataset=str(dataset), metric=name)
        own = type(self.architecture).query
        return own(self.architecture, metric, dataset, *args, dataset_api=dataset_api, **keywords)

"""What a search space is: groups of choices among candidate operations, a derivation rule, and a genotype text.

Spaces know no method and import no torch, so that an analysis can read a genotype on any machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from itnas.errors import UserError

Scores = Mapping[str, np.ndarray]
"""One score per candidate: ``{group: array [choice, candidate]}``; the larger, the better."""
Chosen = Mapping[str, Sequence[tuple[int, ...]]]
"""An architecture by its choices: ``{group: candidates kept at each choice}``; none of them where an edge is absent, several
where a node has several parents."""


@dataclass(frozen=True)
class Choice:
    """One decision of a space, such as the operation on an edge."""

    name: str
    """Where the decision is taken, in the benchmark's own words (``3<-1``)."""
    candidates: tuple[str, ...]
    """What can be chosen there, in the benchmark's own order."""


@dataclass(frozen=True)
class Decision:
    """A part of an architecture that can be decided by itself: some options of a group are kept, the others dropped."""

    group: str
    """Group of choices."""
    options: tuple[tuple[int, int | None], ...]
    """What may be kept: (choice, candidate), or (choice, None) for everything on an edge."""
    keep: int = 1
    """How many of the options are kept."""
    topology: bool = False
    """Whether the options are ways of connecting nodes rather than operations."""


Phase = tuple[tuple[Decision, ...], ...]
"""Decisions that can be taken in any order, in queues that advance side by side (normal and reduction cells)."""


class SearchSpace(ABC):
    """The choices of one search space and how a cell is derived from a score per candidate.

    A *genotype* is the text by which the field writes an architecture of the space down; every record holds that text.
    """

    name: ClassVar[str]
    groups: ClassVar[Mapping[str, tuple[Choice, ...]]]
    """Choices with equally many candidates, by group name. An array of scores has a row per choice of its group."""
    skip_name: ClassVar[str] = "skip_connect"
    """The candidate that counts as a skip connection."""
    derives_none: ClassVar[bool] = True
    """Whether the rule may derive `none` at all; where not, the variants with and without `none` are the same."""

    @abstractmethod
    def derive(self, scores: Scores, *, exclude_none: bool) -> str:
        """Return the genotype that the space's rule derives from ``scores``.

        Args:
            scores: ``{group: array [choice, candidate]}``.
            exclude_none: whether the operation ``none`` may not be chosen.

        Raises:
            ValueError: a group is missing, has another shape, or holds a NaN.
        """

    @abstractmethod
    def random(self, rng: np.random.Generator, *, exclude_none: bool) -> str:
        """Return a genotype drawn uniformly from the space."""

    @abstractmethod
    def canonical(self, genotype: str) -> str:
        """Return ``genotype`` in its one canonical spelling.

        Raises:
            UserError: the text is not a genotype of this space; the message says where it is wrong.
        """

    @abstractmethod
    def operations(self, genotype: str) -> list[str]:
        """Return the chosen operations of ``genotype``, one per choice, in the order of the choices."""

    @abstractmethod
    def chosen(self, genotype: str) -> Chosen:
        """Return which candidates of every choice ``genotype`` keeps."""

    def genotypes(self) -> list[str]:
        """Return all architectures of the space, each once.

        Raises:
            UserError: there are too many to list.
        """
        raise UserError(f"space {self.name} has too many architectures to list; name a number of them instead of `all`")

    def phases(self) -> tuple[Phase, ...]:
        """Return all decisions, in the order in which a method that decides one after another takes them.

        By default one phase with one queue per group, one operation kept at every choice.
        """
        queues = [
            tuple(
                Decision(group, tuple((place, k) for k in range(len(choice.candidates))))
                for place, choice in enumerate(choices)
            )
            for group, choices in self.groups.items()
        ]
        return (tuple(queues),)

    def parent_groups(self) -> set[str]:
        """Return the groups whose candidates are feature maps that a node may read, rather than operations."""
        decisions = (decision for phase in self.phases() for queue in phase for decision in queue)
        return {d.group for d in decisions if d.topology and all(k is not None for _, k in d.options)}

    def count(self, genotype: str, operation: str) -> int:
        """Return how often ``operation`` occurs in ``genotype``."""
        return self.operations(genotype).count(operation)

    def check_scores(self, scores: Scores) -> None:
        """Raise ``ValueError`` unless ``scores`` has every group in its shape and no NaN."""
        for group, choices in self.groups.items():
            if group not in scores:
                raise ValueError(f"scores lack the group {group!r} of space {self.name}")
            shape = (len(choices), len(choices[0].candidates))
            if np.shape(scores[group]) != shape:
                raise ValueError(
                    f"scores of {group!r} have shape {np.shape(scores[group])}, space {self.name} has {shape}"
                )
            if np.isnan(scores[group]).any():
                raise ValueError(f"scores of {group!r} hold a NaN")

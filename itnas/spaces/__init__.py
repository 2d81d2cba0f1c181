"""What can be searched: every space by its name."""

from __future__ import annotations

from itnas.errors import UserError
from itnas.spaces.base import Choice, Chosen, SearchSpace
from itnas.spaces.darts import DARTS_SPACES, CellSpace
from itnas.spaces.nasbench1shot1 import NASBench1Shot1, NASBench1Shot11, NASBench1Shot12, NASBench1Shot13
from itnas.spaces.nasbench201 import NASBench201

SPACES: dict[str, type[SearchSpace]] = {
    space.name: space for space in (NASBench201, NASBench1Shot11, NASBench1Shot12, NASBench1Shot13, *DARTS_SPACES)
}
"""Space classes by the name used on command lines and in records."""


def get_space(name: str) -> SearchSpace:
    """Return the search space called ``name``.

    Raises:
        UserError: no space has that name.
    """
    if name not in SPACES:
        raise UserError(f"unknown search space {name!r}; choose one of {', '.join(SPACES)}")
    return SPACES[name]()


__all__ = ["SPACES", "CellSpace", "Choice", "Chosen", "NASBench1Shot1", "NASBench201", "SearchSpace", "get_space"]

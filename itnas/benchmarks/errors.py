"""What a lookup raises when there is no number to give: never a guess, never another number."""

from __future__ import annotations

from itnas.errors import UserError


class NotInSource(UserError, LookupError):
    """The benchmark, or the file it was imported from, has no such value for any architecture."""


class MissingValue(NotInSource):
    """The source has such values, but not this one: an architecture trained with fewer seeds, or not imported."""

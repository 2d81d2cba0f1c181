"""Configuration fields that came after records had been written: at their default they are no part of a run's identity.

A run id is the sha256 of the resolved configuration, so that every new field would rename every old run. A field declared as
``field(default=..., metadata=ADDED)`` is left out of the configuration's JSON while it has its default, which must mean what
the code did before the field existed. Whoever sets it gets another run id; nobody else does.
"""

from __future__ import annotations

import dataclasses
from typing import Any

ADDED = {"left out at its default": True}
"""Metadata of a dataclass field that :func:`as_plain` leaves out while it has its default."""


def as_plain(config: Any) -> Any:  # noqa: ANN401
    """Return ``dataclasses.asdict(config)`` without the :data:`ADDED` fields that have their default, at any depth."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return type(config)(map(as_plain, config)) if isinstance(config, (list, tuple)) else config
    values = {field: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {
        field.name: as_plain(value)
        for field, value in values.items()
        if field.metadata != ADDED or value != field.default
    }

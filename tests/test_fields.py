"""Fields added later: absent at their default, at any depth, so that old run ids stay."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from itnas.fields import ADDED, as_plain
from itnas.records import read_meta, run_id

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Inner:
    old: int | None = None
    new: str = field(default="as before", metadata=ADDED)


@dataclass(frozen=True)
class Outer:
    inner: Inner
    several: tuple[Inner, ...] = ()
    section: Inner | None = field(default=None, metadata=ADDED)


def test_without_added_fields_it_is_asdict() -> None:
    @dataclass(frozen=True)
    class Plain:
        inner: tuple[int, ...] = (1, 2)
        nothing: None = None

    assert as_plain(Plain()) == dataclasses.asdict(Plain())


def test_an_added_field_is_absent_at_its_default_at_any_depth() -> None:
    assert as_plain(Outer(Inner(), (Inner(),))) == {"inner": {"old": None}, "several": ({"old": None},)}


def test_an_added_field_is_present_where_it_is_set() -> None:
    plain = as_plain(Outer(Inner(new="other"), section=Inner()))
    assert plain == {"inner": {"old": None, "new": "other"}, "several": (), "section": {"old": None}}


RECORDS = sorted((ROOT / "results" / "nb201").glob("*/run.json"))


@pytest.mark.parametrize("path", RECORDS, ids=[path.parent.name for path in RECORDS])
def test_the_configuration_of_every_committed_record_gives_its_run_id(path: Path) -> None:
    meta = read_meta(path.parent)
    identity = {"config": meta["config"], "data": meta["data"]["checksum"], "table": meta["data"]["table"]}
    assert run_id(identity) == meta["run_id"] == path.parent.name

"""Work left to child processes: it is done when the block is left, wherever it is done, and its errors are the parent's."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from analysis import background
from itnas.errors import UserError

CHILDREN = sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1


def write_pid(path: Path, seconds: float = 0.0) -> None:
    time.sleep(seconds)
    path.write_text(str(os.getpid()))


def test_work_is_done_at_once_where_no_child_is_allowed(tmp_path: Path) -> None:
    background.do(lambda: write_pid(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == str(os.getpid())


def test_all_work_is_done_when_the_block_is_left(tmp_path: Path) -> None:
    with background.allowed():
        for number in range(5):
            background.do(lambda number=number: write_pid(tmp_path / str(number), 0.05))
    found = {path.read_text() for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 5
    assert (str(os.getpid()) in found) is not CHILDREN


def fail() -> None:
    raise UserError("disk full")


def test_the_error_of_a_child_is_raised_by_the_parent() -> None:
    with pytest.raises(UserError, match="disk full"), background.allowed():
        background.do(fail)


@pytest.mark.skipif(not CHILDREN, reason="work is done in the process itself")
def test_a_killed_child_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="killed"), background.allowed():
        background.do(lambda: os._exit(9))


def test_children_end_with_an_error_of_the_parent(tmp_path: Path) -> None:
    def work() -> None:
        with background.allowed():
            if CHILDREN:
                background.do(lambda: write_pid(tmp_path / "late", 5))
            fail()

    start = time.perf_counter()
    with pytest.raises(UserError):
        work()
    assert time.perf_counter() - start < 3
    assert not list(tmp_path.iterdir())

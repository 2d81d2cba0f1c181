"""Work left to child processes: it is done when the block is left, wherever it is done, and its errors are the parent's."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from analysis import background
from itnas.errors import UserError
from itnas.records import Part, in_threads

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


def pids(folders: list[Path]) -> Part:
    return {str(os.getpid()): ([len(folders)], pa.table({}))}


def test_half_of_many_runs_is_read_by_a_child() -> None:
    folders = [Path(str(number)) for number in range(background.WORTH_A_CHILD + 1)]
    with background.allowed():
        by_child, by_threads = background.spread(pids, folders), in_threads(pids, folders)
        few = background.spread(pids, folders[:3])
    for first, second in (by_child, by_threads):
        assert [counts for counts, _ in (*first.values(), *second.values())] == [[51], [50]]
    assert (by_child[0].keys() != by_child[1].keys()) is CHILDREN
    assert by_threads[0].keys() == by_threads[1].keys() == few[0].keys() == few[1].keys()


def test_the_error_of_a_child_that_reads_is_raised_by_the_parent() -> None:
    def read(folders: list[Path]) -> Part:
        if folders[0].name != "0":
            fail()
        return {}

    folders = [Path(str(number)) for number in range(background.WORTH_A_CHILD)]
    with pytest.raises(UserError, match="disk full"), background.allowed():
        background.spread(read, folders)

"""Work done by child processes beside the rest: figures laid out and written, half of the records read.

A child is forked, so that it has what it needs without being sent it: on Linux, with more than one processor, and only
inside :func:`allowed`. Anywhere else the work is done at once.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from itnas.records import Part, halves, in_threads

WORTH_A_CHILD = 100
"""Runs from which on half of them are read by a child."""
_children: dict[Connection, Any] | None = None
"""Processes at work by the end of the pipe on which they report; None where there are not to be any."""


@contextmanager
def allowed() -> Iterator[None]:
    """Allow :func:`do` to leave work to children; all of it is done, or its error raised, when the block is left."""
    global _children
    if sys.platform != "linux" or _processors() < 2 or _children is not None:
        yield
        return
    _children = {}
    try:
        yield
        while _children:
            _finish_one(_children)
    finally:
        for child in _children.values():  # of an error: nobody needs their results
            child.terminate()
            child.join()
        _children = None


def do(work: Callable[[], None]) -> None:
    """Do ``work``, in a child process where that is allowed; it must have no effect but on files.

    Raises:
        Exception: what ``work``, or other work left to a child before, has raised.
    """
    if _children is None or multiprocessing.parent_process() is not None:
        work()
        return
    while len(_children) >= _processors():
        _finish_one(_children)
    here, child = _fork(work)
    _children[here] = child


def spread(read: Callable[[list[Path]], Part], folders: list[Path]) -> list[Part]:
    """Apply ``read`` to two halves of ``folders``, the second in a child process where that is allowed.

    Raises:
        Exception: what ``read`` has raised, for the first half before the second.
    """
    if _children is None or multiprocessing.parent_process() is not None or len(folders) < WORTH_A_CHILD:
        return in_threads(read, folders)
    first, second = halves(folders)
    here, child = _fork(lambda: read(second))
    try:
        return [read(first), _received(here)]
    finally:
        child.terminate()  # of an error in the first half; else it has ended
        child.join()
        here.close()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _fork(work: Callable[[], object]) -> tuple[Connection, Any]:
    """Do ``work`` in a child; return the end of a pipe that delivers its result and error, and the child."""
    context: Any = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, there))
    child.start()
    there.close()
    return here, child


def _work(work: Callable[[], object], report: Connection) -> None:
    try:
        result = work()
    except Exception as error:  # the parent raises it
        report.send((None, error))
    else:
        report.send((result, None))


def _received(report: Connection) -> Any:  # noqa: ANN401
    """Return what a child has found, or raise its error."""
    try:
        result, error = report.recv()
    except EOFError:
        raise RuntimeError("a process of this analysis was killed, perhaps for want of memory") from None
    if error is not None:
        raise error
    return result


def _finish_one(children: dict[Connection, Any]) -> None:
    """Wait for a child to end, and raise its error if it has one."""
    for report in wait(list(children)):
        assert isinstance(report, Connection)
        child = children.pop(report)
        try:
            _received(report)
        finally:
            child.join()
            report.close()

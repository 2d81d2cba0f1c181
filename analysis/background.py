"""Work whose result nobody waits for, such as laying out and writing a figure, done by child processes beside the rest.

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
from typing import Any

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
    context: Any = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, there))
    child.start()
    there.close()
    _children[here] = child


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _work(work: Callable[[], None], report: Connection) -> None:
    try:
        work()
    except Exception as error:  # the parent raises it
        report.send(error)
    else:
        report.send(None)


def _finish_one(children: dict[Connection, Any]) -> None:
    """Wait for a child to end, and raise its error if it has one."""
    for report in wait(list(children)):
        assert isinstance(report, Connection)
        child = children.pop(report)
        try:
            error = report.recv()
        except EOFError:
            error = RuntimeError("a process that was writing a figure was killed, perhaps for want of memory")
        child.join()
        report.close()
        if error is not None:
            raise error

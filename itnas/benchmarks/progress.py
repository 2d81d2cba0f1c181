"""Progress of a long reading: a bar on a terminal, a plain line per tenth elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many of ``total`` bytes were done since it was last called."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total or None)
        yield lambda amount: bar.update(task, advance=amount)


class _Lines:
    """Prints ``description: 40 %`` at most ten times; nothing for files below 50 MB."""

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total, self.done, self.tenth = description, total, 0, 0

    def __call__(self, amount: int) -> None:
        self.done += amount
        tenth = 10 * self.done // self.total if self.total else 0
        if tenth > self.tenth and self.total > 50_000_000:
            self.tenth = tenth
            print(f"{self.description}: {10 * tenth} %", file=sys.stderr)

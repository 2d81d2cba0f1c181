"""Many searches on one machine: processes side by side, one torch thread each.

Finished runs are skipped and interrupted ones continued, so that starting a sweep again is always right. Two sweeps over the
same runs share them. When the sweep dies, by whatever signal, its processes end with it.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from itnas.config import SearchConfig
from itnas.errors import UserError
from itnas.search import Place, RunBusy, run_search

_POLL = 0.2
_BUSY_PAUSE = 5.0


@dataclass(frozen=True)
class Outcome:
    """How one run of a sweep ended."""

    label: str
    status: str
    """`finished` or `failed`."""
    detail: str
    """The run's folder, or the reason of the failure."""
    seconds: float


def labels_of(configs: Sequence[SearchConfig]) -> list[str]:
    """Return the words by which a display names every run: space and data set only where there are several."""
    several = len({config.space for config in configs}) > 1, len({config.data.dataset for config in configs}) > 1
    labels = []
    for config in configs:
        where = [name for name, say in zip((config.space, config.data.dataset), several, strict=True) if say]
        labels.append(" ".join([*where, config.method, f"seed {config.seed}"]))
    return labels


def run_sweep(configs: Sequence[SearchConfig], place: Place, workers: int = 2) -> list[Outcome]:
    """Run all configurations, ``workers`` at a time; a failure is reported and does not stop the others.

    Returns:
        One outcome per configuration, in the order they ended.
    """
    if workers < 1:
        raise UserError(f"a sweep needs at least one worker, got {workers}")
    if not configs:
        raise UserError("the sweep is empty; name at least one method and one seed")
    display = _Display(configs, place)
    context = multiprocessing.get_context("forkserver")  # imports torch once, for all runs
    context.set_forkserver_preload(["itnas.search"])
    messages: Any = context.Queue()
    waiting = list(enumerate(configs))
    running: dict[int, tuple[Any, float]] = {}
    not_before: dict[int, float] = {}
    outcomes: list[Outcome] = []
    reports: dict[int, tuple[str, str]] = {}
    with display:
        while waiting or running:
            for item in list(waiting):
                if len(running) < workers and time.monotonic() >= not_before.get(item[0], 0):
                    waiting.remove(item)
                    process = context.Process(target=_work, args=(*item, _portable(place), messages), daemon=True)
                    process.start()
                    running[item[0]] = (process, time.monotonic())
            _drain(messages, display, reports)
            for number, (process, start) in list(running.items()):
                if process.is_alive():
                    continue
                process.join()
                _drain(messages, display, reports)
                del running[number]
                status, detail = reports.pop(number, ("failed", f"its process died (exit code {process.exitcode})"))
                if status == "busy":
                    not_before[number] = time.monotonic() + _BUSY_PAUSE
                    waiting.append((number, configs[number]))
                    display.say(number, "another process works on it; waiting")
                    continue
                outcome = Outcome(display.labels[number], status, detail, time.monotonic() - start)
                outcomes.append(outcome)
                display.end(number, outcome)
            time.sleep(_POLL)
    return outcomes


def _portable(place: Place) -> Place:
    """Return ``place`` without its display, which cannot travel to another process."""
    return replace(place, progress=_silent)


def _silent(phase: str, done: int, total: int) -> None:
    """Display nothing."""


def _drain(messages: Any, display: _Display, reports: dict[int, tuple[str, str]]) -> None:  # noqa: ANN401
    """Show progress and collect what ended."""
    while True:
        try:
            number, kind, payload = messages.get_nowait()
        except (queue.Empty, EOFError, OSError):
            return
        if kind == "progress":
            display.update(number, *payload)
        else:
            reports[number] = (kind, payload)


def _work(number: int, config: SearchConfig, place: Place, messages: Any) -> None:  # noqa: ANN401
    """Run one search in this process and send how it goes."""
    import torch

    _end_with_parent()
    torch.set_num_threads(1)
    place = replace(place, progress=lambda *state: messages.put((number, "progress", state)))
    try:
        folder = run_search(config, place)
        messages.put((number, "finished", str(folder)))
    except RunBusy as error:
        messages.put((number, "busy", str(error)))
    except UserError as error:
        messages.put((number, "failed", str(error)))
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        name = Path(where.filename).name
        messages.put((number, "failed", f"{type(error).__name__}: {error} ({name}:{where.lineno})"))
    finally:
        messages.close()
        messages.join_thread()


def _end_with_parent() -> None:
    """End this process as soon as its parent is gone, even if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Display:
    """A live table on a terminal, plain lines elsewhere."""

    def __init__(self, configs: Sequence[SearchConfig], place: Place) -> None:
        self.labels = labels_of(configs)
        self.console = Console(file=sys.stdout, highlight=False)
        self.live = self.console.is_terminal
        self.ended = 0
        self.tasks: dict[int, TaskID] = {}
        self.last: dict[int, tuple[str, int]] = {}
        if self.live:
            self.bars = Progress(
                TextColumn(f"{{task.description:{max(28, *map(len, self.labels))}}}"),
                BarColumn(24),
                TextColumn("{task.fields[phase]:26}"),
                TimeElapsedColumn(),
                console=self.console,
            )
        self.say_line(f"{len(configs)} runs into {place.results / place.study}; finished ones are skipped")

    def __enter__(self) -> _Display:
        if self.live:
            self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.bars.stop()

    def say_line(self, line: str) -> None:
        """Print one line, at once."""
        self.console.print(line, soft_wrap=True, markup=False)
        self.console.file.flush()

    def say(self, number: int, words: str) -> None:
        """Print a line about a run."""
        self.say_line(f"{self.labels[number]}: {words}")

    def update(self, number: int, phase: str, done: int, total: int) -> None:
        """Show how far a run is; off a terminal, a line per phase and per quarter of the training."""
        if self.live:
            if number not in self.tasks:
                self.tasks[number] = self.bars.add_task(self.labels[number], total=total, phase="")
            words = f"{'epoch' if phase == 'train' else phase} {done}/{total}" if total > 1 else phase
            self.bars.update(self.tasks[number], completed=done if total > 1 else total, total=total, phase=words)
            return
        quarter = 4 * done // max(total, 1)
        if self.last.get(number) != (phase, quarter):
            self.last[number] = (phase, quarter)
            self.say(number, f"{phase} {done}/{total}" if total > 1 else phase)

    def end(self, number: int, outcome: Outcome) -> None:
        """Say how a run ended."""
        self.ended += 1
        if self.live and number in self.tasks:
            self.bars.remove_task(self.tasks.pop(number))
        words = outcome.status if outcome.status == "finished" else f"FAILED: {outcome.detail}"
        self.say_line(f"[{self.ended}/{len(self.labels)}] {outcome.label}: {words} ({outcome.seconds:.0f} s)")

"""The ``itnas`` command: one word per thing a user does, the rest of the line belongs to that word."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import tyro

import itnas
from itnas.errors import UserError, run_main

COMMANDS = {
    "search": ("itnas.cli:search_main", "run one search: a space, a method, a preset, a seed, and any setting of them"),
    "status": ("itnas.cli:status_main", "say how far the runs of a results folder are"),
    "evaluate": ("itnas.cli_evaluate:evaluate_main", "train the network of a found DARTS-like genotype from scratch"),
    "query": ("itnas.cli_data:query_main", "look an architecture up in a benchmark table"),
    "data": ("itnas.cli_data:data_main", "import, download, list and verify benchmark tables"),
}
"""Sub-commands: where their main lives, and what they are for."""

T = TypeVar("T")


def parse_arguments(settings: type[T] | T, arguments: Sequence[str], prog: str, description: str) -> T:
    """Parse a command line into a frozen dataclass (or override the fields of an instance)."""
    words = {"args": list(arguments), "prog": prog, "description": description}
    kind: Any = settings if isinstance(settings, type) else type(settings)
    default: Any = {} if isinstance(settings, type) else {"default": settings}
    return tyro.cli(kind, **default, **words)


@dataclass(frozen=True)
class SearchArguments:
    """Run one search. Further options (`itnas search --method NAME -- --help`) override single settings of the preset."""

    method: str
    """Method: random, darts, darts-2nd, darts-pt, darts-pt-fix-alpha, agnas, rlnas or it-nas."""
    space: str = "nasbench201"
    """Search space."""
    preset: str = "digits"
    """Preset: digits, cifar10-small or paper."""
    seed: int = 0
    """Search seed."""
    smoke: bool = False
    """Shrink the preset to seconds, to see that everything runs."""
    results: Path = Path("results")
    """Folder of all records."""
    study: str = "search"
    """Study the run belongs to: a sub-folder of the results."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int = 1
    """Torch threads on the CPU; one per process is fastest when several run side by side."""


def search_main(arguments: list[str]) -> None:
    """Run one search and print where its record is and what it found."""
    head, _, tail = split_arguments(arguments)
    chosen = parse_arguments(SearchArguments, head, "itnas search", SearchArguments.__doc__ or "")
    from itnas.presets import make_config

    config = make_config(chosen.space, chosen.method, chosen.preset, chosen.seed, smoke=chosen.smoke)
    if tail:
        config = parse_arguments(
            config, tail, "itnas search ... --", "Settings of this search and their present values."
        )
    import torch

    from itnas.benchmarks import data_root
    from itnas.records import read_meta
    from itnas.search import Place, run_search

    torch.set_num_threads(chosen.threads)
    place = Place(chosen.results, chosen.study, chosen.device, data_root(), _print_progress)
    folder = run_search(config, place)
    result = read_meta(folder)["result"]
    print(f"record: {folder}\ncell:   {result['genotype']}")
    for name, value in result["accuracy"].items():
        print(f"{name}: {value:.2f} %")


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """Split a command line at its first ``--``."""
    if "--" not in arguments:
        return list(arguments), False, []
    at = list(arguments).index("--")
    return list(arguments[:at]), True, list(arguments[at + 1 :])


def _print_progress(phase: str, done: int, total: int) -> None:
    print(f"{phase} {done}/{total}" if total > 1 else phase, flush=True)


@dataclass(frozen=True)
class StatusArguments:
    """Say how far the runs of a results folder are."""

    results: tyro.conf.Positional[Path] = Path("results")
    """Folder of all records."""


def status_main(arguments: list[str]) -> None:
    """Print a line per run: study, method, seed, status, accuracy or reason."""
    chosen = parse_arguments(StatusArguments, arguments, "itnas status", StatusArguments.__doc__ or "")
    from tabulate import tabulate

    from itnas.records import read_meta

    if not chosen.results.is_dir():
        raise UserError(f"results folder {chosen.results} does not exist; run a search first or name another folder")
    rows = []
    for path in sorted(chosen.results.rglob("run.json")):
        meta = read_meta(path.parent)
        result = meta["result"]
        said = result.get("error") or ", ".join(f"{k} {v:.2f}" for k, v in result.get("accuracy", {}).items())
        rows.append([meta["study"], meta["preset"], meta["method"], meta["search_seed"], meta["status"], said])
    print(tabulate(rows, ["study", "preset", "method", "seed", "status", "result"]) if rows else "no runs")


def main() -> None:
    """Dispatch to a sub-command."""
    run_main(lambda: dispatch(sys.argv[1:]))


def dispatch(arguments: list[str]) -> None:
    """Run the sub-command that ``arguments`` name.

    Raises:
        UserError: there is no such command.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: itnas COMMAND [options]; `itnas COMMAND --help` lists the options\n")
        for name, (_, purpose) in COMMANDS.items():
            print(f"  {name:8} {purpose}")
        return
    if arguments[0] == "--version":
        print(itnas.__version__)
        return
    if arguments[0] not in COMMANDS:
        raise UserError(f"unknown command {arguments[0]!r}; choose one of {', '.join(COMMANDS)}")
    module, _, function = COMMANDS[arguments[0]][0].partition(":")
    command: Callable[[list[str]], None] = getattr(import_module(module), function)
    command(arguments[1:])


if __name__ == "__main__":
    main()

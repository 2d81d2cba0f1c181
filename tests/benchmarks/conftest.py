"""Tables for the benchmark tests: the real one where ITNAS_DATA has it, and a made-up one that is always there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from itnas.benchmarks import NASBench201Table
from itnas.benchmarks.importers import import_files
from itnas.benchmarks.schema201 import benchmark_order


@pytest.fixture(scope="session")
def data() -> Path:
    root = os.environ.get("ITNAS_DATA")
    if not root:
        pytest.skip("ITNAS_DATA is unset")
    return Path(root)


@pytest.fixture(scope="session")
def samples(data: Path) -> Path:
    """The three architectures that the NATS-Bench project publishes as a sample of its archive."""
    return data / "nats-bench-samples" / "NATS-tss-v1_0-3ffb9-simple"


@pytest.fixture(scope="session")
def real201(data: Path) -> NASBench201Table:
    return NASBench201Table.open(data)


@pytest.fixture(scope="session")
def made_up_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of all cells: cell i has i/200 % valid and, in the means, 1 % more on test; odd cells lack seed 999."""
    path = tmp_path_factory.mktemp("csv") / "cells.csv"
    lines = ["arch,c10_valid_mean,c10_valid_777,c10_valid_999,c10_valid_n,c10_test_mean,params_M_c10"]
    for index, arch in enumerate(benchmark_order()):
        value, seeds = index / 200, 2 - index % 2
        lines.append(f"{arch},{value},{value},{'' if index % 2 else value},{seeds},{value + 1},{1 + index}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="session")
def made_up(made_up_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> NASBench201Table:
    folder = tmp_path_factory.mktemp("data")
    import_files([made_up_csv], folder)
    return NASBench201Table.open(folder)

"""Tables for the benchmark tests: the real one where ITNAS_DATA has it, and a synthetic one that is always there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from itnas.benchmarks import NASBench201Table


@pytest.fixture(scope="session")
def data() -> Path:
    root = os.environ.get("ITNAS_DATA")
    if not root:
        pytest.skip("ITNAS_DATA is unset")
    return Path(root)


@pytest.fixture(scope="session")
def real201(data: Path) -> NASBench201Table:
    return NASBench201Table.open(data)

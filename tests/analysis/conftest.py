"""Synthetic results folders, written once per session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.analysis.synthetic import write_results


@pytest.fixture(scope="session")
def table_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All methods x three seeds, evaluated by a (made-up) benchmark table; with the optional tables."""
    return write_results(tmp_path_factory.mktemp("table"), seeds=3, architectures=30, eigenvalues=True)


@pytest.fixture(scope="session")
def trained_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods x one seed, evaluated by training; two epochs."""
    methods = ("random", "darts-pt", "it-nas")
    return write_results(tmp_path_factory.mktemp("trained"), methods, seeds=1, kind="trained", epochs=2)

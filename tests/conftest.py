"""Shared by all tests: one thread, and the real data where ITNAS_DATA names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, by name, the tests that need real data when there is none."""
    if os.environ.get("ITNAS_DATA"):
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="needs ITNAS_DATA"))


@pytest.fixture
def data_root() -> Path:
    """The folder ITNAS_DATA names."""
    return Path(os.environ["ITNAS_DATA"])

"""NASLib, where there is one, and a stand-in for it everywhere else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from tests.naslib import stand_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, by name, the tests that need NASLib where there is none."""
    wanting = [item for item in items if item.get_closest_marker("naslib")]
    reason = missing() if wanting else None
    for item in wanting:
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"{item.name} was not run: {reason}"))


def missing() -> str | None:
    """Return why NASLib's tests cannot run, or None."""
    try:
        import itnas.naslib  # noqa: F401
    except ImportError as error:
        return str(error) if os.environ.get("NASLIB_PATH") else "it needs NASLib, installed or at NASLIB_PATH"
    return None


def _ours() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "naslib" or name.startswith("itnas.naslib")]


@pytest.fixture(scope="module")
def stand_in_naslib() -> Iterator[ModuleType]:
    """``itnas.naslib`` on top of the stand-in; whatever was imported before comes back afterwards."""
    before = {name: sys.modules.pop(name) for name in _ours()}
    stand_in.install()
    try:
        import itnas.naslib

        yield itnas.naslib
    finally:
        for name in _ours():
            del sys.modules[name]
        sys.modules.update(before)
        import itnas

        if "itnas.naslib" in before:
            itnas.naslib = before["itnas.naslib"]  # type: ignore[attr-defined]
        elif hasattr(itnas, "naslib"):
            del itnas.naslib


class LabelledImages(torch.utils.data.Dataset):
    """Random images in memory, with labels where torchvision keeps them."""

    def __init__(self, n: int, side: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(n, 3, side, side, generator=generator)
        self.targets = torch.randint(10, (n,), generator=generator).tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], self.targets[index]


def make_config(folder: Any, **search: Any) -> SimpleNamespace:
    """Return what NASLib's Trainer and optimizers read of a configuration."""
    values = {
        "seed": 3,
        "epochs": 2,
        "batch_size": 4,
        "checkpoint_freq": 1,
        "learning_rate": 0.1,
        "learning_rate_min": 0.001,
        "momentum": 0.9,
        "weight_decay": 3e-4,
        "grad_clip": 5,
        "arch_learning_rate": 0.02,
        "arch_weight_decay": 1e-3,
        "unrolled": False,
        "tau_max": 10,  # of another optimizer
        **search,
    }
    return SimpleNamespace(
        save=str(folder),
        dataset="cifar10",
        save_arch_weights=False,
        data=LabelledImages(10, 6),
        search=Namespace(values),
    )


class Namespace(dict[str, Any]):
    """A dictionary whose keys are attributes, as NASLib's configurations are."""

    __getattr__ = dict.__getitem__

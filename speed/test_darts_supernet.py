"""The paper's supernet of the DARTS space (8 cells, 16 channels, batch 64, 32x32): memory and time of a training step.

``pytest -m speed -s speed/test_darts_supernet.py``; on a GPU if there is one, else on the CPU, where the memory is what the
process takes while it steps. The bound is 10 GB, a card of 2018.
"""

from __future__ import annotations

import multiprocessing
import time

import pytest
import torch
from torch.nn import functional as F

from itnas.environment import device_name, peak_memory_mb
from itnas.nn.darts_supernet import CellNetworkConfig
from itnas.optimizers import METHODS
from itnas.spaces import get_space

BOUND_MB = 10_000


def step(method: str, space: str, batch: int = 64) -> tuple[float, float]:
    """Return seconds and peak memory (MB) of one training step of a method's supernet, in a process of its own."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cls, config = METHODS[method]
    optimizer = cls(config, CellNetworkConfig(), device)
    optimizer.adapt_search_space(get_space(space), "cifar10")
    optimizer.before_training()
    optimizer.graph.train()
    images = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,), device=device)
    start = time.perf_counter()
    F.cross_entropy(optimizer.graph(images), labels).backward()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, peak_memory_mb(device)


@pytest.mark.speed
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("method", "space"), [("darts", "darts"), ("agnas", "darts"), ("it-nas", "darts"), ("darts", "s2")]
)
def test_a_step_of_the_papers_supernet_fits_ten_gigabytes(method: str, space: str) -> None:
    """Print seconds and peak memory of a step, and hold the memory below the bound."""
    torch.set_num_threads(1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, memory = pool.apply(step, (method, space))
    device = device_name("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{method:8} {space:6} batch 64: {memory / 1000:5.2f} GB peak, {seconds:6.2f} s a step ({device})")
    assert memory < BOUND_MB

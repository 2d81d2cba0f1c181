"""Where a run happens: code version, device, memory, and how deterministic torch is asked to be."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import itnas
from itnas.errors import UserError


@contextmanager
def deterministic(level: str) -> Iterator[None]:
    """Ask torch for deterministic kernels at level ``exact``, and let cuDNN benchmark at level ``fast``."""
    before, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if level == "exact":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(level == "exact")
    torch.backends.cudnn.benchmark = level == "fast"
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def code_version() -> dict[str, Any]:
    """Return version, commit and whether library or study files differ from it; None outside a checkout."""
    root = Path(itnas.__file__).resolve().parents[1]

    def git(*arguments: str) -> str | None:
        if not (root / ".git").exists() or shutil.which("git") is None:
            return None
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "itnas", "reproduce")
    return {
        "version": itnas.__version__,
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
    }


def describe_environment(device: str) -> dict[str, Any]:
    """Return versions, platform, device and threads: the record's section `environment`."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def check_device(device: str) -> None:
    """Raise ``UserError`` if ``device`` is a GPU and there is none."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {device} is not available here; use `--device cpu`")


def device_name(device: str) -> str:
    """Return the name of the GPU, or of the processor."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {os.cpu_count()} cores)"


def peak_memory_mb(device: str) -> float:
    """Return the peak memory of the device (GPU) or of this process (CPU) in MB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)

"""A training step of our DARTS beside NASLib's own, on the same NASLib graph; and of our other methods.

``NASLIB_PATH=... pytest -m speed -s speed/test_naslib.py``; full NAS-Bench-201 supernet, batches of 64 images of 32x32, one
thread. Every optimizer runs in a process of its own, so that its peak memory is its own; CPU time, because it hardly depends on
what else the machine does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = 3
BATCH = int(os.environ.get("ITNAS_SPEED_BATCH", "64"))
_SCRIPT = """
import json, resource, statistics, sys, time
import torch
torch.set_num_threads(1)
import itnas.naslib as ours
ours.make_importable()
from naslib import optimizers as theirs
from naslib.search_spaces import NasBench201SearchSpace
from naslib.utils import set_seed
where, name, batch, steps = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
set_seed(0)
optimizer = getattr(ours if where == "ours" else theirs, name)(learning_rate=0.025, epochs=50)
optimizer.adapt_search_space(NasBench201SearchSpace(), "cifar10")
optimizer.before_training()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = [(torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))) for _ in range(2)]
wall, cpu = [], []
for _ in range(steps + 1):
    start, start_cpu = time.perf_counter(), time.process_time()
    optimizer.step(*data)
    wall.append(time.perf_counter() - start)
    cpu.append(time.process_time() - start_cpu)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
medians = {"wall": statistics.median(wall[1:]), "cpu": statistics.median(cpu[1:])}
print(json.dumps({**medians, "before": before / 2**20, "peak": after / 2**20}))
"""


def measure(where: str, name: str) -> dict[str, float]:
    """Return seconds of a step (medians after a warm-up), and GiB of the process before the first step and at its peak."""
    command = [sys.executable, "-c", _SCRIPT, where, name, str(BATCH), str(STEPS)]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.speed
@pytest.mark.timeout(1800)
def test_a_step_beside_naslibs() -> None:
    """Print time and memory side by side."""
    try:
        import itnas.naslib  # noqa: F401
    except ImportError as error:
        pytest.skip(str(error))
    rows = {("NASLib", "DARTSOptimizer"): measure("theirs", "DARTSOptimizer")}
    for name in ("DARTSOptimizer", "AGNASOptimizer", "ITNASOptimizer", "RLNASOptimizer"):
        rows["itnas", name] = measure("ours", name)
    reference = rows["NASLib", "DARTSOptimizer"]
    print(f"\nbatch {BATCH}, median of {STEPS} steps after one, one thread")
    for (where, name), row in rows.items():
        share = f"{row['cpu'] / reference['cpu']:.2f} of NASLib's DARTS"
        memory = f"peak {row['peak']:.2f} GiB ({row['peak'] - row['before']:.2f} above the {row['before']:.2f} before)"
        print(f"{where:7}{name:16}{row['cpu']:7.2f} s of CPU a step ({row['wall']:.2f} s)   {share:26}{memory}")
    assert rows["itnas", "DARTSOptimizer"]["cpu"] < 1.1 * reference["cpu"]
    assert rows["itnas", "DARTSOptimizer"]["peak"] < reference["peak"]

"""How fast and small the benchmark tables are, beside the benchmark's own package on its own sample files.

``pytest -m speed -s speed/test_tables.py`` prints the tables. Time is counted from the call to its return, after all
imports; memory is what the resident set of a fresh process grows by. Ours is the whole benchmark (15,625 cells), theirs
the three cells that NATS-Bench publishes as a sample, in the package's fast mode, which reads a cell's file when asked.
Importing is measured on made-up files of the official formats, beside ``pickle.load`` of the same bytes.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from itnas.benchmarks import NASBench201Table
from itnas.benchmarks.tfrecord import read_records
from tests.benchmarks.makers import pth_content, record

pytestmark = pytest.mark.speed
REPEATS = 5
MEASURE = """
import json, sys, time
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
def timed(function, number):
    start = time.perf_counter()
    for _ in range(number):
        result = function()
    return (time.perf_counter() - start) / number, result
"""
OURS = """
from itnas.benchmarks import NASBench201Table
before = resident()
seconds, table = timed(lambda: NASBench201Table.open(sys.argv[1]), 1)
grown = resident() - before
query = dict(dataset="cifar10", split="test", epochs=200, seed="mean")
arch = table.archs[284]
lookup, value = timed(lambda: table.lookup(arch, **query), 20_000)
many, _ = timed(lambda: table.lookup_many(table.archs, **query), 20)
whole, _ = timed(lambda: table.column(**query), 1000)
print(json.dumps(dict(open=seconds, grown=grown, lookup=lookup, many=many, column=whole, value=value)))
"""
THEIRS = """
from nats_bench import create
before = resident()
seconds, api = timed(lambda: create(sys.argv[1], "tss", fast_mode=True, verbose=False), 1)
opened = resident() - before
query = lambda: api.get_more_info(284, "cifar10", hp="200", is_random=False)["test-accuracy"]
first, value = timed(query, 1)
lookup, value = timed(query, 200)
for index in (0, 11):
    api.get_more_info(index, "cifar10", hp="200", is_random=False)
print(json.dumps(dict(open=seconds, grown=opened, first=first, lookup=lookup, three=resident() - before, value=value)))
"""


PEAK = """
def peak():
    return next(int(line.split()[1]) / 1e3 for line in open("/proc/self/status") if line.startswith("VmHWM"))
def grown(function):
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts again here
    before = peak()
    seconds, _ = timed(function, 1)
    print(json.dumps(dict(seconds=seconds, grown=peak() - before)))
"""
IMPORT = """
from pathlib import Path
from itnas.benchmarks.importers import import_files
grown(lambda: import_files([Path(sys.argv[1])], Path(sys.argv[1]).parent, partial=True, force=True))
"""
LOAD = """
import pickle
def load():
    with open(sys.argv[1], "rb") as stream:
        return [pickle.load(stream) for _ in range(5)]
grown(load)
"""


def measure(code: str, argument: Path, repeats: int = REPEATS) -> dict[str, float]:
    """Return the medians over fresh processes, one thread each."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", MEASURE + code, str(argument)]
    runs = [
        json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(repeats)
    ]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


@pytest.mark.data
def test_open_lookup_and_memory_beside_nats_bench() -> None:
    """The bounds of the issue: 0.3 s, 50 MB, 5 microseconds, 5 ms."""
    if not os.environ.get("ITNAS_DATA"):
        pytest.skip("ITNAS_DATA is unset")
    root = Path(os.environ["ITNAS_DATA"])
    ours = measure(OURS, root / NASBench201Table.name / "table.parquet")
    samples = root / "nats-bench-samples" / "NATS-tss-v1_0-3ffb9-simple"
    try:
        theirs = measure(THEIRS, samples)
    except subprocess.CalledProcessError:
        theirs = {}
    rows = [
        ("open (s)", ours["open"], theirs.get("open")),
        ("open, resident memory (MB)", ours["grown"], theirs.get("grown")),
        ("first lookup of a cell (s)", ours["lookup"], theirs.get("first")),
        ("one lookup (microseconds)", 1e6 * ours["lookup"], theirs and 1e6 * theirs["lookup"]),
        ("15,625 lookups, vectorised (ms)", 1e3 * ours["many"], None),
        ("a column of 15,625 (microseconds)", 1e6 * ours["column"], None),
        ("memory after three cells (MB)", ours["grown"], theirs.get("three")),
        ("memory per cell that can be asked (MB)", ours["grown"] / 15_625, theirs and theirs["three"] / 3),
    ]
    print(f"\n{'':40}{'itnas':>12}{'nats-bench':>14}{'ratio':>10}   medians of {REPEATS} processes")
    for name, mine, other in rows:
        beside = f"{other:14.4g}{other / mine:10.3g}" if other else f"{'n/a':>14}{'':>10}"
        print(f"{name:40}{mine:12.4g}{beside}")
    if theirs:
        assert ours["value"] == pytest.approx(theirs["value"], abs=1e-9)
    assert ours["open"] < 0.3
    assert ours["grown"] < 50
    assert ours["lookup"] < 5e-6
    assert ours["many"] < 5e-3


def test_importing_a_pth_needs_little_memory(tmp_path: Path) -> None:
    """Memory must not grow with the file; ``pickle.load`` holds all of it."""
    print(f"\n{'NAS-Bench-201 .pth':30}{'itnas (s)':>12}{'(MB)':>8}{'pickle.load (s)':>18}{'(MB)':>8}")
    grown = []
    for count in (50, 200):
        path = tmp_path / f"{count}.pth"
        content = pth_content(tuple(range(count)), np.random.default_rng(0))
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, [])
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
        ours, theirs = measure(PEAK + IMPORT, path, 1), measure(PEAK + LOAD, path, 1)
        size = f"{count} cells, {path.stat().st_size / 1e6:.0f} MB"
        print(f"{size:30}{ours['seconds']:12.3g}{ours['grown']:8.3g}{theirs['seconds']:18.3g}{theirs['grown']:8.3g}")
        grown.append(ours["grown"])
    assert grown[1] - grown[0] < 20


def test_reading_tfrecords() -> None:
    """All 1,270,872 trainings of ``nasbench_only108.tfrecord`` must be a matter of minutes."""
    matrix = [[int(x < y < x + 3) for y in range(7)] for x in range(7)]
    ops = ["input", *["conv3x3-bn-relu"] * 5, "output"]
    one = record("0" * 32, 108, matrix, ops, 123_456, (1000.0, 0.99, 0.9, 0.9))
    stream = io.BytesIO(one * 50_000)
    start = time.perf_counter()
    count = sum(1 for _ in read_records(stream))
    seconds = time.perf_counter() - start
    print(f"\n{count:,} TFRecords of {len(one)} bytes: {1e6 * seconds / count:.1f} microseconds each, all 108-epoch")
    print(f"trainings of NAS-Bench-101 in about {seconds / count * 1_270_872 / 60:.1f} minutes")
    assert count == 50_000

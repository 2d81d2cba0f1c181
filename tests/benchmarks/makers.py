"""Made-up official files: states as the benchmark's own classes keep them, and NAS-Bench-101 records byte by byte."""

from __future__ import annotations

import base64
import json
import struct
from collections import OrderedDict
from typing import Any

import numpy as np

from itnas.benchmarks.schema201 import benchmark_order

EVALUATED = {"cifar10-valid": ("x-valid", "ori-test"), "cifar10": ("ori-test",)}
"""Sets that the benchmark evaluates, by data set; for the others all three."""
CLASSES = {"cifar10-valid": 10, "cifar10": 10, "cifar100": 100, "ImageNet16-120": 120}


def training_state(dataset: str, seed: int, epochs: int, arch: str, rng: np.random.Generator) -> dict[str, Any]:
    """Return one training as ``ResultsCount.state_dict()`` does."""
    names = EVALUATED.get(dataset, ("x-valid", "x-test", "ori-test"))
    keys = [f"{name}@{epoch}" for name in names for epoch in range(epochs)]
    return {
        "name": dataset,
        "net_state_dict": None,
        "train_acc1es": {e: float(rng.uniform(10, 90)) for e in range(epochs)},
        "train_acc5es": None,
        "train_losses": {e: float(rng.uniform(0, 2)) for e in range(epochs)},
        "train_times": OrderedDict((e, 1.5 + seed / 1000) for e in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": arch, "class_num": CLASSES[dataset]},
        "params": np.float64(CLASSES[dataset] / 100 + len(arch) / 1000),
        "flop": CLASSES[dataset] + len(arch) / 10,
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(0.016)],
        "eval_names": list(names),
        "eval_acc1es": {key: float(rng.uniform(10, 90)) for key in keys},
        "eval_times": dict.fromkeys(keys, 0.5),
        "eval_losses": {key: float(rng.uniform(0, 2)) for key in keys},
    }


def arch_state(index: int, epochs: int, seeds: dict[str, list[int]], rng: np.random.Generator) -> dict[str, Any]:
    """Return the trainings of one architecture as ``ArchResults.state_dict()`` does."""
    arch = benchmark_order()[index]
    return {
        "arch_index": index,
        "arch_str": arch,
        "all_results": {(d, s): training_state(d, s, epochs, arch, rng) for d in seeds for s in seeds[d]},
        "dataset_seed": {dataset: list(values) for dataset, values in seeds.items()},
        "clear_net_done": True,
    }


FULL = {"cifar10-valid": [777, 888, 999], "cifar10": [777, 888], "cifar100": [777, 888, 999], "ImageNet16-120": [888]}
LESS = {"cifar10-valid": [111, 777], "cifar10": [111], "cifar100": [111], "ImageNet16-120": [111]}


def schedules(index: int, rng: np.random.Generator, names: tuple[str, str] = ("less", "full")) -> dict[str, Any]:
    """Return both schedules of one architecture under NAS-Bench-201's (or NATS-Bench's) names for them."""
    return {names[0]: arch_state(index, 12, LESS, rng), names[1]: arch_state(index, 200, FULL, rng)}


def pth_content(indices: tuple[int, ...], rng: np.random.Generator) -> dict[str, Any]:
    """Return what NAS-Bench-201's ``.pth`` holds, for a few architectures."""
    return {
        "meta_archs": list(benchmark_order()),
        "arch2infos": {index: schedules(index, rng) for index in indices},
        "evaluated_indexes": set(indices),
    }


def crc32c(data: bytes) -> int:
    """Return CRC-32C bit by bit, as its definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """Return TensorFlow's masked checksum, four bytes."""
    crc = crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(payload: bytes) -> bytes:
    """Return one TFRecord."""
    length = struct.pack("<Q", len(payload))
    return length + masked(length) + payload + masked(payload)


def varint(value: int) -> bytes:
    """Return a protobuf varint."""
    result = b""
    while value > 0x7F:
        result += bytes([value & 0x7F | 0x80])
        value >>= 7
    return result + bytes([value])


def metrics(evaluations: list[tuple[float, float, float, float, float]], params: int) -> bytes:
    """Return a ``ModelMetrics`` message: evaluations (epoch, seconds, train, valid, test), parameters, total time."""
    message = b""
    for values in evaluations:
        inner = b"".join(
            bytes([field << 3 | 1]) + struct.pack("<d", value) for field, value in enumerate(values, start=1)
        )
        inner += b"\x32" + varint(9) + b"ckpt-1234"  # checkpoint_path, a field that is not imported
        message += b"\x0a" + varint(len(inner)) + inner
    return message + b"\x10" + varint(params) + b"\x19" + struct.pack("<d", 1234.5)


def record(
    digest: str, epochs: int, matrix: list[list[int]], ops: list[str], params: int, final: tuple[float, ...]
) -> bytes:
    """Return one NAS-Bench-101 record; ``final`` is (seconds, train, valid, test) at the end."""
    start, half = (0.0, 0.0, 0.1, 0.1, 0.1), (epochs / 2, final[0] / 2, 0.5, 0.5, 0.5)
    message = metrics([start, half, (float(epochs), *final)], params)  # type: ignore[list-item]
    adjacency = "".join(str(int(x)) for row in matrix for x in row)
    return frame(json.dumps([digest, epochs, adjacency, ",".join(ops), base64.b64encode(message).decode()]).encode())

"""NAS-Bench-101's ``.tfrecord`` files without TensorFlow: framing, checksums, JSON and protobuf.

A record is ``length (8 bytes) | masked CRC-32C of the length | payload | masked CRC-32C of the payload``, little
endian. The payload is JSON, ``[hash, epochs, adjacency, operations, metrics]``; the metrics are a base64 protobuf
message ``ModelMetrics`` (nasbench ``lib/model_metrics.proto``).
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np

BATCH = 8192
"""Records whose payload checksums are computed together."""
_MAX_LENGTH = 1 << 20  # a NAS-Bench-101 record has about 500 bytes


class RecordError(Exception):
    """A damaged record; the message starts with its number, counted from 0."""


class Evaluation(NamedTuple):
    """One training at one moment; accuracies are fractions, time is seconds of training so far."""

    epoch: float
    train_seconds: float
    train: float
    valid: float
    test: float


class Record(NamedTuple):
    """One training of one graph."""

    hash: str
    epochs: int
    adjacency: str
    """Rows of the adjacency matrix, one digit per entry."""
    ops: tuple[str, ...]
    params: int
    evaluations: tuple[Evaluation, ...]
    """At the start, half way, and at the end."""


def read_records(stream: IO[bytes], progress: Callable[[int], None] | None = None) -> Iterator[Record]:
    """Yield the records of a file after checking both checksums of each.

    Args:
        stream: the file.
        progress: called with the number of bytes consumed since the last call.

    Raises:
        RecordError: a record is truncated, fails its checksum, or does not hold what NAS-Bench-101 writes.
    """
    number = 0
    while True:
        payloads, checksums, error = _read_batch(stream, number)
        _check(payloads, checksums, number)
        for payload in payloads:
            yield _parse(payload, number)
            number += 1
        if progress:
            progress(sum(map(len, payloads)) + 16 * len(payloads))
        if error:
            raise error
        if len(payloads) < BATCH:
            return


def is_tfrecord(start: bytes) -> bool:
    """Return whether a file that starts with these (at least twelve) bytes is in TFRecord framing."""
    return len(start) >= 12 and struct.unpack_from("<I", start, 8)[0] == masked_crc(start[:8])


def masked_crc(data: bytes) -> int:
    """Return TensorFlow's masked CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE_LIST[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc_table() -> np.ndarray:
    """Return the byte table of CRC-32C (Castagnoli, reflected polynomial 0x82F63B78)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


_TABLE = _crc_table()
_TABLE_LIST: list[int] = _TABLE.tolist()


def _masked_crcs(payloads: list[bytes]) -> np.ndarray:
    """Return the masked CRC-32C of many payloads ``[n]``, one byte position of all of them at a time."""
    lengths = np.array([len(payload) for payload in payloads])
    order = np.argsort(-lengths, kind="stable")
    starts = (np.cumsum(lengths) - lengths)[order]
    ordered = lengths[order]
    data = np.frombuffer(b"".join(payloads), np.uint8)
    crc = np.full(len(payloads), 0xFFFFFFFF, np.uint32)
    for position in range(int(ordered[0])):
        active = int(np.searchsorted(-ordered, -position, side="left"))
        live = crc[:active]
        crc[:active] = _TABLE[(live ^ data[starts[:active] + position]) & 0xFF] ^ (live >> 8)
    crc ^= np.uint32(0xFFFFFFFF)
    masked = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    result = np.empty_like(masked)
    result[order] = masked
    return result


def _read_batch(stream: IO[bytes], number: int) -> tuple[list[bytes], list[int], RecordError | None]:
    """Return payloads, their stored checksums, and the error that ended the batch early, if any."""
    payloads: list[bytes] = []
    checksums: list[int] = []
    while len(payloads) < BATCH:
        header = stream.read(12)
        if not header:
            break
        here = number + len(payloads)
        if len(header) < 12:
            return payloads, checksums, RecordError(f"record {here} is truncated")
        length, stored = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != stored:
            return payloads, checksums, RecordError(f"record {here} is damaged (the checksum of its length is wrong)")
        if length > _MAX_LENGTH:
            return (
                payloads,
                checksums,
                RecordError(f"record {here} has {length:,} bytes, which NAS-Bench-101 never has"),
            )
        body = stream.read(length + 4)
        if len(body) < length + 4:
            return payloads, checksums, RecordError(f"record {here} is truncated")
        payloads.append(body[:length])
        checksums.append(struct.unpack_from("<I", body, length)[0])
    return payloads, checksums, None


def _check(payloads: list[bytes], checksums: list[int], number: int) -> None:
    if not payloads:
        return
    wrong = np.flatnonzero(_masked_crcs(payloads) != np.array(checksums, np.uint32))
    if len(wrong):
        raise RecordError(f"record {number + int(wrong[0])} is damaged (its checksum is wrong)")


def _parse(payload: bytes, number: int) -> Record:
    try:
        graph_hash, epochs, adjacency, operations, metrics = json.loads(payload)
        params, evaluations = _metrics(base64.b64decode(metrics, validate=True))
        return Record(str(graph_hash), int(epochs), str(adjacency), tuple(operations.split(",")), params, evaluations)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, struct.error, binascii.Error):
        raise RecordError(f"record {number} is not what NAS-Bench-101 writes (hash, epochs, graph, metrics)") from None


def _metrics(message: bytes) -> tuple[int, tuple[Evaluation, ...]]:
    """Return parameters and evaluations of a ``ModelMetrics`` message."""
    evaluations: list[Evaluation] = []
    params = 0
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            parts = dict(_fields(value))
            evaluations.append(Evaluation(*(_double(parts.get(part)) for part in range(1, 6))))
        elif field == 2 and isinstance(value, int):
            params = value
    return params, tuple(evaluations)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield ``(field number, value)`` of a protobuf message: varints as integers, everything else as bytes."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        else:
            size = {1: 8, 5: 4}[kind]
        if position + size > len(message):
            raise ValueError("truncated message")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("varint too long")


def _double(raw: int | bytes | None) -> float:
    """Return a double field; one that was not written is NaN, never 0."""
    if raw is None:
        return float("nan")
    if not isinstance(raw, bytes):
        raise ValueError("not a double")
    return struct.unpack("<d", raw)[0]

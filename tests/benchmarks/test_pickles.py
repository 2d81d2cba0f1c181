"""The pickle reader returns what pickle.loads returns for plain data, and runs nothing that is not."""

from __future__ import annotations

import builtins
import collections
import contextlib
import io
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itnas.benchmarks.pickles import BackReferenceError, PickleError, PickleReader, UnsafePickleError

KEYS = st.one_of(st.integers(), st.text(), st.booleans(), st.none(), st.binary(), st.tuples(st.integers(), st.text()))
VALUES = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False), st.frozensets(st.integers())),
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(KEYS, inner), st.tuples(inner, inner), st.sets(st.integers()).map(set)
    ),
    max_leaves=30,
)


def read(content: bytes, **options: Any) -> Any:
    return PickleReader(io.BytesIO(content), **options).load()


@given(VALUES, st.integers(2, 5))
def test_plain_data_is_read_as_pickle_reads_it(value: object, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.float64(0.802426),
        np.float32(1.5),
        np.bool_(True),
        np.array(["ab", "c"]),
    ],
    ids=repr,
)
def test_numpy_scalars_and_arrays_come_out_equal(value: np.ndarray, protocol: int) -> None:
    np.testing.assert_array_equal(read(pickle.dumps(value, protocol)), value)


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_numpy_is_known_under_its_old_and_new_module_names(core: bytes) -> None:
    content = pickle.dumps(np.float64(0.25), 2)
    current = next(str(arg) for op, arg, _ in pickletools.genops(content) if op.name == "GLOBAL").split()[0].encode()
    assert read(content.replace(current, core)) == 0.25


def test_collections_become_dicts() -> None:
    value = [collections.OrderedDict(a=1, b=2), collections.defaultdict(int, c=3), collections.Counter("aab")]
    assert read(pickle.dumps(value, 4)) == [{"a": 1, "b": 2}, {"c": 3}, {"a": 2, "b": 1}]


def test_shared_and_recursive_objects_keep_their_identity() -> None:
    inner = [1]
    result = read(pickle.dumps([inner, inner]))
    assert result[0] is result[1]
    loop: list[Any] = []
    loop.append(loop)
    result = read(pickle.dumps(loop))
    assert result[0] is result


class Payload:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def payloads(target: Path) -> list[bytes]:
    """Return pickles that would create ``target`` if anything ran them."""
    command = f"touch {target}"
    objects = [
        Payload(os.system, command),
        Payload(eval, f"open({str(target)!r}, 'w')"),
        Payload(exec, f"open({str(target)!r}, 'w')"),
        Payload(open, str(target), "w"),
        Payload(builtins.__import__, "os"),
        Payload(getattr, "text", "upper"),
        Payload(np.save, str(target), 1),
        {"arch2infos": {0: [Payload(os.system, command)]}},
    ]
    made = [pickle.dumps(x, protocol) for x in objects for protocol in range(2, 6)]
    text = command.encode()
    inst = b"\x80\x02(U" + bytes([len(text)]) + text + b"iposix\nsystem\n."  # INST
    obj = b"\x80\x02(cposix\nsystem\nU" + bytes([len(text)]) + text + b"o."  # OBJ
    extension = b"\x80\x02\x82\x01)R."  # EXT1
    dotted = b"\x80\x04\x8c\x08builtins\x8c\x0cdict.__class_\x93."
    # BUILD on an allow-listed name must not change it
    build = b"\x80\x02cnumpy\nndarray\n}U\x09constructcposix\nsystem\nsb."
    harmless = b"\x80\x02ccollections\nOrderedDict\n}U\x09constructK\x01sb."
    return [*made, inst, obj, extension, dotted, build, harmless]


def test_nothing_outside_the_allow_list_is_called(tmp_path: Path) -> None:
    target = tmp_path / "written"
    for content in payloads(target):
        with pytest.raises(PickleError):
            read(content)
    assert not target.exists()
    pickle.loads(pickle.dumps(Payload(os.system, f"touch {target}")))
    assert target.exists()  # the payload is a real one


def test_the_refusal_names_what_was_asked_for() -> None:
    with pytest.raises(UnsafePickleError, match=r"posix\.system.*nothing was run"):
        read(pickle.dumps(Payload(os.system, "true")))


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(content: bytes) -> None:
    with contextlib.suppress(PickleError):
        read(b"\x80\x04" + content)


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_else(place: int, byte: int) -> None:
    content = bytearray(
        pickle.dumps({"a": [1.5, (2, "x")], "b": np.float64(3), "c": {4, 5}, "d": b"raw"}, 2 + place % 4)
    )
    content[place % len(content)] = byte
    with contextlib.suppress(PickleError):
        read(bytes(content))


def test_every_truncation_is_an_error() -> None:
    content = pickle.dumps({"a": [1.5, (2, "x" * 300)], "b": np.float64(3)}, 4)
    for length in range(len(content)):
        with pytest.raises(PickleError):
            read(content[:length])


def test_network_weights_are_refused_in_words() -> None:
    with pytest.raises(PickleError, match="network weights"):
        read(b"\x80\x02U\x01xQ.")


def test_a_stream_in_small_pieces_and_texts_longer_than_the_window_are_read() -> None:
    class Slow(io.RawIOBase):
        def __init__(self, content: bytes) -> None:
            self.inner = io.BytesIO(content)

        def read(self, size: int = -1) -> bytes:
            return self.inner.read(min(size, 1013))

    value = ["x" * 3_000_000, list(range(200_000)), 1.5]
    assert PickleReader(Slow(pickle.dumps(value, 4))).load() == value  # type: ignore[arg-type]
    content = pickle.dumps(value, 2) + pickle.dumps("next", 2)
    reader = PickleReader(io.BytesIO(content))
    assert (reader.load(), reader.load()) == (value, "next")


def parts(count: int) -> dict[int, dict[str, Any]]:
    return {
        i: {"unit": True, "name": "shared", "curve": {f"e@{k}": i + k / 10 for k in range(50)}} for i in range(count)
    }


def reduce(items: dict) -> object | None:
    return ("reduced", sum(items["curve"].values())) if "unit" in items else None


@pytest.mark.parametrize("protocol", range(2, 6))
def test_reduced_parts_replace_the_data_and_strings_stay_referable(protocol: int) -> None:
    value = parts(1000)
    result = read(pickle.dumps(value, protocol), reduce=reduce, transient="@")
    assert result == {i: reduce(part) for i, part in value.items()}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_reference_into_a_forgotten_part_is_an_error_unless_all_is_kept(protocol: int) -> None:
    value = parts(3)
    value[2]["curve"] = value[0]["curve"]
    content = pickle.dumps(value, protocol)
    with pytest.raises(BackReferenceError):
        read(content, reduce=reduce)
    assert read(content, reduce=reduce, keep=True) == {i: reduce(part) for i, part in value.items()}


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_part_that_appears_twice_is_the_same_reduced_part(protocol: int) -> None:
    part = parts(1)[0]
    result = read(pickle.dumps([part, "between", part], protocol), reduce=reduce)
    assert result == [reduce(part), "between", reduce(part)]


def test_an_impossible_memo_index_does_not_fill_the_memory() -> None:
    with pytest.raises(PickleError):
        read(b"\x80\x02K\x01r" + struct.pack("<I", 2**31) + b".")

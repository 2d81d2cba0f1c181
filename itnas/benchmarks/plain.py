"""What a benchmark's pickle may name, and what :mod:`itnas.benchmarks.pickles` does instead of calling it.

The allow-list :data:`CONSTRUCTORS` has the builtin containers, ``collections``, and numpy scalars, dtypes and arrays
under their old and new module names. Its entries are functions and classes written here.
"""

# ruff: noqa: ANN401 -- what a pickle holds has no static type
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np


class PickleError(Exception):
    """A pickle that is damaged or is not plain data; the message is the end of a sentence."""


class UnsafePickleError(PickleError):
    """A pickle that names something outside the allow-list; nothing was executed."""


class BackReferenceError(PickleError):
    """A part that was already forgotten is referred to again; reading with ``keep=True`` succeeds."""


class Name:
    """An allow-listed name on the stack; a pickle can neither call nor change it."""

    __slots__ = ("construct",)

    def __init__(self, construct: Callable[..., Any]) -> None:
        self.construct = construct


class Dtype:
    """A dtype while it is read: the code of a plain number or text, then its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, align: object = False, copy: object = False) -> None:
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?[biufcSU]\d{0,4}", code):
            raise PickleError(f"holds a numpy dtype {code!r}, which is no plain number")
        self.order, self.code = (code[0], code[1:]) if code[0] in "<>|=" else ("=", code)

    def set_state(self, state: Any) -> None:
        """Take the byte order from the state that numpy pickles."""
        if state[1] not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise PickleError("holds a numpy dtype with fields, which is no plain number")
        self.order = state[1]

    def decode(self, raw: object) -> np.ndarray:
        """Return raw bytes as a flat array."""
        return np.frombuffer(_bytes(raw), np.dtype(self.order + self.code))


class Array:
    """An array before its state is known."""

    __slots__ = ()

    def __init__(self, *_: object) -> None: ...

    def from_state(self, state: Any) -> np.ndarray:
        """Return the array of the state that numpy pickles."""
        _, shape, dtype, fortran, raw = state
        return dtype.decode(raw).reshape(shape, order="F" if fortran else "C")


def _bytes(raw: object) -> bytes:
    if isinstance(raw, str):  # Python 2 wrote bytes as text
        return raw.encode("latin-1")
    if not isinstance(raw, bytes):
        raise PickleError("holds a numpy value without its bytes")
    return raw


def _scalar(dtype: Dtype, raw: object) -> object:
    return dtype.decode(raw)[0].item()


def _from_buffer(raw: object, dtype: Dtype, shape: Any, order: Any) -> np.ndarray:
    return dtype.decode(raw).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise PickleError(f"encodes bytes as {encoding!r}")
    return text.encode("latin-1")


def _mapping(*arguments: Any) -> dict:
    """Stand in for dict, OrderedDict and defaultdict (whose factory is a name and is dropped)."""
    items = [argument for argument in arguments if not isinstance(argument, Name)]
    return dict(items[0]) if items else {}


def _both(
    modules: tuple[str, str], entries: dict[str, Callable[..., Any]]
) -> dict[tuple[str, str], Callable[..., Any]]:
    return {(module, name): construct for module in modules for name, construct in entries.items()}


CONSTRUCTORS: dict[tuple[str, str], Callable[..., Any]] = {
    **_both(("builtins", "__builtin__"), {"dict": _mapping, "list": list, "tuple": tuple, "set": set}),
    **_both(("builtins", "__builtin__"), {"frozenset": frozenset, "int": int, "long": int, "float": float}),
    **_both(("builtins", "__builtin__"), {"bool": bool, "str": str, "unicode": str}),
    **_both(("builtins", "__builtin__"), {"bytes": lambda *arguments: _bytes(arguments[0]) if arguments else b""}),
    **{("collections", name): _mapping for name in ("OrderedDict", "defaultdict", "Counter")},
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): Dtype,
    ("numpy", "ndarray"): Array,
    **_both(("numpy.core.multiarray", "numpy._core.multiarray"), {"scalar": _scalar, "_reconstruct": Array}),
    **_both(("numpy.core.numeric", "numpy._core.numeric"), {"_frombuffer": _from_buffer}),
}
"""What a pickle may name, and what is done here in its place."""

"""Read a pickle as data: containers, strings and numbers come out; nothing it names is ever called.

The benchmarks' official files are pickles, which are programs: ``pickle.load`` runs whatever they ask for and holds all
they build, 28 GB for NAS-Bench-201. This reader interprets the opcodes itself. Names are looked up in the allow-list
of :mod:`itnas.benchmarks.plain`; any other name ends the reading with an error. A ``reduce`` function may replace each
finished part of the data by what is needed of it; the part is then forgotten.
"""

# ruff: noqa: ANN401 -- what a pickle holds has no static type
from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import IO, Any

from itnas.benchmarks.plain import CONSTRUCTORS, Array, BackReferenceError, Dtype, Name, PickleError, UnsafePickleError

_FLOAT = struct.Struct(">d").unpack_from
_U16, _U32, _I32, _U64 = (struct.Struct(code).unpack_from for code in ("<H", "<I", "<i", "<Q"))
_WINDOW = 1 << 20
_MARGIN = 16  # bytes that an opcode with an argument of fixed size may need
_UNSET = object()
_MARK = object()


class _Kept:
    """Memo entries of forgotten parts that later parts may refer to: mostly strings, eight bytes each."""

    def __init__(self) -> None:
        self._indices, self._numbers = array("I"), array("I")
        self._texts: list[str] = []
        self._number_of: dict[str, int] = {}
        self._objects: dict[int, Any] = {}

    def add(self, index: int, value: Any) -> None:
        if type(value) is not str:
            self._objects[index] = value
            return
        number = self._number_of.setdefault(value, len(self._texts))
        if number == len(self._texts):
            self._texts.append(value)
        self._indices.append(index)
        self._numbers.append(number)

    def get(self, index: int) -> Any:
        if index in self._objects:
            return self._objects[index]
        place = bisect_left(self._indices, index)
        if place == len(self._indices) or self._indices[place] != index:
            raise BackReferenceError("refers back to a part that was already read")
        return self._texts[self._numbers[place]]


class PickleReader:
    """Reads one pickle after another from a binary stream.

    Args:
        stream: where the pickles are.
        reduce: called with every dict that has just received items; a result other than None replaces the dict, and
            what the dict held is forgotten. Such parts may not contain one another.
        transient: strings with this character are forgotten with their part, all other strings are kept.
        keep: forget nothing, for pickles that refer back to replaced parts.
        progress: called with the number of bytes consumed since the last call.
    """

    def __init__(
        self,
        stream: IO[bytes],
        reduce: Callable[[dict], object | None] | None = None,
        *,
        transient: str = "\0",
        keep: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._stream, self._reduce, self._transient, self._keep = stream, reduce, transient, keep
        self._progress = progress
        self._buffer, self._position, self._safe, self._ended = b"", 0, -1, False

    def load(self) -> Any:
        """Return the next pickle's object: dicts, lists, tuples, sets, strings, numbers, numpy arrays.

        Raises:
            UnsafePickleError: it names something that is not on the allow-list.
            BackReferenceError: it refers to a part that ``reduce`` replaced.
            PickleError: it is truncated, damaged, or of an unknown kind.
        """
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._recent: list[Any] = []
        self._base, self._kept = 0, _Kept()
        try:
            return self._run()
        except (IndexError, struct.error):
            ended = self._ended and len(self._buffer) - self._position < _WINDOW
            raise PickleError("is truncated or damaged" if ended else "is damaged") from None
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError, MemoryError) as error:
            raise PickleError(f"is damaged ({type(error).__name__} while reading its pickle)") from None

    def _run(self) -> Any:
        """Interpret opcodes up to STOP; the frequent ones inline, since NAS-Bench-201 has 700 million of them."""
        buffer, position, safe = self._buffer, self._position, self._safe
        stack, recent = self._stack, self._recent
        push, remember = stack.append, recent.append
        while True:
            if position > safe:
                self._position = position
                self._refill(_MARGIN)
                buffer, position, safe = self._buffer, self._position, self._safe
            op = buffer[position]
            if op == 0x47:  # BINFLOAT
                push(_FLOAT(buffer, position + 1)[0])
                position += 9
            elif op == 0x58 or op == 0x8C:  # BINUNICODE, SHORT_BINUNICODE
                start = position + (5 if op == 0x58 else 2)
                end = start + (_U32(buffer, position + 1)[0] if op == 0x58 else buffer[position + 1])
                if end > len(buffer):
                    self._position = position
                    self._refill(end - position)
                    buffer, safe = self._buffer, self._safe
                    start, end, position = start - position, end - position, 0
                push(str(buffer[start:end], "utf-8", "surrogatepass"))
                position = end
            elif op == 0x72:  # LONG_BINPUT
                index = _U32(buffer, position + 1)[0]
                if index == self._base + len(recent):
                    remember(stack[-1])
                else:
                    self._put(index)
                position += 5
            elif op == 0x4B:  # BININT1, most often the epoch before an accuracy
                push(buffer[position + 1])
                position += 2
            elif op == 0x94:  # MEMOIZE
                remember(stack[-1])
                position += 1
            elif op == 0x4D:  # BININT2
                push(_U16(buffer, position + 1)[0])
                position += 3
            elif op == 0x2E:  # STOP
                self._position = position + 1
                return stack.pop()
            else:
                self._position = position + 1
                method = _RARE.get(op)
                if method is None:
                    raise PickleError(f"is damaged or no plain data (opcode {op:#04x})")
                method(self)
                buffer, position, safe, stack = self._buffer, self._position, self._safe, self._stack
                push = stack.append

    def _refill(self, needed: int) -> None:
        """Make ``needed`` bytes available at the position, and a window beyond them, unless the stream ends."""
        if self._progress:
            self._progress(self._position)
        parts = [self._buffer[self._position :]]
        have, wanted = len(parts[0]), max(needed, _WINDOW)
        while have < wanted and not self._ended:
            parts.append(self._stream.read(min(wanted - have, 16 * _WINDOW)))
            have += len(parts[-1])
            self._ended = not parts[-1]
        self._buffer, self._position = b"".join(parts), 0
        self._safe = have if self._ended else have - _MARGIN
        if have < needed and needed > _MARGIN:
            raise PickleError("is truncated")

    def _take(self, length: int) -> bytes:
        if self._position + length > len(self._buffer):
            self._refill(length)
        if self._position + length > len(self._buffer):
            raise PickleError("is truncated")
        self._position += length
        return self._buffer[self._position - length : self._position]

    def _line(self) -> str:
        text = b""
        while not text.endswith(b"\n"):
            if len(text) > 500:
                raise PickleError("is damaged (a name without an end)")
            text += self._take(1)
        return text[:-1].decode()

    # Memo

    def _put(self, index: int) -> None:
        """Remember the top of the stack under an index that is not simply the next one."""
        place = index - self._base
        if place < 0:
            self._kept.add(index, self._stack[-1])
            return
        if place > len(self._recent) + 100_000:
            raise PickleError("is damaged (a memo index out of range)")
        self._recent.extend([_UNSET] * (place + 1 - len(self._recent)))
        self._recent[place] = self._stack[-1]

    def _get(self, index: int) -> None:
        value = self._recent[index - self._base] if index >= self._base else self._kept.get(index)
        if value is _UNSET:
            raise PickleError("is damaged (a reference to nothing)")
        self._stack.append(value)

    def _received(self, items: dict) -> None:
        """Let ``reduce`` look at a dict that has new items."""
        value = self._reduce(items) if self._reduce else None
        if value is None:
            return
        self._stack[-1] = value
        place = next((i for i in range(len(self._recent) - 1, -1, -1) if self._recent[i] is items), None)
        if place is None:
            return
        self._recent[place] = value
        if self._keep:
            return
        for offset, entry in enumerate(self._recent):
            if (
                offset <= place
                or isinstance(entry, Name | Dtype)
                or (type(entry) is str and self._transient not in entry)
            ):
                self._kept.add(self._base + offset, entry)
        self._base += len(self._recent)
        self._recent.clear()

    # Opcodes

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _set_items(self) -> None:
        items = self._pop_mark()
        target = self._stack[-1]
        _expect(target, dict).update(zip(items[::2], items[1::2], strict=True))
        self._received(target)

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        target = self._stack[-1]
        _expect(target, dict)[key] = value
        self._received(target)

    def _append(self) -> None:
        value = self._stack.pop()
        _expect(self._stack[-1], list).append(value)

    def _appends(self) -> None:
        items = self._pop_mark()
        _expect(self._stack[-1], list).extend(items)

    def _add_items(self) -> None:
        items = self._pop_mark()
        _expect(self._stack[-1], set).update(items)

    def _tuple(self, length: int) -> None:
        items = tuple(self._stack[len(self._stack) - length :])
        if len(items) != length:
            raise PickleError("is damaged")
        del self._stack[len(self._stack) - length :]
        self._stack.append(items)

    def _dict_from_mark(self) -> None:
        items = self._pop_mark()
        self._push(dict(zip(items[::2], items[1::2], strict=True)))

    def _name(self, module: str, name: str) -> None:
        construct = CONSTRUCTORS.get((module, name))
        if construct is None:
            raise UnsafePickleError(
                f"asks for {module}.{name}, which is not plain data; it was refused and nothing was run"
            )
        self._push(Name(construct))

    def _global(self) -> None:
        module = self._line()
        self._name(module, self._line())

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._name(str(module), str(name))

    def _call(self) -> None:
        """REDUCE and NEWOBJ: apply an allow-listed constructor."""
        arguments, name = self._stack.pop(), self._stack.pop()
        if type(name) is not Name or type(arguments) is not tuple:
            raise UnsafePickleError("calls something that is not an allow-listed constructor; it was refused")
        self._push(name.construct(*arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Dtype):
            target.set_state(state)
        elif isinstance(target, Array):
            value = target.from_state(state)
            self._stack[-1] = value
            self._recent[:] = [value if entry is target else entry for entry in self._recent]
        elif state:
            raise UnsafePickleError("sets the state of an object that is not plain data; it was refused")

    def _persistent(self) -> None:
        raise PickleError("holds network weights; import the benchmark file without weights")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise PickleError(f"is damaged (items for a {type(value).__name__})")
    return value


def _sized(code: Callable[..., Any], width: int, convert: Callable[[bytes], object]) -> Callable[[PickleReader], None]:
    """Return the handler of an opcode whose argument is a length and that many bytes."""
    return lambda reader: reader._push(convert(reader._take(code(reader._take(width))[0])))


def _fixed(value: Callable[[], object]) -> Callable[[PickleReader], None]:
    return lambda reader: reader._push(value())


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


_U8 = struct.Struct("<B").unpack_from
_RARE: dict[int, Callable[[PickleReader], None]] = {
    0x80: lambda r: _check_protocol(r._take(1)[0]),  # PROTO
    0x95: lambda r: (r._take(8), None)[1],  # FRAME
    0x28: PickleReader._mark,
    0x4E: _fixed(lambda: None),
    0x88: _fixed(lambda: True),
    0x89: _fixed(lambda: False),
    0x5D: _fixed(list),
    0x29: _fixed(tuple),
    0x7D: _fixed(dict),
    0x8F: _fixed(set),
    0x4A: lambda r: r._push(_I32(r._take(4))[0]),  # BININT
    0x8A: _sized(_U8, 1, _long),  # LONG1
    0x8B: _sized(_U32, 4, _long),  # LONG4
    0x55: _sized(_U8, 1, lambda raw: raw.decode("latin-1")),  # SHORT_BINSTRING
    0x54: _sized(_U32, 4, lambda raw: raw.decode("latin-1")),  # BINSTRING
    0x43: _sized(_U8, 1, bytes),  # SHORT_BINBYTES
    0x42: _sized(_U32, 4, bytes),  # BINBYTES
    0x8E: _sized(_U64, 8, bytes),  # BINBYTES8
    0x96: _sized(_U64, 8, bytes),  # BYTEARRAY8
    0x8D: _sized(_U64, 8, _text),  # BINUNICODE8
    0x71: lambda r: r._put(r._take(1)[0]),  # BINPUT
    0x68: lambda r: r._get(r._take(1)[0]),  # BINGET
    0x6A: lambda r: r._get(_U32(r._take(4))[0]),  # LONG_BINGET
    0x75: PickleReader._set_items,
    0x73: PickleReader._set_item,
    0x61: PickleReader._append,
    0x65: PickleReader._appends,
    0x90: PickleReader._add_items,
    0x91: lambda r: r._push(frozenset(r._pop_mark())),
    0x74: lambda r: r._push(tuple(r._pop_mark())),
    0x6C: lambda r: r._push(r._pop_mark()),  # LIST
    0x64: PickleReader._dict_from_mark,
    0x85: lambda r: r._tuple(1),
    0x86: lambda r: r._tuple(2),
    0x87: lambda r: r._tuple(3),
    0x30: lambda r: (r._stack.pop(), None)[1],  # POP
    0x63: PickleReader._global,
    0x93: PickleReader._stack_global,
    0x52: PickleReader._call,
    0x81: PickleReader._call,
    0x62: PickleReader._build,
    0x51: PickleReader._persistent,
    0x50: PickleReader._persistent,
}
"""Handlers of the opcodes that are not inlined; every other opcode is refused."""


def _check_protocol(protocol: int) -> None:
    if protocol > 5:
        raise PickleError(f"is damaged or of an unknown pickle protocol ({protocol})")

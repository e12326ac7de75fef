"""Read pickles of plain values and numpy arrays without being able to run what they say.

A pickle is a program for a stack machine; Python's own machine looks up and calls any function the program names. The
one here knows only the instructions that numbers, strings, lists, tuples, dictionaries and numpy arrays need, and only
the functions of `imer_ray.data.pickled_array`; anything else ends the reading before it has an effect. Time and memory
are bounded by the file's size.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from imer_ray.data.file_kinds import other_kind
from imer_ray.data.pickled_array import FUNCTIONS, Array, Damaged, DType, Span, as_text
from imer_ray.errors import UserError

PROTOCOLS = range(2, 6)
MAX_INSTRUCTIONS = 5_000_000  # each makes at most one small object; a file of MOSEI has fewer than a million
MAX_INTEGER_BYTES = 16
MAX_KEY = 2**60  # of a dictionary: smaller numbers are their own hash, and cannot be made to collide
SHORT = 255  # bytes that are read at once; longer ones stay in the file
_MARK = object()

_NUMBERS = {pickle.BININT: "<i", pickle.BININT1: "<B", pickle.BININT2: "<H", pickle.BINFLOAT: ">d"}
_LONGS = {pickle.LONG1: "<B", pickle.LONG4: "<i"}
_TEXTS = {pickle.SHORT_BINUNICODE: "<B", pickle.BINUNICODE: "<I", pickle.BINUNICODE8: "<Q"}
_BYTES = {
    **{pickle.SHORT_BINBYTES: "<B", pickle.BINBYTES: "<I", pickle.BINBYTES8: "<Q", pickle.BYTEARRAY8: "<Q"},
    **{pickle.SHORT_BINSTRING: "<B", pickle.BINSTRING: "<i"},  # Python 2's text
}
_GETS = {pickle.BINGET: "<B", pickle.LONG_BINGET: "<I"}
_PUTS = {pickle.BINPUT: "<B", pickle.LONG_BINPUT: "<I"}
_CONSTANTS = {pickle.NONE: None, pickle.NEWTRUE: True, pickle.NEWFALSE: False}
_EMPTY: dict[bytes, type] = {pickle.EMPTY_TUPLE: tuple, pickle.EMPTY_LIST: list, pickle.EMPTY_DICT: dict}
_TUPLES = {pickle.TUPLE1: 1, pickle.TUPLE2: 2, pickle.TUPLE3: 3}
_FOREIGN = {  # what instructions that are not read belong to
    **dict.fromkeys((pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET), "a set"),
    **dict.fromkeys((pickle.OBJ, pickle.INST, pickle.NEWOBJ, pickle.NEWOBJ_EX), "an object of a Python class"),
    **dict.fromkeys((pickle.EXT1, pickle.EXT2, pickle.EXT4), "an object of a registered class"),
    **dict.fromkeys((pickle.PERSID, pickle.BINPERSID), "something that lies outside the file"),
    **dict.fromkeys((pickle.NEXT_BUFFER, pickle.READONLY_BUFFER), "an array that lies outside the file"),
}
_READ = "numbers, text, lists, tuples, dictionaries and numpy arrays"


def load(path: Path, file: BinaryIO) -> Any:
    """The value that a pickle (protocol 2 to 5) holds; `Array`s read from ``file`` for as long as it is open.

    Raises:
        UserError: it is damaged, no such pickle, or asks for anything but plain values; none of it was executed.
    """
    try:
        machine = _Machine(path, file)
        if found := other_kind(machine.beginning(), machine.size):
            raise UserError(f"{path}: {found}")
        return machine.run()
    except (Damaged, struct.error, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path}: damaged or not a pickle of protocol 2 to 5 ({error})") from error


class _Machine:
    """Stack, memo and position of one pickle being read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = file.seek(0, 2)
        file.seek(0)
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def beginning(self) -> bytes:
        """The first bytes, which tell other kinds of files; the position is again the file's beginning."""
        head = self.file.read(64)
        self.file.seek(0)
        return head

    def run(self) -> Any:
        if self.take(1) != pickle.PROTO or self.take(1)[0] not in PROTOCOLS:
            raise Damaged("it does not begin like one")
        for _ in range(MAX_INSTRUCTIONS):
            code = self.take(1)
            if code == pickle.STOP:
                return self.stack.pop()
            self.step(code)
        raise Damaged("too many instructions")

    def step(self, code: bytes) -> None:
        stack = self.stack
        if code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _NUMBERS:
            stack.append(self.number(_NUMBERS[code]))
        elif code in _LONGS:
            length = self.number(_LONGS[code])
            if length > MAX_INTEGER_BYTES:
                raise Damaged("an integer of absurd size")
            stack.append(int.from_bytes(self.take(length), "little", signed=True))
        elif code in _TEXTS:
            stack.append(self.take(self.number(_TEXTS[code])).decode("utf-8", "surrogatepass"))
        elif code in _BYTES:
            stack.append(self.content(self.number(_BYTES[code])))
        elif code in _GETS:
            stack.append(self.memo[self.number(_GETS[code])])
        elif code in _PUTS:
            self.memo[self.number(_PUTS[code])] = stack[-1]
        elif code in _TUPLES:
            items = stack[-_TUPLES[code] :]
            if len(items) < _TUPLES[code]:
                raise Damaged("too few values on the stack")
            stack[-_TUPLES[code] :] = [tuple(items)]
        elif code in _INSTRUCTIONS:
            _INSTRUCTIONS[code](self)
        else:
            names = {op.code.encode("latin1"): op.name for op in pickletools.opcodes}
            if code not in names:
                raise Damaged(f"0x{code.hex()} is no instruction")
            raise UserError(
                f"{self.path}: refused: the pickle holds {_FOREIGN.get(code, 'other things')} (instruction "
                f"{names[code]}), and only {_READ} are read; nothing was run"
            )

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or count > self.size - self.file.tell():
            raise Damaged("it ends too early")
        return self.file.read(count)

    def content(self, count: int) -> bytes | Span:
        """The next bytes; all but short ones are left in the file."""
        if count <= SHORT:
            return self.take(count)
        offset = self.file.tell()
        if count > self.size - offset:
            raise Damaged("it ends too early")
        self.file.seek(count, 1)
        return Span(self.file, offset, count)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        text = self.file.readline(1024)
        if not text.endswith(b"\n"):
            raise Damaged("it ends too early")
        return text[:-1].decode()

    def since_mark(self) -> list[Any]:
        """Pop the values above the last mark, and the mark."""
        mark = len(self.stack) - 1
        while self.stack[mark] is not _MARK:  # an IndexError if there is none
            mark -= 1
        items = self.stack[mark + 1 :]
        del self.stack[mark:]
        return items

    def integer_line(self) -> None:
        """How Python 2 writes a number that four bytes do not hold."""
        text = self.line()
        if len(text) > 2 * MAX_INTEGER_BYTES:
            raise Damaged("an integer of absurd size")
        self.stack.append(int(text))

    def frame(self) -> None:
        self.take(8)

    def memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def mark(self) -> None:
        self.stack.append(_MARK)

    def tuple(self) -> None:
        items = self.since_mark()
        self.stack.append(tuple(items))

    def append(self) -> None:
        item = self.stack.pop()
        self._top(list).append(item)

    def appends(self) -> None:
        items = self.since_mark()
        self._top(list).extend(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self) -> None:
        self._update(self.since_mark())

    def global_name(self) -> None:
        self._push_function(self.line(), self.line())

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_function(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or not any(function is known for known in FUNCTIONS.values()):
            raise Damaged("a call of what is no function")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], (Array, DType)):
            raise Damaged("a state for what has none")
        self.stack[-1].build(state)

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise Damaged(f"{kind.__name__} expected")
        return self.stack[-1]

    def _update(self, items: list[Any]) -> None:
        target = self._top(dict)
        keys = [as_text(key) for key in items[::2]]
        for key in keys:
            if type(key) is not str and not (type(key) is int and abs(key) < MAX_KEY):
                found = "a number of this kind" if isinstance(key, (int, float)) else f"a {type(key).__name__}"
                raise UserError(
                    f"{self.path}: refused: the pickle has a dictionary with {found} as a key, and only text and whole "
                    "numbers are read as keys; nothing was run"
                )
        target.update(zip(keys, items[1::2], strict=True))

    def _push_function(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise Damaged("a function whose name is not a string")
        if (module, name) not in FUNCTIONS:
            asked = f"{module}.{name}"[:100]  # shown quoted: it may hold anything, also a terminal's control codes
            raise UserError(f"{self.path}: refused: the pickle asks for {asked!r}; nothing was run")
        self.stack.append(FUNCTIONS[module, name])


_INSTRUCTIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.FRAME: _Machine.frame,
    pickle.INT: _Machine.integer_line,
    pickle.MEMOIZE: _Machine.memoize,
    pickle.MARK: _Machine.mark,
    pickle.TUPLE: _Machine.tuple,
    pickle.APPEND: _Machine.append,
    pickle.APPENDS: _Machine.appends,
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: _Machine.set_items,
    pickle.GLOBAL: _Machine.global_name,
    pickle.STACK_GLOBAL: _Machine.stack_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.BUILD: _Machine.build,
}

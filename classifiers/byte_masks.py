"""Sixty-four bytes at a time, as bits: what numba lacks to read text at the speed of memory.

A question about bytes ("is it a newline?", "does it lie between a and z?") is put to 64 of them at
once; the answer is one uint64, bit k for byte k. Counting is then a population count, "the byte
before" a load one byte earlier, and "for each line" a walk over set bits. LLVM turns the vectors
into what the processor has: AVX-512, AVX2, NEON or plain words; the answers are the same.

Source: Langdale and Lemire, "Parsing Gigabytes of JSON per Second" (2019), arXiv 1902.08318.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 64
_instruction = cast(Callable[[Callable[..., Any]], Callable[..., Any]], intrinsic)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_WORD = ir.IntType(64)


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Where element `arguments[1]` of the byte array `arguments[0]` lies."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


def _load(builder: Any, address: Any, kind: Any) -> Any:
    """A value at any address: documents do not begin at multiples of anything."""
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=1)


def _all_lanes(builder: Any, byte: Any) -> Any:
    first = builder.insert_element(_BYTES(ir.Undefined), byte, ir.IntType(32)(0))
    lanes = ir.VectorType(ir.IntType(32), LANES)(None)
    return builder.shuffle_vector(first, _BYTES(ir.Undefined), lanes)


def _asks(compare: Callable[[Any, Any, list[Any]], Any]) -> Callable[..., Any]:
    """The code of a question about 64 bytes, whose `compare` gives one bit for each."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = _load(builder, _address(context, builder, signature, arguments), _BYTES)
        bounds = [
            _all_lanes(builder, builder.trunc(value, ir.IntType(8))) for value in arguments[2:]
        ]
        return builder.bitcast(compare(builder, found, bounds), _WORD)

    return code


@_instruction
def equal(typing: Any, data: Any, at: Any, byte: Any) -> Any:
    """uint64: which of the 64 bytes from `at` on are `byte`."""
    code = _asks(lambda b, found, bounds: b.icmp_unsigned("==", found, bounds[0]))
    return types.uint64(data, types.int64, types.int64), code


@_instruction
def between(typing: Any, data: Any, at: Any, low: Any, high: Any) -> Any:
    """uint64: which of the 64 bytes from `at` on lie from `low` to `high`, both included."""
    code = _asks(
        lambda b, found, bounds: b.icmp_unsigned(
            "<=", b.sub(found, bounds[0]), b.sub(bounds[1], bounds[0])
        )
    )
    return types.uint64(data, types.int64, types.int64, types.int64), code


@_instruction
def repeats(typing: Any, data: Any, at: Any, back: Any) -> Any:
    """uint64: which of the 64 bytes from `at` on equal the byte that lies `back` before them."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, at, back = arguments
        here = _address(context, builder, signature, [data, at])
        before = _address(context, builder, signature, [data, builder.sub(at, back)])
        same = builder.icmp_unsigned(
            "==", _load(builder, here, _BYTES), _load(builder, before, _BYTES)
        )
        return builder.bitcast(same, _WORD)

    return types.uint64(data, types.int64, types.int64), code


@_instruction
def eight_bytes(typing: Any, data: Any, at: Any) -> Any:
    """uint64: the eight bytes from `at` on, the first one lowest (on a little-endian machine)."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, _address(context, builder, signature, arguments), _WORD)

    return types.uint64(data, types.int64), code


@_instruction
def lowest(typing: Any, bits: Any) -> Any:
    """int64: the number of the lowest set bit; 64 where none is set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), code


@_instruction
def ones(typing: Any, bits: Any) -> Any:
    """int64: how many bits are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), code

"""LLVM code that Numba cannot express: a tile of a matrix product, an 8 × 8 transpose, a call by address.

Each function becomes a few inlined vector instructions. Multiply-adds are explicit, so that the compiler neither
creates nor reorders any: the order of every sum is that of the source, whatever the width of the processor's vectors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

# Decorates helper functions of kernels: no wrapper is compiled for calls from Python or C.
part = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, error_model="numpy", boundscheck=False)

ADDRESS, COUNT, FLOAT = ir.IntType(64), ir.IntType(64), ir.FloatType()
BYTES = 4  # of a float32

# Registers hold a tile of the result while the product runs over its depth: 12 × 2 of 32 registers of 16 floats
# where there is AVX-512, 6 × 2 of 16 registers of 8 elsewhere (on NEON each is two registers).
WIDE = "+avx512f" in str(cpu_target.target_context.codegen().magic_tuple()[2]).split(",")
LANES = 16 if WIDE else 8
ROWS = (12, 4, 2, 1) if WIDE else (6, 2, 1)
COLUMNS = (2 * LANES, LANES)
SQUARE = 8


def _address(builder: Any, base: Any, elements: Any, kind: ir.Type) -> Any:
    return builder.inttoptr(builder.add(base, builder.mul(elements, COUNT(BYTES))), kind.as_pointer())


def _load(builder: Any, base: Any, elements: Any, kind: ir.Type) -> Any:
    loaded = builder.load(_address(builder, base, elements, kind))
    loaded.align = BYTES
    return loaded


def _store(builder: Any, value: Any, base: Any, elements: Any) -> None:
    builder.store(value, _address(builder, base, elements, value.type)).align = BYTES


def _splat(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c, rounded once where the processor can (FMA)."""
    kind = a.type
    suffix = f"v{kind.count}f32" if isinstance(kind, ir.VectorType) else "f32"
    name = f"llvm.fmuladd.{suffix}"
    known = builder.module.globals.get(name)
    function = known or ir.Function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
    return builder.call(function, [a, b, c])


@intrinsic
def multiply_add(_: Any, a: Any, b: Any, c: Any) -> Any:
    """Return a · b + c of float32, rounded once where the processor can."""
    return types.float32(a, b, c), lambda _context, builder, _signature, arguments: _multiply_add(builder, *arguments)


@intrinsic
def power_of_two(_: Any, exponent: Any) -> Any:
    """Return 2^k as float32 for a whole k from -126 to 127: its bits, which vectorizes."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        bits = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.add(arguments[0], bits(127)), bits(23)), FLOAT)

    return types.float32(exponent), generate


def pointer_to(kind: Any) -> Callable[[int], Any]:
    """Return an intrinsic that casts an address to a pointer to a Numba type, read and written by index."""
    pointer = types.CPointer(kind)

    @intrinsic
    def at(_: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(address), generate

    return at


floats_at, doubles_at = pointer_to(types.float32), pointer_to(types.float64)
integers_at, int32_at, bytes_at = pointer_to(types.int64), pointer_to(types.int32), pointer_to(types.uint8)


@intrinsic
def call(_: Any, address: Any, arguments: Any) -> Any:
    """Call a kernel by its address, with a tuple of integers and addresses.

    Functions compiled by Numba take two more arguments, for a result and an exception; kernels use neither.
    """

    def generate(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        nowhere = builder.ptrtoint(cgutils.alloca_once(builder, ADDRESS), ADDRESS)
        values = [builder.extract_value(given[1], i) for i in range(len(arguments))]
        function = ir.FunctionType(ir.IntType(32), [ADDRESS] * (2 + len(values)))
        builder.call(builder.inttoptr(given[0], function.as_pointer()), [nowhere, nowhere, *values])
        return context.get_dummy_value()

    return types.void(address, arguments), generate


def product_of(*, adds: bool) -> Callable[..., None]:
    """Return an intrinsic that computes C = S + A · B by tiles, or C = C + factor · A · B if it `adds`.

    Arguments: the addresses of C, A, B and S, each with its row stride (and A's column stride); the numbers of rows and
    columns of C, the latter a multiple of LANES; the depth of the product, at least 1; the address of the factor.
    """

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        operands = _Operands(*arguments)
        column = COUNT(0)
        for wide in COLUMNS:
            strips = builder.sdiv(builder.sub(operands.columns, column), COUNT(wide))
            with cgutils.for_range(builder, strips) as strip:
                here = builder.add(column, builder.mul(strip.index, COUNT(wide)))
                row = COUNT(0)
                for high in ROWS:
                    tiles = builder.sdiv(builder.sub(operands.rows, row), COUNT(high))
                    with cgutils.for_range(builder, tiles) as tile:
                        top = builder.add(row, builder.mul(tile.index, COUNT(high)))
                        _tile(builder, operands, top, here, high, wide, adds=adds)
                    row = builder.add(row, builder.mul(tiles, COUNT(high)))
            column = builder.add(column, builder.mul(strips, COUNT(wide)))
        return context.get_dummy_value()

    @intrinsic
    def code(
        _: Any,
        c: Any,
        c_row: Any,
        a: Any,
        a_row: Any,
        a_column: Any,
        b: Any,
        b_row: Any,
        s: Any,
        s_row: Any,
        rows: Any,
        columns: Any,
        depth: Any,
        factor: Any,
    ) -> Any:
        return types.void(
            c, c_row, a, a_row, a_column, b, b_row, s, s_row, rows, columns, depth, factor
        ), generate  # fmt: skip

    return code


@dataclass(frozen=True)
class _Operands:
    c: Any
    c_row: Any
    a: Any
    a_row: Any
    a_column: Any
    b: Any
    b_row: Any
    s: Any
    s_row: Any
    rows: Any
    columns: Any
    depth: Any
    factor: Any


def _tile(builder: Any, operands: _Operands, top: Any, left: Any, high: int, wide: int, *, adds: bool) -> None:
    """Compute high × wide elements of the product in registers, each as one sum in order of depth.

    So no element depends on the tile that contains it.
    """
    vector, vectors = ir.VectorType(FLOAT, LANES), wide // LANES
    places = [(r, v) for r in range(high) for v in range(vectors)]

    def element(row_length: Any, r: int, v: int) -> Any:
        row = builder.mul(builder.add(top, COUNT(r)), row_length)
        return builder.add(row, builder.add(left, COUNT(v * LANES)))

    begun = {
        (r, v): ir.Constant(vector, None) if adds else _load(builder, operands.s, element(operands.s_row, r, v), vector)
        for r, v in places
    }
    before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(COUNT)
    sums = {place: builder.phi(vector) for place in places}
    b_k = builder.add(builder.mul(operands.b_row, k), left)
    right = [_load(builder, operands.b, builder.add(b_k, COUNT(v * LANES)), vector) for v in range(vectors)]
    new: dict[tuple[int, int], Any] = {}
    for r in range(high):
        a_k = builder.add(builder.mul(builder.add(top, COUNT(r)), operands.a_row), builder.mul(operands.a_column, k))
        spread = _splat(builder, _load(builder, operands.a, a_k, FLOAT), vector)
        new |= {(r, v): _multiply_add(builder, spread, right[v], sums[r, v]) for v in range(vectors)}
    for place in places:
        sums[place].add_incoming(begun[place], before)
        sums[place].add_incoming(new[place], loop)
    following = builder.add(k, COUNT(1))
    k.add_incoming(COUNT(0), before)
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, operands.depth), loop, after)
    builder.position_at_end(after)
    scale = _splat(builder, _load(builder, operands.factor, COUNT(0), FLOAT), vector) if adds else None
    for r, v in places:
        place, value = element(operands.c_row, r, v), new[r, v]
        if adds:
            value = _multiply_add(builder, scale, value, _load(builder, operands.c, place, vector))
        _store(builder, value, operands.c, place)


def _interleaved(builder: Any, one: Any, other: Any, width: int) -> tuple[Any, Any]:
    """Exchange blocks of `width` lanes between two vectors, as one step of a transpose."""
    lanes = range(SQUARE)
    low = [i if not i & width else i - width + SQUARE for i in lanes]
    high = [i + width if not i & width else i + SQUARE for i in lanes]
    return _shuffled(builder, one, other, low), _shuffled(builder, one, other, high)


def _shuffled(builder: Any, one: Any, other: Any, places: Sequence[int]) -> Any:
    return builder.shuffle_vector(one, other, ir.Constant(ir.VectorType(ir.IntType(32), SQUARE), list(places)))


@intrinsic
def transpose_square(_: Any, source: Any, source_row: Any, target: Any, target_row: Any) -> Any:
    """Write the transpose of an 8 × 8 square: 24 shuffles instead of 64 scattered stores."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        here, row, there, target = arguments
        vector = ir.VectorType(FLOAT, SQUARE)
        lines = [_load(builder, here, builder.mul(COUNT(r), row), vector) for r in range(SQUARE)]
        width = SQUARE // 2
        while width:
            for r in range(SQUARE):
                if not r & width:
                    lines[r], lines[r + width] = _interleaved(builder, lines[r], lines[r + width], width)
            width //= 2
        for r, line in enumerate(lines):
            _store(builder, line, there, builder.mul(COUNT(r), target))
        return context.get_dummy_value()

    return types.void(source, source_row, target, target_row), generate

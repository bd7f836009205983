"""Pointers in place of arrays, for compiled code: no test for negative indices, short calls.

numba's own arrays test every index for being negative, which keeps loops from being vectorised,
and go into a call as seven words each. `cells` and `meta` (see `grids`) are handed to primitives as
pointers; their code is the same as for arrays, `cells[first]` and `meta[a, 0]`.
"""

import operator
from typing import Any

try:
    from numba import types
    from numba.core import cgutils
    from numba.core.typing.templates import AbstractTemplate, infer_global, signature
    from numba.extending import intrinsic, lower_builtin, models, register_model
except ImportError as error:
    raise ImportError("the ARC solver needs numba: pip install 'quire-papers[fast]'") from error

COLUMNS = 5
"""Numbers in a row of `meta`."""


class Rows(types.Type):  # type: ignore[misc]
    """The numba type of a pointer to the rows of `meta`."""

    def __init__(self) -> None:
        super().__init__(name="ArcRows")


register_model(Rows)(models.OpaqueModel)

CELLS, META = types.CPointer(types.int8), Rows()
INDEX = types.UniTuple(types.intp, 2)
SIGNATURE = types.int64(CELLS, META, *[types.int64] * 5)
"""Every primitive's: (cells, meta, a, b, o, e, arg) -> count."""


def spot(context: Any, builder: Any, rows: Any, index: Any) -> Any:
    """The address of one number of a row."""
    row, column = cgutils.unpack_tuple(builder, index)
    wide = context.get_constant(types.intp, COLUMNS)
    number = builder.add(builder.mul(row, wide), column)
    start = builder.bitcast(rows, context.get_data_type(types.int32).as_pointer())
    return builder.gep(start, [number])


@infer_global(operator.getitem)
class GetNumber(AbstractTemplate):  # type: ignore[misc]
    """meta[a, k] has a type."""

    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Rows):
            return signature(types.int32, args[0], INDEX)
        return None


@infer_global(operator.setitem)
class SetNumber(AbstractTemplate):  # type: ignore[misc]
    """meta[a, k] = number has a type."""

    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Rows):
            return signature(types.none, args[0], INDEX, types.int32)
        return None


@lower_builtin(operator.getitem, Rows, INDEX)  # type: ignore[untyped-decorator]
def get_number(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """meta[a, k]."""
    return builder.load(spot(context, builder, *args))


@lower_builtin(operator.setitem, Rows, INDEX, types.int32)  # type: ignore[untyped-decorator]
def set_number(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """meta[a, k] = number."""
    builder.store(args[2], spot(context, builder, *args[:2]))
    return context.get_dummy_value()


@intrinsic
def _pointer(typing: Any, array: Any) -> Any:
    """A pointer to an array's first number."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return context.make_array(sig.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def _rows(typing: Any, array: Any) -> Any:
    """A pointer to the rows of an int32 array (.., 5)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.bitcast(data, context.get_value_type(META))

    return META(array), codegen


@intrinsic
def _call(
    typing: Any, address: Any, cells: Any, meta: Any, a: Any, b: Any, o: Any, e: Any, arg: Any
) -> Any:
    """Call the primitive at an address (see `search.address`)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(SIGNATURE.return_type, SIGNATURE.args)
        function = builder.inttoptr(args[0], kind.as_pointer())
        status, result = convention.call_function(
            builder, function, SIGNATURE.return_type, SIGNATURE.args, args[1:]
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return result

    return types.int64(types.int64, *SIGNATURE.args), codegen


pointer: Any = _pointer
rows: Any = _rows
call: Any = _call

"""A float32 matrix as MKL or oneDNN lays it out once for all products with it, on CPUs where torch has them.

It is what torch.compile makes of linear layers, without a compiler: quicker for few rows, and the product of one row
alone has the bits that the row has among others, so nothing need be padded where that has been seen to hold.
"""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

ROWS = 160  # up to which a row's result must not depend on how many there are
CHECKED = (1, 2, 3, 5, 8, 16, 33, 64, 129)


class Packed:
    """Made of W [out, in], for x · Wᵀ, by MKL."""

    there: ClassVar[bool] = torch._C.has_mkl

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, ROWS)
        self._shape = weight.new_empty(1).expand(weight.shape)  # all that is asked of the original

    def times(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        # The layout is the same for any count of rows, but the count must be said to be the one it was made for.
        product: Tensor = torch.ops.mkl._mkl_linear(x, self._packed, self._shape, bias, len(x))
        return product


class Blocked(Packed):
    """The same by oneDNN, which on CPUs of AMD keeps a row's bits where MKL does not."""

    there = torch.backends.mkldnn.is_available()

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)

    def times(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, bias, "none", [], "")
        return product


def layout(weight: Tensor) -> tuple[type[Packed], int] | None:
    """The one that does for matrices of this shape, and from how many rows on, one or two: from there a row is
    right, and on one thread the same to the last bit in any company. Asked of the machine: neither promises it."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return next(_that_do(weight), None)
    finally:
        torch.set_num_threads(threads)


def _that_do(weight: Tensor) -> Iterator[tuple[type[Packed], int]]:
    x = torch.randn(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(0))
    plain = torch.mm(x, weight.t())
    for kind in (Packed, Blocked):
        if kind.there:
            matrix = kind(weight)
            whole = matrix.times(x)
            right = torch.allclose(whole, plain, rtol=1e-3, atol=1e-3 * float(whole.abs().max()))
            differ = [rows for rows in CHECKED if not torch.equal(matrix.times(x[:rows]), whole[:rows])]
            if right and differ in ([], [1]):
                yield kind, 1 + len(differ)

"""A matrix as MKL or oneDNN lays it out once for all float32 products with it, on CPUs where torch has them.

It is what torch.compile makes of linear layers, without a compiler: quicker for few rows, and the product of one row
alone has the bits that the row has among others, so nothing need be padded where that has been seen to hold.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

ROWS = 160  # up to which a row's result must not depend on how many there are
CHECKED = (1, 2, 3, 5, 8, 16, 33, 64, 129)


class Packed:
    """Made of W [out, in], for x · Wᵀ, by MKL."""

    there: ClassVar[bool] = torch._C.has_mkl
    off: ClassVar[float] = 1e-3  # by how much products may be, of the largest

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


class Halved(Blocked):
    """The same for weights that are bf16 themselves, on CPUs that multiply bf16: x is rounded to it, and the product
    is. Half the time, and half the memory."""

    there = Blocked.there and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    off = 1e-2

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight.bfloat16())

    def times(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        product = super().times(x.bfloat16()).float()
        return product if bias is None else product.add_(bias)


EXACT: tuple[type[Packed], ...] = (Packed, Blocked)
ANY: tuple[type[Packed], ...] = (Halved, *EXACT)


def layout(weight: Tensor, kinds: Sequence[type[Packed]] = EXACT) -> tuple[type[Packed], int] | None:
    """The first that does for matrices of this shape, and from how many rows on, one or two: from there a row is
    right, and on one thread the same to the last bit in any company. Asked of the machine: neither promises it."""
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return next(_that_do(weight, kinds), None)
    finally:
        torch.set_num_threads(threads)


def _that_do(weight: Tensor, kinds: Sequence[type[Packed]]) -> Iterator[tuple[type[Packed], int]]:
    x = torch.randn(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(0))
    plain = torch.mm(x, weight.t())
    for kind in kinds:
        if kind.there:
            matrix = kind(weight)
            whole = matrix.times(x)
            right = torch.allclose(whole, plain, rtol=kind.off, atol=kind.off * float(whole.abs().max()))
            differ = [rows for rows in CHECKED if not torch.equal(matrix.times(x[:rows]), whole[:rows])]
            if right and differ in ([], [1]):
                yield kind, 1 + len(differ)

"""A float32 matrix as MKL lays it out once for all products with it, on CPUs where torch has MKL.

It is what torch.compile makes of linear layers, without a compiler: quicker for few rows, and the product of one row
alone has the bits that the row has among others, so nothing need be padded where that has been seen to hold.
"""

import torch
from torch import Tensor

ROWS = 160  # up to which a row's result must not depend on how many there are
CHECKED = (1, 2, 3, 5, 8, 16, 33, 64, 129)


class Packed:
    """Made of W [out, in], for x · Wᵀ."""

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, ROWS)
        self._shape = weight.new_empty(1).expand(weight.shape)  # all that is asked of the original

    def times(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        # The layout is the same for any count of rows, but the count must be said to be the one it was made for.
        product: Tensor = torch.ops.mkl._mkl_linear(x, self._packed, self._shape, bias, len(x))
        return product


def available(dtype: torch.dtype, device: str) -> bool:
    return device == "cpu" and dtype == torch.float32 and torch._C.has_mkl


def fewest_rows(weight: Tensor) -> int | None:
    """From how many rows on, one or two, a row's product is right and on one thread the same to the last bit in any
    company. None where it is not. Asked of the machine, since MKL promises it of no layout."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _fewest_rows(weight)
    finally:
        torch.set_num_threads(threads)


def _fewest_rows(weight: Tensor) -> int | None:
    x = torch.randn(ROWS, weight.shape[1], generator=torch.Generator().manual_seed(0))
    matrix = Packed(weight)
    whole = matrix.times(x)
    if not torch.allclose(whole, torch.mm(x, weight.t()), rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
        return None
    differ = [rows for rows in CHECKED if not torch.equal(matrix.times(x[:rows]), whole[:rows])]
    return None if differ not in ([], [1]) else 1 + len(differ)

"""Our own decoder for the families that `config` names, written for serving: flat tokens in, logits out.

On a CPU weights are packed (packed.py) where that can be; else they are [in, out], and every product has at least two
rows. Both are measured: that layout is up to twice as fast for 4 … 16 rows, and from two rows on (to about 160, one
thread, float32) a row's result is bit for bit the same whatever the other rows are, so a sequence's numbers do not
depend on who else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import rms_norm, silu

from app.engine.attention import Attending, Attention, Segment
from app.engine.cache import KVCache
from app.engine.config import DecoderConfig
from app.engine.flash import Flash, Kernel, Places, transferred
from app.engine.graphs import Capture, Graphs
from app.engine.packed import Packed
from app.engine.rope import tables

Matrix = Tensor | Packed


@dataclass(frozen=True, slots=True)
class Layer:
    """One block's weights: q, k and v fused, gate and up fused, q's and k's norms stacked per head."""

    input_norm: Tensor
    qkv: Matrix
    qkv_bias: Tensor | None
    qk_norm: Tensor | None  # [heads + kv_heads, head_dim]
    out: Matrix
    out_bias: Tensor | None
    post_norm: Tensor
    gate_up: Matrix
    gate_up_bias: Tensor | None
    down: Matrix
    down_bias: Tensor | None


@dataclass(frozen=True, slots=True)
class Weights:
    """`embed` is [vocabulary, hidden], in any precision; with tied embeddings it may be a view of `head`.

    `fewest` rows make every product's rows independent of their number.
    """

    embed: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Matrix
    fewest: int = 2


class Decoder:
    def __init__(self, config: DecoderConfig, weights: Weights, context: int) -> None:
        self.config = config
        self.weights = weights
        device, dtype = weights.norm.device, weights.norm.dtype
        cos, sin = tables(config.rope, config.head_dim, context)
        self.cos = cos.to(device, dtype)[:, None]
        self.sin = sin.to(device, dtype)[:, None]
        self.device = device
        self.on_cpu = device.type == "cpu"
        self.kernel: Kernel | None = None
        self.graphs: Graphs | None = None

    def forward(self, ids: Sequence[int], segments: Sequence[Segment], cache: KVCache, wanted: Sequence[int]) -> Tensor:
        """Run `ids` (the segments' tokens, one after the other), write their KV, and return float32 logits
        [len(wanted), vocabulary] for the flat places in `wanted`, valid until the next step."""
        if self.graphs and len(wanted) == len(ids) and (logits := self.graphs.logits(ids, segments)) is not None:
            return logits
        rows = max(len(ids), self.weights.fewest)
        attention = self._attention(segments, cache, rows)
        x = self._hidden(transferred([*ids, *[ids[0]] * (rows - len(ids))], self.device), attention)
        if not wanted:
            return x.new_empty(0, self.config.vocab_size, dtype=torch.float32)
        chosen = [*wanted, *wanted] if len(wanted) < self.weights.fewest else list(wanted)
        if chosen != list(range(rows)):
            x = x[transferred(chosen, self.device)]
        return self._logits(x)[: len(wanted)]

    def quicken(self, cache: KVCache, spare: int, most: int, kernel: Kernel, capture: Capture) -> None:
        """Run steps by one kernel for attention, and those that only continue answers (`most` at once) as graphs.

        `spare` is a slot that is nobody's.
        """

        def run(ids: Tensor, places: Places) -> Tensor:
            return self._logits(self._hidden(ids, Flash(places, cache, self.config, kernel)))

        self.kernel, self.graphs = kernel, Graphs(run, spare, most, self.device, capture)

    def _attention(self, segments: Sequence[Segment], cache: KVCache, rows: int) -> Attending:
        if self.kernel:
            return Flash(Places.of(segments, self.device), cache, self.config, self.kernel)
        return Attention(segments, cache, self.config, rows, batched=not self.on_cpu)

    def _hidden(self, ids: Tensor, attention: Attending) -> Tensor:
        x = self.weights.embed.index_select(0, ids).to(self.cos.dtype)
        if self.config.embedding_scale != 1:
            x *= self.config.embedding_scale
        cos, sin = self.cos[attention.positions], self.sin[attention.positions]
        for index, layer in enumerate(self.weights.layers):
            self._block(x, index, layer, attention, cos, sin)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        x = rms_norm(x, (self.config.hidden,), self.weights.norm, self.config.norm_eps)
        logits = _linear(x, self.weights.head, None).float()
        return logits if self.config.logits_scale == 1 else logits * self.config.logits_scale

    def _block(self, x: Tensor, index: int, layer: Layer, attention: Attending, cos: Tensor, sin: Tensor) -> None:
        """Add one block to the residual stream x [rows, hidden], in place."""
        shape, eps, tokens = self.config, self.config.norm_eps, attention.tokens
        heads, rotated = shape.heads, shape.heads + shape.kv_heads
        normed = rms_norm(x, (shape.hidden,), layer.input_norm, eps)
        qkv = _linear(normed, layer.qkv, layer.qkv_bias).view(len(x), rotated + shape.kv_heads, shape.head_dim)
        qkv = qkv[:tokens]
        qk = qkv[:, :rotated]
        plain = qk if layer.qk_norm is None else rms_norm(qk, (shape.head_dim,), None, eps) * layer.qk_norm
        if shape.turned[index]:
            torch.addcmul(plain * cos, plain.roll(shape.head_dim // 2, -1), sin, out=qk)
        else:
            qk.copy_(plain)
        attention.write(index, qkv[:, heads:])
        _add_linear(x, attention.attend(index, qkv[:, :heads]), layer.out, layer.out_bias, shape.residual_scale)
        normed = rms_norm(x, (shape.hidden,), layer.post_norm, eps)
        gate, up = _linear(normed, layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
        _add_linear(x, silu(gate).mul_(up), layer.down, layer.down_bias, shape.residual_scale)


def _linear(x: Tensor, weight: Matrix, bias: Tensor | None) -> Tensor:
    if isinstance(weight, Packed):
        return weight.times(x, bias)
    return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)


def _add_linear(x: Tensor, y: Tensor, weight: Matrix, bias: Tensor | None, scale: float) -> None:
    if isinstance(weight, Packed):
        x.add_(weight.times(y, bias), alpha=scale)
        return
    x.addmm_(y, weight, alpha=scale)
    if bias is not None:
        x.add_(bias, alpha=scale)

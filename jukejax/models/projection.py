"""Layer normalization and the affine maps of a Transformer block."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jukejax.models.lora import FACTOR_A, FACTOR_B, merge_kernel
from jukejax.ops.decode_weights import dense_panels, multiply_rows
from jukejax.ops.dense import dense
from jukejax.ops.formulas import add_bias
from jukejax.ops.norm import layer_norm, layer_norm_single_pass


class LayerNorm(nn.Module):
    """Normalizes the last axis in float32, with eps 1e-5."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param(
            "scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), shape
        )
        bias = self.param(
            "bias", nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)), shape
        )
        norm = layer_norm if x.ndim > 2 else layer_norm_single_pass
        return norm(x, scale, bias)


class Projection(nn.Module):
    """Computes x @ kernel + bias, both cast to x's dtype; then `quick_gelu` if `gelu`.

    For decoding the kernel [in, out] may be stored as `rows` or `panels` (ops/decode_weights.py),
    and all layouts in eight bits with `scale` [out] (see `decoding.prepare_decode_weights`). For
    tuning it may have an adapter (see `lora`).
    """

    features: int
    std: float
    axes: tuple[str, str]
    gelu: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, residual: jax.Array | None = None) -> jax.Array:
        """Projects [..., in] to [..., features], and adds `residual` if not None."""
        kernel_init = nn.with_logical_partitioning(nn.initializers.normal(self.std), self.axes)
        bias_init = nn.with_logical_partitioning(nn.initializers.zeros, self.axes[1:])
        names = ("panels", "rows", "scale")
        is_adapted = self.has_variable("params", FACTOR_A)
        for_decoding = not is_adapted and any(self.has_variable("params", name) for name in names)
        if not for_decoding:
            kernel = self.param("kernel", kernel_init, (x.shape[-1], self.features))
        bias = self.param("bias", bias_init, (self.features,)).astype(x.dtype)
        if is_adapted:
            adapter = [self.get_variable("params", name) for name in ("scale", FACTOR_A, FACTOR_B)]
            return _dense_adapted(x, (kernel, *adapter), bias, residual, gelu=self.gelu)
        if not for_decoding:
            return dense(x, kernel.astype(x.dtype), bias, gelu=self.gelu, residual=residual)
        flat, shape = x.reshape(-1, x.shape[-1]), (*x.shape[:-1], self.features)
        if residual is not None:
            residual = residual.reshape(-1, self.features)
        return self._apply_decode_weights(flat, bias, residual).reshape(shape)

    def _apply_decode_weights(
        self, x: jax.Array, bias: jax.Array, residual: jax.Array | None
    ) -> jax.Array:
        """Projects [N, in] to [N, features]; int8 matrices are summed and scaled in float32."""
        scale = self.get_variable("params", "scale")
        if self.has_variable("params", "panels"):
            panels = self.get_variable("params", "panels")
            return dense_panels(x, panels, bias, scale=scale, gelu=self.gelu, residual=residual)
        sum_dtype = None if scale is None else jnp.float32
        if self.has_variable("params", "rows"):
            matrix = self.get_variable("params", "rows").astype(x.dtype)
            product = multiply_rows(x, matrix, sum_dtype)
        else:
            matrix = self.get_variable("params", "kernel").astype(x.dtype)
            product = jnp.dot(x, matrix, preferred_element_type=sum_dtype)
        if scale is not None:
            product = (product * scale).astype(x.dtype)
        return add_bias(product, bias, gelu=self.gelu, residual=residual)


def _dense_adapted(
    x: jax.Array,
    adapted: tuple[jax.Array | None, ...],
    bias: jax.Array,
    residual: jax.Array | None,
    *,
    gelu: bool,
) -> jax.Array:
    """Computes `dense` with an adapted kernel, the arguments of `lora.merge_kernel`.

    The merged kernel is computed again in the backward pass: saved, those of all layers would take
    the memory of a second model.
    """

    @jax.checkpoint
    def compute(
        x: jax.Array, adapted: tuple, bias: jax.Array, residual: jax.Array | None
    ) -> jax.Array:
        return dense(x, merge_kernel(*adapted).astype(x.dtype), bias, gelu=gelu, residual=residual)

    return compute(x, adapted, bias, residual)

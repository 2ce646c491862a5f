"""Products of a few vectors with a matrix kept by rows, of which a step of decoding is made.

XLA's CPU compiler runs a product with few vectors on one core, and a batched one side by side. So
CPUs keep a matrix in as many groups of rows as they have cores: of 48 matrices of 512 x 512 and one
vector, two cores took 2.4 ms instead of 3.7, and of four vectors 4.1 ms instead of 8.6.

Dimensions: N vectors, I inputs, O outputs, G groups.
"""

import jax
import jax.numpy as jnp

from jukejax.ops.cpu import products

FEW = 32  # vectors; of more, whole windows say, the plain product is the faster one


def product(x: jax.Array, rows: jax.Array, out_dtype: jnp.dtype | None = None) -> jax.Array:
    """x [N, I] times a matrix, [N, O].

    Args:
      rows: [O, I], or [G, O // G, I].
      out_dtype: what it is summed in; None: x's dtype.
    """
    if rows.ndim == 2 or len(x) > FEW:
        whole = rows.reshape(-1, rows.shape[-1])
        if products.suits(x, len(whole)):
            return products.product(x, whole, True)
        return jnp.einsum("ni,oi->no", x, whole, preferred_element_type=out_dtype)
    each = jnp.broadcast_to(x, (len(rows), *x.shape))
    out = jnp.einsum("goi,gni->gon", rows, each, preferred_element_type=out_dtype)
    return out.reshape(-1, len(x)).T

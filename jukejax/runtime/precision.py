"""Names of the compute types. Parameters, optimizer and losses stay in float32."""

import jax.numpy as jnp

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def compute_dtype(name: str) -> jnp.dtype:
    """The type that activations and weights are cast to inside the model."""
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]

"""Compute types by name. Parameters, optimizer and losses stay in float32."""

import jax
import jax.numpy as jnp

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def compute_dtype(name: str) -> jnp.dtype:
    """Returns the type that activations and weights are cast to inside the model."""
    if name not in DTYPES:
        raise ValueError(f"dtype is {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]


def default_dtype() -> str:
    """Returns bfloat16 if the device supports it, float16 on older GPUs, float32 on CPUs."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return "float32"
    capability = float(getattr(device, "compute_capability", 8.0))
    return "bfloat16" if capability >= 8.0 else "float16"

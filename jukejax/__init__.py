"""OpenAI's Jukebox in JAX: train music models, and make music with them."""

__version__ = "0.1.0"

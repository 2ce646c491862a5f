"""OpenAI's names for the tensors of the VQ-VAE, and their paths in our trees.

OpenAI's checkpoints contain the code vectors, but not the moving averages.
"""

from collections.abc import Iterator

from jukejax.models.vqvae_config import VQVAEConfig
from jukejax.weights.mapping import Entry
from jukejax.weights.openai.conv import conv_entries, decoder_block_entries, encoder_block_entries


def vqvae_entries(config: VQVAEConfig) -> Iterator[Entry]:
    """Yields every tensor; our paths start with the collection, "params" or "codebook".

    Raises:
      ValueError: OpenAI's code has no such model.
    """
    if config.bottleneck == "kl":
        raise ValueError(
            "OpenAI's code has no VQ-VAE with a KL bottleneck (config.model.bottleneck); take "
            "--format=bundle or safetensors"
        )
    if config.frames is not None:
        raise ValueError(
            "OpenAI's code has no VQ-VAE with frames (config.model.frames); take --format=bundle "
            "or safetensors"
        )
    for level in range(config.levels):
        depth = config.multipliers[level] * config.depth
        for i in range(level + 1):
            block = f"level_blocks.{i}"
            for entry in encoder_block_entries(config.downs[i], depth):
                path = (f"encoders_{level}", f"block_{i}")
                yield _add_prefix(entry, f"encoders.{level}.{block}", path)
            for entry in decoder_block_entries(config.downs[i], depth):
                path = (f"decoders_{level}", f"block_{i}")
                yield _add_prefix(entry, f"decoders.{level}.{block}", path)
        yield from conv_entries(f"decoders.{level}.out", ("params", f"decoders_{level}", "out"))
        if config.has_codes:
            codebook = ("codebook", f"codebooks_{level}", "codebook")
            yield Entry(f"bottleneck.level_blocks.{level}.k", codebook)


def _add_prefix(entry: Entry, name: str, path: tuple[str, str]) -> Entry:
    return Entry(f"{name}.{entry.name}", ("params", *path, *entry.path), axes=entry.axes)

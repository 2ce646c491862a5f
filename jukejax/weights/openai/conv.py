"""OpenAI's names for the tensors of convolutional blocks, and their paths in our tree."""

from collections.abc import Iterator

from jukejax.weights.mapping import Entry

CONV = (2, 1, 0)  # (out, in, taps) to [taps, in, out]
TRANSPOSED = (2, 0, 1)  # (in, out, taps) to [taps, in, out]


def conv_entries(name: str, path: tuple[str, ...], axes: tuple[int, ...] = CONV) -> Iterator[Entry]:
    """Yields the weight and the bias of one convolution."""
    yield Entry(f"{name}.weight", (*path, "kernel"), axes=axes)
    yield Entry(f"{name}.bias", (*path, "bias"))


def stack_entries(
    name: str, path: tuple[str, ...], depth: int, blocks_name: str
) -> Iterator[Entry]:
    """Yields the tensors of a residual stack.

    Args:
      blocks_name: "model", or "blocks" where OpenAI's code recomputes activations.
    """
    for block in range(depth):
        inner = f"{name}.{blocks_name}.{block}.model"
        yield from conv_entries(f"{inner}.1", (*path, f"block_{block}", "conv3"))
        yield from conv_entries(f"{inner}.3", (*path, f"block_{block}", "conv1"))


def decoder_block_entries(downs: int, depth: int, *, blocks_name: str = "model") -> Iterator[Entry]:
    """Yields the tensors of our `DecoderBlock`, OpenAI's `DecoderConvBock`."""
    if not downs:
        return
    yield from conv_entries("model.0", ("in",))
    for i in range(downs):
        yield from stack_entries(f"model.{i + 1}.0", (f"stack_{i}",), depth, blocks_name)
        yield from conv_entries(f"model.{i + 1}.1", (f"up_{i}",), TRANSPOSED)


def encoder_block_entries(downs: int, depth: int, *, blocks_name: str = "model") -> Iterator[Entry]:
    """Yields the tensors of our `EncoderBlock`, OpenAI's `EncoderConvBlock`."""
    if not downs:
        return
    for i in range(downs):
        yield from conv_entries(f"model.{i}.0", (f"down_{i}",))
        yield from stack_entries(f"model.{i}.1", (f"stack_{i}",), depth, blocks_name)
    yield from conv_entries(f"model.{downs}", ("out",))

"""Names for types that many packages share."""

from typing import Any

Tree = Any  # a pytree: nested dictionaries, tuples and dataclasses with arrays at their leaves

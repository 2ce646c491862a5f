"""The training task of the low-rank adapters of a trained prior (`config.lora`, `models.lora`).

The trained parameters are the adapters; `extra` is the base, which is not saved in checkpoints.
"""

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from jukejax.common.config import freeze
from jukejax.common.types import Tree
from jukejax.models import lora
from jukejax.models.lora import LoraConfig
from jukejax.runtime import sharding
from jukejax.training import pretrained
from jukejax.training.task import Batch, Metrics, Preview
from jukejax.training.tasks.prior import PriorTask
from jukejax.weights import adapters, loading, part_configs, stream


class AdaptedPriorTask(PriorTask):
    """Trains adapters of the prior `config.init_from`."""

    saves_extra = False

    def __init__(self, config: ConfigDict, *, with_data: bool = True):
        """Completes the config as `PriorTask` does, and selects the trained parameters.

        Raises:
          ValueError: there is no base, it holds adapters itself, or `config.lora` is wrong.
        """
        self.lora = freeze(LoraConfig, config.lora, "config.lora")
        if not config.get("init_from"):
            raise ValueError("config.lora adapts a trained model; name it by config.init_from")
        description = loading.read_description(
            config.init_from, pretrained.name_trained_part(config)
        )
        if adapters.RECORD in description:
            raise ValueError(
                f"config.init_from={config.init_from} holds adapters itself; export them without "
                "--adapters, which merges them, and start from that"
            )
        super().__init__(config, with_data=with_data)
        _, base_config = part_configs.parse_description(description)
        boxed, _ = jax.eval_shape(super().init_params, jax.random.key(0))
        base_shapes = stream.flatten_shapes(part_configs.find_part_shapes(base_config)["params"])
        shapes = stream.flatten_shapes(sharding.unbox(boxed))
        self._whole = lora.find_whole(self.lora, shapes, base_shapes)
        self._merge = jax.jit(functools.partial(lora.merge_params, self.lora))

    def init_params(self, key: jax.Array) -> tuple[Tree, Tree]:
        params, extra = super().init_params(key)
        return self.split_weights(params, extra, key)

    def split_weights(self, params: Tree, extra: Tree, key: jax.Array) -> tuple[Tree, Tree]:
        del extra
        trained = lora.init_trained(self.lora, params, self._whole, key)
        return trained, lora.store_base(self.lora, params, self._whole)

    def join_weights(self, params: Tree, extra: Tree) -> Tree:
        return lora.join_params(self.lora, params, extra)

    def loss(
        self, params: Tree, extra: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, tuple[Tree, Metrics]]:
        bits, (_, metrics) = super().loss(self.join_weights(params, extra), {}, batch, key)
        return bits, (extra, metrics)

    def evaluate(self, params: Tree, extra: Tree, batch: Batch) -> Metrics:
        return super().evaluate(self.join_weights(params, extra), {}, batch)

    def make_preview(self, params: Tree, extra: Tree) -> Preview | None:
        if self.sampler is None:
            return None
        return super().make_preview(self._merge(params, extra), {})

    @functools.cached_property
    def _record(self) -> dict[str, Any]:
        path = self.config.init_from
        _, weights = loading.load_model(path, pretrained.name_trained_part(self.config))
        return adapters.describe_adapters(self.lora, path, weights["params"])

    def describe(self) -> dict[str, Any]:
        return super().describe() | self._record

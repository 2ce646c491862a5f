"""Small runs that start from the weights of a small bundle."""

import jax
from ml_collections import ConfigDict

from jukejax.common.config import to_plain
from jukejax.data.vocabularies import Vocabulary
from jukejax.runtime import sharding
from jukejax.training import finetune, program
from tests.support import small_bundle

# A run of a few steps on one device, with a checkpoint in between, and without evaluation.
SHORT_RUN = dict(
    steps=4,
    log_every=1,
    eval_every=0,
    eval_batches=1,
    checkpoint_every=2,
    keep=5,
    sample_every=0,
    tensorboard=False,
    mesh=dict(data=1),
)
CORPUS = Vocabulary(("unknown", "aaron", "Anna ", "zoe"), ("unknown", "dub", "House"))


def make_config(folder, codes, part="level_2", **changes) -> ConfigDict:
    """Returns a run's config with the model of a bundle's part, but without its number of names."""
    model = to_plain(small_bundle.configs("none")[part])
    model |= changes
    if model.get("labels"):
        model["labels"] = {
            key: value for key, value in model["labels"].items() if not key.startswith("num_")
        }
    return ConfigDict(
        dict(
            task="vqvae" if part == "vqvae" else "prior",
            seed=3,
            init_from=str(folder),
            dtype="float32",
            data=dict(folder=str(codes), batch_size=2)
            | (dict(window=2048) if part == "vqvae" else {}),
            optimizer={},
            model=model,
            loss=dict(linf_k=128),
        )
    )


def start_run(config, *, data=2, fsdp=1, with_data=True):
    """Starts a run on two devices as its config says. Returns (task, program, state)."""
    mesh = sharding.make_mesh(sharding.MeshConfig(data, fsdp), jax.devices()[:2])
    task = program.make_task(config, with_data=with_data)
    built = program.build_program(task, program.make_recipe(config), mesh)
    with jax.set_mesh(built.mesh):
        return task, built, finetune.load_state(config, built, jax.random.key(config.seed))

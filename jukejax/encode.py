"""Audio shards to code shards of all three levels, with a trained VQ-VAE.

    python -m jukejax.encode --vqvae=runs/vqvae --input=data/audio --output=data/codes

Priors train on codes only, so this is done once for each VQ-VAE.
"""

from absl import flags

from jukejax import cli

VQVAE = flags.DEFINE_string("vqvae", None, "Workdir of a VQ-VAE run, or a bundle.")
INPUT = flags.DEFINE_string("input", None, "Audio shards: the output of prepare.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the code shards.")


def main() -> int:
    if VQVAE.value is None or INPUT.value is None or OUTPUT.value is None:
        raise ValueError("--vqvae, --input and --output are needed; see --help")
    from jukejax.codec import Codec
    from jukejax.data import corpus, records
    from jukejax.progress import Progress

    dataset = corpus.open_dataset(INPUT.value)
    if dataset.kind != "audio":
        raise ValueError(
            f"--input={INPUT.value} holds {dataset.kind}, not audio; run prepare first"
        )
    codec = Codec.load(VQVAE.value)
    if list(codec.config.hops) != list(records.HOPS):
        raise ValueError(
            f"{VQVAE.value} has hops {codec.config.hops}; code shards hold {records.HOPS}"
        )
    seconds = {
        split: [track.samples / codec.sample_rate for track in dataset.tracks(split)]
        for split in corpus.SPLITS
    }
    progress = Progress("encoding, seconds of audio", round(sum(map(sum, seconds.values()))))
    done = 0.0
    with corpus.DatasetWriter(
        OUTPUT.value,
        kind="codes",
        vocabulary=dataset.vocabulary,
        codebook_size=codec.config.codebook_size,
        vqvae={"hash": codec.hash},
        separator=dataset.info["separator"],
        source=dataset.corpus_hash,
    ) as writer:
        for split in corpus.SPLITS:
            for number, track in enumerate(dataset.tracks(split)):
                codes = codec.encode(dataset.read_track(split, number))
                levels = {f"level_{level}": value for level, value in enumerate(codes)}
                writer.add(split, track, **levels)
                done += seconds[split][number]
                progress.update(round(done), track.name)
    tracks = sum(map(len, seconds.values()))
    print(f"{tracks} tracks, {done / 60:.1f} minutes: {OUTPUT.value}")
    return 0


if __name__ == "__main__":
    cli.run(main, __doc__)

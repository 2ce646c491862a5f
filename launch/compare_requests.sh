#!/usr/bin/env bash
# Compares 16 requests of four modes in one file with 16 commands: seconds of each, and whether all items are equal.
#   launch/compare_requests.sh             tracks of 2 s of the shipped model, all levels
#   RUN=runs/requests                      folder, with a compilation cache of its own for each side
# Both sides start with an empty cache; the file is sampled again with the one it has filled.
set -euo pipefail
cd "$(dirname "$0")/.."

RUN=${RUN:-runs/requests}
PYTHON=${PYTHON:-.venv/bin/python}
mkdir -p "$RUN"
RUN=$(realpath "$RUN")
rm -rf "$RUN"/{times,cache_file,cache_commands,file,file_again,one_*}

# The settings with which the figures in docs/sampling.md were measured, not those that the model recommends.
PLAIN=(--temperature=0.98 --guidance=1 --hop_fraction=0.5 --min_p=0 --schedule=sequential)

# sample NAME FLAGS...: tracks in $RUN/NAME, and a line in $RUN/times: name, seconds on the clock, of the processors
sample() {
    local name=$1
    shift
    TIMEFORMAT="$name %R %U %S"
    { time "$PYTHON" -m jukejax.sample --output="$RUN/$name" "${PLAIN[@]}" "$@" > "$RUN/$name.log" 2>&1; } 2>> "$RUN/times"
}

export JAX_COMPILATION_CACHE_DIR=$RUN/cache_sketch
[ -e "$RUN/sketch/index.html" ] || sample sketch --seconds=2 --bpm=120 --key=Am --num_samples=4 --seed=50
keys=(Am Cm Em Gm) temperatures=(0.9 0.92 0.94 0.96)
: > "$RUN/requests.jsonl"
for i in 0 1 2 3; do
    sketch=$RUN/sketch/item_00$i
    cat >> "$RUN/requests.jsonl" <<END
{"seed": $i, "bpm": 120, "key": "${keys[i]}", "temperature": [0.98, ${temperatures[i]}, 0.95]}
{"mode": "primed", "prompt": "$sketch/level_0.wav", "prompt_seconds": 1, "bpm": 120, "first_beat": 0, "seed": 1$i}
{"mode": "continue", "codes": "$sketch/codes.npz", "prompt_seconds": 1, "seed": 2$i}
{"mode": "upsample", "codes": "$sketch/codes.npz", "levels": "1,0", "seconds": null, "seed": 30}
END
done

export JAX_COMPILATION_CACHE_DIR=$RUN/cache_file
sample file --seconds=2 --requests="$RUN/requests.jsonl"
sample file_again --seconds=2 --requests="$RUN/requests.jsonl"
export JAX_COMPILATION_CACHE_DIR=$RUN/cache_commands
for i in 0 1 2 3; do
    sketch=$RUN/sketch/item_00$i
    sample "one_$((4 * i))" --seconds=2 --seed="$i" --bpm=120 --key="${keys[i]}" --temperature="0.98,${temperatures[i]},0.95"
    sample "one_$((4 * i + 1))" --seconds=2 --mode=primed --prompt="$sketch/level_0.wav" --prompt_seconds=1 --bpm=120 --first_beat=0 --seed="1$i"
    sample "one_$((4 * i + 2))" --seconds=2 --mode=continue --codes="$sketch/codes.npz" --prompt_seconds=1 --seed="2$i"
    sample "one_$((4 * i + 3))" --mode=upsample --codes="$sketch/codes.npz" --levels=1,0 --seed=30
done

"$PYTHON" - "$RUN" <<'END'
import sys
from pathlib import Path

run, sums = Path(sys.argv[1]), {}
for line in (run / "times").read_text().splitlines():
    name, *seconds = line.split()
    clock, user, system = map(float, seconds)
    name = "16 commands" if name.startswith("one_") else name
    total = sums.setdefault(name, [0.0, 0.0])
    total[0] += clock
    total[1] += user + system
for name, (clock, processors) in sums.items():
    print(f"{name}: {clock:.0f} s on the clock, {processors:.0f} s of the processors")


def read_sounds(item):
    return {path.name: path.read_bytes() for path in item.glob("level_?.wav")}


pairs = [(run / f"one_{i}" / "item_000", run / "file" / f"item_{i:03d}") for i in range(16)]
equal = [bool(read_sounds(one)) and read_sounds(one) == read_sounds(item) for one, item in pairs]
print(f"{sum(equal)} of {len(equal)} items have the same sounds at every level")
END

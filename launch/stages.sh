#!/usr/bin/env bash
# Sourced by from_scratch.sh and tune.sh, which set RUN and PYTHON: runs the stages of a pipeline, and writes their page.
set -euo pipefail

mkdir -p "$RUN"
: > "$RUN/commands.txt"
echo '{' > "$RUN/timings.json.tmp"

# run_stage STAGE VERB FLAGS...: prints and runs `jukejax VERB FLAGS...`, records its seconds, returns its code
run_stage() {
    local stage=$1 start=$SECONDS code=0
    shift
    { printf 'python -m jukejax.%s' "$1"; printf ' %q' "${@:2}"; echo; } >> "$RUN/commands.txt"
    printf '\n$ %s\n' "$(tail -n 1 "$RUN/commands.txt")"
    "$PYTHON" -m "jukejax.$1" "${@:2}" || code=$?
    echo "  \"$stage\": $((SECONDS - start))," >> "$RUN/timings.json.tmp"
    return $code
}

# write_page FLAGS...: ends the record of seconds, and runs `jukejax report` with it and FLAGS
write_page() {
    sed '$ s/,$//' "$RUN/timings.json.tmp" > "$RUN/timings.json"
    echo '}' >> "$RUN/timings.json"
    rm "$RUN/timings.json.tmp"
    printf '\n$ python -m jukejax.report\n'
    "$PYTHON" -m jukejax.report "$@" --commands="$RUN/commands.txt" --timings="$RUN/timings.json" --output="$RUN/report"
}

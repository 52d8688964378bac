#!/bin/sh
# Starts the command named by the arguments: `serve` (the image's default), or any other of cogcore's.
# Says in one sentence that the volume is not this user's before any model is loaded.
set -eu

if [ "${1:-serve}" = serve ] && [ -n "${COGCORE_DATA_DIR:-}" ]; then
    mkdir -p "$COGCORE_DATA_DIR" 2>/dev/null || true
    if [ ! -w "$COGCORE_DATA_DIR" ]; then
        said="cannot be written by user $(id -u): give the volume to that user"
        echo "cogcore: the data folder $COGCORE_DATA_DIR $said" >&2
        exit 64
    fi
fi

[ $# -gt 0 ] || set -- serve
exec cogcore "$@"

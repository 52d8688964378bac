#!/bin/sh
# Starts the command named by the arguments: `serve` (the image's default), or any other of cogcore's.
# Says in one sentence what is missing before any model is loaded.
set -eu

fail() {
    echo "cogcore: $*" >&2
    exit 64
}

# A key from a file (a Docker or Kubernetes secret) instead of the environment.
if [ -n "${COGCORE_API_KEY_FILE:-}" ]; then
    [ -r "$COGCORE_API_KEY_FILE" ] || fail "COGCORE_API_KEY_FILE names $COGCORE_API_KEY_FILE, which cannot be read"
    COGCORE_API_KEY=$(cat "$COGCORE_API_KEY_FILE")
    export COGCORE_API_KEY
fi
unset COGCORE_API_KEY_FILE # no setting of the server, which refuses names that it does not know

if [ "${1:-serve}" = serve ]; then
    if [ -z "${COGCORE_API_KEY:-}" ]; then
        case "${COGCORE_HOST:-127.0.0.1}" in
        127.* | localhost | ::1) ;;
        *) fail "set COGCORE_API_KEY (or COGCORE_API_KEY_FILE): ${COGCORE_HOST} can be reached from outside" ;;
        esac
    fi
    if [ -n "${COGCORE_DATA_DIR:-}" ]; then
        mkdir -p "$COGCORE_DATA_DIR" 2>/dev/null || true
        [ -w "$COGCORE_DATA_DIR" ] ||
            fail "the data folder $COGCORE_DATA_DIR cannot be written by user $(id -u): give the volume to that user"
    fi
fi

[ $# -gt 0 ] || set -- serve
exec cogcore "$@"

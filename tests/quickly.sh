#!/usr/bin/env bash
# Runs the tests' command so that their thousands of CAs and hundreds of processes cost less: files in
# memory where a gigabyte is free there, and modules that are compiled once, in build/pycache.
set -euo pipefail
free=$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1 || true)
parent=${TMPDIR:-/tmp}
if [ "${free:-0}" -gt 1000000 ] && [ -w /dev/shm ]; then
  parent=/dev/shm
fi
TMPDIR=$(mktemp -d "$parent/tests-XXXXXX")
trap 'rm -rf "$TMPDIR"' EXIT
chmod 1777 "$TMPDIR" # as /tmp: some tests act as other users
export TMPDIR PYTHONDONTWRITEBYTECODE="" PYTHONPYCACHEPREFIX="$PWD/build/pycache"
"$@"

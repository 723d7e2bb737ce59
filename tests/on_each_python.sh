#!/usr/bin/env bash
# Runs the tests on each Python that pyproject.toml declares and this machine has.
set -euo pipefail
cd "$(dirname "$0")/.."
ran=0
for version in $(sed -nE 's/.*Python :: (3\.[0-9]+).*/\1/p' pyproject.toml); do
  python=$(command -v "python$version" || true)
  if ! "${python:-false}" -c 'pass' 2>/dev/null; then
    python=$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python 2>/dev/null | tail -1 || true)
  fi
  if [ -z "$python" ]; then
    echo "== Python $version: not here"
    continue
  fi
  echo "== Python $version: $("$python" --version)"
  make --no-print-directory PYTHON="$python" VENV=".venv-$version" test
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ]

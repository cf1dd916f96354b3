#!/usr/bin/env bash
# The whole check: installs what it needs, then leftovers of merges, formatter, linter, types, tests.
#
#   bash tests/run.sh                  everything but the tests marked long
#   bash tests/run.sh -m long          the long ones (arguments go to pytest)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash launch/install.sh train,gcp,tensorflow,test,interop
export PATH="$PWD/.venv/bin:$PATH" TF_CPP_MIN_LOG_LEVEL=3 TOKENIZERS_PARALLELISM=false
# Hundreds of processes import our modules: compiled once, not by each.
unset KERAS_BACKEND PYTHONDONTWRITEBYTECODE

echo '== leftovers'
# In Markdown a line of = may underline a heading.
if git grep -nE '^(<<<<<<< |>>>>>>> |[|]{7} )' || git grep -nE '^=======$' -- ':!*.md'; then
  echo 'these lines are marks of an unfinished merge: resolve them' >&2
  exit 1
fi
echo '== formatter'
ruff format --check .
echo '== linter'
ruff check .
echo '== types'
mypy
echo '== tests'
# One more than cores: a process waits for its children a quarter of the time.
python -m pytest -n "$(python -c 'import os; print((os.cpu_count() or 1) + 1)')" --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"

#!/usr/bin/env bash
# Makes .venv with the pinned versions of requirements.lock; does nothing if that is done already.
#
#   bash launch/install.sh train            the road from text to preset
#   bash launch/install.sh train,test       … and what the tests need
#
# Needs Python 3.10 to 3.13 (3.11 is what is tested; choose another with PYTHON=python3.12).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-train}

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3 python3.12 python3.13 python3.10; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' \
      2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "install: no Python 3.10 to 3.13 with venv found; install python3.11 and python3.11-venv," \
    "or name one with PYTHON=…" >&2
  exit 2
}

# What is installed is a function of these two files and the extras.
wanted=$(cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)
stamp=.venv/installed
if [ -x .venv/bin/python ] && [ -f "$stamp" ]; then
  read -r found found_extras < "$stamp"
  missing=
  for extra in ${extras//,/ }; do
    case ",$found_extras," in *",$extra,"*) ;; *) missing=yes ;; esac
  done
  if [ "$found" = "$wanted" ] && [ -z "$missing" ]; then
    exit 0
  fi
  # Keep what an earlier call asked for.
  extras=$(printf '%s\n' ${extras//,/ } ${found_extras//,/ } | sort -u | paste -sd, -)
fi

python=$(find_python)
echo "install: $("$python" --version), extras [$extras] into .venv" >&2
[ -x .venv/bin/python ] || "$python" -m venv .venv
rm -f "$stamp"
requirement=".[$extras]"
# uv installs the same versions several times faster than pip; without it pip does. Both compile all
# modules: where Python may not write bytecode (in many containers), every command would do it again.
if uv=$(command -v uv) || { .venv/bin/python -m pip install --quiet --disable-pip-version-check uv \
  2>/dev/null && uv=.venv/bin/uv; }; then
  "$uv" pip install --quiet --compile-bytecode --python .venv/bin/python --constraint requirements.lock \
    --editable "$requirement"
else
  .venv/bin/python -m pip install --quiet --disable-pip-version-check \
    --constraint requirements.lock --editable "$requirement"
fi
echo "$wanted $extras" > "$stamp"

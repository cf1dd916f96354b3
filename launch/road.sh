#!/usr/bin/env bash
# The whole road from text to a fine-tuned preset, each stage reading its section of one YAML file.
#
#   bash launch/road.sh configs/imdb_tiny.yaml
#
# Finished stages are recognised, an interrupted one goes on or restarts cleanly: run it again as
# often as you like. Stages without a section are left out; one with several (tokenize_128, tokenize)
# is run for each, in the order of the file. Options for a section stand behind its name in the
# environment, e.g. PRETRAIN="--steps 100" or FINETUNE="--seed 3".
set -euo pipefail
config=${1:?usage: bash launch/road.sh CONFIG.yaml}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ -f "$config" ] || { echo "road: no such file: $config" >&2; exit 2; }
bash launch/install.sh train

stage() {
  local name=$1 module=$2 section options
  for section in $(grep -oE "^$name(_[A-Za-z0-9_]+)?:" "$config" | tr -d :); do
    options=$(echo "$section" | tr '[:lower:]' '[:upper:]')
    echo "== $section" >&2
    # shellcheck disable=SC2086 # the variable holds several options
    .venv/bin/python -m "$module" --config "$config" --section "$section" ${!options:-}
  done
}

stage docstrings launch.quickstart_corpus.docstrings
stage vocab pipelines.vocab
stage tokenize pipelines.tokenize
stage mask pipelines.mask
# Asked to stop (SIGTERM), pretraining leaves a checkpoint and says so with status 75.
stage pretrain trainer.pretrain
stage export trainer.export
stage finetune trainer.finetune
stage evaluate trainer.evaluate
stage predict trainer.predict

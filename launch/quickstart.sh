#!/usr/bin/env bash
# From raw text to a fine-tuned preset, with one command.
#
#   bash launch/quickstart.sh                    on the docstrings of the installed packages
#   bash launch/quickstart.sh path/to/*.jsonl    on your own text (.txt, .jsonl, .parquet, also .gz)
#
# Installs into .venv, writes to runs/, needs no network after the installation, and may be stopped
# and run again: finished stages are recognised. Environment:
#   TEXT_FIELD=body   the field that holds the text (default: text)
#   STEPS=500         training steps (default: 1500, some four minutes on two cores)
set -euo pipefail

# The user's files are named from where the user stands.
files=()
for path in "$@"; do
  case $path in -h | --help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
  [ -e "$path" ] || { echo "quickstart: no such file: $path" >&2; exit 2; }
  files+=("$(cd "$(dirname "$path")" && pwd)/$(basename "$path")")
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/install.sh train
started=$SECONDS
python=.venv/bin/python
config=configs/quickstart.yaml
text_field=${TEXT_FIELD:-text}

say() { printf '\n== %s\n' "$*" >&2; }

# ------------------------------------------------------------------------------- corpus and task
if [ ${#files[@]} -eq 0 ]; then
  export QUICKSTART=runs/quickstart
  say "corpus: the docstrings of the installed packages"
  $python -m launch.quickstart_corpus.docstrings --output "$QUICKSTART/task"
  files=("$QUICKSTART/task/corpus.jsonl")
  text_field=text
else
  # Other files, other folder: nothing that is finished gets in the way.
  key=$(printf '%s\n' "$text_field" "${files[@]}" | cksum | cut -d' ' -f1)
  export QUICKSTART=runs/quickstart-$key
  say "task: something to learn from your text"
  $python -m launch.quickstart_corpus.demo_task --input "${files[@]}" --text_field "$text_field" \
    --output "$QUICKSTART/task"
fi
pairs=()
if head -n 1 "$QUICKSTART/task/train.jsonl" | grep -q '"text_pair"'; then
  pairs=(--text_pair_field text_pair)
fi

# ------------------------------------------------------------------------------- text to examples
say "vocab: learn a WordPiece vocabulary"
$python -m pipelines.vocab --config $config --input "${files[@]}" --text_field "$text_field"
say "tokenize: documents to packed rows"
$python -m pipelines.tokenize --config $config --input "${files[@]}" --text_field "$text_field"
say "mask: rows to masked examples"
$python -m pipelines.mask --config $config

# ------------------------------------------------------------------------------- examples to preset
say "pretrain: BERT-tiny"
$python -m trainer.pretrain --config $config ${STEPS:+--steps "$STEPS"}
say "export: for KerasHub and Transformers"
$python -m trainer.export --config $config

# ------------------------------------------------------------------------------- preset to classifier
train=(--config $config --train "$QUICKSTART/task/train.jsonl"
  --validation "$QUICKSTART/task/validation.jsonl" "${pairs[@]}")
say "finetune: from the pretrained preset"
$python -m trainer.finetune "${train[@]}" --output "$QUICKSTART/finetuned"
say "finetune: the same model from random weights, to compare"
$python -m trainer.finetune "${train[@]}" --output "$QUICKSTART/from_scratch" --from_scratch true
say "evaluate"
$python -m trainer.evaluate --preset "$QUICKSTART/finetuned" \
  --data "$QUICKSTART/task/validation.jsonl" --output "$QUICKSTART/evaluation"
say "predict"
$python -m trainer.predict --preset "$QUICKSTART/finetuned" \
  --data "$QUICKSTART/task/validation.jsonl" --output "$QUICKSTART/predictions.jsonl"

# ------------------------------------------------------------------------------- what came of it
say "done in $((SECONDS - started)) s"
$python -m launch.road_summary --folder "$QUICKSTART"

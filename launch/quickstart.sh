#!/usr/bin/env bash
# From raw text to a fine-tuned preset, with one command.
#
#   bash launch/quickstart.sh                                    on the docstrings of the installed packages
#   bash launch/quickstart.sh path/to/*.jsonl                    on your own text
#   bash launch/quickstart.sh corpus/*.txt --labelled some.csv   … and your own labels
#
# Files are .txt (a document a line), .jsonl, .csv, .tsv or .parquet, also .gz, .bz2 and .zst. Options:
#
#   --text_field NAME     the field with the text (default: text)
#   --labelled FILE       labelled texts to fine-tune on (.jsonl, .csv, .tsv, .parquet). Without it the
#                         task is the labels that the text has itself or, where it has none, "does this
#                         passage continue that one?"
#   --label_field NAME    the field with the label (default: label)
#   --steps N             training steps (default: 1500, some four minutes on two cores)
#
# Installs into .venv, writes to runs/, needs no network after the installation, and may be stopped
# and run again: finished stages are recognised. More options for a stage stand behind its name in the
# environment, e.g. VOCAB="--strip_accents false" for languages other than English, or
# FINETUNE="--text_field review" where the labelled file calls its text otherwise.
set -euo pipefail

fail() { echo "quickstart: $*" >&2; exit 2; }
say() { printf '\n== %s\n' "$*" >&2; }

# The user's files are named from where the user stands.
absolute() {
  [ -e "$1" ] || fail "no such file: $1"
  echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
}

files=() labelled='' text_field=${TEXT_FIELD:-text} label_field='' steps=${STEPS:-}
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --labelled | --text_field | --label_field | --steps)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in
        --labelled) labelled=$(absolute "$2") ;;
        --text_field) text_field=$2 ;;
        --label_field) label_field=$2 ;;
        --steps) steps=$2 ;;
      esac
      shift 2 ;;
    -*) fail "unknown option $1; --help shows all" ;;
    *) path=$(absolute "$1"); files+=("$path"); shift ;;
  esac
done
[ ${#files[@]} -gt 0 ] || [ -z "$labelled" ] || files=("$labelled")
[ ${#files[@]} -gt 0 ] || [ -z "$label_field" ] || fail "--label_field $label_field: of which file?"

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/install.sh train
started=$SECONDS
python=.venv/bin/python
config=configs/quickstart.yaml

# ------------------------------------------------------------------------------- corpus and task
if [ ${#files[@]} -eq 0 ]; then
  export QUICKSTART=runs/quickstart
  say "corpus: the docstrings of the installed packages"
  $python -m launch.quickstart_corpus.docstrings --output "$QUICKSTART/task"
  files=("$QUICKSTART/task/corpus.jsonl")
  text_field=text
else
  # Other files, other folder: nothing that is finished gets in the way.
  key=$(printf '%s\n' "$text_field" "${files[@]}" ${labelled:+"$labelled"} \
    ${label_field:+"$label_field"} | cksum | cut -d' ' -f1)
  export QUICKSTART=runs/quickstart-$key
fi
if [ -n "$labelled" ]; then
  validation=$QUICKSTART/finetuned/validation.jsonl
  train=(--train "$labelled" --text_field "$text_field" ${label_field:+--label_field "$label_field"})
else
  if [ "$QUICKSTART" != runs/quickstart ]; then
    say "task: something to learn from your text"
    $python -m launch.quickstart_corpus.demo_task --input "${files[@]}" --text_field "$text_field" \
      ${label_field:+--label_field "$label_field"} --output "$QUICKSTART/task"
  fi
  validation=$QUICKSTART/task/validation.jsonl
  train=(--train "$QUICKSTART/task/train.jsonl" --validation "$validation")
  if head -n 1 "$QUICKSTART/task/train.jsonl" | grep -q '"text_pair"'; then
    train+=(--text_pair_field text_pair)
  fi
fi

# A stage with its section of the file, and with what the environment asks of it.
# shellcheck disable=SC2086 # the variable holds several options
stage() {
  local module=$1 options=$2
  shift 2
  $python -m "$module" --config $config "$@" $options
}

# ------------------------------------------------------------------------------- text to examples
text=(--input "${files[@]}" --text_field "$text_field")
say "vocab: learn a WordPiece vocabulary"
stage pipelines.vocab "${VOCAB:-}" "${text[@]}"
say "tokenize: documents to packed rows"
stage pipelines.tokenize "${TOKENIZE:-}" "${text[@]}"
say "mask: rows to masked examples"
stage pipelines.mask "${MASK:-}"

# ------------------------------------------------------------------------------- examples to preset
say "pretrain: BERT-tiny"
stage trainer.pretrain "${PRETRAIN:-}" ${steps:+--steps "$steps"}
say "export: for KerasHub and Transformers"
stage trainer.export ""

# ------------------------------------------------------------------------------- preset to classifier
say "finetune: from the pretrained preset"
stage trainer.finetune "${FINETUNE:-}" "${train[@]}" --output "$QUICKSTART/finetuned"
say "finetune: the same model from random weights, to compare"
stage trainer.finetune "${FINETUNE:-}" "${train[@]}" --output "$QUICKSTART/from_scratch" \
  --from_scratch true
say "evaluate"
$python -m trainer.evaluate --preset "$QUICKSTART/finetuned" --data "$validation" \
  --output "$QUICKSTART/evaluation"
say "predict"
$python -m trainer.predict --preset "$QUICKSTART/finetuned" --data "$validation" \
  --output "$QUICKSTART/predictions.jsonl"

# ------------------------------------------------------------------------------- what came of it
say "done in $((SECONDS - started)) s, with the start of every command"
$python -m launch.road_summary --folder "$QUICKSTART"

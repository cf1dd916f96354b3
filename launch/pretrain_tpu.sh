#!/usr/bin/env bash
# Pretrains on all workers of a TPU VM (slice or pod), and starts again whenever it was interrupted.
#
#   bash launch/pretrain_tpu.sh --tpu NAME --zone ZONE [options] -- --data gs://… --output gs://… …
#
# What follows -- goes to trainer.pretrain, which gets --distributed true besides. Data and output must
# be where all workers can reach them: at gs://. Options:
#
#   --project NAME       the project, where it is not gcloud's own
#   --create TYPE        make the TPU if there is none (v4-32, v5litepod-16, …), and again whenever it
#                        was preempted; without this nothing is ever created or deleted
#   --spot               with --create: one that may be preempted
#   --version IMAGE      with --create: the software of its VMs (default: tpu-ubuntu2204-base)
#   --restarts N         give up after so many (default: 100)
#   --pause SECONDS      before each of them (default: 20)
#   --dry_run            print the commands instead
#
# Exit status: 0 trained, 2 something to put right (a line says what), 1 too many restarts. What a
# worker's status means: 0 done; 2 a mistake of ours; anything else (75: asked to stop; 255: connection
# lost; killed; preempted) another attempt, which goes on from the last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tpu='' zone='' project='' type='' image=tpu-ubuntu2204-base spot='' dry_run='' restarts=100 pause=20
fail() { echo "pretrain_tpu: $*" >&2; exit 2; }
say() { echo "pretrain_tpu: $*" >&2; }

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --) shift; break ;;
    --spot) spot=yes; shift; continue ;;
    --dry_run) dry_run=yes; shift; continue ;;
    --tpu | --zone | --project | --create | --version | --restarts | --pause) ;;
    *) fail "unknown option $1; flags of trainer.pretrain stand behind --" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --tpu) tpu=$2 ;; --zone) zone=$2 ;; --project) project=$2 ;; --create) type=$2 ;;
    --version) image=$2 ;; --restarts) restarts=$2 ;; --pause) pause=$2 ;;
  esac
  shift 2
done
[ -n "$tpu" ] || fail "--tpu NAME: which TPU VM?"
[ -n "$zone" ] || fail "--zone ZONE: where is $tpu?"
[ $# -gt 0 ] || fail "no flags for trainer.pretrain; write them behind --"
[ -n "$dry_run" ] || command -v gcloud > /dev/null ||
  fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"

where=(--zone "$zone" ${project:+--project "$project"})

run() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

tpu_vm() { run gcloud compute tpus tpu-vm "$1" "${@:2}" "${where[@]}"; }

state() { gcloud compute tpus tpu-vm describe "$tpu" "${where[@]}" --format='value(state)' 2> /dev/null; }

# The TPU, ready; made anew where that was allowed.
make_ready() {
  local found
  if [ -n "$dry_run" ]; then
    [ -z "$type" ] || create
    return
  fi
  found=$(state || true)
  [ "$found" != READY ] || return 0
  [ -n "$type" ] ||
    fail "$tpu in $zone is ${found:-not there}, not READY; start it, or let it be made by --create"
  if [ -n "$found" ]; then
    say "$tpu is $found: deleting it and making it again"
    tpu_vm delete "$tpu" --quiet || return 1
  fi
  create
}

create() { tpu_vm create "$tpu" --accelerator-type "$type" --version "$image" ${spot:+--spot}; }

# This code and its pinned packages on every worker; quick where they are there already.
install() {
  local archive
  archive=$(mktemp -d)/bertmill.tar.gz
  tar -czf "$archive" pipelines trainer launch/install.sh requirements.lock pyproject.toml setup.py \
    README.md LICENSE
  tpu_vm scp "$archive" "$tpu:bertmill.tar.gz" --worker=all
  rm -r "$(dirname "$archive")"
  tpu_vm ssh "$tpu" --worker=all --command "
    set -e
    mkdir -p bertmill && tar -xzf bertmill.tar.gz -C bertmill && cd bertmill
    bash launch/install.sh train,gcp
    # Of JAX's own requirements for TPUs (libtpu) the version follows from JAX's, which is pinned.
    cmp -s .venv/installed .venv/installed_tpu || {
      .venv/bin/python -m pip install --quiet 'jax[tpu]' --constraint requirements.lock
      cp .venv/installed .venv/installed_tpu
    }"
}

# One attempt on all workers. An attempt that lost its connection may still be running: it is asked to
# leave a checkpoint first. The status of each worker comes back as a line, because gcloud makes one of
# all.
train() {
  local flags
  flags=$(printf '%q ' "$@")
  tpu_vm ssh "$tpu" --worker=all --command "
    cd bertmill
    if [ -f pretrain.pid ] && kill -TERM \$(cat pretrain.pid) 2> /dev/null; then
      for i in \$(seq 300); do kill -0 \$(cat pretrain.pid) 2> /dev/null || break; sleep 1; done
    fi
    .venv/bin/python -m trainer.pretrain --distributed true $flags &
    echo \$! > pretrain.pid
    wait \$! && status=0 || status=\$?
    rm -f pretrain.pid
    echo \"worker-status \$status\"
    exit \$status"
}

if [ -n "$dry_run" ]; then
  make_ready
  install
  train "$@"
  exit 0
fi
case " $* " in *gs://*) ;; *) say "neither data nor output is at gs://: do all workers see the same files?" ;; esac

failures=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for ((attempt = 0; attempt <= restarts; attempt++)); do
  if [ "$attempt" -gt 0 ]; then
    say "restart $attempt of at most $restarts in $pause s"
    sleep "$pause"
  fi
  # Whatever fails here may be the TPU going away: that is seen, and put right, at the next attempt.
  make_ready || { say "making $tpu failed"; continue; }
  install || {
    failures=$((failures + 1))
    [ "$failures" -lt 3 ] || fail "installing failed three times; see above"
    continue
  }
  status=0
  train "$@" 2>&1 | tee "$log" || status=$?
  grep -q '^worker-status 2$' "$log" && fail "trainer.pretrain says above what is to be put right"
  if [ "$status" -eq 0 ]; then
    say "trained"
    exit 0
  fi
  say "interrupted: $(grep '^worker-status' "$log" | sort | uniq -c | tr -s ' \n' ' ')(gcloud: $status)"
done
say "gave up after $restarts restarts"
exit 1

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
#   --queued             with --create: ask for it by a queued resource of the same name, and wait for it
#   --spot               with --create: one that may be preempted
#   --version IMAGE      with --create: the software of its VMs (default: tpu-ubuntu2204-base)
#   --restarts N         give up after so many (default: 100)
#   --pause SECONDS      before the first of them, and between looks at a queue (default: 20); a pause is
#                        twice the last one, up to ten minutes, until an attempt lasts that long
#   --dry_run            print the commands instead
#
# Exit status: 0 trained, 2 something to put right (a line says what), 1 too many restarts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launcher=pretrain_tpu
. launch/attempts.sh

tpu='' zone='' project='' type='' image=tpu-ubuntu2204-base spot='' queued=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --) shift; break ;;
    --spot) spot=yes; shift; continue ;;
    --queued) queued=yes; shift; continue ;;
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
[ -z "$queued" ] || [ -n "$type" ] || fail "--queued: of which type? Say --create TYPE"
[ $# -gt 0 ] || fail "no flags for trainer.pretrain; write them behind --"
[ -n "$dry_run" ] || command -v gcloud > /dev/null ||
  fail "gcloud is not installed: https://cloud.google.com/sdk/docs/install"

where=(--zone "$zone" ${project:+--project "$project"})

tpu_vm() { run gcloud compute tpus tpu-vm "$1" "${@:2}" "${where[@]}"; }
queue() { run gcloud compute tpus queued-resources "$1" "$tpu" "${@:2}" "${where[@]}"; }

# The TPU, ready; made anew where that was allowed.
make_ready() {
  local found
  if [ -n "$dry_run" ]; then
    [ -z "$type" ] || create
    return
  fi
  if [ -n "$queued" ]; then
    wait_in_queue
    return
  fi
  found=$(tpu_vm describe "$tpu" --format='value(state)' 2> /dev/null || true)
  [ "$found" != READY ] || return 0
  [ -n "$type" ] ||
    fail "$tpu in $zone is ${found:-not there}, not READY; start it, or let it be made by --create"
  if [ -n "$found" ]; then
    say "$tpu is $found: deleting it and making it again"
    tpu_vm delete "$tpu" --quiet || return 1
  fi
  create
}

create() {
  if [ -n "$queued" ]; then
    queue create --node-id "$tpu" --accelerator-type "$type" --runtime-version "$image" ${spot:+--spot}
  else
    tpu_vm create "$tpu" --accelerator-type "$type" --version "$image" ${spot:+--spot}
  fi
}

# Until the queued resource is ACTIVE. One that was preempted is SUSPENDED; it never comes back by itself.
wait_in_queue() {
  local found before=none
  while :; do
    found=$(queue describe --format='value(state.state)' 2> /dev/null || true)
    [ "$found" = "$before" ] || say "queued resource $tpu: ${found:-not there}"
    case $found in
      ACTIVE) return 0 ;;
      '') create || return 1 ;;
      FAILED | SUSPENDED) queue delete --force --quiet || return 1 ;;
    esac
    before=$found
    sleep "$pause"
  done
}

# This code and its pinned packages on every worker; quick where they are there already.
install() {
  local archive
  archive=$(mktemp -d)/bertmill.tar.gz
  pack "$archive"
  tpu_vm scp "$archive" "$tpu:bertmill.tar.gz" --worker=all
  rm -r "$(dirname "$archive")"
  tpu_vm ssh "$tpu" --worker=all --command "
    set -e
    mkdir -p bertmill && tar -xzf bertmill.tar.gz -C bertmill && cd bertmill
    bash launch/install.sh train,gcp,tpu"
}

train() {
  tpu_vm ssh "$tpu" --worker=all --command "cd bertmill
    $(lone_worker --distributed true "$@")"
}

case " $* " in *gs://*) ;; *) say "neither data nor output is at gs://: do all workers see the same files?" ;; esac
keep_training "$@"

#!/usr/bin/env bash
# Pretrains on all GPUs of this machine, or of several over ssh, and starts again whenever it was interrupted.
#
#   bash launch/pretrain_gpu.sh [options] -- --data … --output … …
#   bash launch/pretrain_gpu.sh --hosts a,b,c,d [options] -- --data gs://… --output gs://… …
#
# What follows -- goes to trainer.pretrain. Options:
#
#   --hosts LIST         names, with commas, under which the hosts reach each other and ssh reaches them
#                        without a password. One process runs on each, on all its GPUs; the code goes to
#                        ~/bertmill there. Data and output must be where all of them can reach them. A host
#                        that does not answer is left out of an attempt: as many take part as divide the
#                        number of all, so that a batch can be shared evenly; the rows stay the same
#   --port N             where the first host waits for the others (default: 8476)
#   --restarts N         give up after so many (default: 100)
#   --pause SECONDS      before the first of them (default: 20); a pause is twice the last one, up to ten
#                        minutes, until an attempt lasts that long
#   --dry_run            print the commands instead
#
# Exit status: 0 trained, 2 something to put right (a line says what), 1 too many restarts.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launcher=pretrain_gpu
. launch/attempts.sh

list='' port=8476
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --) shift; break ;;
    --dry_run) dry_run=yes; shift; continue ;;
    --hosts | --port | --restarts | --pause) ;;
    *) fail "unknown option $1; flags of trainer.pretrain stand behind --" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --hosts) list=$2 ;; --port) port=$2 ;; --restarts) restarts=$2 ;; --pause) pause=$2 ;;
  esac
  shift 2
done
[ $# -gt 0 ] || fail "no flags for trainer.pretrain; write them behind --"
whole --port "$port"

packages='bash launch/install.sh train,gcp,cuda'

if [ -z "$list" ]; then
  install() { run bash -c "$packages"; }
  train() { run bash -c "$(worker "$@")"; }
  keep_training "$@"
fi

IFS=, read -ra hosts <<< "$list"
used=("${hosts[@]}")

on() { run ssh -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15 "$1" "$2"; }

# on_all COMMAND…: each on its host at the same time; the status of one that failed.
on_all() {
  local i status=0 started=()
  for i in "${!used[@]}"; do
    if [ -n "$dry_run" ]; then
      on "${used[i]}" "${@:i+1:1}"
    else
      on "${used[i]}" "${@:i+1:1}" < "${archive:-/dev/null}" &
      started+=($!)
    fi
  done
  for i in "${started[@]}"; do wait "$i" || status=$?; done
  return "$status"
}

make_ready() {
  local host count found=()
  [ -z "$dry_run" ] || return 0
  for host in "${hosts[@]}"; do
    if on "$host" true < /dev/null; then found+=("$host"); else say "$host does not answer"; fi
  done
  count=${#found[@]}
  [ "$count" -gt 0 ] || return 1
  while [ $((${#hosts[@]} % count)) -ne 0 ]; do count=$((count - 1)); done
  used=("${found[@]:0:count}")
  say "training on ${used[*]}"
}

install() {
  local archive host commands=() status=0
  archive=$(mktemp)
  pack "$archive"
  for host in "${used[@]}"; do
    commands+=("set -e; mkdir -p bertmill; tar -xzf - -C bertmill; cd bertmill; $packages")
  done
  on_all "${commands[@]}" || status=$?
  rm "$archive"
  return "$status"
}

train() {
  local i commands=() join=''
  for i in "${!used[@]}"; do
    [ "${#used[@]}" -eq 1 ] || join="KERAS_DISTRIBUTION_JOB_ADDRESSES=${used[0]#*@}:$port \
KERAS_DISTRIBUTION_NUM_PROCESSES=${#used[@]} KERAS_DISTRIBUTION_PROCESS_ID=$i"
    commands+=("cd bertmill; ${join:+export $join;} $(lone_worker "$@")")
  done
  on_all "${commands[@]}"
}

keep_training "$@"

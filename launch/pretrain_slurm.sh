#!/usr/bin/env bash
#SBATCH --job-name=pretrain --ntasks-per-node=1 --requeue --open-mode=append --signal=TERM@300
# Pretrains on all nodes of a SLURM job, and starts again whenever it was interrupted.
#
#   sbatch --nodes 2 --gpus-per-node 8 --cpus-per-task 16 launch/pretrain_slurm.sh [options] -- --data … --output … …
#
# Submit it from the folder of this code, which all nodes share, as they do data and output. One process
# runs on each node, on all its GPUs. A job that is preempted or loses a node goes back into the queue and
# on from its last checkpoint, with as many nodes as it then gets (--nodes 2-8); a job whose time is nearly
# up puts itself there. What follows -- goes to trainer.pretrain. Options:
#
#   --port N             where the first node waits for the others (default: by the job's number)
#   --restarts N         give up after so many, in this job's queue or out of it (default: 100)
#   --pause SECONDS      before the first of them (default: 20); a pause is twice the last one, up to ten
#                        minutes, until an attempt lasts that long
#   --dry_run            print the commands instead; outside a job, those of two nodes
#
# Exit status: 0 trained or back in the queue, 2 something to put right (a line says what), 1 too many
# restarts.
set -euo pipefail
# SLURM runs a copy of this file that lies elsewhere.
cd "${SLURM_SUBMIT_DIR:-$(dirname "${BASH_SOURCE[0]}")/..}"
[ -f launch/attempts.sh ] || { echo "pretrain_slurm: $PWD is not the folder of bertmill; submit from there" >&2; exit 2; }
launcher=pretrain_slurm
. launch/attempts.sh

port=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '3,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --) shift; break ;;
    --dry_run) dry_run=yes; shift; continue ;;
    --port | --restarts | --pause) ;;
    *) fail "unknown option $1; flags of trainer.pretrain stand behind --" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --port) port=$2 ;; --restarts) restarts=$2 ;; --pause) pause=$2 ;;
  esac
  shift 2
done
[ $# -gt 0 ] || fail "no flags for trainer.pretrain; write them behind --"

if [ -n "${SLURM_JOB_ID:-}" ]; then
  nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
else
  [ -n "$dry_run" ] || fail "this is no SLURM job; start it by sbatch"
  nodes=$'node1\nnode2'
fi
count=$(wc -l <<< "$nodes")
port=${port:-$((20000 + ${SLURM_JOB_ID:-0} % 40000))}
whole --port "$port"

tried=''
make_ready() {
  local ends=${SLURM_JOB_END_TIME:-}
  if [ -n "$tried" ] && [ -n "$ends" ] && [ $((ends - $(date +%s))) -lt "$calm" ]; then
    say "the job's time is nearly up: it goes back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
  tried=yes
}

install() { run bash launch/install.sh train,gcp,cuda; }

# Without SLURM_LOCALID JAX takes all GPUs of a node for its one process; with it, the first alone.
train() {
  run srun --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c "
    export KERAS_DISTRIBUTION_JOB_ADDRESSES=${nodes%%$'\n'*}:$port
    export KERAS_DISTRIBUTION_NUM_PROCESSES=$count KERAS_DISTRIBUTION_PROCESS_ID=\$SLURM_PROCID
    unset SLURM_LOCALID
    $(worker --distributed true "$@")"
}

keep_training "$@"

#!/usr/bin/env bash
# Runs a stage of the pipelines on a Flink cluster, through Beam's job server.
#
#   bash launch/flink.sh vocab|tokenize|mask --job_server HOST:PORT [options] -- --input … --output … …
#
# What follows -- are the stage's flags and other options of Beam. Paths must be where all TaskManagers can
# reach them. How to start a job server for a cluster stands in docs/scale.md. Options:
#
#   --worker PATH        what a TaskManager starts as its Python worker, the same absolute path on each
#                        (default: launch/beam_worker.sh of this folder)
#   --pool HOST:PORT     where a TaskManager finds a pool of workers instead; one pool runs on each host, so
#                        this is localhost:50000 or the like. Such a pool, in the image of worker.Dockerfile:
#                          docker run --network host --volume /tmp:/tmp IMAGE --worker_pool
#   --parallelism N      how many workers share the work (default: as the cluster says)
#   --restarts N         start the job again so often when a TaskManager is lost (default: as the cluster says)
#   --pause SECONDS      before each of them (default: 10)
#   --dry_run            print the command instead
#
# Exit status: that of the stage, 2 for something to put right (a line says what).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launcher=flink
. launch/attempts.sh

stage='' server='' worker=$PWD/launch/beam_worker.sh pool='' parallelism='' restarts='' pause=10
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    vocab | tokenize | mask) stage=$1; shift; continue ;;
    --) shift; break ;;
    --dry_run) dry_run=yes; shift; continue ;;
    --job_server | --worker | --pool | --parallelism | --restarts | --pause) ;;
    *) fail "unknown option $1; the stage's flags stand behind --" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --job_server) server=$2 ;; --worker) worker=$2 ;; --pool) pool=$2 ;;
    --parallelism) parallelism=$2 ;; --restarts) restarts=$2 ;; --pause) pause=$2 ;;
  esac
  shift 2
done
[ -n "$stage" ] || fail "which stage: vocab, tokenize or mask?"
[[ $server == ?*:?* ]] || fail "--job_server '$server': give HOST:PORT of Beam's job server"
[[ $worker == /* ]] || fail "--worker $worker: give an absolute path"
[ -z "$pool" ] || [[ $pool == ?*:?* ]] || fail "--pool $pool: give HOST:PORT"
[ -z "$parallelism" ] || whole --parallelism "$parallelism"
[ -z "$restarts" ] || whole --restarts "$restarts"
whole --pause "$pause"
[ $# -gt 0 ] || fail "no flags for pipelines.$stage; write them behind --"

# Workers are kept between the steps of a job.
options=(--runner PortableRunner --job_endpoint "$server" --environment_cache_millis 600000)
if [ -n "$pool" ]; then
  options+=(--environment_type EXTERNAL --environment_options "external_service_address=$pool")
else
  options+=(--environment_type PROCESS --environment_options "process_command=$worker")
fi
[ -z "$parallelism" ] || options+=(--parallelism "$parallelism")
[ -z "$restarts" ] ||
  options+=(--number_of_execution_retries "$restarts" --execution_retry_delay "$((pause * 1000))")

run bash launch/install.sh gcp
run .venv/bin/python -m "pipelines.$stage" "$@" "${options[@]}"

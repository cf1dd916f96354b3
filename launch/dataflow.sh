#!/usr/bin/env bash
# Runs a stage of the pipelines on Google Cloud Dataflow.
#
#   bash launch/dataflow.sh vocab|tokenize|mask --project NAME --region REGION --bucket gs://… --image IMAGE \
#       [options] -- --input gs://… --output gs://… …
#
# What follows -- are the stage's flags and other options of Beam (--network, --service_account_email, …).
# Needs credentials: gcloud auth application-default login. Options:
#
#   --image IMAGE        what workers run: this code and the versions of requirements.lock, such as
#                        REGION-docker.pkg.dev/PROJECT/bertmill/worker:1; nothing is installed at their start
#   --build              make that image from launch/worker.Dockerfile and push it first (with docker)
#   --machine TYPE       of the workers (default: Dataflow's choice)
#   --workers N          so many, from the beginning to the end
#   --max_workers N      as many as Dataflow finds useful, up to N
#   --shuffle WHERE      service (default) or workers, where the region has no shuffle service
#   --labels K=V,K=V     of the job, for bills
#   --dry_run            print the commands instead
#
# Exit status: that of the stage, 2 for something to put right (a line says what).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
launcher=dataflow
. launch/attempts.sh

stage='' project='' region='' bucket='' image='' build='' machine='' workers='' most='' shuffle=service labels=''
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    vocab | tokenize | mask) stage=$1; shift; continue ;;
    --) shift; break ;;
    --build) build=yes; shift; continue ;;
    --dry_run) dry_run=yes; shift; continue ;;
    --project | --region | --bucket | --image | --machine | --workers | --max_workers | --shuffle | --labels) ;;
    *) fail "unknown option $1; the stage's flags stand behind --" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case $1 in
    --project) project=$2 ;; --region) region=$2 ;; --bucket) bucket=${2%/} ;; --image) image=$2 ;;
    --machine) machine=$2 ;; --workers) workers=$2 ;; --max_workers) most=$2 ;; --shuffle) shuffle=$2 ;;
    --labels) labels=$2 ;;
  esac
  shift 2
done
[ -n "$stage" ] || fail "which stage: vocab, tokenize or mask?"
[ -n "$project" ] || fail "--project NAME: who pays?"
[ -n "$region" ] || fail "--region REGION: where?"
[[ $bucket == gs://?* ]] || fail "--bucket '$bucket': give a folder at gs:// for what is staged"
[ -n "$image" ] || fail "--image IMAGE: what do workers run? --build makes it"
[ -z "$workers" ] || whole --workers "$workers"
[ -z "$most" ] || whole --max_workers "$most"
[ -z "$workers" ] || [ -z "$most" ] || fail "--workers and --max_workers: give one of them"
[[ $shuffle == service || $shuffle == workers ]] || fail "--shuffle $shuffle: give service or workers"
[ $# -gt 0 ] || fail "no flags for pipelines.$stage; write them behind --"

options=(--runner DataflowRunner --project "$project" --region "$region" --temp_location "$bucket/temp"
  --staging_location "$bucket/staging" --sdk_container_image "$image" --sdk_location container)
[ -z "$machine" ] || options+=(--worker_machine_type "$machine")
[ -z "$workers" ] || options+=(--num_workers "$workers" --autoscaling_algorithm NONE)
[ -z "$most" ] || options+=(--max_num_workers "$most" --autoscaling_algorithm THROUGHPUT_BASED)
[ "$shuffle" = service ] || options+=(--experiments shuffle_mode=appliance)
IFS=, read -ra labels <<< "$labels"
for label in "${labels[@]}"; do options+=(--labels "$label"); done

if [ -n "$build" ]; then
  run docker build --file launch/worker.Dockerfile --tag "$image" .
  run docker push "$image"
fi
run bash launch/install.sh gcp
run .venv/bin/python -m "pipelines.$stage" "$@" "${options[@]}"

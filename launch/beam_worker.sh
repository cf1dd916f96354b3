#!/usr/bin/env bash
# Starts a Python worker of Beam for an engine, such as a Flink TaskManager, and ends it with that engine.
# Give its absolute path, the same on every machine, to a pipeline:
#
#   --environment_type PROCESS --environment_options process_command=/opt/bertmill/launch/beam_worker.sh
#
# In the environment of the engine:
#   BEAM_BOOT        Beam's boot program (docs/scale.md says how to build it)
#   BERTMILL_PYTHON  the python of a virtual environment with bertmill
set -euo pipefail
: "${BEAM_BOOT:?the path of Beam\'s boot program}" "${BERTMILL_PYTHON:?the path of a python with bertmill}"
PATH="$(dirname "$BERTMILL_PYTHON"):$PATH"
export PATH RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1

# Modules in the working folder would come before those that are installed.
folder=$(mktemp -d "${TMPDIR:-/tmp}/beam-worker-XXXXXX")
cd "$folder"

# The boot program starts its worker again for ever, even if the engine that wanted it was killed.
end_with_engine() {
  while kill -0 "$1" && kill -0 "$2"; do sleep 1; done
  kill -TERM "$2" && sleep 5 && kill -KILL "$2"
  rm -rf "$folder"
} 2> /dev/null
end_with_engine "$PPID" "$$" &
exec "$BEAM_BOOT" --semi_persist_dir="$folder" "$@"

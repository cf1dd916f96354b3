"""Stand-ins for the commands of clusters: put on the PATH they start real processes on this machine.

Each notes its calls in $FAKE/calls.
"""

from __future__ import annotations

from pathlib import Path

# A task for each node, in a process group of its own, with the variables that SLURM sets. When one
# fails, all get SIGTERM and soon SIGKILL; the status is the highest.
SRUN = """#!/usr/bin/env bash
printf 'srun %s\\n' "$*" | head -n 1 >> "$FAKE/calls"
while [ "$1" != bash ]; do
  case $1 in --ntasks=*) count=${1#*=} ;; esac
  shift
done
for ((i = 0; i < count; i++)); do
  SLURM_PROCID=$i SLURM_LOCALID=0 SLURM_NTASKS=$count SLURM_STEP_NODELIST=$SLURM_JOB_NODELIST \\
    setsid "$@" &
  tasks+=($!)
done
worst=0
for ((i = 0; i < count; i++)); do
  wait -n
  status=$?
  if ((status > worst)); then worst=$status; fi
  if ((status)) && [ -z "$killing" ]; then
    killing=yes
    for task in "${tasks[@]}"; do kill -TERM -- "-$task" 2> /dev/null; done
    (sleep 20; for task in "${tasks[@]}"; do kill -KILL -- "-$task"; done) > /dev/null 2>&1 &
  fi
done
exit "$worst"
"""

SCONTROL = """#!/usr/bin/env bash
printf 'scontrol %s\\n' "$*" >> "$FAKE/calls"
[ "$1" != show ] || tr , '\\n' <<< "$3"
"""

# A host is a folder, the home of whoever logs in; one without a folder does not answer.
SSH = """#!/usr/bin/env bash
while [ "$1" = -o ]; do shift 2; done
printf 'ssh %s %s\\n' "$1" "$2" | head -n 1 >> "$FAKE/calls"
cd "$FAKE/$1" 2> /dev/null || exit 255
exec bash -c "$2"
"""


def put(folder: Path, **commands: str) -> None:
    """Writes the commands, executable, into a folder."""
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "calls").touch()

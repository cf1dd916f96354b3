# shellcheck shell=bash
# What the launchers of pretraining share; they source it from the folder above this one: messages, what
# is sent to a worker, and one attempt after the other until all workers have trained.
#
# A launcher says its name in $launcher, defines make_ready, install and train, and calls keep_training. What a worker's status means:
# 0 done; 2 a mistake of ours; anything else (75: asked to stop; 255: connection lost; killed; preempted)
# another attempt, which goes on from the last checkpoint.

dry_run='' restarts=100 pause=20
# Attempts shorter than this make the next pause twice as long, up to this.
calm=600

fail() { say "$@"; exit 2; }
# shellcheck disable=SC2154
say() { echo "$launcher: $*" >&2; }
whole() { [[ $2 =~ ^[0-9]+$ ]] || fail "$1 $2: give a whole number"; }

run() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

make_ready() { :; }

# This code as one file.
pack() {
  tar -czf "$1" pipelines trainer launch/install.sh requirements.lock pyproject.toml setup.py README.md LICENSE
}

# worker FLAGS…: what a worker runs in its folder. Its status comes back as a line, because those who start
# workers make one of all. The shell must outlive a SIGTERM that reaches both.
worker() {
  printf '%s\n' "trap : TERM
    .venv/bin/python -m trainer.pretrain $(printf '%q ' "$@")&& status=0 || status=\$?
    echo worker-status \$status
    exit \$status"
}

# lone_worker FLAGS…: the same where an attempt that lost its connection may still be running: it is asked
# to leave a checkpoint first.
lone_worker() {
  printf '%s\n' "running=pretrain-\$(uname -n).pid
    if [ -f \$running ] && kill -TERM \$(cat \$running) 2> /dev/null; then
      for i in \$(seq 300); do kill -0 \$(cat \$running) 2> /dev/null || break; sleep 1; done
    fi
    .venv/bin/python -m trainer.pretrain $(printf '%q ' "$@")&
    echo \$! > \$running
    wait \$! && status=0 || status=\$?
    rm -f \$running
    echo worker-status \$status
    exit \$status"
}

# keep_training FLAGS…: attempts, until all workers have trained or a mistake was found.
keep_training() {
  local attempt status log failures=0 wait=$pause began
  whole --restarts "$restarts"
  whole --pause "$pause"
  if [ -n "$dry_run" ]; then
    make_ready
    install
    train "$@"
    exit 0
  fi
  log=$(mktemp)
  # shellcheck disable=SC2064  # this very file
  trap "rm -f '$log'" EXIT
  trap 'exit 130' INT
  for ((attempt = ${SLURM_RESTART_COUNT:-0}; attempt <= restarts; attempt++)); do
    if [ -n "${began:-}" ]; then
      [ $((SECONDS - began)) -lt "$calm" ] || wait=$pause
      say "restart $attempt of at most $restarts in $wait s"
      sleep "$wait"
      wait=$((wait * 2 < calm ? wait * 2 : calm))
    fi
    began=$SECONDS
    # Whatever fails here may be machines going away: that is seen, and put right, at the next attempt.
    make_ready || { say "no workers"; continue; }
    install || {
      failures=$((failures + 1))
      [ "$failures" -lt 3 ] || fail "installing failed three times; see above"
      continue
    }
    failures=0 status=0
    train "$@" 2>&1 | tee -i "$log" || status=$?
    grep -q '^worker-status 2$' "$log" && fail "trainer.pretrain says above what is to be put right"
    if [ "$status" -eq 0 ]; then
      say "trained"
      exit 0
    fi
    say "interrupted: $(grep '^worker-status' "$log" | sort | uniq -c | tr -s ' \n' ' ')(status $status)"
  done
  say "gave up after $restarts restarts"
  exit 1
}

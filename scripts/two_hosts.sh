#!/bin/bash
# On each of N hosts, by hand: scripts/two_hosts.sh HOST0:PORT N I --config=… --workdir=/shared/…
# Starts again, to go on from the last checkpoint together with the others, after exit code 3 (another process ended, or
# none made a step) and where this one was killed, aborted or crashed: the others then end with 3 and wait for it. Not
# after 0 (done, or stopped by a signal and saved), 2 (a fault of the input) and a signal that asks it to end (130, 143).
set -u
coordinator=$1 processes=$2 process=$3
shift 3
for restart in $(seq 0 "${RESTARTS:-20}"); do
  "${PYTHON:-python}" train.py --coordinator="$coordinator" --processes="$processes" --process="$process" "$@"
  code=$?
  case $code in
    3 | 134 | 137 | 139) sleep "${PAUSE:-5}" ;;
    *) exit "$code" ;;
  esac
done
exit "$code"

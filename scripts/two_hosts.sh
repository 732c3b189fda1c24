#!/bin/bash
# On each of N hosts, by hand: scripts/two_hosts.sh HOST0:PORT N I --config=… --workdir=/shared/…
# Exit code 3 means that another process ended: go on from the last checkpoint, together with the others.
set -u
coordinator=$1 processes=$2 process=$3
shift 3
while true; do
  "${PYTHON:-python}" train.py --coordinator="$coordinator" --processes="$processes" --process="$process" "$@"
  code=$?
  [ "$code" -eq 3 ] || [ "$code" -eq 134 ] || exit "$code"
  sleep 5
done

#!/usr/bin/env bash
# L6, O6: what .gov says, and who is woken when that changes; the stories U9,
# U21 and U30 as far as they look there.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need flock inotifywait python3 setpriv

patient_up 3
run_actors dotgov.py steady "$@"

# A host that is cut off goes through all the states: without a majority,
# refusing changes, its session lost.
cluster down
rm -rf --one-file-system "$DIR"
CLUSTER_CONF="session_ttl_ms = 5000
write_timeout_ms = 2000" cluster_up 3
run_actors dotgov.py lost "$@"
done_testing

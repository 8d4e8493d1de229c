#!/usr/bin/env bash
# F6, L1, U8: names as locks over three hosts, by whatever call makes them.
#
# NAME_RACES: how many fresh names three hosts race for, of each kind (1000).
# NAME_ROUNDS: how often they take one name and free it (400; `make soak` takes
# 10000).
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3
export NAME_RACES=${NAME_RACES:-1000} NAME_ROUNDS=${NAME_ROUNDS:-400}
patient_up 3
run_actors names.py
ok "F7: the hosts agree at the end" wait_for 15 same 1 2 3
done_testing

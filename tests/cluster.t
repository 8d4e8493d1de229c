#!/usr/bin/env bash
# cluster.t: examples/cluster, on which tests, benchmarks and quickstart stand.
# What is called through ok and wait_for looks unreachable to shellcheck.
# shellcheck disable=SC2317 source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"

need_mounts
need python3
patient_up 3
mounts() { grep -c " $DIR/[0-9]*/gov fuse.govfs " /proc/self/mounts; }
one_leads() { local l; l=$(cluster leader) && [ "$l" != "$1" ]; }

is "$(mounts)" 3 'three mounts, of type fuse.govfs'
# shellcheck disable=SC2012
is "$(ls "$(host 1)" | tr '\n' ' ')" 'config locks nodes status ' \
    'a new tree has its four directories'
nok 'nobody lists .gov' grep -q gov <<< "$(ls -A "$(host 1)")"
ok 'but it is there' test -r "$(host 1)/.gov/health"
shows_rev() { [ "$(rev 1)" = "$1" ]; }
ok 'the tree is formatted, each of three hosts has told of itself: no more' \
    wait_for 5 shows_rev 4
for i in 1 2 3; do
	ok "host $i takes writes" touch "$(host $i)/config/$i"
	ok "the pid of host $i is a process" kill -0 "$(cluster pid $i)"
done

l=$(cluster leader)
like "$l" '[123]' 'a leader is one of the hosts'
ok 'kill ends a host' cluster kill "$l"
nok 'and its pid is none' cluster pid "$l" 2> /dev/null
is "$(mounts)" 3 'its dead mount stays'
ok 'another one leads then' wait_for 10 one_leads "$l"
o=$((l % 3 + 1))
ok 'O1: the other two take writes' touch "$(host $o)/config/without"
ok 'start brings it back' cluster start "$l"
nok 'start of a host that runs is refused' cluster start "$l" 2> /dev/null
ok 'it takes writes again' cluster ready
gov sync "$(host "$l")" > /dev/null
ok 'O2: it has what it missed' test -e "$(host "$l")/config/without"
ok 'all are equal' wait_for 10 same 1 2 3

for i in 1 2 3; do
	cluster kill $i
done
ok 'down clears what a crash left' cluster down
is "$(mounts)" 0 'no mount is left'
ok 'down again is fine' cluster down
ok 'up again goes on with the state' cluster up 3
ok 'O1: all of it is there' test -e "$(host 1)/config/without"
pids=$(cat "$DIR"/*/pid)
ok 'down stops them' cluster down
for p in $pids; do
	# A zombie may wait for a careless init, but it is no daemon.
	nok "process $p is gone" test -e "/proc/$p/exe"
done
is "$(mounts)" 0 'a clean stop unmounts'

DIR=$tmp/one
ok 'a single host is a cluster, too' cluster up 1
is "$(cluster leader)" 1 'and leads'
ok 'it is killed' cluster kill 1
# As a thread that waits for the disk when its process is killed.
python3 - <<-'PY' {tap_out}>&- {tap_err}>&- &
	import ctypes, platform, threading, time
	libc = ctypes.CDLL(None)
	libc.prctl(15, b'govfsd')  # PR_SET_NAME
	threading.Thread(target=time.sleep, args=(600,)).start()
	libc.syscall(60 if platform.machine() == 'x86_64' else 93, 0)  # SYS_exit
PY
echo $! > "$DIR/1/pid"
zombie() { grep -q '^State:.Z' "/proc/$1/status"; }
ok 'a process has ended but for a thread' wait_for 5 zombie $!
nok 'it is not started again while that has its state' cluster start 1 \
    2> /dev/null
kill $!
ok 'down clears it' cluster down
rm -f "$DIR/1/state/control"
mkdir "$DIR/1/state/control"
nok 'govfsd does not start without its control socket' "$GOVFSD" \
    -c "$DIR/1/govfs.conf" --state "$DIR/1/state" "$DIR/1/gov" 2> /dev/null
is "$(mounts)" 0 'nor leaves a mount'
done_testing

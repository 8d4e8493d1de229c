#!/bin/bash
# O5, F2: commits whose outcome nobody knew in time; their handles never say
# that all is well before it is known to be.
# shellcheck disable=SC2016,SC2317
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need python3 getfattr
need_mounts
CLUSTER_CONF="write_timeout_ms = 3000" cluster_up 3
leader=$(cluster leader)
cut=$((leader % 3 + 1))
other=$((6 - leader - cut))
F=$(host $cut) L=$(host "$leader")
mkdir "$L/config/u"
echo old > "$L/config/u/done"
echo old > "$L/config/u/lost"
sync_host "$F"

# fails ERRNO CALL: python's os.CALL fails so
fails() {
	python3 -c '
import errno, os, sys
try:
    eval("os." + sys.argv[2])
except OSError as e:
    sys.exit(e.errno != getattr(errno, sys.argv[1]) and str(e))
sys.exit("it succeeds")' "$@"
}
# said CALL: the errno that python's os.CALL comes to, 0 for success
said() {
	python3 -c '
import errno, os, sys
try:
    eval("os." + sys.argv[1])
    print(0)
except OSError as e:
    print(errno.errorcode[e.errno])' "$1"
}
works() { python3 -c 'import os, sys; eval("os." + sys.argv[1])' "$1"; }
says() { [ "$(head -n 1 "$F/.gov/health")" = "$1" ]; }
proposed() { metric $cut govfs_commands_proposed; }
proposed_since() { [ "$(proposed)" -ge $(($1 + $2)) ]; }

# cut_off N: what the N fsyncs that were just begun come to is not heard of here
cut_off() {
	wait_for 10 proposed_since "$before" "$1" ||
		bail_out "not all is proposed"
	fault $cut net_drop_in -1
	wait
}
# A machine that stands still may have begun one only when this host knew of no
# majority: it was refused then, rightly (O6), and all is made once more.
refused() {
	grep -q 'EROFS\|Read-only' "$tmp"/said.* || return 1
	[ $((attempt += 1)) -lt 5 ] || return 1
	diag "one was begun too late, and refused: once more"
}
heal() {
	fault "$leader" wal_sync_delay_ms 0
	fault $other wal_sync_delay_ms 0
	fault $cut net_drop_out 0
	fault $cut net_drop_in 0
	ok "O6: the host is back" wait_for 20 says ok
	sync_host "$F"
}
before=0

# ---- they are done, and heard of late ----

attempt=0
while :; do
	exec 3<>"$F/config/u/done" 4>"$F/config/u/born"
	echo new >&3
	echo born >&4
	before=$(proposed)
	fault "$leader" wal_sync_delay_ms 5000
	fault $other wal_sync_delay_ms 5000
	said 'fsync(3)' > "$tmp/said.old" &
	said 'fsync(4)' > "$tmp/said.new" &
	(echo closed > "$F/config/u/closed") 2> "$tmp/said.closed" &
	cut_off 3
	refused || break
	heal
	exec 3>&- 4>&-
	sync_host "$L"
	rm -f "$L/config/u/"{born,closed}
	echo old > "$L/config/u/done"
	sync_host "$F"
done
is "$(cat "$tmp/said.old")" ETIMEDOUT "O5: fsync says ETIMEDOUT when nobody knows"
is "$(cat "$tmp/said.new")" ETIMEDOUT "O5: also of a file not born yet"
ok "F2: fsync again says so again" fails ETIMEDOUT 'fsync(3)'
ok "F2: also of a file not born yet" fails ETIMEDOUT 'fsync(4)'
ok "F2: what may be lost is not written on" fails ETIMEDOUT 'write(3, b"x")'
all_done() {
	[ "$(cat "$L/config/u/"{done,born,closed} | tr '\n' ' ')" = \
	    "new born closed " ]
}
ok "O5: meanwhile all is done" wait_for 20 all_done
heal
is "$(cat "$F/config/u/"{done,born,closed} | tr '\n' ' ')" \
    "new born closed " "O5: as the host learns"
ok "F2: fsync again says what it came to" works 'fsync(3)'
ok "F2: also of the file that was born" works 'fsync(4)'
ok "F2: which can be written on" works 'write(4, b"on\n")'
ok "F2: and closed" works 'close(4)'
exec 3>&- 4>&-
sync_host "$L"
is "$(cat "$L/config/u/"{done,born,closed} | tr '\n' ' ')" \
    "new born on closed " "F2: the others have all of it, once"
is "$(stat -c '%i %s' "$F/config/u/"*)" "$(stat -c '%i %s' "$L/config/u/"*)" \
    "F7: and the same files"

# ---- they are lost on the way ----

attempt=0
while :; do
	exec 3<>"$F/config/u/lost" 4>"$F/config/u/unborn" \
	    5>"$F/config/u/removed"
	echo new >&3
	echo unborn >&4
	echo removed >&5
	before=$(proposed)
	fault $cut net_drop_out -1
	said 'fsync(3)' > "$tmp/said.old" &
	said 'fsync(4)' > "$tmp/said.new" &
	said 'fsync(5)' > "$tmp/said.removed" &
	cut_off 3
	heal
	refused || break
	exec 3>&- 4>&- 5>&-
	sync_host "$L"
	rm -f "$L/config/u/"{unborn,removed}
	echo old > "$L/config/u/lost"
	sync_host "$F"
done
is "$(cat "$tmp/said.old")" ETIMEDOUT "O5: fsync says ETIMEDOUT when nobody knows"
is "$(cat "$tmp/said.new")" ETIMEDOUT "O5: also of a file not born yet"
is "$(cat "$tmp/said.removed")" ETIMEDOUT "O5: and of another"
is "$(cat "$L/config/u/lost")" old "O5: it was not done"
ok "F2: fsync never says that it was" fails ETIMEDOUT 'fsync(3)'
ok "F2: nor that the file was born" fails ETIMEDOUT 'fsync(4)'
ok "F2: nor does close" fails ETIMEDOUT 'close(4)'
nok "O5: a name that is nowhere can't be removed" \
    rm "$F/config/u/removed" 2>/dev/null
exec 3>&- 4>&- 5>&-
ok "F2: a name that was not born goes with its handles" \
    wait_for 10 eval '! ls "$F/config/u/unborn" "$F/config/u/removed"'
ok "F2: a new handle writes" eval 'echo again > "$F/config/u/lost"'
sync_host "$L"
is "$(cd "$L/config/u" && echo *)" "born closed done lost" \
    "F2: nor does any other host have it"
is "$(cat "$L/config/u/lost")" again "F2: as the others see"
ok "O2: all hosts end in the same state" wait_for 15 same 1 2 3
done_testing

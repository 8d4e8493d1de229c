#!/usr/bin/env bash
# registry-conformance.sh: does /gov do what registries do?
#
#   examples/registry-conformance.sh /gov              on one host
#   examples/registry-conformance.sh /a /b /c          three hosts' mounts, here
#
# prints a line per promise (TAP), e.g.
#
#   ok 12 - R5: of 9 racing O_EXCL creators one wins, 10 times
#
# and exits 0 if all are kept.  The numbers are those of the operations that
# programs ask of ZooKeeper, etcd, Consul or a database behind a small registry
# interface; "not so:" lines are mistakes of existing adapters.  It works in a
# directory of its own, which it removes, takes half a minute, and needs bash,
# gov, flock(1), inotifywait(1), setfattr(1) and getfattr(1).
set -u

case $#:${1:-} in
[123]:/*) ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
GOV=${GOV:-gov}
top_a=$1 top_b=${2:-$1} top_c=${3:-${2:-$1}}
name=conformance.$$
A=$top_a/config/$name B=$top_b/config/$name C=$top_c/config/$name
out=$(mktemp -d -t registry.XXXXXX)

# ---- TAP ----

n=0 failed=0
result() { # STATUS TEXT
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		failed=$((failed + 1))
	fi
}
ok() { # TEXT COMMAND...
	local text=$1
	shift
	"$@" 2>>"$out/err"
	result $? "$text"
}
nok() { # TEXT COMMAND...: it fails
	local text=$1
	shift
	! "$@" 2>>"$out/err"
	result $? "$text"
}
is() { # GOT WANT TEXT
	[ "$1" = "$2" ]
	result $? "$3"
	[ "$1" = "$2" ] || printf '%s\n' "got: $1" "want: $2" | sed 's/^/# /'
}
# fails TEXT MESSAGE COMMAND...: with that errno's message
fails() {
	local text=$1 message=$2 said
	shift 2
	said=$(LC_ALL=C "$@" 2>&1)
	case $?:$said in
	0:*) result 1 "$text" ;;
	*"$message"*) result 0 "$text" ;;
	*) is "$said" "$message" "$text" ;;
	esac
}

# ---- helpers ----

wait_for() { # SECONDS COMMAND...: on a machine at rest; up to ten times that
	local end=$((SECONDS + 10 * $1))
	shift
	until "$@" 2>/dev/null; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.02
	done
}
ms() { echo $(($(date +%s%N) / 1000000)); }
# For upper bounds: PACE names a file with a clock that leaves out what a busy
# machine loses.
pace_ms() { if [ -n "${PACE:-}" ]; then cat "$PACE"; else ms; fi; }
# What was done on one host is visible on the others.
sync_all() { "$GOV" sync "$top_a" && "$GOV" sync "$top_b" && "$GOV" sync "$top_c"; } >/dev/null
leader_since() { stat -c %y "$top_c/.gov/leader"; }
attr() { getfattr --absolute-names --only-values -n "gov.$1" "$2" 2>/dev/null; }
life() { setfattr -n gov.lifetime -v "$1" "$2"; }
absent() { ! [ -e "$1" ]; }
lines() { wc -l < "$1" | tr -d ' '; }
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }
readable() { [ "$(cat "$1")" = "$2" ]; }
create() (set -C && echo "$2" > "$1") 2>/dev/null	# O_CREAT|O_EXCL
commit_7() { dd conv=notrunc,fsync status=none <<< "$1" >&7; }
update() { dd of="$1" conv=nocreat,fsync status=none; }	# O_TRUNC, no O_CREAT

# watch FILE ARGS...: inotifywait -m with its lines in FILE, once it watches
watchers=''
watch() {
	local file=$1
	shift
	inotifywait -m --format '%e %w%f' "$@" > "$file" 2> "$file.err" &
	watchers="$watchers $!"
	wait_for 10 grep -q established "$file.err"
}
unwatch() {
	# shellcheck disable=SC2086
	kill $watchers 2>/dev/null
	# shellcheck disable=SC2086
	wait $watchers 2>/dev/null
	watchers=''
}

holders=''
hold() { # FILE FLOCK-OPTIONS...: held by a process whose number is in $held
	local file=$1
	shift
	exec 8>"$out/held"
	( flock "$@" 9 && echo "held" && exec sleep 600 ) 9>>"$file" >&8 8>&- &
	held=$!
	disown "$held"
	exec 8>&-
	holders="$holders $held"
	wait_for 10 grep -q held "$out/held"
}

end() {
	trap - EXIT
	unwatch
	# shellcheck disable=SC2046,SC2086
	kill -9 $holders $(jobs -p) 2>/dev/null
	wait 2>/dev/null
	rm -rf "$A"
	rm -rf "$out"
}
trap end EXIT
trap 'exit 130' INT TERM HUP

# race COUNT COMMAND...: started COUNT times on each host with its directory and
# a number appended; prints how many succeeded
race() {
	local count=$1 i m pids='' racer=0 wins=0
	shift
	for ((i = 0; i < count; i++)); do
		for m in "$A" "$B" "$C"; do
			racer=$((racer + 1))
			"$@" "$m" "$racer" 2>/dev/null &
			pids="$pids $!"
		done
	done
	for i in $pids; do
		wait "$i" && wins=$((wins + 1))
	done
	echo "$wins"
}
# one_winner ROUNDS COMMAND...
one_winner() {
	local rounds=$1 won
	shift
	for ((round = 0; round < rounds; round++)); do
		won=$(race 3 "$@" "$round")
		[ "$won" = 1 ] ||
		    { echo "# round $round of $*: $won winners"; return 1; }
	done
}

# ---- R1 to R4: read, exists, children, write ----

reading() {
	printf 'one\0two' > "$A/f"
	sync_all
	ok 'R1: what was written is read on the others' cmp "$A/f" "$C/f"
	is "$(stat -c %s "$B/f")" 7 'R1: byte by byte'
	fails 'R1: no file is ENOENT' 'No such file' cat "$B/none"
	ok 'R2: a file exists (not so: etcd, always false)' test -e "$C/f"
	nok 'R2: no other does' test -e "$C/none"

	mkdir "$A/dir" "$A/dir/sub" "$A/dir/sub2" "$A/dirx"
	: > "$A/dir/b"; : > "$A/dir/a"; : > "$A/dir/sub/deep"; : > "$A/dirx/x"
	sync_all
	nok 'R2: /dir is not there for /dirx' test -e "$C/di"
	is "$(cd "$C/dir" && echo *)" 'a b sub sub2' \
	    'R3: children, by name, and only those (not so: Consul)'
	is "$(stat -c %h "$C/dir")" 4 'R3: st_nlink counts the directories'
	fails 'R3: children of a file are ENOTDIR' 'Not a directory' \
	    dd if="$C/f/x" status=none
	fails 'R3: children of nothing are ENOENT' 'No such file' ls "$C/none"
}

writing() {
	echo 1 > "$A/w" && echo 2 > "$B/w"
	sync_all
	is "$(cat "$C/w")" 2 'R4: written again, it is replaced'
	echo deep | "$GOV" put -p "$A/p/q/r/f" 2>>"$out/err"
	sync_all
	is "$(cat "$C/p/q/r/f")" deep 'R4: gov put -p makes the parents'
	mkdir -p "$B/m/n/o" && echo x > "$B/m/n/o/f"
	sync_all
	ok 'R4: so does mkdir -p' test -f "$A/m/n/o/f"
	fails 'R4: too large is EFBIG' 'File too large' \
	    dd if=/dev/zero of="$A/big" bs=1M count=5 status=none
	head -c 5000000 /dev/zero | "$GOV" put "$A/big2" 2>/dev/null
	nok 'R4: with gov put nothing is left of it' test -e "$A/big2"
	if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
		fails "R4: another user's file is EACCES" 'Permission denied' \
		    setpriv --reuid 65534 --regid 65534 --clear-groups \
		    dd if=/dev/null of="$A/w" status=none
	fi
	local i times
	for i in 1 2 3 4 5; do
		echo $i > "$A/t$i"; echo $i > "$B/u$i"; echo $i > "$C/v$i"
	done
	sync_all
	times=$(for i in 1 2 3 4 5; do
		stat -c %.9Y "$A/t$i" "$A/u$i" "$A/v$i"
	done)
	is "$(sort -u <<< "$times")" "$times" \
	    'R19: mtimes strictly increase over hosts: one clock (not so: local clocks)'
}

# ---- R5 to R7: conditional writes ----

# shellcheck disable=SC2317
{
	by_excl() { create "$2/excl.$1" "$3"; }
	by_mkdir() { mkdir "$2/mkdir.$1"; }
	by_link() { ln "$2/f" "$2/link.$1"; }
	by_rename() {
		echo "$3" > "$2/.r.$3" && mv -n "$2/.r.$3" "$2/rename.$1" &&
		    ! [ -e "$2/.r.$3" ]
	}
	by_life() { create "$2/alive/$1" "$3"; }
	count_up() { # ROUNDS-file DIR: one more, however often it takes
		local rev now
		for _ in $(seq 200); do
			rev=$(attr rev "$2/counter") || continue
			now=$(cat "$2/counter")
			echo $((now + 1)) |
			    "$GOV" put --if-rev "$rev" "$2/counter" >/dev/null &&
			    return
			"$GOV" sync "$2" >/dev/null
		done
		return 1
	}
}

conditional() {
	ok 'R5: of 9 racing O_EXCL creators one wins, 10 times' \
	    one_winner 10 by_excl
	ok 'R5: of 9 mkdir one' one_winner 5 by_mkdir
	ok 'R5: of 9 links one' one_winner 5 by_link
	ok 'R5: of 9 renames to a free name one' one_winner 5 by_rename
	sync_all
	nok 'R5: what is there is not created' create "$B/excl.0" again

	fails 'R6: an update of nothing is ENOENT' 'No such file' \
	    update "$B/none" <<< new
	nok 'R6: and makes nothing' test -e "$B/none"
	update "$B/w" <<< updated
	sync_all
	is "$(cat "$A/w")" updated 'R6: an update is made (not so: etcd)'

	echo base > "$A/cas"
	sync_all
	exec 7<> "$A/cas"
	cat <&7 >/dev/null
	echo theirs > "$B/cas"
	"$GOV" sync "$top_a" >/dev/null
	nok 'R7a: written through a handle that has read what is no more: refused' \
	    commit_7 mine
	{ exec 7>&-; } 2>/dev/null
	sync_all
	is "$(cat "$C/cas")" theirs 'R7a: and the other content stays'
	local rev
	rev=$(attr rev "$A/cas")
	echo new | "$GOV" put --if-rev "$rev" "$A/cas" 2>>"$out/err"
	sync_all
	is "$(cat "$C/cas")" new 'R7c: gov put --if-rev with the revision that it is at'
	echo late | "$GOV" put --if-rev "$rev" "$B/cas" >/dev/null 2>&1
	is $? 4 'R7c: with an older one: exit 4'
	is "$(cat "$B/cas")" new 'R7c: and nothing is written'
	echo 0 > "$A/counter"
	sync_all
	is "$(race 4 count_up x)" 12 'R7c: 12 count on three hosts at once'
	sync_all
	is "$(cat "$B/counter")" 12 \
	    'R7c: and no count is lost (not so: compare here, then set blindly)'
}

# ---- R8: delete ----

deleting() {
	mkdir "$A/del" "$A/del/a" "$A/del/a/b" "$A/del/a/b/c" "$A/del/a/bc"
	echo 1 > "$A/del/a/b/f"; echo 2 > "$A/del/a/bc/f"; echo 3 > "$A/del/a/b.x"
	sync_all
	fails 'R8: a directory with names is ENOTEMPTY' 'not empty' \
	    rmdir "$B/del/a/b"
	rm -r "$B/del/a/b"
	nok 'R8: after rm -r it is gone (not so: etcd, not awaited)' \
	    test -e "$B/del/a/b"
	sync_all
	nok 'R8: everywhere' test -e "$C/del/a/b"
	is "$(cd "$C/del/a" && echo *)" 'b.x bc' \
	    'R8: and no sibling whose name begins so (not so: etcd)'
	is "$(cat "$C/del/a/bc/f")" 2 'R8: nor what is in it'
	fails 'R8: nothing is ENOENT' 'No such file' rm "$B/del/a/b/f"
}

# ---- R9 to R11: lifetimes ----

ephemeral() {
	mkdir "$A/open" "$A/alive"
	life open "$A/open" && life session "$A/alive"
	sync_all
	( exec 9> "$A/open/svc" && echo here >&9 && exec sleep 600 ) &
	local pid=$! began
	disown "$pid"
	holders="$holders $pid"
	ok 'R9: with lifetime open it is there while the descriptor is' \
	    wait_for 5 readable "$C/open/svc" here
	# An inherited copy keeps it, too.
	sync_all
	watch "$out/gone" -e delete "$B/open"
	began=$(pace_ms)
	kill -9 "$pid"
	ok 'R9: after kill -9 it is gone on the others' \
	    wait_for 2 absent "$C/open/svc"
	is "$(($(pace_ms) - began < 1000))" 1 'R9: within a second'
	ok 'R9: with a delete event' wait_for 5 has_lines "$out/gone" 1
	is "$(lines "$out/gone")" 1 'R9: just one'
	unwatch

	bash -c 'set -C; echo here > "$1/alive/s"' _ "$A"
	sync_all
	is "$(cat "$C/alive/s")" here \
	    "R9: with lifetime session it outlives the process that made it"
	is "$(one_winner 5 by_life; echo $?)" 0 \
	    'R10: of 9 exclusive registrants one wins (not so: etcd, Consul)'
	create "$A/alive/mine" a
	sync_all
	nok 'R10: the loser is told' create "$B/alive/mine" b
	is "$(attr owner "$B/alive/mine")" "$(attr owner "$A/alive/mine")" \
	    'R10: and learns who is the owner'
	ok 'R10: whose session is in .gov/sessions' grep -q \
	    "host=$(attr owner "$B/alive/mine") " "$top_b/.gov/sessions"
	if [ "$top_a" != "$top_b" ]; then
		fails 'R10: another host does not update it: EPERM' \
		    'not permitted' update "$B/alive/mine" <<< b
		sync_all
		is "$(cat "$C/alive/mine")" a "R10: it stays the owner's"
	fi
	ok 'R10: its owner does' update "$A/alive/mine" <<< a2
	rm "$A/alive/mine"
	sync_all
	ok 'R10: removed, it can be taken by another' create "$B/alive/mine" b
}

leases() {
	local round
	for round in 1 2 3; do
		leases_kept && return
		unwatch
		rm -r "$A/ttl"
		sync_all
	done
	result 1 'R11: this machine refreshes every 3 s what it wants to keep'
}

# False: what was to be kept wasn't refreshed in time, by a machine that stalls.
leases_kept() {
	mkdir "$A/ttl"
	"$GOV" ttl "$A/ttl" 3s >/dev/null
	sync_all
	watch "$out/ttl.a" -e delete "$A/ttl"
	watch "$out/ttl.b" -e delete "$B/ttl"
	watch "$out/ttl.c" -e delete "$C/ttl"
	local began last begin pace rev late i bound=5500 leader
	began=$(ms) last=$began
	echo up > "$A/ttl/lease"
	echo up > "$A/ttl/kept"
	pace=$(pace_ms) leader=$(leader_since)
	sync_all
	rev=$(attr rev "$A/ttl/kept")
	for i in $(seq 16); do
		sleep 0.25
		begin=$(ms)
		case $((i % 3)) in
		0) touch "$A/ttl/kept" ;;
		1) echo up > "$B/ttl/kept" ;;
		2) touch "$C/ttl/kept" ;;
		esac
		if [ $(($(ms) - last)) -ge 3000 ]; then
			echo '# not refreshed for 3 s; once more'
			return 1
		fi
		last=$begin
		[ "$i" != 10 ] || ! absent "$A/ttl/lease" ||
		    [ $(($(ms) - began)) -ge 3000 ] || echo early > "$out/early"
	done
	wait_for 5 absent "$C/ttl/lease"
	late=$(($(pace_ms) - pace))
	# A change of leader may add its time to live once more.
	[ "$(leader_since)" = "$leader" ] || bound=$((bound + 3000))
	nok 'R11: it does not expire before its time' test -e "$out/early"
	ok 'R11: and does soon after' test "$late" -lt $bound
	ok 'R11: what is written and touched lives' test -e "$B/ttl/kept"
	is "$(attr rev "$B/ttl/kept")" "$rev" \
	    'R11: a keep-alive is no change (not so: etcd, a lease per key)'
	sync_all
	for i in a b c; do
		wait_for 5 has_lines "$out/ttl.$i" 1
		is "$(grep -c "^DELETE .*/ttl/lease$" "$out/ttl.$i")" 1 \
		    "R11: one delete event for it on host $i"
	done
	ok 'R11: without refreshing, that expires as well' \
	    wait_for 5 absent "$C/ttl/kept"
	ok 'R11: with an event (not so: rows purged without one)' \
	    wait_for 5 has_lines "$out/ttl.b" 2
	unwatch
}

# ---- R13: watching ----

watching() {
	mkdir "$A/w1" "$A/w1/sub" "$A/w1x"
	echo old > "$A/w1/f"
	sync_all
	watch "$out/dir" -e create,close_write,delete,moved_to "$B/w1"
	watch "$out/tree" -r -e create,close_write,delete,moved_to "$C/w1"
	echo no > "$A/w1x/f"
	echo new > "$A/w1/f"
	ok 'R13: the first change is told (not so: Consul)' wait_for 5 \
	    grep -qx "CLOSE_WRITE,CLOSE $B/w1/f" "$out/dir"
	is "$(cat "$B/w1/f")" new 'R13: after its content is visible'
	nok 'R13: as an update, not as a creation' grep -q "CREATE" "$out/dir"
	echo x > "$A/w1/made" && rm "$A/w1/made"
	echo y > "$A/w1/sub/deep"
	ok 'R13: a removal is told' wait_for 5 \
	    grep -qx "DELETE $B/w1/made" "$out/dir"
	ok 'R13: after its creation' grep -qx "CREATE $B/w1/made" "$out/dir"
	ok 'R13: inotifywait -r tells what is below' wait_for 5 \
	    grep -qx "CLOSE_WRITE,CLOSE $C/w1/sub/deep" "$out/tree"
	nok 'R13: which a watch of children does not' grep -q deep "$out/dir"
	nok 'R13: nothing of a sibling whose name begins so (not so: etcd)' \
	    grep -q w1x "$out/dir" "$out/tree"
	unwatch
	local before
	before=$(lines "$out/dir")
	echo after > "$A/w1/f"
	sync_all
	is "$(lines "$out/dir")" "$before" \
	    'R13: a watch that was removed is quiet (not so: etcd)'
}

# ---- R15 to R17: locks ----

locks_of() { printf '%s\n' "$1/.gov/locks/config/$name/lock/l"; }
token_of() { attr token "$1"; }

locking() {
	mkdir "$A/lock"
	: > "$A/lock/l"
	sync_all
	hold "$A/lock/l" -x
	local first=$held token waiter
	token=$(token_of "$A/lock/l")
	nok 'R15: who asks for a held lock is refused' \
	    flock -n "$B/lock/l" true
	nok 'R15: or gives up after a time' flock -w 0.2 "$C/lock/l" true
	flock -u "$B/lock/l" true 2>/dev/null
	nok 'R15: only the owner unlocks (not so: etcd)' \
	    flock -n "$C/lock/l" true
	ok 'R15: .gov/locks says who' grep -q "^held flock exclusive" \
	    "$(locks_of "$top_b")"
	flock "$B/lock/l" sh -c "echo b >> '$out/order'" &
	waiter=$!
	wait_for 5 grep -q "^waits" "$(locks_of "$top_a")"
	flock "$C/lock/l" sh -c "echo c >> '$out/order'" &
	waiter="$waiter $!"
	wait_for 5 sh -c "[ \$(grep -c '^waits' '$(locks_of "$top_a")') = 2 ]"
	kill -9 "$first"
	# shellcheck disable=SC2086
	wait $waiter
	is "$(tr '\n' ' ' < "$out/order")" 'b c ' \
	    'R15: after kill -9 the waiters have it, first come first served'
	ok 'R15: the token grows' \
	    test "$(token_of "$C/lock/l")" -gt "${token:-0}"

	local i
	echo 0 > "$A/lock/n"
	sync_all
	is "$(race 4 locked_count x)" 12 'R15: 12 count under the lock'
	sync_all
	is "$(cat "$C/lock/n")" 12 \
	    'R15: and none is lost: who has the lock sees what was done under it'

	: > "$A/lock/s"
	sync_all
	hold "$A/lock/s" -s
	ok 'R16: two share' flock -n -s "$B/lock/s" true
	nok 'R16: one that shares not is refused' flock -n -x "$C/lock/s" true
	kill -9 "$held" 2>/dev/null
	ok 'R16: and gets it after the last' flock -w 50 -x "$C/lock/s" true
}

# shellcheck disable=SC2317
locked_count() { # _ DIR
	# shellcheck disable=SC2016
	flock "$2/lock/l" sh -c 'read n < "$1"; echo $((n + 1)) > "$1"' _ \
	    "$2/lock/n"
}

electing() {
	local i m pids=''
	for m in "$top_a" "$top_b" "$top_c"; do
		# shellcheck disable=SC2016
		"$GOV" elect -m "$m" "$name" -- sh -c \
		    'mkdir "$1/leading" || echo two >> "$1/two"
		     echo $$ >> "$1/led"; sleep 0.3; rmdir "$1/leading"' \
		    _ "$out" &
		pids="$pids $!"
	done
	for i in $pids; do
		wait "$i"
	done
	is "$(lines "$out/led")" 3 'R17: each host leads in turn'
	nok 'R17: never two at once (not so: a lock of one process)' \
	    test -e "$out/two"
	# shellcheck disable=SC2016
	"$GOV" elect -m "$top_a" "$name" -- sh -c \
	    'echo $GOV_TOKEN > "$1/first"; exec sleep 600' _ "$out" &
	local elected=$!
	wait_for 5 test -s "$out/first"
	exits_4 "$GOV" elect -n -m "$top_b" "$name" -- true
	result $? 'R17: while one leads another is told so, exit 4'
	kill "$elected"
	wait "$elected" 2>/dev/null
	# shellcheck disable=SC2016
	"$GOV" elect -w 50 -m "$top_c" "$name" -- sh -c 'echo $GOV_TOKEN' \
	    > "$out/second"
	ok 'R17: after it the next leads, with a greater token' \
	    test "$(cat "$out/second")" -gt "$(cat "$out/first")"
	rm -f "$top_a/locks/elect/$name"
}
healthy() { [ "$(head -n 1 "$1/.gov/health")" = ok ]; }
exits_4() { "$@" 2>/dev/null; [ $? = 4 ]; }

# ---- R20 to R26 ----

same_leader() { # MOUNT
	local leader
	leader=$(cat "$1/.gov/leader")
	[ -n "$leader" ] && readable "$top_a/.gov/leader" "$leader"
}
state() {
	local m first rev i
	for m in "$top_a" "$top_b" "$top_c"; do
		ok "R20, R26: health of $m" wait_for 10 healthy "$m"
		ok 'R25: the leader is known' wait_for 5 same_leader "$m"
	done
	first=$(cat "$top_a/.gov/leader")
	ok 'R25: and is a member' grep -q "^$first " "$top_a/.gov/members"
	ok 'R26: gov sync answers' sync_all
	for _ in 1 2 3; do # what else happens doesn't do so each time
		rev=$(cat "$top_b/.gov/version")
		for i in $(seq 100); do
			[ "$(< "$B/w")" = updated ] || break
		done
		[ "$(cat "$top_b/.gov/version")" != "$rev" ] || break
	done
	is "$i:$(cat "$top_b/.gov/version")" "100:$rev" \
	    'R21: reading is local and changes nothing'
}

# shellcheck disable=SC2317
take_id() { # _ DIR: the lowest free number of four, for as long as it runs
	local id
	for id in 0 1 2 3; do
		(set -C; exec 9> "$2/ids/$id" || exit
		    echo "$id" >> "$out/ids"
		    wait_for 10 test -e "$out/enough") 2>/dev/null && return
	done
	return 1
}
numbers() {
	mkdir "$A/ids"
	life open "$A/ids"
	sync_all
	: > "$out/ids"
	race 1 take_id x > "$out/got" &
	local racing=$!
	wait_for 5 has_lines "$out/ids" 3
	is "$(sort "$out/ids" | tr '\n' ' ')" '0 1 2 ' \
	    'R22: three workers have the three lowest numbers'
	touch "$out/enough"
	wait "$racing"
	ok 'R22: which are free when they end' wait_for 5 absent "$C/ids/0"
}

mailbox() {
	mkdir "$A/box"
	sync_all
	watch "$out/box" -e close_write "$B/box"
	(wait_for 10 has_lines "$out/box" 1 && cat "$B/box/req" > "$out/done" &&
	    rm "$B/box/req") &
	echo 'kill 17' > "$A/box/req"
	inotifywait -qq -t 50 -e delete_self "$A/box/req" 2>/dev/null
	ok 'R23: a request is deleted when it is done' absent "$A/box/req"
	is "$(cat "$out/done")" 'kill 17' 'R23: by who it was for'
	unwatch
}

mkdir "$A" || exit
sync_all
# For as long as all else takes: longer than a session would last unrenewed.
: > "$A/held"
hold "$A/held" -x
long=$held long_token=$(token_of "$A/held") long_began=$(ms)

reading
writing
conditional
deleting
ephemeral
leases
watching
locking
electing
state
numbers
mailbox

while [ $(($(ms) - long_began)) -lt 12000 ]; do
	sleep 0.1
done
nok 'R15: a lock does not expire while it is held (not so: etcd)' \
    flock -n "$B/held" true
is "$(token_of "$B/held")" "$long_token" 'R15: it is the same grant'
kill -9 "$long" 2>/dev/null
ok 'R15: freed, it can be had' flock -w 50 "$C/held" true
[ "$failed" = 0 ] || sed 's/^/# /' "$out/err" | tail -n 20
echo "1..$n"
[ "$failed" = 0 ]

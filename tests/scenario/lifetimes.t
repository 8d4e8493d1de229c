#!/usr/bin/env bash
# T1-T8, L4: files that live as long as what they stand for, over three hosts,
# and the stories U13 and U14.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need setfattr getfattr inotifywait python3
SESSION_TTL=8000 # half of it outlasts an election on a machine that stalls
export CLUSTER_CONF="session_ttl_ms = $SESSION_TTL
write_timeout_ms = 30000"
cluster_up 3
A=$(host 1) B=$(host 2) C=$(host 3)

life() { getfattr --only-values -n gov.lifetime "$1" 2>/dev/null; }
xattr() { getfattr --only-values -n "gov.$2" "$1" 2>/dev/null; }
gone() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
there() { [ -e "$1" ] || [ -L "$1" ]; }
gone_everywhere() { gone "$A/$1" && gone "$B/$1" && gone "$C/$1"; }
shows() { [ "$(cat "$1")" = "$2" ]; }
# applied I: how many commands host I has applied
applied() { metric "$1" govfs_commands_applied; }
at_rest() { # nothing is under way: two looks alike
	local before
	before=$(rev 1) && sleep 0.3 && [ "$(rev 1)" = "$before" ] &&
	    same 1 2 3
}
watch() { # I DIRECTORY: its events go to $tmp/events.I
	inotifywait -m --format '%e %f' "$(host "$1")/$2" > "$tmp/events.$1" \
	    2> "$tmp/watching.$1" &
	watchers="$watchers $!"
	wait_for 5 grep -q established "$tmp/watching.$1"
}
unwatch() {
	# shellcheck disable=SC2086
	kill $watchers
	watchers=
}
# quietly COMMAND...: succeeds where no other commit comes in between, as of a
# host that a busy machine holds up, which nodes/ tells
quietly() {
	local n
	for n in 1 2 3; do
		! "$@" || return 0
	done
	return 1
}
# leaders: how many there were; each new one may add one ttl to what expires
leaders() { grep -ho 'leads, term [0-9]*' "$DIR"/*/log | sort -u | wc -l; }
watchers=
# counted I EVENT [NAME]: how often
counted() { grep -c "^$2 ${3:-}" "$tmp/events.$1"; }
has_life() { [ "$(life "$1")" = "$2" ]; }

# ---- T1, and what a new tree says ----
echo x > "$A/config/f"
is "$(life "$A/config/f")" forever "T1: files live for ever by default"
is "$(life "$A/status")" ttl=10s "T2: status/ gives ttl=10s"
mkdir "$A/status/t2" "$A/status/t6" "$A/status/app"
is "$(life "$A/status/t2")" ttl=10s "T2: ... which directories inherit"
is "$(gov ttl "$A/status/t2" 8s)" ttl=8s "T2: gov ttl sets it"
is "$(gov ttl "$A/status/t2")" ttl=8s "T2: ... and shows it"
nok "T2: gov ttl refuses nonsense" gov ttl "$A/status/t2" soon 2>/dev/null
gov ttl "$A/status/t6" 5s > /dev/null
wait_for 2 at_rest

# ---- T2: expiry, measured ----
for i in 1 2 3; do watch $i status/t2; done
run_actors lifetimes.py expiry 200 8
all_deleted() { [ "$(counted "$1" DELETE)" -ge 200 ]; }
for i in 1 2 3; do
	wait_for 2 all_deleted $i
	is "$(counted $i DELETE)" 200 "T2: one DELETE per file on host $i"
	is "$(counted $i CREATE)" 200 "T2: one CREATE per file on host $i"
done
is "$(counted 2 MODIFY) $(counted 2 ATTRIB) $(counted 3 MODIFY) $(
    counted 3 ATTRIB)" "$(counted 3 MODIFY) 0 $(counted 3 MODIFY) 0" \
    "T6: the other hosts are told of no refresh"
unwatch

# ---- T6: a refresh costs nothing ----
echo same > "$A/status/t6/g"
wait_for 2 shows "$B/status/t6/g" same
is "$(life "$B/status/t6/g")" ttl=5s "T2: files inherit the ttl"
watch 2 status/t6
counts() { echo "$(rev 1) $(applied 1) $(applied 2) $(applied 3)"; }
refreshes() { # without a commit
	local before
	wait_for 2 at_rest
	before=$(counts)
	for _ in 1 2 3; do
		touch "$A/status/t6/g"
		touch -d '2020-01-01' "$C/status/t6/g"
		echo same > "$A/status/t6/g"
		echo same > "$C/status/t6/g"
		sleep 0.1
	done
	sleep 0.5
	[ "$(counts)" = "$before" ]
}
ok "T6: touch, utimens and equal rewrites: no revision, no log entry" \
    quietly refreshes
is "$(grep -vE '^(OPEN|ACCESS|CLOSE_NOWRITE)' "$tmp/events.2")" "" \
    "T6: ... and no event on a host that doesn't write"
was=$(rev 1)
echo other > "$A/status/t6/g"
is "$(rev 1)" $((was + 1)) "T2: a changed rewrite is one revision"
ok "T2: ... which the others see" wait_for 2 shows "$C/status/t6/g" other
unwatch
run_actors lifetimes.py fresh 5

# ---- T4: as long as it is open ----
mkdir "$A/status/t4"
setfattr -n gov.lifetime -v open "$A/status/t4"
wait_for 2 has_life "$B/status/t4" open
exec 7> "$A/status/t4/empty"
ok "T4: in an \`open' directory a file is there as soon as it is opened" \
    soon 500 test -e "$B/status/t4/empty"
exec 7>&-
ok "T4: ... and goes when it is closed" wait_for 1 gone "$B/status/t4/empty"

holder() { # FILE: a shell that has it open, and a child that has it too
	bash -c 'exec 8> "$1"
		setfattr -n gov.lifetime -v open /proc/self/fd/8
		echo content >&8
		sleep 100 & echo $! > "$2"; wait' - "$1" "$tmp/child" \
		{tap_out}>&- {tap_err}>&- &
	holder=$!
	disown
}
rm -f "$tmp/child"
holder "$A/config/held"
wait_for 5 test -s "$tmp/child"
ok "T4: the others see it with its content" \
    wait_for 2 shows "$B/config/held" content
is "$(life "$B/config/held")" open "T4: ... and its lifetime"
is "$(xattr "$B/config/held" owner)" h1 "T4: gov.owner tells the host"
nok "T4: another host may not write it" \
    cp "$B/config/f" "$B/config/held" 2> "$tmp/err"
like "$(cat "$tmp/err")" "*not permitted*" "T4: ... EPERM"
nok "T4: ... nor rename over it" \
    python3 -c 'import os, sys; os.rename(*sys.argv[1:])' \
    "$B/config/f" "$B/config/held" 2>/dev/null
nok "T4: ... nor take it over" \
    setfattr -n gov.lifetime -v open "$B/config/held" 2> "$tmp/err"
is "$(xattr "$B/config/held" owner)" h1 "T4: ... it is its host's"
kill -9 $holder
sleep 0.6
ok "T4: it lives while a child has the descriptor" there "$B/config/held"
kill -9 "$(cat "$tmp/child")"
ok "T4: gone 0.5 s after kill -9 of the last holder" \
    soon 500 gone "$B/config/held"
python3 - "$A/config/dup" "$tmp/go" <<'PY' &
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.setxattr(fd, 'gov.lifetime', b'open')
os.dup(fd)
os.close(fd)
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
PY
wait_for 2 there "$B/config/dup"
sleep 0.4
ok "T4: ... while a dup of the descriptor is open" there "$B/config/dup"
: > "$tmp/go"
ok "T4: ... and not longer" wait_for 1 gone "$B/config/dup"
wait

# Its maker is killed while the answer can't come through.
orphan() {
	local leader victim pid made=1
	rm -f "$tmp/go" "$tmp/go.ready"
	leader=$(cluster leader)
	victim=$((leader % 3 + 1))
	python3 -c 'import os, sys, time
open(sys.argv[2] + ".ready", "w")
while not os.path.exists(sys.argv[2]):
    time.sleep(0.02)
os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)' \
		"$(host $victim)/status/t4/orphan" "$tmp/go" \
		{tap_out}>&- {tap_err}>&- 2> /dev/null &
	pid=$!
	disown
	wait_for 5 test -e "$tmp/go.ready"
	fault $victim net_drop_in -1
	: > "$tmp/go"
	wait_for 1 there "$(host "$leader")/status/t4/orphan" && made=0
	kill -9 $pid
	sleep 0.2
	fault $victim net_drop_in 0
	return $made
}
made=0
for _ in 1 2 3 4 5; do # the leader may change just then
	if orphan; then
		made=1
		break
	fi
	diag "once more: the leader was not there"
	cluster ready
done
is "$made" 1 "T4: a file is made by one who is not told any more"
ok "T4: ... and does not outlive him" \
    soon 1000 gone_everywhere status/t4/orphan
cluster ready

# F2: what a killed writer has not finished is never seen.
watch 3 config
python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.setxattr(fd, "gov.lifetime", b"open")
os.write(fd, b"half")
time.sleep(100)' "$A/config/half" {tap_out}>&- {tap_err}>&- &
half=$!
disown
wait_for 2 there "$C/config/half"
sleep 0.3
kill -9 $half
ok "T4: the file of a killed writer goes" wait_for 2 gone "$C/config/half"
is "$(counted 3 MODIFY half)" 0 "F2: ... and half of it was never seen"
unwatch

# ---- T5: as long as the process ----
process() { # FILE: a process that has closed it again
	python3 -c 'import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.setxattr(fd, "gov.lifetime", b"process")
os.write(fd, b"here\n")
os.close(fd)
time.sleep(100)' "$1" {tap_out}>&- {tap_err}>&- &
	process=$!
	disown
}
for signal in KILL TERM SEGV; do
	process "$A/config/proc"
	ok "T5: the others see it" wait_for 2 shows "$B/config/proc" here
	sleep 0.3
	ok "T5: it stays when the descriptor is closed" there "$B/config/proc"
	kill -$signal $process
	ok "T5: it goes with the process (SIG$signal)" \
	    soon 500 gone "$B/config/proc"
done
bash -c 'exec 8> "$1"
	setfattr -n gov.lifetime -v process /proc/self/fd/8
	exec 8>&-
	until [ -e "$2" ]; do sleep 0.05; done' - "$A/config/sh" "$tmp/end" \
	{tap_out}>&- &
wait_for 2 there "$B/config/sh"
sleep 0.3
ok "T5: setfattr speaks for the process that made the file" \
    there "$B/config/sh"
: > "$tmp/end"
wait
ok "T5: ... and it goes with that" wait_for 1 gone "$B/config/sh"

# ---- T3, L4: with the host's session ----
leader=$(cluster leader)
victim=$((leader % 3 + 1)) other=$(((leader + 1) % 3 + 1))
V=$(host $victim) O=$(host $other)
mkdir "$V/locks/dir"
echo data > "$V/config/target"
python3 -c 'import os, sys; os.open(sys.argv[1], os.O_CREAT | os.O_EXCL)' \
    "$V/locks/excl"
ln "$V/config/target" "$V/locks/link"
ln -s nowhere "$V/locks/symlink"
: > "$V/locks/plain"
mkdir "$V/locks/full" && echo x > "$V/locks/full/f"
is "$(life "$V/locks/excl") $(life "$V/locks/dir") $(life "$V/locks/plain")" \
    "session session forever" "T3: what is a lock has lifetime session"
is "$(xattr "$V/locks/excl" owner)" "h$victim" "T3: gov.owner tells the host"
wait_for 2 there "$O/locks/full/f"
terms=$(leaders) at=$(pace_ms) lease=$(($(now_ms) + $(lease_ms $victim)))
cluster kill $victim
all_there() {
	there "$O/locks/dir" && there "$O/locks/excl" &&
	    there "$O/locks/link" && there "$O/locks/symlink"
}
all_gone() {
	gone "$O/locks/dir" && gone "$O/locks/excl" &&
	    gone "$O/locks/link" && gone "$O/locks/symlink"
}
one_gone() { ! all_there; }
wait_for 10 one_gone
first=$(now_ms)
ok "T3 L4: they go when the dead host's session has expired" \
    wait_for 1 all_gone
took=$(($(pace_ms) - at))
diag "session ttl $SESSION_TTL ms: they went $took ms after the kill"
ok "T3 L4: not before" test "$first" -ge "$lease"
ok "T3 L4: ... and soon after" test "$took" -le \
    $((SESSION_TTL * (1 + $(leaders) - terms) + 1500))
ok "T3: plain files stay" there "$O/locks/plain"
ok "T3: what a link pointed to stays" shows "$O/config/target" data
ok "T3: a directory stays while there is something in it" \
    there "$O/locks/full/f"
rm "$O/locks/full/f"
ok "T3: ... and goes with the last of it" wait_for 1 gone "$O/locks/full"
echo x > "$O/status/t6/old"
gov ttl "$O/status/t6/old" 1h > /dev/null
sleep 1
touch "$O/status/t6/old"
sleep 0.5
cluster start $victim
cluster ready
same_time() {
	[ "$(stat -c %Y "$V/status/t6/old")" = "$(
	    stat -c %Y "$O/status/t6/old")" ]
}
ok "T6: a host that starts learns when files were refreshed" \
    wait_for 2 same_time

# ---- T8: cut off, and back ----
cut() { # I: nothing comes through any more
	fault "$1" net_drop_in -1 && fault "$1" net_drop_out -1
}
heal() { fault "$1" net_drop_in 0 && fault "$1" net_drop_out 0; }
leader=$(cluster leader)
victim=$((leader % 3 + 1)) other=$(((leader + 1) % 3 + 1))
V=$(host $victim) O=$(host $other)
rm -f "$tmp/child"
mkdir -p "$V/status/proxy"
holder "$V/status/proxy/one"
wait_for 5 test -s "$tmp/child"
process "$V/config/proc"
exec 7> "$V/status/t4/seven" 6> "$V/status/t4/six" 5> "$V/status/t4/five"
echo seven >&7
echo six >&6
rm "$V/status/t4/six"
echo five >&5
mv "$V/status/t4/five" "$V/status/t4/moved"
exec 4> "$V/status/t4/four"
touch "$V/status/t6/mine"
wait_for 2 shows "$O/status/proxy/one" content
wait_for 2 shows "$O/config/proc" here
wait_for 2 shows "$O/status/t4/seven" seven
wait_for 2 shows "$O/status/t4/moved" five
cut $victim
ok "T8: cut off, its files vanish elsewhere" \
    wait_for 8 gone "$O/status/proxy/one"
ok "T8: ... all of them" wait_for 1 gone "$O/config/proc"
refused() { ! touch "$V/status/t6/mine" 2> "$tmp/err"; }
ok "T6: once the session is lost, a refresh is refused" wait_for 4 refused
like "$(cat "$tmp/err")" "*Read-only file system*" "T6: ... EROFS"
ln "$O/config/target" "$O/status/t4/four"
heal $victim
ok "T8: an open file comes back by itself, with its content" \
    wait_for 10 shows "$O/status/proxy/one" content
wait_for 2 has_life "$O/status/proxy/one" open
is "$(life "$O/status/proxy/one") $(xattr "$O/status/proxy/one" owner)" \
    "open h$victim" "T8: ... its lifetime and its owner"
ok "T8: so does one of a process" wait_for 2 shows "$O/config/proc" here
ok "T8: ... and one of an \`open' directory" \
    wait_for 2 shows "$O/status/t4/seven" seven
ok "T8: the host itself sees it" wait_for 2 shows "$V/status/t4/seven" seven
ok "T8: ... one that was renamed meanwhile, by its new name" \
    wait_for 2 shows "$O/status/t4/moved" five
nok "T8: ... and not by the old one" there "$O/status/t4/five"
nok "T8: ... but none that had been removed" there "$O/status/t4/six"
ok "T8: ... and none whose name is another's now" \
    shows "$O/status/t4/four" data
echo eight >&7
ok "T8: what is written through the descriptor goes there" \
    wait_for 2 grep -q eight "$O/status/t4/seven"
exec 7>&- 6>&- 5>&- 4>&-
ok "T4: a file that came back goes when it is closed" \
    wait_for 1 gone "$O/status/t4/seven"
kill -9 $process
ok "T5: ... or its process dies" wait_for 1 gone "$O/config/proc"
kill -9 $holder "$(cat "$tmp/child")"
ok "T4: ... or its last holder" wait_for 1 gone "$O/status/proxy/one"

# ---- T7: a change of leader, a stalled leader ----
cluster ready
mkdir "$O/status/t7"
gov ttl "$O/status/t7" 3500ms > /dev/null
run_actors lifetimes.py present stopped
run_actors lifetimes.py present killed
ok "T7: unrefreshed, it goes" wait_for 5 gone_everywhere status/t7/f

# ---- U13: heartbeat by touch ----
ok "U13: gov ttl 3s DIRECTORY" gov ttl 3s "$A/status/app" > /dev/null
for i in 1 2 3; do watch $i status/app; done
while :; do
	now_ms > "$tmp/touched"
	touch "$A/status/app/web-1"
	sleep 0.5
done &
toucher=$!
wait_for 2 there "$B/status/app/web-1"
unchanged() {
	local before
	gov sync "$B" > /dev/null
	before=$(cat "$B/.gov/version")
	sleep 4
	[ "$(cat "$B/.gov/version")" = "$before" ]
}
ok "U13 T6: touches make no revision" quietly unchanged
kill $toucher
wait $toucher 2>/dev/null
terms=$(leaders) at=$(pace_ms)
wait_for 5 gone_everywhere status/app/web-1
took=$(($(pace_ms) - at))
ok "U13 T2: it goes when the touches end, 4.5 s after the last" \
    test $took -le $((4700 + 3000 * ($(leaders) - terms)))
ok "U13 T2: ... not before 3 s are over" \
    test $(($(now_ms) - $(cat "$tmp/touched"))) -ge 3000
for i in 1 2 3; do
	wait_for 2 grep -q '^DELETE' "$tmp/events.$i"
done
sleep 0.3
for i in 1 2 3; do
	is "$(counted $i CREATE) $(counted $i DELETE)" "1 1" \
	    "U13: one CREATE and one DELETE on host $i"
done
unwatch

# ---- U14: presence by an open descriptor ----
listed() { [ "$(find "$B/status/proxy" -type f | wc -l)" = "$1" ]; }
bash -c 'exec 8> "$1/status/proxy/$(cat /proc/sys/kernel/random/uuid)"
	setfattr -n gov.lifetime -v open /proc/self/fd/8
	echo "{\"port\":3307}" >&8
	while :; do read -rt 100 <> <(:); done' - "$A" {tap_out}>&- {tap_err}>&- &
presence=$!
disown
ok "U14: the others see who is present" wait_for 2 listed 1
kill -9 $presence
ok "U14 T4: ... and who is not, 0.2 s after kill -9" soon 200 listed 0
ok "F7: the hosts agree at the end" wait_for 5 same 1 2 3

# ---- a daemon that is stopped, with files that stand for something ----
process "$C/config/proc"
exec 7> "$C/status/t4/stays"
mkdir "$C/locks/mine"
wait_for 2 shows "$A/config/proc" here
wait_for 2 there "$A/locks/mine"
pid=$(cluster pid 3)
expired() {
	echo "$(metric 1 govfs_sessions_expired)" \
	    "$(metric 2 govfs_sessions_expired)"
}
before=$(expired)
kill -TERM "$pid"
ended() { ! kill -0 "$pid"; }
ok "T3: a daemon stops though it watches a process" wait_for 5 ended
ok "T3: ... and its files go at once" wait_for 1 gone "$A/locks/mine"
ok "T5: ... a process's, too" wait_for 1 gone "$A/config/proc"
ok "T4: ... and an open one" wait_for 1 gone "$A/status/t4/stays"
is "$(expired)" "$before" "T3: ... without a session that expired"
exec 7>&-
kill -9 $process
cluster down

# ---- one host alone ----
DIR=$tmp/one
cluster up 1
A=$(host 1)
mkdir "$A/status/t4"
setfattr -n gov.lifetime -v open "$A/status/t4"
exec 7> "$A/status/t4/f"
ok "T4: one host: there while it is open" there "$A/status/t4/f"
exec 7>&-
ok "T4: one host: gone when it is closed" soon 500 gone "$A/status/t4/f"
process "$A/config/proc"
wait_for 2 shows "$A/config/proc" here
kill -9 $process
ok "T5: one host: it goes with its process" soon 500 gone "$A/config/proc"
gov ttl "$A/status" 3s > /dev/null
echo x > "$A/status/f"
was=$(rev 1)
for _ in 1 2 3 4; do
	sleep 1
	at=$(now_ms)
	touch "$A/status/f"
done
is "$(rev 1)" "$was" "T6: one host: a refresh is no revision"
ok "T2: one host: it goes after its ttl, at most 1.5 s late" \
    soon 4550 gone "$A/status/f"
took=$(($(now_ms) - at))
ok "T2: ... and not before ($took ms)" test "$took" -ge 3000
done_testing

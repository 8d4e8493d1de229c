#!/usr/bin/env bash
# gov.t: every command of gov on three hosts, as gov(1) promises it.
# What is called through ok and wait_for looks unreachable to shellcheck.
# shellcheck disable=SC2317 source=tests/lib.sh
. "${GOV_SRC:-$(dirname "$0")/..}/tests/lib.sh"

need jq getfattr
need_mounts
patient_up 3
a=$(host 1) b=$(host 2)
rev_of() { getfattr --absolute-names --only-values -n gov.rev "$1"; }

# ---- put, cat ----
ok 'put writes a file' gov put "$a/config/f" <<< one
is "$(gov cat --strict "$b/config/f")" one \
    'U2: what returned on one host is in a strict cat on another'
r=$(rev_of "$a/config/f")
is "$(gov put --print-rev "$a/config/f" <<< two)" $((r + 1)) \
    'put is one revision and prints it'
is "$(gov put --print-rev "$a/config/f" <<< two)" $((r + 1)) \
    'F5: the same bytes again are none'
out=$(gov put --if-rev "$r" "$b/config/f" <<< three)
is "$?" 4 'U7: an old revision is a conflict: exit 4'
is "$out" "conflict: $b/config/f is at revision $((r + 1))" \
    'and it says where the file is now'
is "$(gov put --if-rev "$r" --json "$b/config/f" <<< three | jq -r .error)" \
    conflict '--json says it too'
is "$(gov cat "$b/config/f")" two 'F4: and the other content stays'
exits 0 'the right revision is none' \
    gov put --if-rev $((r + 1)) "$b/config/f" <<< three
gov put --if-rev 0 "$b/config/f" <<< four > "$tmp/out"
is "$?" 4 '--if-rev 0 on a file that is there is a conflict'
before=$(gov sync "$b")
is "$(gov put --if-rev 0 --print-rev "$b/config/g" <<< new)" $((before + 1)) \
    'F2: and makes one that is not, in one revision'
is "$(gov cat --strict "$a/config/g")" new 'with its content'
gov put --if-rev 0 "$a/locks/put" <<< x
is "$(getfattr --absolute-names --only-values -n gov.owner "$a/locks/put")" h1 \
    'T3: as O_EXCL, it takes a name for the session where names are locks'
gov put --if-rev 0 "$b/locks/put" <<< y > "$tmp/out"
is "$?" 4 'and on another host that is a conflict'
gov put --if-rev 3 "$b/config/none" <<< x > "$tmp/out"
is "$?" 4 'a revision of a file that is gone is a conflict'
nok 'and the file is not made' test -e "$b/config/none"
exits 1 'put below a directory that is not there fails' \
    gov put "$a/config/p/q/f" <<< x 2> "$tmp/err"
exits 0 'put -p makes it' gov put -p "$a/config/p/q/f" <<< x
exits 1 'put refuses what is in no govfs' gov put "$tmp/f" <<< x 2> "$tmp/err"
nok 'and does not touch it' test -e "$tmp/f"
before=$(rev 1)
head -c 5000000 /dev/zero > "$tmp/big"
exits 1 'F8: too much is refused' gov put "$a/config/f" < "$tmp/big" 2> "$tmp/err"
head -c 2000000 /dev/zero > "$tmp/big"
exits 1 'F8: more than max_file is refused' \
    gov put "$a/config/f" < "$tmp/big" 2> "$tmp/err"
is "$(cat "$a/config/f") $(rev 1)" "three $before" \
    'F1: of a put that failed half way nothing is committed'
for condition in '' '--if-rev 0' '--if-rev 7'; do
	# shellcheck disable=SC2086
	nok "F2: nor of a file that is not there, put $condition" \
	    gov put $condition "$a/config/new" < "$tmp/big" > "$tmp/out" 2>&1
	ok 'which is not made' wait_for 5 test ! -e "$a/config/new"
done
is "$(gov sync "$a")" "$before" 'by no revision'
is "$(gov cat --json "$a/config/f" | jq -r .content)" three 'cat --json'
printf '\377\0' | gov put "$a/config/bin"
is "$(gov cat --json "$a/config/bin" | jq -r .content_hex)" ff00 \
    'bytes that are no text are hexadecimal in JSON'
exits 1 'cat of nothing fails' gov cat "$a/config/none" 2> "$tmp/err"

# ---- sync ----
echo synced > "$a/config/s"
r=$(gov sync "$b")
ok 'O4: after sync all that was committed before is there' \
    test "$r" -ge "$(rev_of "$a/config/s")"
is "$(cat "$b/config/s")" synced 'and is read by a plain cat'
is "$(gov sync --json "$b" | jq .rev)" "$r" 'sync --json'
is "$(gov sync --state "$(state 3)")" "$r" 'sync --state asks the daemon'

# ---- status ----

# Whom root lets reach the programs and the place of this test.
chmod 711 "$tmp"
as_nobody() {
	setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}
if as_nobody test -x "$GOV"; then
	ok 'status is for everybody' as_nobody "$GOV" status "$b" > "$tmp/out"
	like "$(as_nobody "$GOV" why "$b/config" 2>&1)" \
	    "$b/config: nothing has failed there*" 'and so is why'
	nok 'debug is not' as_nobody "$GOV" debug metrics "$b" \
	    > "$tmp/out" 2>&1
	nok 'nor what else the daemon keeps' \
	    as_nobody cat "$(state 2)/identity" 2> "$tmp/err"
else
	skip "others can't run $GOV"
fi
agreed() { # on who leads: what follows says how
	leader=$(cluster leader) && st=$(gov status --json "$b") &&
	    jq -e --arg leader "h$leader" '.health == "ok" and
		.leader == $leader and any(.members[]; .role == "leader" and
		    .host == $leader)' <<< "$st" > /dev/null
}
wait_for 10 agreed
is "$(jq -r .health <<< "$st")" ok 'status: health'
is "$(jq -r .leader <<< "$st")" "h$leader" 'status: leader'
is "$(jq -r '[.members[] | select(.role == "leader") | .host] | join(" ")' \
    <<< "$st")" "h$leader" 'status: one member leads'
is "$(jq '.members | length' <<< "$st")" 3 'status: all members'
caught_up() {
	gov status --json "$b" | jq -e '.rev as $r |
	    all(.members[]; .rev == $r and .replayed == $r and .alive)' \
	    > /dev/null
}
ok 'status: applied and replayed revision of every host' \
    wait_for 10 caught_up
like "$(gov status "$b")" 'ok: h2 is *HOST*ROLE*h1*h2*h3*' \
    'status: a line of health, then a table of hosts, sorted'

# ---- watch ----
# err is emptied before each: what the one before said is no sign of this one.
: > "$tmp/err"
gov watch -n 8 "$b/config" > "$tmp/seen" 2> "$tmp/err" &
watcher=$!
ok 'watch starts' wait_for 5 grep -q watching "$tmp/err"
mkdir -p "$a/config/w/x"
ok 'W1: watch sees what another host does' \
    wait_for 5 grep -q '^CREATE,ISDIR .*/w/x ' "$tmp/seen"
echo 1 > "$a/config/w/x/f"
ok 'in new directories, too' \
    wait_for 5 grep -q '^CLOSE_WRITE .*/w/x/f ' "$tmp/seen"
is "$(sed -n 's/^CLOSE_WRITE .* //p' "$tmp/seen")" \
    "$(rev_of "$a/config/w/x/f")" 'W2: and prints the revision of the content'
mv "$a/config/w/x/f" "$a/config/w/x/g"
rm "$a/config/w/x/g"
watched() { ! kill -0 "$watcher"; }
ok 'watch -n ends' wait_for 10 watched
is "$(sed "s|$b/config/||; s/ [0-9-]*$//" "$tmp/seen" | tr '\n' ' ')" \
    'CREATE,ISDIR w CREATE,ISDIR w/x CREATE w/x/f MODIFY w/x/f CLOSE_WRITE w/x/f MOVED_FROM w/x/f MOVED_TO w/x/g DELETE w/x/g ' \
    'all of it, in order'
: > "$tmp/err"
gov watch "$b/config" > "$tmp/seen" 2> "$tmp/err" &
watcher=$!
wait_for 5 grep -q watching "$tmp/err"
for i in $(seq 20); do
	mkdir -p "$a/config/new$i/a/b"
	echo "$i" > "$a/config/new$i/a/b/f"
done
all_found() { [ "$(grep -c '^CREATE .*/a/b/f ' "$tmp/seen")" = 20 ]; }
ok 'nothing is missed in a directory just made, and nothing is told twice' \
    wait_for 5 all_found
kill "$watcher"
wait_for 5 watched
: > "$tmp/err"
gov watch --json -n 1 "$b/config/f" > "$tmp/seen" 2> "$tmp/err" &
watcher=$!
wait_for 5 grep -q watching "$tmp/err"
echo seen > "$a/config/f"
wait_for 10 watched
is "$(jq -r '.event, .path' "$tmp/seen" | tr '\n' ' ')" \
    "MODIFY $b/config/f " 'watch --json, of one file'

# ---- why ----
exits 1 'why: exits 1 where nothing is known' \
    gov why "$a/config/bin" > "$tmp/out"
nok 'a path outside is refused' gov why "$tmp" 2> "$tmp/err"
gov put --if-rev 1 "$a/config/f" <<< x > "$tmp/out"
ok 'why: exits 0 with a sentence after a failure' \
    gov why "$a/config/f" > "$tmp/out"
like "$(cat "$tmp/out")" "$a/config/f: Stale file handle: ?*" \
    'it names path, errno and reason'
is "$(gov why --json "$a/config/f" | jq -r .error)" ESTALE 'why --json'
head -c 2000000 /dev/zero > "$a/config/large" 2> "$tmp/err"
like "$(gov why "$a/config/large")" '*: File too large: ?*' \
    'U37: why a write was too much, of a file not born yet'
gov put "$a/config/larger" < "$tmp/big" 2> "$tmp/err"
like "$(cat "$tmp/err")" "*larger: File too large*gov: ?*max_file*" \
    'U37: put says why by itself'
mkfifo "$a/config/fifo" 2> "$tmp/err"
like "$(gov why "$a/config/fifo")" '*: Operation not permitted: ?*' \
    'U37: why there is no FIFO'
ln -s "$a/config" "$tmp/link"
ok 'why: through a symbolic link to the tree' gov why "$tmp/link/f" > "$tmp/out"

# ---- debug ----
ok 'debug digest: all hosts are equal' wait_for 10 same 1 2 3
ok 'debug fault sets' fault 2 replay_delay_ms 1
ok 'debug fault lists' grep -qx 'replay_delay_ms 1' \
    <<< "$(gov debug fault --state "$(state 2)")"
ok 'debug fault clears' fault 2 replay_delay_ms 0
ok 'debug fault: after --, a value may be negative' \
    gov debug fault --state "$(state 2)" -- wall_jump_s -1
ok 'and is taken' grep -qx 'wall_jump_s -1' \
    <<< "$(gov debug fault --state "$(state 2)")"
fault 2 wall_jump_s 0
exits 1 'an unknown fault point is refused' fault 2 none 1 2> "$tmp/err"
ok 'debug metrics counts' test "$(metric 1 govfs_commands_applied)" -gt 5
settled() {
	gov debug dump --state "$(state 2)" > "$tmp/out" &&
	    grep -qx 'queued 0' "$tmp/out" && grep -qx 'differences 0' "$tmp/out"
}
ok 'debug dump: kernel and committed tree agree in the end' \
    wait_for 10 settled
exits 2 'debug of what is not is a wrong command line' \
    gov debug everything 2> "$tmp/err"

# ---- what is not there, or makes no sense ----
for command in "lock $tmp/x -- touch $tmp/ran" "ttl $tmp" "sync $tmp" \
    "cat --strict $tmp/err" "elect -m $tmp n -- touch $tmp/ran"; do
	# shellcheck disable=SC2086
	exits 1 "${command%% *}: refuses what is in no govfs" \
	    gov $command > "$tmp/out" 2> "$tmp/err"
	like "$(cat "$tmp/err")" '*: this is in no mounted govfs' \
	    'and says so'
done
for name in '' a/b; do
	exits 2 "elect '$name': is no name" \
	    gov elect -m "$a" "$name" -- touch "$tmp/ran" 2> "$tmp/err"
done
nok 'L1: nothing was run without a lock of the cluster' \
    test -e "$tmp/ran" -o -e "$tmp/x"
for wait in abc -1 1s nan inf; do
	exits 2 "lock --wait=$wait is a wrong command line" \
	    gov lock --wait=$wait "$a/locks/w" -- true 2> "$tmp/err"
done
exec 7> "$a/locks/w"
flock 7
for wait in 0 0.1 0.9999999; do
	exits 4 "lock --wait=$wait gives up" timeout 60 \
	    "$GOV" lock --wait=$wait "$b/locks/w" -- true 2> "$tmp/err"
done
exec 7>&-
exits 2 'a lifetime that is none is a wrong command line' \
    gov ttl "$a/config" 3x 2> "$tmp/err"
like "$(cat "$tmp/err")" '*3x: not a duration*' 'and it says what would be one'
head -c 900000 /dev/zero > "$a/config/long"
exits 1 'cat: what could not be printed is a failure' \
    gov cat "$a/config/long" > /dev/full 2> "$tmp/err"
odd=$a/config/$(printf 'odd\377')
is "$(gov put --json "$odd" <<< x | jq -r .path)" "$a/config/odd?" \
    'a path that is no UTF-8 is shown in JSON'
is "$(gov cat --json "$odd" | jq -r .path,.content)" "$a/config/odd?
x" 'by all commands'
exits 1 'why: and is none that the daemon can be asked about' \
    gov why "$odd" 2> "$tmp/err"
like "$(cat "$tmp/err")" '*in UTF-8 only' 'as it says'
exits 2 'an unknown option is a wrong command line' \
    gov cat --none "$a/config/f" 2> "$tmp/err"
like "$(cat "$tmp/err")" "gov: *--none*" 'of gov, not of cat(1)'

# ---- init ----
ok 'init makes a host' gov init --state "$tmp/s" > "$tmp/out"
exits 1 'init refuses a second time' gov init --state "$tmp/s" 2> "$tmp/err"
like "$(gov init --json --state "$tmp/s2" | jq -r .id)" \
    '????????????????' 'init --json'
ok 'init with a list takes the id from it' gov init --state "$tmp/s3" \
    -c "$tmp/conf" --name x --listen 127.0.0.1:7001 \
    --members x=1f@127.0.0.1:7001,y=2f@127.0.0.1:7002 > "$tmp/out"
like "$(cat "$tmp/s3/identity")" '*member = 000000000000001f*' \
    'and its identity has it'
like "$(cat "$tmp/conf")" '*[[]members]*x = 1f 127.0.0.1:7001*' \
    'and the configuration lists them'
exits 1 'init refuses a list without this host' gov init --state "$tmp/s4" \
    -c "$tmp/conf4" --name z --members x=1f@127.0.0.1:7001 2> "$tmp/err"
nok 'and leaves nothing' test -e "$tmp/s4" -o -e "$tmp/conf4"

# ---- without a majority, changes wait 3 s on one host, 25 s on the others ----
cluster down
sed -i 's/^write_timeout_ms.*/write_timeout_ms = 3000/' "$DIR/1/govfs.conf"
sed -i 's/^write_timeout_ms.*/write_timeout_ms = 25000/' "$DIR"/[23]/govfs.conf
cluster up 3 || bail_out "the cluster does not come up again"
# locked NAME COMMAND...: gov says what it does, and that it ran, in $tmp/NAME
locked() {
	local says=$tmp/$1
	shift
	: > "$says"
	gov "$@" -- echo it ran >> "$says" 2>&1 &
}
flock -F "$a/locks/w" sleep 600 &
holder=$!
wait_for 10 grep -q '^held' "$a/.gov/locks/locks/w"
locked queued lock "$a/locks/w"
wait_for 10 grep -q '^waits' "$a/.gov/locks/locks/w"
for i in 2 3; do
	fault $i net_drop_in -1
	fault $i net_drop_out -1
done
locked suspended lock "$a/locks/x"
alone() { ! gov status --json "$(host "$1")" | jq -e '.leader != ""' >/dev/null; }
wait_for 10 alone 2
wait_for 10 alone 3
gov sync "$b" > "$tmp/sync.mount" 2>&1 &
sync_mount=$!
gov sync --state "$(state 2)" > "$tmp/sync.state" 2>&1 &
sync_state=$!
timeout 300 "$GOV" sync "$(host 3)" > "$tmp/sync.stopped" 2>&1 &
sync_stopped=$!
under_way() { [ "$(metric 3 govfs_parked)" -ge 1 ]; }
wait_for 10 under_way
kill -STOP "$(cluster pid 3)"
readonly_now() { [ "$(head -n 1 "$a/.gov/health")" = readonly ]; }
ok 'O6: without a majority the host becomes readonly' wait_for 20 readonly_now
is "$(gov cat "$a/config/g")" new 'O6: reading goes on'
exits 1 'O6: writing fails' gov put "$a/config/g" <<< x 2> "$tmp/err"
like "$(cat "$tmp/err")" '*Read-only file system*' 'with EROFS'
ok 'and gov why says why' gov why "$a/config/g" > "$tmp/out"
like "$(cat "$tmp/out")" '*majority*' 'in a sentence'
exits 1 'sync fails' gov sync "$a" 2> "$tmp/err"
exits 1 'so does cat --strict' gov cat --strict "$a/config/g" 2>> "$tmp/err"
is "$(grep -c '^gov: .* majority' "$tmp/err")" 2 'and both say why'
locked readonly lock "$a/locks/y"
locked elect elect -m "$a" db
for i in suspended readonly elect; do
	ok "L2: lock waits where no lock can be taken: $i" wait_for 10 \
	    grep -q 'no lock .* at the moment (.*), waiting' "$tmp/$i"
done
exits 1 'lock -n: does not wait' \
    gov lock -n "$a/locks/w" -- echo it ran > "$tmp/err" 2>&1
exits 1 'lock -w: nor longer than it should' \
    gov lock -w 0.3 "$a/locks/w" -- echo it ran >> "$tmp/err" 2>&1
is "$(grep -c 'no lock .* at the moment (Read-only file system), gov status' \
    "$tmp/err")" 2 'and both say so'

# ---- a daemon that does not answer ----
pid=$(cluster pid 1)
kill -STOP "$pid"
timeout 300 "$GOV" status "$a" > "$tmp/out" 2> "$tmp/err" &
by_mount=$!
exits 1 'O7: a stopped daemon is not waited for for ever' \
    timeout 300 "$GOV" status --state "$(state 1)" 2> "$tmp/err2"
like "$(cat "$tmp/err2")" 'gov: */control: no answer for * s: *restart it' \
    'and gov says what to do'
exits 1 'O7: nor by its mount' wait "$by_mount"
like "$(cat "$tmp/err")" "gov: $a: no answer for * s: *restart it" \
    'with the same words'
kill -CONT "$pid"
ok 'it answers again when it goes on' \
    gov status --state "$(state 1)" > "$tmp/out"

# ---- nor does sync ----
exits 1 'O6: sync waits as long as the daemon does, longer than 20 s' \
    wait "$sync_mount"
exits 1 'by its control socket, too' wait "$sync_state"
cat "$tmp/sync.mount" "$tmp/sync.state" > "$tmp/out"
is "$(grep -c '^gov: .*: ' "$tmp/out") $(grep -c 'no answer' "$tmp/out")" '2 0' \
    'and says what it says'
exits 1 'O7: one that has been stopped meanwhile is not waited for' \
    wait "$sync_stopped"
like "$(cat "$tmp/sync.stopped")" \
    "gov: $(state 3)/control: no answer for * s: *restart it" 'as gov says'
kill -CONT "$(cluster pid 3)"

# ---- a majority again ----
cluster kill 2
exits 1 'status on the mount of a dead daemon fails' gov status "$b" 2> "$tmp/err"
like "$(cat "$tmp/err")" '*the daemon of this mount is gone*' 'and says so'
kill "$holder"
cluster start 2
fault 3 net_drop_in 0
fault 3 net_drop_out 0
for i in queued suspended readonly elect; do
	ok "L2: who waits for a lock goes on: $i" \
	    wait_for 20 grep -qx 'it ran' "$tmp/$i"
done
is "$(cat "$tmp/queued")" 'it ran' 'who was in the queue has heard of nothing'
for i in suspended readonly elect; do
	like "$(cat "$tmp/$i")" "gov: *, waiting until one can
gov: *: locks can be taken again
it ran" "the others of its end, once: $i"
done
done_testing

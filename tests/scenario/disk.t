#!/usr/bin/env bash
# What a disk may do to a host: forget a boot, rot, fill up, fail.  (Torn tails
# at every byte: tests/unit/wal.t.)
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"
need_mounts
need python3

health() { head -n 1 "$(host "$1")/.gov/health"; }
healthy() { [ "$(health "$1")" = ok ]; }
stale() { grep -q '^stale=' "$(host "$1")/.gov/health"; }

# flip FILE OFFSET: one bit of one byte
flip() {
	python3 - "$1" "$2" <<-'PY'
	import sys
	f = open(sys.argv[1], 'r+b'); at = int(sys.argv[2])
	f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 4]))
	PY
}
log_files() { ls "$(state "$1")"/wal/wal-*; }
down() { cluster kill 1; cluster kill 2; cluster kill 3; }

patient_up 3
for n in $(seq 60); do
	echo "content $n" > "$(host $((n % 3 + 1)))/config/f$n"
done
# A record of the log says what was known to be committed when it was written:
# these two make sure that everything before them is.
echo 1 > "$(host 1)/status/after1"
echo 2 > "$(host 2)/status/after2"
wait_for 5 same 1 2 3
tree() { (cd "$(host 1)/config" && find . -type f -exec sha256sum {} + | sort); }
before=$(tree)

# ---- a lost boot id: the store is derived, the log is the truth ----
down
rm -rf "$(state 1)/store"
cluster start 1
is "$(tree)" "$before" "O2: alone after a reboot a host shows what it knew"
nok "O6: ... and says that it has no majority" healthy 1
cluster start 2
cluster start 3
ok "writing resumes by itself" cluster ready 300

# ---- bit rot in each file of the log: noticed, named, no vote ----
for file in first last; do
	cluster kill 2
	cp -a "$(state 2)/wal" "$tmp/wal.good"
	path=$(log_files 2 | if [ $file = first ]; then head -n 1; else
	    tail -n 1; fi)
	# An early record of the file: later ones vouch for it.
	flip "$path" 4200
	cluster start 2
	ok "S4: rot in the $file segment is noticed" wait_for 20 stale 2
	like "$(cat "$(host 2)/.gov/health")" "*$(basename "$path")*" \
	    "... and the file is named"
	is "$(cat "$(host 2)/config/f7")" "content 7" \
	    "... the host still serves reads"
	nok "... but takes no writes" \
	    sh -c 'echo x > "$0"' "$(host 2)/config/rot" 2>/dev/null
	like "$(gov status "$(host 2)" 2>&1)" "*quarantined*" \
	    "... and says so in gov status"
	cluster kill 2
	rm -rf "$(state 2)/wal"
	mv "$tmp/wal.good" "$(state 2)/wal"
	cluster start 2
	ok "with the file put right it takes part again" wait_for 20 healthy 2
done
for copy in 0 1; do
	cluster kill 2
	flip "$(state 2)/wal/vote" $((copy * 4096 + 12))
	cluster start 2
	ok "a damaged copy of term and vote is healed from its twin ($copy)" \
	    wait_for 20 healthy 2
done

# ---- a full disk: the others go on, the host comes back by itself ----
leader=$(cluster leader)
fault "$leader" wal_write_enospc 1
other=$((leader % 3 + 1))
writes_some() {
	for n in $(seq 40); do
		head -c 200000 /dev/urandom > "$(host "$other")/config/big" ||
		    return 1
	done
}
ok "a full disk of the leader: the others take writes" writes_some
another_leads() { local l; l=$(cluster leader) && [ "$l" != "$leader" ]; }
ok "... and lead" wait_for 10 another_leads
is "$(cat "$(host "$leader")/config/f9")" "content 9" \
    "... while its mount stays and serves reads"
fault "$leader" wal_write_enospc 0
ok "with room again it takes part again" wait_for 20 same 1 2 3
ok "... and takes writes" wait_for 10 \
    sh -c 'echo y > "$0"' "$(host "$leader")/config/again"

# ---- a disk that is really full: the host can be started, too ----
full=$((leader % 3 + 1)) other=$leader
small=$(state "$full")
# before what lib.sh does: it never removes what is mounted
unmount_small() {
	local status=$?
	umount -l "$small" 2>/dev/null
	(exit "$status")
	tap_cleanup
}
cluster kill "$full"
mv "$small" "$tmp/state"
mkdir "$small"
trap unmount_small EXIT
mount -t tmpfs -o size=64m none "$small"
cp -a "$tmp/state/." "$small"
cluster start "$full"
ok "a host whose state is on a small disk" wait_for 20 healthy "$full"
fill() { for bs in 1M 4k; do dd if=/dev/zero of="$small/$bs" bs=$bs; done }
fill 2>/dev/null
ok "the others take writes when it is full" writes_some
ok "... and it says what is wrong" wait_for 20 stale "$full"
cluster kill "$full"
ok "killed, it is started again on the full disk" cluster start "$full"
is "$(cat "$(host "$full")/config/f9")" "content 9" "... serves reads"
ok "... says what is wrong" wait_for 20 stale "$full"
nok "... takes no writes" sh -c 'echo x > "$0"' "$(host "$full")/config/no" \
    2>/dev/null
like "$(gov why "$(host "$full")/config/no" 2>&1)" "*disk is full*" \
    "... and gov why names the disk"
rm "$small/1M" "$small/4k"
ok "with room again it takes part again" wait_for 20 healthy "$full"
ok "... and has caught up" wait_for 20 same 1 2 3
nok "... without a word of the disk" stale "$full"
cluster kill "$full"
rm -rf "$small/store"
fill 2>/dev/null
nok "without its store it can't start there" cluster start "$full" 2>/dev/null
like "$(tail -n 1 "$DIR/$full/log")" "*disk is full*make room*" \
    "... and says in a sentence what to do"
rm "$small/1M" "$small/4k"
ok "it starts when that is done" cluster start "$full"
ok "... and has all" wait_for 20 same 1 2 3
cluster kill "$full"
rm -rf "$tmp/state"
cp -a "$small" "$tmp/state"
umount "$small"
rmdir "$small"
mv "$tmp/state" "$small"
cluster start "$full"
ok "back on its disk" wait_for 20 healthy "$full"

# ---- a disk error ends the process: a supervisor starts it again ----
victim=$(cluster leader)
pid=$(cluster pid "$victim")
fault "$victim" wal_write_eio 1
other=$((victim % 3 + 1))
gone() { ! kill -0 "$pid"; }
echo error > "$(host "$other")/config/eio" || :
ok "an I/O error of the log ends the daemon" wait_for 10 gone
ok "... and the others go on" wait_for 10 \
    sh -c 'echo z > "$0"' "$(host "$other")/config/eio"
cluster start "$victim"
ok "started again, it catches up" wait_for 20 same 1 2 3
done_testing

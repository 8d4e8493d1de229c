#!/bin/bash
# What one program does with its files, knowingly or not, harms no other: it
# takes no memory without bound (S3), holds up neither the daemon (O7) nor its
# end, and costs no descriptor of which others' files depend (T5).
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need_mounts
need python3 prlimit setfattr
cluster_up 1
a=$(host 1)/config
daemon=$(cluster pid 1)
py() { python3 - "$a" "$@"; }
proposed() { metric 1 govfs_commands_proposed; }

# Many have the file open, and one of them copies of its descriptor: whose are
# they?  Looked up for each of the many, it would take minutes.
others_open() {
	py <<-'PY'
	import os, signal, sys
	path = sys.argv[1] + '/shared'
	ready, tell = os.pipe()
	many = os.fork()
	if many == 0:
	    fds = [os.open(path, os.O_WRONLY | os.O_CREAT) for _ in range(200)]
	    os.write(tell, b'x')
	    signal.pause()
	os.read(ready, 1)
	fd = os.open(path, os.O_WRONLY)
	for _ in range(16):
	    os.dup(fd)
	os.write(fd, b'x')
	os.close(fd)
	os.kill(many, 9)
	PY
}
ok "O7: a close where others have the file open many times" \
    soon 5000 others_open

# Drafts begin as copies of what is there.
truncate -s 1M "$a/big"
is "$(py <<-'PY'
	import errno, os, sys
	for n in range(300):
	    fd = os.open(sys.argv[1] + '/big', os.O_WRONLY)
	    try:
	        os.pwrite(fd, b'x', 0)
	    except OSError as e:
	        print(errno.errorcode[e.errno], 250 < n < 260, flush=True)
	        break
	os.kill(os.getpid(), 9) # so that nothing of it is committed
	PY
)" "ENOSPC True" "S3: all drafts together have a bound (LIMIT_HELD_BYTES)"

# What was replaced since it was opened, and what fsync has made of drafts.
truncate -s 1M "$a/replaced"
is "$(py <<-'PY'
	import errno, os, sys
	path, fds = sys.argv[1] + '/replaced', []
	def replace(n, flags=os.O_RDONLY):
	    os.truncate(path, (1 << 20) - n % 2)
	    fds.append(os.open(path, flags))
	def write(n):
	    fds.append(os.open(sys.argv[1] + '/own%d' % n,
	        os.O_WRONLY | os.O_CREAT))
	    os.write(fds[-1], bytes(1 << 20))
	    os.fsync(fds[-1])
	def refused(step, *args):
	    for n in range(300):
	        try:
	            step(n, *args)
	        except OSError as e:
	            return errno.errorcode[e.errno], n
	for n in range(200):
	    replace(n)
	err, n = refused(write)
	print(err, 50 < n < 60)
	print(refused(replace)[0])
	print(refused(replace, os.O_RDWR | os.O_APPEND)[0])
	for fd in fds[:100]:
	    os.close(fd)
	print(refused(replace)[1] > 90)
	PY
)" $'ENOSPC True\nENFILE\nENFILE\nTrue' \
    "S3: so have copies of what is not committed any more"
like "$(gov why "$a/replaced")" *"close some first"* "gov why: what to do"
rm "$a"/own*

# Byte ranges of a file that another has locked once.
python3 -c 'import fcntl, sys
with open(sys.argv[1], "r+") as f:
    fcntl.lockf(f, fcntl.LOCK_EX)' "$a/big"
is_free() { [ -z "$(ls "$(host 1)/.gov/locks")" ]; }
ok "a range is free again" wait_for 5 is_free
before=$(proposed)
py <<-'PY'
	import os, sys
	for _ in range(100):
	    os.close(os.open(sys.argv[1] + '/big', os.O_RDWR))
	PY
ok "closing what one has no range of is no command" \
    test $(($(proposed) - before)) -lt 50

# No descriptor is left to watch the holder by.
mkdir "$a/held"
setfattr -n gov.lifetime -v process "$a/held"
prlimit --pid "$daemon" --nofile=8:
python3 -c 'import os, sys, time
os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
time.sleep(1000)' "$a/held/f" &
holder=$!
ok "a file for a process that can't be watched" wait_for 5 test -e "$a/held/f"
# A later change, and a turn of the daemon's clock, after whatever is to come.
mkdir "$a/later"
ticks() { [ "$(now_ms)" -ge $((began + 300)) ]; }
began=$(now_ms)
wait_for 5 ticks
ok "T5: it stays while the process lives" test -e "$a/held/f"
prlimit --pid "$daemon" --nofile=1024:
kill "$holder"
ok "T5: and goes with it" wait_for 5 test ! -e "$a/held/f"

# Nor who has a range through a descriptor that only reads, and was inherited.
touch "$a/range"
prlimit --pid "$daemon" --nofile=8:
python3 -c 'import fcntl, os, signal, sys
f = os.open(sys.argv[1], os.O_RDONLY)
fcntl.lockf(f, fcntl.LOCK_SH)
os.pread(f, 1, 0)
child = os.fork()
if child != 0:
    os.mkdir(sys.argv[1] + ".%d" % child)
signal.pause()' "$a/range" &
holder=$!
ok "a range is locked" wait_for 5 eval 'test -d "$a"/range.*'
child=$(basename "$a"/range.*) child=${child#*.}
prlimit --pid "$daemon" --nofile=1024:
kill "$holder"
ok "L3: and free when its process has died" wait_for 5 is_free
kill "$child"

# What is mounted over it is none of our business.
mount -t tmpfs none "$(host 1)"
mount -t tmpfs none "$tmp"
umount "$tmp"
umount "$(host 1)"
ok "a mount over the mount point ends nothing" \
    wait_for 5 test -e "$a/big" -a -d "/proc/$daemon"

# A range locked through a descriptor that only reads, for as long as it likes.
python3 -c 'import fcntl, os, sys, time
f = open(sys.argv[1])
fcntl.lockf(f, fcntl.LOCK_SH)
os.mkdir(sys.argv[1] + ".locked")
time.sleep(1000)' "$a/big" &
holder=$!
ok "a range is locked" wait_for 5 test -d "$a/big.locked"
kill -TERM "$daemon"
stopped() { [ ! -d "/proc/$daemon" ] || grep -q '^State:.Z' "/proc/$daemon/status"; }
ok "the daemon ends, whatever its users hold" wait_for 2 stopped
kill "$holder"
done_testing

#!/bin/bash
# F1-F5 and F7 as seen from other hosts, and STORIES U2, U4, U7.
# shellcheck disable=SC2016
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need python3 setfattr getfattr
need_mounts
if [ -n "${GOV_TEST_CLUSTER:-}" ]; then
	make_tmp
	mounts=$GOV_TEST_CLUSTER
else
	patient_up 3
	mounts=$DIR
fi
A=$mounts/1/gov B=$mounts/2/gov C=$mounts/3/gov
export A B C
d=config/hosts.$$
mkdir "$A/$d"
export d

sync_all() { sync_host "$A" && sync_host "$B" && sync_host "$C"; }
sync_all
holds() { is "$(cat "$1")" "$2" "$3"; }

# python TEXT < PROGRAM: it succeeds; it knows sync() of tests/mounts.py
python() {
	cat - > "$tmp/program"
	ok "$1" timeout 600 python3 - <<EOP
import errno, os
from mounts import sync
$(cat "$tmp/program")
EOP
}

# ---- U2 ----

mkdir "$A/$d/app"
echo max=10 > "$A/$d/app/limits"
is "$(gov cat --strict "$B/$d/app/limits")" max=10 \
    "U2: what is written here is read there at once by cat --strict"
ok "U2: and soon by cat" \
    wait_for 2 grep -qx max=10 "$C/$d/app/limits"

# ---- births ----

births() {
	local before
	before=$(rev 1)
	exec 3> "$A/$d/unborn"
	echo text >&3
	sync_all
	nok "F2: a file without a commit is on no other host" \
	    test -e "$B/$d/unborn"
	is "$(rev 1)" "$before" "F2: and has no revision"
	exec 3>&-
	sync_all
	holds "$B/$d/unborn" text "F2: its first commit brings it, whole"
	is "$(rev 2)" $((before + 1)) "F2: in one revision"
	before=$(rev 1)
	exec 3> "$A/$d/trace"
	echo text >&3
	rm "$A/$d/trace"
	echo more >&3
	exec 3>&-
	sync_all
	is "$(rev 2)" "$before" "F2: removed before, it leaves no trace"
	nok "F2: nor a name" test -e "$B/$d/trace"
}
rev() { cat "$mounts/$1/gov/.gov/version"; }
births

python "F2: other hosts never see a new file empty first" <<'EOP'
import os, subprocess, threading
A, B, C, d = (os.environ[x] for x in "ABCd")
os.mkdir(f"{A}/{d}/fresh")
sync(B, C)
N, bad, stop = 100, [], threading.Event()
def reader(root):
    seen = set()
    while len(seen) < N and not stop.wait(0.001):
        for name in os.listdir(f"{root}/{d}/fresh"):
            if name in seen:
                continue
            path = f"{root}/{d}/fresh/{name}"
            size, text = os.stat(path).st_size, open(path).read()
            if text != f"content of {name}\n" or size != len(text):
                bad.append((root, name, size, text))
            seen.add(name)
    if len(seen) < N:
        bad.append((root, len(seen)))
threads = [threading.Thread(target=reader, args=(r,)) for r in (B, C)]
for t in threads:
    t.start()
subprocess.run(["bash", "-c", f'for i in {{1..{N}}}; do '
    f'echo "content of n$i" > "{A}/{d}/fresh/n$i"; done'], check=True)
for t in threads:
    t.join(300)
stop.set()
assert not bad, bad
EOP

python "F2: a name born on two hosts is one file" <<'EOP'
import os, subprocess
A, B, C, d = (os.environ[x] for x in "ABCd")
for i in range(10):
    name = f"{d}/twice{i}"
    a = os.open(f"{A}/{name}", os.O_WRONLY | os.O_CREAT)
    b = os.open(f"{B}/{name}", os.O_WRONLY | os.O_CREAT)
    os.write(a, b"from A"); os.write(b, b"from B, longer")
    os.close(a); os.close(b); sync()
    texts = {open(f"{r}/{name}").read() for r in (A, B, C)}
    assert texts == {"from B, longer"}, texts
    st = {(s.st_ino, s.st_size, s.st_nlink, s.st_mtime_ns)
        for s in (os.stat(f"{r}/{name}") for r in (A, B, C))}
    assert len(st) == 1, st
    # Handles from before the births still write to it.
    name = f"{d}/still{i}"
    a = os.open(f"{A}/{name}", os.O_RDWR | os.O_CREAT)
    b = os.open(f"{B}/{name}", os.O_RDWR | os.O_CREAT)
    os.write(a, b"one"); os.fsync(a)
    os.write(b, b"two"); os.fsync(b)
    os.write(b, b"+"); os.fsync(b); os.close(b)
    sync()
    assert {open(f"{r}/{name}").read() for r in (A, B, C)} == {"two+"}
    os.close(a)
EOP

python "F3: a name appended to on three hosts at its birth has it all" <<'EOP'
import os
A, B, C, d = (os.environ[x] for x in "ABCd")
for i in range(10):
    name = f"{d}/log{i}"
    fs = [os.open(f"{r}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for r in (A, B, C)]
    for n, f in enumerate(fs):
        os.write(f, b"%d\n" % n)
    for f in fs:
        os.close(f)
    for r in (A, B, C):
        sync(r)
        text = open(f"{r}/{name}").read()
        assert text == "0\n1\n2\n", (r, text)
EOP

python "F2: a birth whose name another type took is refused" <<'EOP'
import errno, os
A, B, C, d = (os.environ[x] for x in "ABCd")
def fails(call, want):
    try:
        call()
    except OSError as e:
        assert e.errno == want, e
        return
    raise AssertionError(errno.errorcode[want])
a = os.open(f"{A}/{d}/type", os.O_WRONLY | os.O_CREAT)
os.write(a, b"x")
os.mkdir(f"{B}/{d}/type")
fails(lambda: os.close(a), errno.EISDIR)
sync()
assert os.path.isdir(f"{A}/{d}/type") and os.path.isdir(f"{C}/{d}/type")
a = os.open(f"{A}/{d}/type2", os.O_WRONLY | os.O_CREAT)
os.write(a, b"x")
os.symlink("nowhere", f"{B}/{d}/type2")
fails(lambda: os.close(a), errno.ELOOP)
sync()
assert os.readlink(f"{A}/{d}/type2") == "nowhere"
# Its directory may go.
os.mkdir(f"{A}/{d}/dir"); sync()
a = os.open(f"{A}/{d}/dir/f", os.O_WRONLY | os.O_CREAT)
os.write(a, b"x")
os.rmdir(f"{B}/{d}/dir")
fails(lambda: os.close(a), errno.ENOENT)
sync()
assert not os.path.exists(f"{A}/{d}/dir")
EOP

python "F2: what is removed elsewhere does not come back" <<'EOP'
import os
A, B, C, d = (os.environ[x] for x in "ABCd")
open(f"{A}/{d}/removed", "w").write("x"); sync()
a = os.open(f"{A}/{d}/removed", os.O_RDWR)
os.write(a, b"yy"); os.fsync(a)
os.unlink(f"{B}/{d}/removed"); sync()
assert os.fstat(a).st_nlink == 0
os.write(a, b"zz"); os.fsync(a)
assert os.pread(a, 10, 0) == b"yyzz", os.pread(a, 10, 0)
os.close(a); sync()
for r in (A, B, C):
    assert not os.path.exists(f"{r}/{d}/removed")
open(f"{A}/{d}/replaced", "w").write("x"); sync()
a = os.open(f"{A}/{d}/replaced", os.O_WRONLY)
open(f"{B}/{d}/.new", "w").write("new")
os.rename(f"{B}/{d}/.new", f"{B}/{d}/replaced")
os.write(a, b"old handle"); os.close(a); sync()
for r in (A, B, C):
    assert open(f"{r}/{d}/replaced").read() == "new"
EOP

# ---- F1, U4 ----

python "F1, U4: other hosts never see a mix, a part or nothing" <<'EOP'
import os, subprocess, threading
A, B, C, d = (os.environ[x] for x in "ABCd")
path = f"{d}/big"
def content(i):
    return b"%d" % (i % 10) * (300000 - 1000 * (i % 10))
open(f"{A}/{path}", "wb").write(content(0))
for r in (A, B, C):
    sync(r)
bad, stop, n = [], threading.Event(), [0, 0, 0]
def reader(k, root):
    while not stop.is_set() and not bad:
        f = os.open(f"{root}/{path}", os.O_RDONLY)
        data, size = b"", 65536 if n[k] % 2 else 1 << 20
        while part := os.read(f, size):
            data += part
        os.close(f)
        n[k] += 1
        if not data or data != content(data[0] - 48):
            bad.append((root, len(data), set(data)))
threads = [threading.Thread(target=reader, args=(k, r))
    for k, r in enumerate((A, B, C))]
for t in threads:
    t.start()
i = 0
while i < 40 or min(n) < 5 and all(t.is_alive() for t in threads):
    root = (A, B)[i // 20 % 2]
    p = subprocess.Popen(["bash", "-c", f"cat > {root}/{path}"],
        stdin=subprocess.PIPE)
    p.communicate(content(i))
    i += 1
stop.set()
for t in threads:
    t.join()
assert not bad, bad
assert min(n) >= 5, n
EOP

# ---- F3 ----

appends() {
	local i
	for i in 1 2 3; do
		bash -c 'for j in {1..60}; do
			echo "host '"$i"' line $j of a journal that all write"
		done | while read -r l; do
			echo "$l" >> '"$mounts/$i/gov/$d"'/journal
		done' &
	done
	wait
	sync_all
	is "$(wc -l < "$B/$d/journal")" 180 \
	    "F3: appends from three hosts lose nothing"
	is "$(sort "$C/$d/journal" | uniq -d)" "" "F3: nor double a line"
	is "$(grep -vc '^host [123] line [0-9]* of a journal that all write$' \
	    "$A/$d/journal")" 0 "F3: nor interleave"
}
appends

# ---- F4, U7 ----

lost_update() {
	echo 1 > "$A/$d/count"
	sync_all
	nok "U7: a read-modify-write over another host's commit is refused" \
	    bash -c '
		exec 5<>$A/$d/count; read -r n <&5
		echo 7 > $B/$d/count
		echo $((n + 1)) >&5
		python3 -c "import os; os.fsync(5)"' 2>"$tmp/err"
	like "$(cat "$tmp/err")" '*Stale file handle*' "U7: with ESTALE"
	sync_all
	is "$(cat "$A/$d/count" "$B/$d/count" "$C/$d/count")" $'7\n7\n7' \
	    "U7: the other's value stays, everywhere"
	rev=$(getfattr --absolute-names --only-values -n gov.rev "$A/$d/count")
	echo 8 > "$B/$d/count"
	echo 9 > "$tmp/new"
	exits 4 "U7: put --if-rev of an older revision exits with 4" \
	    gov put --if-rev "$rev" "$A/$d/count" \
	    < "$tmp/new" > "$tmp/out" 2>&1
	sync_all
	holds "$C/$d/count" 8 "U7: and changes nothing"
}
lost_update

python "F4: of two hosts that read, then write, the later close fails" <<'EOP'
import errno, os
A, B, C, d = (os.environ[x] for x in "ABCd")
path = f"{d}/both"
open(f"{A}/{path}", "w").write("0")
sync(B)
a = os.open(f"{A}/{path}", os.O_RDWR)
b = os.open(f"{B}/{path}", os.O_RDWR)
assert os.read(a, 9) == os.read(b, 9) == b"0"
os.pwrite(a, b"1", 0); os.pwrite(b, b"2", 0)
os.close(a)
try:
    os.close(b)
    raise SystemExit("ESTALE expected")
except OSError as e:
    assert e.errno == errno.ESTALE, e
for r in (A, B, C):
    sync(r)
    assert open(f"{r}/{path}").read() == "1"
EOP

python "F4: nor does one commit over a file that another host has replaced" \
    <<'EOP'
import errno, os
A, B, C, d = (os.environ[x] for x in "ABCd")
path = f"{d}/replaced"
for n, how in enumerate(("unlink", "rename")):
    open(f"{A}/{path}", "w").write("0")
    sync(B)
    b = os.open(f"{B}/{path}", os.O_RDWR)
    assert os.read(b, 9) == b"0"
    os.pwrite(b, b"2", 0)
    open(f"{A}/{path}.new", "w").write("1")
    if how == "unlink":
        os.unlink(f"{A}/{path}")
    os.rename(f"{A}/{path}.new", f"{A}/{path}")
    if n == 0:
        sync(B)
    try:
        os.close(b)
        raise SystemExit("ESTALE expected")
    except OSError as e:
        assert e.errno == errno.ESTALE, e
    for r in (A, B, C):
        sync(r)
        assert open(f"{r}/{path}").read() == "1"
EOP

python "F4: a counter kept by read-modify-write on three hosts counts" <<'EOP'
import errno, multiprocessing as mp, os
A, B, C, d = (os.environ[x] for x in "ABCd")
path = f"{d}/counter"
open(f"{A}/{path}", "w").write("0\n")
for r in (A, B, C):
    sync(r)
def add(root, queue):
    done = refused = 0
    while done < 15:
        f = os.open(f"{root}/{path}", os.O_RDWR)
        n = int(os.read(f, 20))
        os.ftruncate(f, 0)
        os.pwrite(f, b"%d\n" % (n + 1), 0)
        try:
            os.close(f)
            done += 1
        except OSError as e:
            assert e.errno == errno.ESTALE, e
            refused += 1
    queue.put(refused)
queue = mp.Queue()
ps = [mp.Process(target=add, args=(r, queue)) for r in (A, B, C)]
for p in ps:
    p.start()
refused = [queue.get(timeout=300) for p in ps]
for r in (A, B, C):
    sync(r)
    assert open(f"{r}/{path}").read() == "45\n", open(f"{r}/{path}").read()
print("#", refused, "refused on each host")
EOP

python "F4: of blind writers the last commit wins, on all hosts" <<'EOP'
import os
A, B, C, d = (os.environ[x] for x in "ABCd")
fs = [os.open(f"{r}/{d}/blind", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for r in (A, B, C)]
for n, f in enumerate(fs):
    os.write(f, b"writer %d" % n)
for n in (2, 0, 1):
    os.close(fs[n])
for r in (A, B, C):
    sync(r)
    assert open(f"{r}/{d}/blind").read() == "writer 1"
EOP

# ---- F7 ----

mkdir "$B/$d/same"
setfattr -n user.x -v y "$B/$d/same"
echo 1 > "$C/$d/same/f"
ln "$C/$d/same/f" "$C/$d/same/g"
ln -s f "$A/$d/same/l"
sync_all
chmod 640 "$A/$d/same/f"
chown 1234:5678 "$B/$d/same/f"
touch -d 2001-01-01 "$C/$d/same/f"
setfattr -n user.a -v b "$A/$d/same/f"
sync_all
attributes() {
	(cd "$1/$d" && find . -printf '%p %i %y %m %U %G %n %s %T@ %C@ %l\n' |
	    sort && getfattr -R -d . 2>/dev/null | sort)
}
attributes "$A" > "$tmp/attr.1"
attributes "$B" > "$tmp/attr.2"
attributes "$C" > "$tmp/attr.3"
ok "F7: inode numbers, links, modes, owners, times and attributes are equal" \
    cmp "$tmp/attr.1" "$tmp/attr.2"
ok "F7: on all hosts" cmp "$tmp/attr.1" "$tmp/attr.3"
ok "F7: many of them" test "$(wc -l < "$tmp/attr.1")" -gt 100
[ -n "${GOV_TEST_CLUSTER:-}" ] ||
	ok "F7: and so are the trees" same 1 2 3
done_testing

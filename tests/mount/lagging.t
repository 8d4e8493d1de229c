#!/bin/bash
# F6, S2, O3: what a host does to names that have changed elsewhere, before its
# own kernel has been told.
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

need python3 getfattr
need_mounts
patient_up 2
A=$(host 1) B=$(host 2)
export A B
mkdir "$A/config/l"
chmod 777 "$A/config/l"
sync_host "$A"
sync_host "$B"
fault 1 replay_delay_ms 60

# python TEXT < PROGRAM, which knows a (lagging), b, and fails(call, errno)
python() {
	cat - > "$tmp/program"
	ok "$1" timeout 600 python3 - <<EOP
import errno, os
from mounts import sync
a, b = (os.environ[x] + "/config/l" for x in "AB")
def fails(call, *want):
    try:
        call()
    except OSError as e:
        assert e.errno in want, e
        return
    raise AssertionError("should fail")
def text(path, flags, what):
    f = os.open(path, flags, 0o644)
    os.write(f, what); os.close(f)
def both(name):
    sync()
    x, y = open(f"{a}/{name}").read(), open(f"{b}/{name}").read()
    assert x == y, (x, y)
    return x
def told():
    """a has been told of what b has, but its kernel has not"""
    version = lambda host: int(open(os.environ[host] + "/.gov/version").read())
    want = version("B")
    while version("A") < want:
        pass
W, C, X, T, P = os.O_WRONLY, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND
for i in range(5):
    n = f"{i}"
$(sed 's/^/    /' "$tmp/program")
EOP
}

python "F6: O_EXCL, mkdir, link and symlink refuse a name just made elsewhere" \
    <<'EOP'
for k, make in enumerate((lambda p: text(p, W | C | X, b"x"), os.mkdir,
        lambda p: os.symlink("x", p))):
    name = f"new{k}.{n}"
    assert not os.path.lexists(f"{a}/{name}")
    make(f"{b}/{name}")
    sync(b)
    fails(lambda: os.close(os.open(f"{a}/{name}", W | C | X)), errno.EEXIST)
    make(f"{b}/{name}+"); fails(lambda: os.mkdir(f"{a}/{name}+"), errno.EEXIST)
    make(f"{b}/{name}-")
    fails(lambda: os.symlink("y", f"{a}/{name}-"), errno.EEXIST)
EOP
python "S2: open(O_CREAT) of another's file asks for permission" <<'EOP'
name = f"closed{n}"
assert not os.path.exists(f"{a}/{name}")
f = os.open(f"{b}/{name}", W | C | X, 0o600); os.write(f, b"secret")
os.close(f)
pid = os.fork()
if pid == 0:
    os.setgroups([]); os.setgid(12345); os.setuid(12345)
    try:
        os.close(os.open(f"{a}/{name}", W | C | T))
        os._exit(1)
    except PermissionError:
        os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert both(name) == "secret"
EOP
python "F2, F3: open(O_CREAT|O_APPEND) of a file just made adds to it" <<'EOP'
name = f"add{n}"
assert not os.path.exists(f"{a}/{name}")
text(f"{b}/{name}", W | C, b"one ")
text(f"{a}/{name}", W | C | P, b"two")
assert both(name) == "one two", both(name)
EOP
python "F2: open(O_CREAT|O_TRUNC) of a file just made replaces it" <<'EOP'
name = f"over{n}"
assert not os.path.exists(f"{a}/{name}")
text(f"{b}/{name}", W | C, b"one and more")
text(f"{a}/{name}", W | C | T, b"two")
assert both(name) == "two", both(name)
EOP
python "O3: what is written to a name just removed elsewhere is there" <<'EOP'
name = f"removed{n}"
text(f"{a}/{name}", W | C, b"old"); sync()
os.stat(f"{a}/{name}")
os.unlink(f"{b}/{name}"); told()
text(f"{a}/{name}", W | C | T, b"new")
assert both(name) == "new", both(name)
EOP
python "O3: so is what is written to a name just replaced elsewhere" <<'EOP'
name = f"replaced{n}"
text(f"{a}/{name}", W | C, b"old"); sync()
os.stat(f"{a}/{name}")
text(f"{b}/.{name}", W | C | X, b"other")
os.rename(f"{b}/.{name}", f"{b}/{name}"); told()
text(f"{a}/{name}", W | C | T, b"new")
assert both(name) == "new", both(name)
EOP
python "F3: so is what is appended to it" <<'EOP'
name = f"log{n}"
text(f"{a}/{name}", W | C, b"old"); sync()
os.stat(f"{a}/{name}")
text(f"{b}/.{name}", W | C | X, b"other")
os.rename(f"{b}/.{name}", f"{b}/{name}"); told()
text(f"{a}/{name}", W | P, b"+new")
assert both(name) == "other+new", both(name)
EOP
python "F6: rename over, unlink and chmod of what has been replaced" <<'EOP'
name = f"target{n}"
text(f"{a}/{name}", W | C, b"old"); text(f"{a}/mine{n}", W | C, b"mine")
sync()
text(f"{b}/.{name}", W | C | X, b"other")
os.rename(f"{b}/.{name}", f"{b}/{name}")
os.rename(f"{a}/mine{n}", f"{a}/{name}")
assert both(name) == "mine", both(name)
os.rename(f"{b}/{name}", f"{b}/{name}.moved")
fails(lambda: os.rename(f"{a}/{name}", f"{a}/x"), errno.ENOENT)
sync()
assert both(f"{name}.moved") == "mine"
os.unlink(f"{b}/{name}.moved")
fails(lambda: os.unlink(f"{a}/{name}.moved"), errno.ENOENT)
fails(lambda: os.chmod(f"{a}/{name}.moved", 0o600), errno.ENOENT)
EOP
python "F6: what is changed before its name is shown here stays changed" <<'EOP'
text(f"{b}/early{n}", W | C, b"x" * 9); told()
os.chmod(f"{a}/early{n}", 0o640)
os.truncate(f"{a}/early{n}", 4)
assert both(f"early{n}") == "xxxx"
st = os.stat(f"{a}/early{n}")
assert (st.st_mode & 0o777, st.st_size) == (0o640, 4), st
EOP
python "F6: rmdir of a directory that has just been filled elsewhere" <<'EOP'
os.mkdir(f"{a}/dir{n}"); sync()
os.stat(f"{a}/dir{n}")
text(f"{b}/dir{n}/f", W | C, b"x")
fails(lambda: os.rmdir(f"{a}/dir{n}"), errno.ENOTEMPTY)
os.mkdir(f"{a}/empty{n}")
fails(lambda: os.rename(f"{a}/empty{n}", f"{a}/dir{n}"), errno.ENOTEMPTY)
assert both(f"dir{n}/f") == "x"
EOP
python "O3: read your writes, and what came before them" <<'EOP'
text(f"{b}/before{n}", W | C, b"before")
os.mkdir(f"{a}/after{n}")
assert open(f"{a}/before{n}").read() == "before"
text(f"{b}/before{n}", W | T, b"BEFORE+"); told()
text(f"{a}/after{n}/f", W | C, b"x")
assert open(f"{a}/before{n}").read() == "BEFORE+"
assert os.stat(f"{a}/before{n}").st_size == 7
EOP
fault 1 replay_delay_ms 0
ok "the hosts end in the same state" wait_for 10 same 1 2
listing() { (cd "$1/config/l" && find . -printf '%p %i %s %m\n' | sort); }
for h in "$A" "$B"; do
	getfattr -n gov.sync "$h" >/dev/null 2>&1
done
is "$(listing "$A")" "$(listing "$B")" "and show it"
done_testing

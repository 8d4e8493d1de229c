#!/bin/bash
# F2-F5: what the everyday tools commit, counted in revisions.
#
# GOV_TEST_DIR names the root of another mount to use instead of a new one.
# shellcheck disable=SC2016
. "${GOV_SRC:-$(dirname "$0")/../..}/tests/lib.sh"

if [ -n "${GOV_TEST_DIR:-}" ]; then
	make_tmp
	root=$GOV_TEST_DIR
else
	need_mounts
	cluster_up 1
	root=$(host 1)
fi
need python3 dash vim rsync git tar setfattr
work=$root/commit
mkdir "$work"
cd "$work" || bail_out "no $work"

# A change that changes nothing goes behind all that was asked before it.
settle() { chmod 755 "$work"; }
here() { settle && cat "$root/.gov/version"; }

# makes N TEXT COMMAND...: the command makes exactly that many revisions
makes() {
	local want=$1 text=$2 before after
	shift 2
	before=$(here)
	"$@" >"$tmp/out" 2>&1 || diag "exit code $?: $* $(cat "$tmp/out")"
	after=$(here)
	is $((after - before)) "$want" "$text"
}

# counted TEXT COMMAND...: how many it makes is shown, that it works tested
counted() {
	local text=$1 before after status=0
	shift
	before=$(here)
	"$@" >"$tmp/out" 2>&1 || status=$?
	after=$(here)
	[ "$status" = 0 ] || diag "$(cat "$tmp/out")"
	result "$status" "$text ($((after - before)) revisions)"
}

# holds FILE TEXT DESCRIPTION
holds() { is "$(cat "$1")" "$2" "$3"; }

# ---- shells ----

shell_patterns() {
	local sh=$1
	mkdir "$sh" && cd "$sh" || return
	makes 1 "F2: $sh: echo > new" "$sh" -c 'echo x > f'
	holds f x "F2: $sh: its content"
	makes 1 "F2: $sh: echo > old" "$sh" -c 'echo y > f'
	holds f y "F2: $sh: its content"
	makes 1 "F2: $sh: echo >> old" "$sh" -c 'echo z >> f'
	holds f $'y\nz' "F2: $sh: its content"
	makes 1 "F2: $sh: echo >> new" "$sh" -c 'echo z >> g'
	holds g z "F2: $sh: its content"
	makes 1 "F2: $sh: { } >" "$sh" -c '{ echo a; echo b; } > f'
	holds f $'a\nb' "F2: $sh: its content"
	makes 1 "F2: $sh: ( ) > with built-ins" "$sh" -c '(echo c; echo d) > f'
	holds f $'c\nd' "F2: $sh: its content"
	makes 1 "F2: $sh: ( ) > with programs" \
	    "$sh" -c '(/bin/echo a; /bin/echo b) > f'
	holds f $'a\nb' "F2: $sh: its content"
	makes 1 "F2: $sh: a loop >" \
	    "$sh" -c 'for i in 1 2 3; do /bin/echo $i; done > f'
	holds f $'1\n2\n3' "F2: $sh: its content"
	makes 1 "F2: $sh: exec 3>, two echos, exec 3>&-" \
	    "$sh" -c 'exec 3> f; echo a >&3; /bin/echo b >&3; exec 3>&-'
	holds f $'a\nb' "F2: $sh: its content"
	makes 1 "F2: $sh: exec 3>, two echos, exit" \
	    "$sh" -c 'exec 3> f; echo c >&3; echo d >&3'
	holds f $'c\nd' "F2: $sh: its content"
	makes 1 "F2: $sh: exec >" \
	    "$sh" -c 'exec > f; echo a; /bin/echo b; (echo c)'
	holds f $'a\nb\nc' "F2: $sh: its content"
	makes 1 "F2: $sh: : > old" "$sh" -c ': > f'
	holds f "" "F2: $sh: is empty"
	makes 0 "F5: $sh: : > empty" "$sh" -c ': > f'
	makes 1 "F2: $sh: : > new" "$sh" -c ': > h'
	makes 1 "F2: $sh: sh -c 'a; b' >" \
	    "$sh" -c 'sh -c "echo a; /bin/echo b" > f'
	holds f $'a\nb' "F2: $sh: its content"
	makes 1 "F2: $sh: > 2>&1" "$sh" -c '(echo c; echo d >&2) > f 2>&1'
	makes 1 "F2: $sh: a here-document" "$sh" -c 'cat > f <<E
text
E'
	holds f text "F2: $sh: its content"
	makes 1 "F2: $sh: a pipe" "$sh" -c 'echo a | cat > f'
	makes 1 "F2: $sh: in the background" "$sh" -c 'echo b > f & wait'
	makes 1 "F2: $sh: | tee" "$sh" -c 'echo a | tee f'
	makes 1 "F2: $sh: | tee -a" "$sh" -c 'echo b | tee -a f'
	holds f $'a\nb' "F2: $sh: its content"
	makes 2 "F2: $sh: > and >>" "$sh" -c 'echo a > f; echo b >> f'
	makes 0 "F5: $sh: the same bytes" "$sh" -c 'printf "a\nb\n" > f'
	makes 0 "F5: $sh: >> of nothing" "$sh" -c ': >> f'
	makes 1 "F2: $sh: set -C; > new" "$sh" -c 'set -C; : > i'
	nok "F6: $sh: set -C; > old" "$sh" -c 'set -C; : > i' 2>/dev/null
	makes 0 "F2: $sh: removed before its first commit" \
	    "$sh" -c 'exec 3> gone; echo x >&3; rm gone; echo y >&3'
	cd ..
}

# ---- writers that are killed ----

killed() {
	local signal
	mkdir killed && cd killed || return
	echo old > f
	for signal in KILL TERM INT SEGV; do
		makes 0 "F2: a writer killed by SIG$signal commits nothing" \
		    env --default-signal=INT bash -c 'exec 3> f; echo half >&3; kill -'$signal' $$'
		makes 0 "F2: nor does it make a file" \
		    env --default-signal=INT bash -c 'exec 3> new; echo half >&3; kill -'$signal' $$'
	done 2>/dev/null
	makes 0 "F2: a program killed in the middle commits nothing" bash -c '
		(echo half; : > "$1"; exec sleep 60) > f &
		until [ -e "$1" ]; do :; done
		kill -9 $!; wait' - "$tmp/begun" 2>/dev/null
	holds f old "F2: the old content stays"
	ok "F2: no name is left" wait_for 2 test ! -e new
	is "$(ls)" f "F2: nor listed"
	makes 1 "F2: a child that is killed leaves its parent's draft" \
	    bash -c '{ bash -c "echo half; kill -9 \$\$"; echo rest; } > f'
	holds f $'half\nrest' "F2: which the parent commits"
	cd ..
}

# ---- programs ----

times() { stat -c %Y "$@"; }

tools() {
	mkdir tools && cd tools || return
	echo source > "$tmp/src"
	touch -d 2001-02-03 "$tmp/src"
	chmod 640 "$tmp/src"
	makes 1 "F2: dd to a new file" dd if="$tmp/src" of=dd bs=3
	makes 0 "F5: dd of the same" dd if="$tmp/src" of=dd bs=2
	makes 1 "F2: dd conv=notrunc" \
	    dd if="$tmp/src" of=dd bs=1 seek=1 conv=notrunc
	holds dd ssource "F2: dd: its content"
	makes 1 "F2: dd oflag=append" \
	    dd if="$tmp/src" of=dd oflag=append conv=notrunc
	makes 1 "F2: dd conv=fsync" dd if="$tmp/src" of=dd conv=fsync
	makes 2 "F2: cp to a new name (made by O_EXCL, then filled)" \
	    cp "$tmp/src" cp
	holds cp source "F2: cp: its content"
	echo other > "$tmp/other"
	makes 1 "F2: cp over a file" cp "$tmp/other" cp
	counted "F2: cp -a to a new name" cp -a "$tmp/src" cpa
	is "$(times cpa)" "$(times "$tmp/src")" "F2: cp -a: the time is kept"
	is "$(stat -c %a cpa)" 640 "F2: cp -a: and the mode"
	is "$(stat -c %s cpa)" 7 "F2: cp -a: and the size shown"
	echo changed > cpa
	makes 1 "F2: cp -a over a file" cp -a "$tmp/src" cpa
	is "$(times cpa)" "$(times "$tmp/src")" "F2: cp -a: the time is kept"
	makes 0 "F5: cp -a of the same again" cp -a "$tmp/src" cpa
	cp -a "$tmp/src" "$tmp/mv"
	counted "F2: mv from elsewhere" mv "$tmp/mv" mv
	is "$(times mv)" "$(times "$tmp/src")" "F2: mv: the time is kept"
	makes 1 "F2: mv within" mv mv mv2
	counted "F2: install -m" install -m 750 "$tmp/src" inst
	is "$(stat -c %a inst)" 750 "F2: install: the mode"
	holds inst source "F2: install: the content"
	makes 4 "F2: sed -i (a new file, its mode, content, a rename)" \
	    sed -i s/source/target/ inst
	holds inst target "F2: sed -i: its content"
	is "$(stat -c %a inst)" 750 "F2: sed -i: the mode is kept"
	makes 1 "F2: touch of a new file" touch touched
	makes 1 "F2: touch of an old file" touch touched
	makes 1 "F2: touch -d" touch -d 2002-02-02 touched
	makes 0 "F5: touch -d of the same time" touch -d 2002-02-02 touched
	makes 1 "F2: truncate -s of a new file" truncate -s 5 trunc
	makes 1 "F2: truncate -s of an old file" truncate -s 3 trunc
	makes 0 "F5: truncate -s to the same size" truncate -s 3 trunc
	is "$(stat -c %s trunc)" 3 "F2: truncate: the size"
	makes 1 "F2: ln -s" ln -s a link
	makes 2 "F2: ln -sf (a new link, a rename)" ln -sf b link
	is "$(readlink link)" b "F2: ln -sf: the target"
	makes 0 "F5: chmod of the same mode" chmod 750 inst
	makes 0 "F5: chown of the same owner" chown 0:0 inst
	makes 1 "F6: chmod" chmod 751 inst
	makes 1 "F6: setfattr" setfattr -n user.a -v b inst
	makes 0 "F5: setfattr of the same value" setfattr -n user.a -v b inst
	makes 0 "F2: reading" cat inst
	makes 0 "F2: reading through O_RDWR" bash -c 'cat <> inst'
	cd ..
}

trees() {
	local i
	mkdir trees && cd trees || return
	mkdir -p "$tmp/tree/a/b"
	for i in 1 2 3 4 5; do echo "$i" > "$tmp/tree/a/b/f$i"; done
	ln -s f1 "$tmp/tree/a/b/l"
	ln "$tmp/tree/a/b/f1" "$tmp/tree/a/hard"
	touch -d 2003-03-03 "$tmp/tree/a/b/f1"
	counted "F2: cp -r of 3 directories and 7 names" cp -r "$tmp/tree" cpr
	ok "F2: cp -r: all equal" diff -r "$tmp/tree" cpr
	counted "F2: cp -a" cp -a "$tmp/tree" cpa
	ok "F2: cp -a: all equal" diff -r "$tmp/tree" cpa
	is "$(times cpa/a/b/f1)" "$(times "$tmp/tree/a/b/f1")" \
	    "F2: cp -a: the time is kept"
	tar -C "$tmp" -cf "$tmp/tree.tar" tree
	counted "F2: tar x" tar xf "$tmp/tree.tar"
	ok "F2: tar x: all equal" diff -r "$tmp/tree" tree
	is "$(times tree/a/b/f1)" "$(times "$tmp/tree/a/b/f1")" \
	    "F2: tar x: the time is kept"
	is "$(stat -c %h tree/a/hard)" 2 "F2: tar x: hard links are"
	ok "F2: tar c of it" tar cf "$tmp/back.tar" tree
	ok "F2: tar d finds no difference" tar df "$tmp/back.tar"
	counted "F2: rsync -a" rsync -a "$tmp/tree/" rsync/
	ok "F2: rsync -a: all equal" diff -r "$tmp/tree" rsync
	makes 0 "F5: rsync -a again" rsync -a "$tmp/tree/" rsync/
	counted "F2: rsync -a --inplace of one change" bash -c \
	    'echo six > '"$tmp"'/tree/a/b/f5; rsync -a --inplace '"$tmp"'/tree/ rsync/'
	ok "F2: rsync: all equal" diff -r "$tmp/tree" rsync
	counted "F2: git init, add, commit" bash -c '
		export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1
		git init -q repo && cd repo && echo x > f && git add f &&
		git -c user.name=n -c user.email=e commit -qm one'
	ok "F2: git fsck" env HOME=/nonexistent git \
	    -c safe.directory='*' -C repo fsck --strict
	makes 0 "F5: git status" env HOME=/nonexistent GIT_OPTIONAL_LOCKS=0 \
	    git -c safe.directory='*' -C repo status
	counted "F6: rm -r" rm -r repo cpr cpa tree rsync
	is "$(ls -A)" "" "F6: rm -r: nothing is left"
	cd ..
}

editors() {
	mkdir editors && cd editors || return
	echo 'max=10' > conf
	counted "F2: vim: one :wq" vim -u NONE -n -es -c 's/10/20/' -c wq conf
	holds conf max=20 "F2: vim: the content"
	counted "F2: vim with backup and swap files" vim -u NONE -es \
	    -c 'set backup writebackup swapfile' -c 's/20/30/' -c wq conf
	holds conf max=30 "F2: vim: the content"
	counted "F2: vim: a new file" \
	    vim -u NONE -n -es -c 'normal ihello' -c wq new
	holds new hello "F2: vim: the content"
	is "$(find . -name '.*.sw?' -o -name 4913)" "" "F2: vim: cleans up"
	if command -v nano >/dev/null; then
		counted "F2: nano" python3 - <<'PY'
import os, pty, select, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execlp("nano", "nano", "-I", "conf")
end, sent, seen = time.time() + 15, 0, b""
keys = [b"X", b"\x13", b"\x18"]         # X, ^S, ^X
while time.time() < end:
    if select.select([fd], [], [], 0.3)[0]:
        try:
            seen += os.read(fd, 4096)
        except OSError:
            break
    elif sent < len(keys):
        os.write(fd, keys[sent])
        sent += 1
sys.exit(os.waitpid(pid, 0)[1] != 0)
PY
		holds conf Xmax=30 "F2: nano: the content"
	fi
	cd ..
}

# ---- python, which shows the handles ----

python_files() {
	mkdir python && cd python || return
	makes 1 "F2: python: with open(w)" python3 -c '
with open("f", "w") as f:
    f.write("a"); f.flush(); f.write("b")'
	holds f ab "F2: python: the content"
	makes 1 "F2: python: without close" python3 -c '
f = open("f", "w"); f.write("abc")'
	holds f abc "F2: python: the content"
	makes 1 "F2: python: left by os._exit" python3 -c '
import os
f = os.open("f", os.O_WRONLY); os.write(f, b"xyz"); os._exit(0)'
	holds f xyz "F2: python: the content"
	makes 1 "F2: python: fsync and close" python3 -c '
import os
with open("f", "w") as f:
    f.write("s"); f.flush(); os.fsync(f.fileno()); os.fsync(f.fileno())'
	makes 2 "F2: python: fsync twice" python3 -c '
import os
with open("f", "w") as f:
    f.write("q"); f.flush(); os.fsync(f.fileno())
    f.write("t"); f.flush(); os.fdatasync(f.fileno())'
	holds f qt "F2: python: the content"
	makes 1 "F2: python: dup2, both closed" python3 -c '
import os
a = os.open("f", os.O_WRONLY | os.O_TRUNC)
os.dup2(a, 9); os.close(a); os.write(9, b"dup"); os.close(9)'
	holds f dup "F2: python: the content"
	makes 1 "F2: python: dup, written and closed one by one" python3 -c '
import os
a = os.open("f", os.O_WRONLY | os.O_TRUNC)
b = os.dup(a); os.write(a, b"du"); os.close(a); os.write(b, b"al"); os.close(b)'
	holds f dual "F2: python: the content"
	makes 1 "F2: python: a copy given to a child, another file opened" \
	    python3 -c '
import os
a = os.open("f", os.O_WRONLY | os.O_TRUNC); os.write(a, b"1")
if os.fork() == 0:
    os.open("/dev/null", os.O_RDONLY)
    os.write(a, b"2"); os.close(a); os._exit(0)
os.wait(); os.write(a, b"3"); os.close(a)'
	holds f 123 "F2: python: the content"
	makes 1 "F2: python: a thread opens and closes others meanwhile" \
	    python3 -c '
import os, threading
os.dup2(0, 9)
f = os.open("f", os.O_WRONLY | os.O_TRUNC)
def other():
    os.close(9); os.dup2(f, 8)
os.write(f, b"ab")
t = threading.Thread(target=other); t.start(); t.join()
os.open("/dev/null", os.O_RDONLY)
os.close(f); os.write(8, b"cd"); os.close(8)'
	holds f abcd "F2: python: the content"
	makes 0 "F2: python: killed, with no other descriptor" python3 -c '
import os, signal
os.closerange(0, 100)
f = os.open("f", os.O_WRONLY | os.O_TRUNC); os.write(f, b"half")
os.kill(os.getpid(), signal.SIGKILL)' 2>/dev/null
	holds f abcd "F2: python: the content"
	makes 2 "F2: python: one has the number of another that has gone" \
	    python3 -c '
import os
def write(*copies):
    f = os.open("f", os.O_WRONLY | os.O_TRUNC); os.write(f, b"a")
    for copy in copies:
        os.dup2(f, copy); os.close(f); os.write(copy, b"b"); f = copy
    os.close(f); os._exit(0)
first = os.fork()
if first == 0:
    write()
os.waitpid(first, 0)
for _ in range(1000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(first - 1))
    second = os.fork()
    if second == 0:
        if os.getpid() == first:
            os.dup2(0, 20); os.dup2(0, 21); write(9, 10)
        os._exit(0)
    os.waitpid(second, 0)
    if second == first:
        break'
	holds f abb "F2: python: the content"
	makes 1 "F2: python: a child inherits and exits" python3 -c '
import os, subprocess
with open("f", "w") as f:
    f.write("1"); f.flush()
    subprocess.run(["/bin/echo", "2"], stdout=f)
    subprocess.run(["/bin/true"], pass_fds=[f.fileno()])
    f.write("3")'
	holds f $'12\n3' "F2: python: the content"
	makes 1 "F2: python: a child forked with it" python3 -c '
import os
f = os.open("new", os.O_WRONLY | os.O_CREAT)
os.write(f, b"1")
if os.fork() == 0:
    os.write(f, b"2"); os._exit(0)
os.wait(); os.write(f, b"3"); os.close(f)'
	holds new 123 "F2: python: the content"
	makes 2 "F2: python: O_DSYNC: each write commits" python3 -c '
import os
a = os.open("f", os.O_WRONLY | os.O_TRUNC | os.O_DSYNC)
os.write(a, b"one"); assert open("f").read() == "one"
os.write(a, b"two"); assert open("f").read() == "onetwo"
os.close(a)'
	echo old > cut
	makes 2 "F2: python: truncate(2) while the last close commits" \
	    python3 -c '
import os
f = os.open("cut", os.O_WRONLY | os.O_TRUNC)
copied = os.open("cut", os.O_WRONLY)
copy = os.dup(copied)
os.write(f, b"cut off")
os.close(f)
os.truncate("cut", 3)
os.close(copied); os.close(copy)'
	holds cut cut "F2: python: the content"
	makes 3 "F2: dd oflag=sync" dd if=f of=sync bs=2 oflag=sync
	makes 1 "F3: python: O_APPEND set and cleared by fcntl" python3 -c '
import fcntl, os
a = os.open("f", os.O_WRONLY)
fcntl.fcntl(a, fcntl.F_SETFL, os.O_APPEND)
os.write(a, b"+3"); os.write(a, b"+4")
fcntl.fcntl(a, fcntl.F_SETFL, 0)
os.pwrite(a, b"ONE", 0)
os.close(a)'
	holds f ONEtwo+3+4 "F3: python: the content"
	makes 0 "F2: python: a child that is killed holds it alone" python3 -c '
import os, signal
a = os.open("f", os.O_WRONLY)
r, w = os.pipe()
if os.fork() == 0:
    os.close(w); os.read(r, 1); os.write(a, b"half")
    os.kill(os.getpid(), signal.SIGKILL)
b = os.open("/dev/null", os.O_RDONLY); os.dup2(b, a)
os.close(w); os.wait()'
	makes 0 "F2: python: killed with threads" python3 -c '
import os, signal, threading, time
a = os.open("f", os.O_WRONLY | os.O_TRUNC); os.write(a, b"half")
t = threading.Thread(target=lambda: time.sleep(60), daemon=True)
t.start()
os.kill(os.getpid(), signal.SIGKILL)' 2>/dev/null
	holds f ONEtwo+3+4 "F2: python: the content"
	makes 1 "F2: python: two threads" python3 -c '
import os, threading
f = os.open("f", os.O_WRONLY | os.O_TRUNC)
t = threading.Thread(target=lambda: (os.write(f, b"thread"), os.close(f)))
t.start(); t.join()'
	holds f thread "F2: python: the content"
	makes 2 "F2: python: two handles of one file" python3 -c '
import os
a = os.open("f", os.O_WRONLY | os.O_TRUNC)
b = os.open("f", os.O_WRONLY | os.O_TRUNC)
os.write(a, b"first"); os.close(a); os.write(b, b"second"); os.close(b)'
	holds f second "F4: of blind writers the last commit wins"
	makes 2 "F2: python: os.replace before close (its birth, a rename)" \
	    python3 -c '
import os
f = open("t", "w"); f.write("replaced"); f.flush()
os.replace("t", "t2"); f.close()'
	holds t2 replaced "F2: python: the content"
	cd ..
}

# ---- a file that is open more than once ----

inherited() {
	mkdir inherited && cd inherited || return
	echo old > f
	exec 5>> f
	is "$(dash -c 'echo new >> f; cat f')" $'old\nnew' \
	    "F2: a program sees its commit, though it inherited another handle"
	makes 1 "F2: and makes one revision" dash -c '(echo a; echo b) >> f'
	makes 1 "F2: with >" dash -c 'echo c > f; sleep 0'
	ok "F4: and its close says what became of it" python3 -c '
import errno, os, subprocess
f = os.open("f", os.O_RDWR)
os.read(f, 10)
subprocess.run("echo e > f", shell=True, check=True)
os.pwrite(f, b"lost", 0)
try:
    os.close(f)
    raise SystemExit("ESTALE expected")
except OSError as e:
    assert e.errno == errno.ESTALE, e'
	exec 5>&-
	ok "F2: its parent has the file open, not inherited" python3 -c '
import os, subprocess
rev = lambda: int(open("../../.gov/version").read())
f = os.open("f", os.O_WRONLY)
before = rev()
subprocess.run(["bash", "-c", "echo d > f; [ \"$(cat f)\" = d ]"], check=True)
assert rev() == before + 1, rev() - before
os.close(f)'
	cd ..
}

running() {
	mkdir running && cd running || return
	cp /bin/true . && printf '#!/bin/sh\necho ran\n' > script
	chmod 755 true script
	ok "a program runs" ./true
	is "$(./script)" ran "a script runs"
	cp /bin/sleep . && chmod 755 sleep
	./sleep 60 &
	wait_for 5 grep -qx sleep "/proc/$!/comm"
	nok "a running program is not written to" \
	    bash -c 'echo x > sleep' 2>/dev/null
	ok "but replaced" mv true sleep
	kill $!
	ln -s nowhere link
	makes 1 "F2: touch -h" touch -h -d 2001-01-01 link
	is "$(times link)" "$(date -d 2001-01-01 +%s)" "F2: touch -h: its time"
	cd ..
}

# ---- F3 ----

appends() {
	local i bad
	mkdir append && cd append || return
	for i in 1 2 3 4; do
		bash -c 'line=$(printf "%0200d" '"$i"')
			for j in {1..40}; do echo "$line" >> log; done' &
	done
	wait %1 %2 %3 %4 2>/dev/null || wait
	is "$(wc -l < log)" 160 "F3: appends of 4 processes lose nothing"
	bad=$(awk 'length != 200' log | wc -l)
	is "$bad" 0 "F3: and don't interleave"
	is "$(sort log | uniq -c | awk '{ print $1 }' | sort -u)" 40 \
	    "F3: each has all of its lines"
	ok "F3: handles kept open, with fsync and reading" python3 -c '
import os
a = os.open("two", os.O_RDWR | os.O_CREAT | os.O_APPEND)
b = os.open("two", os.O_RDWR | os.O_APPEND)
for i in range(5):
    os.write(a, b"a%d\n" % i); os.fsync(a); os.pread(b, 100, 0)
    os.write(b, b"b%d\n" % i); os.fsync(b); os.pread(a, 100, 0)
os.close(a); os.close(b)
want = b"".join(b"a%d\nb%d\n" % (i, i) for i in range(5))
got = open("two", "rb").read()
assert got == want, got'
	cd ..
}

# ---- F4 ----

conflicts() {
	mkdir conflict && cd conflict || return
	echo 1 > count
	ok "F4: a read-modify-write over another's commit is refused" \
	    python3 - <<'PY'
import errno, os, subprocess
def fails(call):
    try:
        call()
    except OSError as e:
        assert e.errno == errno.ESTALE, e
        return
    raise AssertionError("ESTALE expected")
f = os.open("count", os.O_RDWR)
n = int(os.read(f, 10))
subprocess.run("echo 7 > count", shell=True, check=True)
os.lseek(f, 0, 0)
os.write(f, b"%d\n" % (n + 1))
fails(lambda: os.fsync(f))
fails(lambda: os.fsync(f))
fails(lambda: os.write(f, b"x"))
fails(lambda: os.ftruncate(f, 0))
fails(lambda: os.close(f))
assert open("count").read() == "7\n", open("count").read()
PY
	ok "F4: also when it is noticed at close" python3 - <<'PY'
import errno, os, subprocess
f = os.open("count", os.O_RDWR)
os.read(f, 10)
os.ftruncate(f, 0)
os.pwrite(f, b"8\n", 0)
subprocess.run("echo 9 > count", shell=True, check=True)
try:
    os.close(f)
    raise SystemExit("ESTALE expected")
except OSError as e:
    assert e.errno == errno.ESTALE, e
assert open("count").read() == "9\n"
PY
	ok "F4: reading back a draft is reading the version below it" \
	    python3 - <<'PY'
import errno, os, subprocess
f = os.open("count", os.O_RDWR)
os.pwrite(f, b"x", 5)
os.pread(f, 10, 0)
subprocess.run("echo 10 > count", shell=True, check=True)
try:
    os.close(f)
    raise SystemExit("ESTALE expected")
except OSError as e:
    assert e.errno == errno.ESTALE, e
PY
	ok "F4: one's own commits move the base" python3 - <<'PY'
import os
f = os.open("count", os.O_RDWR)
os.read(f, 10)
for i in range(3):
    os.pwrite(f, b"%d\n" % (20 + i), 0); os.fsync(f); os.pread(f, 10, 0)
os.pwrite(f, b"30\n", 0); os.close(f)
assert open("count").read() == "30\n"
PY
	ok "F4: who has not read is not refused" python3 - <<'PY'
import os, subprocess
f = os.open("count", os.O_RDWR | os.O_TRUNC)
subprocess.run("echo 40 > count", shell=True, check=True)
os.write(f, b"41\n"); os.close(f)
assert open("count").read() == "41\n"
f = os.open("count", os.O_WRONLY)
subprocess.run("echo 50 > count", shell=True, check=True)
os.write(f, b"51\n"); os.close(f)
assert open("count").read() == "51\n"
PY
	ok "F4: a change of mode is no conflict" python3 - <<'PY'
import os, subprocess
f = os.open("count", os.O_RDWR)
os.read(f, 10)
subprocess.run("chmod 600 count", shell=True, check=True)
os.pwrite(f, b"60\n", 0); os.close(f)
assert open("count").read() == "60\n"
PY
	ok "F4: nor the file that it has read, if another has its name" \
	    python3 - <<'PY'
import errno, os, subprocess
def stale(call):
    try:
        call()
    except OSError as e:
        assert e.errno == errno.ESTALE, e
        return
    raise SystemExit("ESTALE expected")
for how in "echo 70 > next; mv next count", "rm count; echo 70 > count":
    for last in os.fsync, os.close:
        f = os.open("count", os.O_RDWR)
        os.read(f, 10)
        os.pwrite(f, b"61\n", 0)
        subprocess.run(how, shell=True, check=True)
        stale(lambda: last(f))
        if last == os.fsync:
            stale(lambda: os.close(f))
        assert open("count").read() == "70\n"
PY
	ok "F4: what nobody else can have changed goes as on a disk" \
	    python3 - <<'PY'
import os
f = os.open("own", os.O_RDWR | os.O_CREAT | os.O_EXCL)
os.write(f, b"a"); os.fsync(f); os.pread(f, 1, 0)
os.unlink("own")
os.write(f, b"b"); os.fsync(f)
assert os.pread(f, 3, 0) == b"ab"
os.pwrite(f, b"c", 0); os.close(f)
for flags in os.O_APPEND, os.O_APPEND | os.O_TRUNC:
    open("own", "w").write("a")
    f = os.open("own", os.O_RDWR | flags)
    old = os.path.getsize("own")
    os.unlink("own")
    assert os.pread(f, 3, 0) == b"a"[:old]
    os.close(f)
    open("own", "w").write("a")
    f = os.open("own", os.O_RDWR | flags)
    os.write(f, b"b"); os.fsync(f)
    old = open("own", "rb").read()
    os.unlink("own")
    assert os.pread(f, 3, 0) == old and b"b" in old, old
    os.close(f)
f = os.open("count", os.O_WRONLY)
os.write(f, b"80\n")
os.rename("count", "moved"); os.unlink("moved")
os.close(f)
open("count", "w").write("70\n")
PY
	nok "U7: exec 5<>, read, another's echo, echo >&5, fsync" bash -c '
		exec 5<>count; read -r n <&5
		(exec 5>&-; echo 7 > count)
		echo $((n + 1)) >&5
		python3 -c "import os; os.fsync(5)"' 2>/dev/null
	holds count 7 "U7: the other's content stays"
	cd ..
}

# ---- F1, F8 ----

torture() {
	local i readers=() status=0
	mkdir torture && cd torture || return
	head -c 300000 /dev/zero | tr '\0' 0 > big
	for i in 1 2 3; do
		python3 - <<'PY' &
import os, sys
n = 0
while not os.path.exists("stop"):
    f = os.open("big", os.O_RDONLY)
    data = b""
    while True:
        part = os.read(f, 65536 if n % 2 else 1 << 20)
        if not part:
            break
        data += part
    os.close(f)
    n += 1
    if len(data) < 100000 or data != data[:1] * len(data) or \
            len(data) != 300000 - 1000 * int(data[:1]):
        print("BAD", len(data), set(data), file=sys.stderr)
        sys.exit(1)
sys.exit(n < 10)
PY
		readers+=($!)
	done
	for i in {1..60}; do
		head -c $((300000 - 1000 * (i % 10))) /dev/zero |
		    tr '\0' $((i % 10)) > big
		[ $((i % 7)) != 0 ] || { cp big copy && mv copy big; }
	done
	: > stop
	for i in "${readers[@]}"; do
		wait "$i" || status=1
	done
	result "$status" \
	    "F1, U4: readers never see a mix, a part or nothing of a file"
	cd ..
}

limits() {
	mkdir limits && cd limits || return
	nok "F8: a program sees EFBIG" bash -c \
	    'head -c 1048577 /dev/zero > big' 2>/dev/null
	ok "F8: of two appends that don't fit the second sees EFBIG" \
	    python3 - <<'PY'
import errno, os
a = os.open("a", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
b = os.open("a", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(a, b"a" * 600000); os.write(b, b"b" * 600000)
os.close(a)
try:
    os.close(b)
    raise SystemExit("EFBIG expected")
except OSError as e:
    assert e.errno == errno.EFBIG, e
assert open("a").read() == "a" * 600000
PY
	cd ..
}

followed() {
	mkdir tail && cd tail || return
	echo 1 > log
	tail -n +1 -s 0.05 -f log > "$tmp/followed" &
	local reader=$!
	ok "F1: tail -f shows what is there" \
	    wait_for 5 grep -q 1 "$tmp/followed"
	echo 2 >> log
	ok "F1: and what is added" wait_for 5 grep -q 2 "$tmp/followed"
	printf '1\n2\n3\n' > log
	ok "F1: also by a whole new version that begins the same" \
	    wait_for 5 grep -q 3 "$tmp/followed"
	is "$(tr '\n' ' ' < "$tmp/followed")" "1 2 3 " "F1: each once"
	kill "$reader"
	cd ..
}

shell_patterns bash
shell_patterns dash
killed
tools
trees
editors
python_files
inherited
running
appends
conflicts
torture
limits
followed
cd /
done_testing

"""What dotgov.t asks of .gov.  CONTRACT L6, O6; stories U9, U21, U30.

The tests are called steady_... where hosts keep their sessions, and lost_...
where they lose them soon.
"""
import os, select, signal, stat, subprocess, sys, threading, time
from actors import *


def gov(host, name):
    return HOST[host] + '/.gov/' + name


def commit(host, text, name='config/f'):
    with open(HOST[host] + '/' + name, 'w') as f:
        f.write(text)


def metric(host, name):
    out = subprocess.run([GOV, 'debug', 'metrics', '--state',
        '%s/c/%d/state' % (TMP, host)], stdout=subprocess.PIPE,
        universal_newlines=True).stdout
    return int(dict(l.split()[:2] for l in out.splitlines())['govfs_' + name])


class Watch:
    """inotifywait -m: the events of a path, [(name, event)]."""
    all = []

    def __init__(self, path, *options):
        self.lines = []
        self.process = subprocess.Popen(['inotifywait', '-m', '--format',
            '%f %e', *options, path], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, universal_newlines=True)
        said = self.process.stderr.readline()
        said += self.process.stderr.readline()
        assert 'established' in said, said
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        Watch.all.append(self)

    def read(self):
        for line in self.process.stdout:
            name, _, events = line.rstrip('\n').rpartition(' ')
            self.lines += [(name, e) for e in events.split(',')]

    def has(self, event, name=''):
        return (name, event) in self.lines

    @classmethod
    def end_all(cls):
        for watch in cls.all:
            watch.process.kill()
            watch.process.wait()
        cls.all.clear()


def modified(watch, name='', text=''):
    """The two events that watchers ask for."""
    for event in ('MODIFY', 'CLOSE_WRITE'):
        ok(until(lambda: watch.has(event, name)), '%s: IN_%s' % (text, event),
            watch.lines)


class Polled:
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLPRI)

    def read(self):
        return os.pread(self.fd, 65536, 0).decode()

    def wait(self, seconds=10):
        """True: woken.  What has changed is not read by that."""
        return bool(self.poll.poll(seconds * PATIENCE * 1000))

    def until(self, condition, seconds=15):
        """Woken until the text is so."""
        end = time.monotonic() + seconds * PATIENCE
        while True:
            text = self.read()
            if condition(text):
                return text
            if not self.wait(max(0, end - time.monotonic()) / PATIENCE):
                return None


# ---- nobody looks: nothing is done.  First, before anybody has. ----

def steady_nobody():
    holder = Actor(HOST[1])
    for i in range(20):
        commit(1, str(i))
        holder.open('locks/nobody')
        holder('flock(fd, LOCK_EX)')
        holder('os.close(fd)')
    last = HOST[3] + '/config/f'
    until(lambda: os.path.exists(last) and read(last) == '19')
    eq(metric(3, 'news_told'), 0,
        'where nobody has looked at .gov, nobody is told of it')


# ---- .gov/locks ----

def steady_locks():
    holder, reader, waiter = (Actor(HOST[i]) for i in (1, 1, 2))
    for actor in (holder, waiter):
        actor.open('locks/deploy')
    holder('flock(fd, LOCK_EX)')
    waiter.start('flock(fd, LOCK_EX)')
    ok(waiting('locks/deploy', 1, 3), 'U9: .gov/locks of a third host shows '
        'the waiter')
    lines = read(gov(3, 'locks/locks/deploy')).splitlines()
    eq([l.split()[:5] for l in lines],
        [['held', 'flock', 'exclusive', 'host=h1', 'pid=%d' % holder.pid],
        ['waits', 'flock', 'exclusive', 'host=h2', 'pid=%d' % waiter.pid]],
        'U9 L6: one line for the holder, one for who waits')
    ok(' comm=python3 since=' in lines[0] and ' token=' in lines[0],
        'L6: with program, since when, and token', lines)
    found = subprocess.run(['find', gov(3, 'locks'), '-type', 'f'],
        stdout=subprocess.PIPE, universal_newlines=True).stdout.splitlines()
    eq(found, [gov(3, 'locks/locks/deploy')], 'L6: find finds what is locked')
    ok(stat.S_ISREG(os.stat(gov(3, 'locks/locks/deploy')).st_mode) and
        os.stat(gov(3, 'locks/locks/deploy')).st_size == len('\n'.join(lines))
        + 1, 'a file of the size that it has')
    eq(read(gov(3, 'locks/deploy')).splitlines(), lines,
        'U30: what is in locks/ is found without that, too')
    elected = Actor(HOST[1])
    os.mkdir(HOST[1] + '/locks/elect')
    elected.open('locks/elect/db-primary')
    elected('flock(fd, LOCK_EX)')
    ok(until(lambda: locks(2, 'elect/db-primary')), 'U30: ... in directories')
    elected.end()
    ok(until(lambda: not locks(2, 'elect/db-primary')), 'U30: it is free')
    holder('flock(fd, LOCK_UN)')
    eq(waiter.wait(), None, 'U9: the waiter enters')
    waiter('flock(fd, LOCK_UN)')
    ok(until(lambda: read(gov(3, 'locks/locks/deploy')) == ''),
        'L6: a file that nobody locks is there, and empty')
    eq(os.listdir(gov(3, 'locks')), [], 'L6: ... and not listed')
    for path in ('locks/nothing', 'locks/locks/nothing', 'locks/config/f/x',
            'locks/' + 'x' * 256):
        ok(not os.path.exists(gov(3, path)), '.gov/%.20s: there is no such '
            'file' % path)
    reader.open('locks/deploy', 'os.O_RDONLY')
    reader('flock(fd, LOCK_SH)')
    ok(until(lambda: read(gov(3, 'locks/locks/deploy'))
        .startswith('held flock shared')), 'L6: a shared lock')


def steady_locks_removed():
    holder = Actor(HOST[1])
    holder.open('locks/gone')
    holder('flock(fd, LOCK_EX)')
    os.unlink(HOST[1] + '/locks/gone')
    ok(until(lambda: os.listdir(gov(2, 'locks')) == ['(removed)']),
        'L6: the lock of a file that was removed is listed')
    ok('pid=%d ' % holder.pid in read(gov(2, 'locks/(removed)')),
        'L6: ... with its holder')
    holder.end()
    ok(until(lambda: os.listdir(gov(2, 'locks')) == []), 'L6: ... until it '
        'is free')


def steady_locks_comm():
    holder = Actor(HOST[1])
    holder('import ctypes')
    holder(r'ctypes.CDLL(None).prctl(15, b"a held \\ b")')
    holder.open('locks/comm')
    holder('flock(fd, LOCK_EX)')
    until(lambda: locks(2, 'locks/comm'))
    lines = read(gov(2, 'locks/locks/comm')).splitlines()
    ok(len(lines) == 1 and r' comm=a\040held\040\134\040b ' in lines[0],
        'S3: a program\'s name makes no other word', lines)


def steady_locks_private():
    os.mkdir(HOST[1] + '/config/private', 0o700)
    holder = Actor(HOST[1])
    holder.open('config/private/lock')
    holder('flock(fd, LOCK_EX)')
    until(lambda: locks(2, 'config/private/lock'))
    ok(locks(2, 'config/private/lock'), 'root sees the lock')
    cat = ['setpriv', '--reuid=12345', '--regid=12345', '--clear-groups',
        'cat', gov(2, 'locks/config/private/lock')]
    eq(subprocess.run(cat, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode, 1,
        'S2: who may not look into a directory sees no locks of its files')


# ---- events ----

def steady_version():
    file, directory = Watch(gov(2, 'version')), Watch(gov(2, ''))
    commit(1, 'one')
    modified(file, '', 'W1: inotifywait .gov/version, on another host')
    modified(directory, 'version', 'W1: inotifywait .gov')
    seen, last = [], None
    polled = Polled(gov(2, 'version'))
    begin = time.monotonic()
    file.lines.clear()
    for i in range(200):
        commit(1, str(i))
    want = int(read(gov(1, 'version')))
    ok(until(lambda: int(read(gov(2, 'version'))) >= want), 'all have come')
    ok(until(lambda: file.has('CLOSE_WRITE')), 'there are events of 200 '
        'commits')
    told = file.lines.count(('', 'CLOSE_WRITE'))
    took = time.monotonic() - begin
    ok(told <= took * 10 + 2, 'no more than ten a second', took, told)
    commit(1, 'last')
    want = int(read(gov(1, 'version')))
    ok(polled.until(lambda text: int(text) >= want),
        'whoever reads when woken has the last one in the end')
    told = metric(2, 'news_told')
    for child in read('/proc/%d/task/%d/children' % (daemon(2),
            daemon(2))).split():
        os.kill(int(child), signal.SIGKILL)
    file.lines.clear()
    commit(1, 'after')
    modified(file, '', 'after the helper was killed')
    ok(until(lambda: metric(2, 'news_told') > told), 'each is counted')


def steady_lock_events():
    holder, waiter = Actor(HOST[1]), Actor(HOST[3])
    for actor in (holder, waiter):
        actor.open('locks/watched')
        actor('flock(fd, LOCK_EX)')
        actor('flock(fd, LOCK_UN)')
    commit(1, '', 'locks/quiet')
    for name in ('watched', 'quiet'):
        path = gov(2, 'locks/locks/' + name)
        ok(until(lambda: os.path.exists(path) and read(path) == ''),
            'L6: %s is there to be locked' % name)
    twin, top = Watch(gov(2, 'locks/locks/watched')), Watch(gov(2, 'locks'))
    other = Watch(gov(2, 'locks/locks/quiet'))
    near, gone = Watch(gov(2, 'locks/locks')), Watch(gov(2, ''))
    for text, act in (('a lock is taken', lambda: holder('flock(fd, LOCK_EX)')),
            ('another waits', lambda: waiter.start('flock(fd, LOCK_EX)')),
            ('it is freed', lambda: holder('flock(fd, LOCK_UN)'))):
        for watch in (twin, top, near):
            watch.lines.clear()
        act()
        modified(twin, '', 'L6: ' + text)
        modified(near, 'watched', 'L6: %s, seen from its directory' % text)
        ok(until(lambda: top.has('MODIFY') and top.has('ISDIR')),
            'L6: ... and .gov/locks itself is modified', top.lines)
    eq(waiter.wait(), None, 'the waiter has it')
    ok(until(lambda: gone.has('MODIFY', 'locks')), 'L6: which .gov shows as '
        'well', gone.lines)
    eq(other.lines, [], 'L6: watchers of another lock are left alone')


def all_say_leader():
    """The host that leads, once each host says so in .gov/leader."""
    leader = cluster('leader')
    names = {read(gov(i, 'leader')) for i in (1, 2, 3)}
    return int(leader) if names == {'h%s\n' % leader} else None


def lost_leader():
    # A host that sleeps through another's silence sees its session gone.
    for _ in range(3):
        if leader_dies():
            return
        print('#\tonce more: nobody saw that the host is not heard of')
        Watch.end_all()
    ok(False, '.gov/sessions: the host is not heard of')


def leader_dies():
    """False: nobody saw its session silent before it was gone."""
    leader = until(all_say_leader)
    ok(leader, 'R25: .gov/leader is its name, on each host')
    host = leader % 3 + 1
    third = host % 3 + 1
    before = os.stat(gov(host, 'leader'))
    eq(before.st_size, 3, 'of the right size')
    file, directory = Watch(gov(host, 'leader')), Watch(gov(host, ''))
    once = subprocess.Popen(['inotifywait', '-q', '-t', '200', '-e',
        'close_write', gov(host, 'sessions')], stdout=subprocess.DEVNULL)
    polled = Polled(gov(host, 'leader'))
    sessions = Polled(gov(host, 'sessions'))
    cluster('kill', str(leader))
    new = polled.until(lambda text: text in ('h%d\n' % host, 'h%d\n' % third))
    ok(new, 'R25: poll(2) tells of the new leader', polled.read())
    modified(file, '', 'R25: inotifywait .gov/leader')
    modified(directory, 'leader', 'R25: inotifywait .gov')
    modified(directory, 'health', 'health: a host is missing')
    modified(directory, 'members', 'members: the same')
    after = os.stat(gov(host, 'leader'))
    ok(after.st_mtime_ns > before.st_mtime_ns, 'its mtime has changed')

    def state(text):
        return {w.split()[1][5:]: w.split()[2][6:] for w in text.splitlines()}
    name = 'h%d' % leader
    text = sessions.until(lambda t: state(t).get(name) != 'alive')
    if text and name not in state(text):
        once.kill()
        once.wait()
        cluster('start', str(leader))
        cluster('ready', '30')
        return False
    ok(text, '.gov/sessions: the host is not heard of', sessions.read())
    ok(sessions.until(lambda t: name not in state(t)),
        '.gov/sessions: after its ttl the session is gone', sessions.read())
    eq(once.wait(), 0, 'inotifywait -e close_write is enough')
    cluster('start', str(leader))
    ok(sessions.until(lambda t: list(state(t).values()) == ['alive'] * 3),
        '.gov/sessions: it is back', sessions.read())
    cluster('ready', '30')
    for i in (1, 2, 3):
        def rows():
            return [dict(w.split('=') for w in line.split()[1:])
                for line in read(gov(i, 'sessions')).splitlines()]
        ok(until(lambda: all(int(row['age_ms']) < 5000 for row in rows())),
            '.gov/sessions: how long ago each was heard of', rows())
        eq({row['ttl_ms'] for row in rows()}, {'5000'}, '... and its ttl')
    return True


# ---- health ----

def cut_off():
    """{state: how old it was when the watcher had been woken and had read}"""
    host = until(all_say_leader) % 3 + 1
    late, words = {}, []
    polled, watch = Polled(gov(host, 'health')), Watch(gov(host, 'health'))
    polled.until(lambda text: text.startswith('ok\n'))

    def look(text):
        fields = dict(l.split('=', 1) for l in text.splitlines()[1:])
        word = text.splitlines()[0]
        if word not in words:
            words.append(word)
            late[word] = int(fields['since_ms'])
        return word
    look(polled.read())
    cut(host)
    ok(polled.until(lambda text: look(text) == 'lost'), 'O6: a host that is '
        'cut off comes to say lost', words)
    steps = ['ok', 'suspended', 'readonly', 'lost']
    ok(words == [w for w in steps if w in words], 'U12 O6: by suspended and '
        'readonly', words)
    ok(polled.until(lambda text: {'quorum=1/3', 'leader='} <=
        set(text.splitlines())), 'U21: it says how many are left, and that '
        'there is no leader', polled.read())
    said = subprocess.run([GOV, 'status', HOST[host]], stdout=subprocess.PIPE,
        universal_newlines=True).stdout
    eq(said.split(':')[0], 'lost', 'gov status uses the same word')
    modified(watch, '', 'U21: .gov/health')
    words.clear()
    watch.lines.clear()
    cut(host, False)
    ok(polled.until(lambda text: look(text) == 'ok'), 'O6: healed, it is ok '
        'again', words)
    modified(watch, '', 'U21: .gov/health, healed')
    cluster('ready', '30')
    Watch.end_all()
    return late


def lost_health():
    ok(until(lambda: {health(i) for i in (1, 2, 3)} == {'ok'}),
        'O6: all is well')
    best = dict.fromkeys(('suspended', 'readonly', 'lost', 'ok'), 1000000)
    # Who is woken late by a busy machine, or sleeps through a state, tries
    # again: sooner than it is no program is.
    for _ in range(6):
        late = cut_off()
        best = {word: min(ms, late.get(word, ms)) for word, ms in best.items()}
        if max(best.values()) < 1000:
            break
        print('#\tonce more: %s' % late)
    for word, ms in best.items():
        ok(ms < 1000, 'O6: %s: a watcher knows within a second (%d ms)' % (word,
            ms))


def steady_lagging():
    polled, watch = Polled(gov(2, 'health')), Watch(gov(2, 'health'))
    reader = Actor(HOST[2])
    reader('open("config/f").read()')
    fault(2, 'replay_delay_ms', 4000)
    commit(1, 'far ahead')
    want = read(gov(1, 'version'))
    until(lambda: read(gov(2, 'version')) == want)
    reader.start('open("config/f").close()')
    ok(polled.until(lambda text: text.startswith('lagging\n')),
        'O3: a host that shows old names says that it is lagging')
    modified(watch, '', 'O3: ... though what it has to replay waits')
    fault(2, 'replay_delay_ms', 0)
    reader.wait()
    ok(polled.until(lambda text: text.startswith('ok\n'), 30),
        'O3: ... and when it has not done so for a while')


# ---- poll(2) ----

def steady_poll():
    path = gov(2, 'version')
    p, other = Polled(path), Polled(path)
    p.read()
    ok(not p.wait(0), 'poll: nothing has changed')
    eq(select.select([p.fd], [], [], 0)[0], [p.fd], 'select: it can be read')
    epoll = select.epoll()
    epoll.register(p.fd, select.EPOLLPRI)
    eq(epoll.poll(0), [], 'epoll: nothing has changed')
    commit(1, 'poll')
    eq(epoll.poll(10 * PATIENCE), [(p.fd, select.EPOLLPRI | select.EPOLLERR)],
        'epoll: EPOLLPRI and EPOLLERR of a change')
    eq(p.poll.poll(10000 * PATIENCE), [(p.fd, select.POLLPRI | select.POLLERR)],
        'poll: the same')
    eq(select.select([], [], [p.fd], 10 * PATIENCE)[2], [p.fd],
        'select: an exception')
    ok(p.wait(0), 'poll: still, until it is read')
    want = read(gov(1, 'version'))
    p.until(lambda text: text == want)
    eq(p.read(), want, 'what is read then is new')
    ok(not p.wait(0), 'poll: it has been read')
    ok(other.wait(0), 'poll: but not by who has another descriptor')
    file = os.open(HOST[2] + '/config/f', os.O_RDWR)
    q = select.poll()
    q.register(file)
    eq(q.poll(0), [(file, select.POLLIN | select.POLLOUT)],
        'poll: a file of the tree is always ready')
    os.close(file)
    path = gov(2, 'locks/locks/many')
    commit(1, '', 'locks/many')
    until(lambda: os.path.exists(path))
    many = [Polled(path) for i in range(50)]
    holder = Actor(HOST[3])
    holder.open('locks/many')
    holder('flock(fd, LOCK_EX)')
    ok(all(one.wait() for one in many), 'poll: fifty wait for a lock\'s news')
    holder('flock(fd, LOCK_UN)')
    ok(many[0].until(lambda text: text == '') == '', 'poll: ... and that it '
        'is free')
    for one in many:
        os.close(one.fd)


# ---- one text ----

def steady_text():
    path = gov(1, 'version')
    fd = os.open(path, os.O_RDONLY)
    first = os.read(fd, 1).decode()
    old = read(path)
    commit(1, 'text')
    new = read(path)
    eq(first + os.read(fd, 100).decode(), old, 'a reader in the middle reads '
        'on in the text that he began')
    os.lseek(fd, 0, os.SEEK_SET)
    eq(os.read(fd, 100).decode(), new, 'from the start it is the new one')
    os.close(fd)
    for name in os.listdir(gov(1, '')):
        if not os.path.isfile(gov(1, name)):
            continue
        fd = os.open(gov(1, name), os.O_RDONLY)
        bits = b''
        while True:
            bit = os.read(fd, 7)
            if not bit:
                break
            bits += bit
        os.close(fd)
        ok(bits.endswith(b'\n'), '%s: read in small pieces' % name, bits)
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
            try:
                os.close(os.open(gov(1, name), flags))
                ok(False, name + ' cannot be written')
            except PermissionError:
                pass
    for name in ('version', 'leader', 'members'):
        eq(os.stat(gov(1, name)).st_size, len(read(gov(1, name))),
            '%s: the size is its text\'s' % name)
    ok(os.path.islink(gov(1, 'control')) and
        stat.S_ISSOCK(os.stat(gov(1, 'control')).st_mode),
        'control leads to the socket')


def main():
    signal.alarm(800)
    kind, named = sys.argv[5] + '_', sys.argv[6:]
    for name, test in list(globals().items()):
        if not name.startswith(kind) or named and name[len(kind):] not in named:
            continue
        try:
            test()
        finally:
            end_all()
            Watch.end_all()
    print('done', flush=True)


main()

"""What editors.t asks of editors on two hosts.  STORIES U6, CONTRACT F4."""
import errno, os, pty, re, select, signal, subprocess, sys, time
from actors import *

FILE = 'config/app/limits'
A, B, C = ('%s/%s' % (h, FILE) for h in HOST[1:])
ESCAPES = re.compile(rb'\x1b(\[[0-9;?>]*[a-zA-Z]|[()][0-9A-B]|[=>78]|P.*?\x1b\\)')


class Vim:
    """vim on a terminal of its own, without anybody's settings."""
    all = []

    def __init__(self, path, *options):
        self.seen = b''
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM='vt100', LINES='24', COLUMNS='80',
                LC_ALL='C', HOME=TMP)
            os.execvp('vim', ['vim', '-N', '-u', 'NONE', '-i', 'NONE'] +
                list(options) + [path])
        Vim.all.append(self)

    def expect(self, text, seconds=120):
        """Has it shown that since the last keys were sent?"""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if re.search(text, ESCAPES.sub(b'', self.seen).replace(
                    b'\r\n', b' ')):
                return True
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536)
                except OSError:  # it has ended
                    return False
        return False

    def send(self, keys):
        self.seen = b''
        os.write(self.fd, keys)

    def screen(self):
        return ESCAPES.sub(b'', self.seen).decode(errors='replace')

    def quit(self):
        if self in Vim.all:
            Vim.all.remove(self)
            self.send(b'\x1b:q!\r')
            end = time.monotonic() + 10 * PATIENCE
            while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > end:
                    os.kill(self.pid, signal.SIGKILL)
                select.select([self.fd], [], [], 0.05)[0] and self.drain()
            os.close(self.fd)

    def drain(self):
        try:
            os.read(self.fd, 65536)
        except OSError:
            pass


class Watch:
    """The events of the file's own name on host 3, by inotifywait."""

    def __init__(self):
        self.out = TMP + '/events'
        self.process = subprocess.Popen(['inotifywait', '-m', '--format',
            '%e %f', '-o', self.out, os.path.dirname(C)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while b'established' not in self.process.stderr.readline():
            pass

    def end(self):
        """All that there was until now: what is done now comes last."""
        os.mkdir(os.path.dirname(A) + '/end')
        ok(until(lambda: 'CREATE,ISDIR end\n' in read(self.out)),
            'W1: the events come', read(self.out))
        self.process.terminate()
        self.process.wait()
        lines = [line.split() for line in read(self.out).splitlines()]
        os.unlink(self.out)
        os.rmdir(os.path.dirname(A) + '/end')
        return [(e.replace('CLOSE_WRITE,CLOSE', 'CLOSE_WRITE'), n)
            for e, n in lines if n != 'end' and
            not re.match('OPEN|ACCESS|CLOSE_NOWRITE', e)]


def sync_all():
    for host in (1, 2, 3):
        synced(host)


def revision():
    sync_all()
    return int(read(HOST[3] + '/.gov/version'))


def begin(text):
    with open(A, 'w') as f:
        f.write(text)
    sync_all()
    eq([read(p) for p in (A, B, C)], [text] * 3, 'all see the file')


def test_vim():
    begin('max=10\n')
    a = Vim(A)
    ok(a.expect(b'max=10'), 'U6: vim opens it on A', a.screen())
    swap = os.path.dirname(B) + '/.limits.swp'
    ok(until(lambda: os.path.exists(swap)), 'U6: its swap file is seen on B')
    b = Vim(B)
    ok(b.expect(b'E325: ATTENTION') and b.expect(b'Found a swap file'),
        'U6: B\'s vim reports a swap file', b.screen())
    ok(b.expect(b'E.{0,3}dit anyway') or b.expect(b'dit anyway', 1),
        'U6: ... and asks', b.screen())
    b.send(b'e')
    b.expect(b'max=10', 3)
    watch, before = Watch(), revision()
    b.send(b':%s/10/20/\r:w\r')
    ok(b.expect(b'written'), 'U6: B edits anyway, and writes', b.screen())
    sync_all()
    eq([read(p) for p in (A, B, C)], ['max=20\n'] * 3, 'U6: all see B\'s')
    took, events = revision() - before, watch.end()
    eq(events.count(('CLOSE_WRITE', 'limits')), 1,
        'U6: the file has one revision for one save')
    print('#\tone :w of vim: %d revisions, on another host %s' % (took,
        ' '.join('%s(%s)' % event for event in events)))
    a.send(b':%s/10/30/\r:w\r')
    ok(a.expect(b'WARNING: The file has been changed since reading it'),
        'U6: A\'s :w says that the file has been changed', a.screen())
    ok(a.expect(b'really want to write'), 'U6: ... and asks', a.screen())
    a.send(b'n')
    sync_all()
    eq(read(C), 'max=20\n', 'U6: A says no: B\'s stays')
    def insists():  # past whatever prompt there is
        a.send(b'\x1b:w!\r')
        if a.expect(b'really want to write', 5):
            a.send(b'y')
        return until(lambda: read(C) == 'max=30\n', 2)
    ok(until(insists, 20), 'U6: A insists: A\'s is there', a.screen())
    a.quit()
    b.quit()
    sync_all()
    eq(sorted(os.listdir(os.path.dirname(C))), ['limits'],
        'U6: the editors leave nothing behind')


def test_vim_renames():
    """With backupcopy=no vim moves the old file away and makes a new one."""
    begin('max=10\n')
    held = os.open(A, os.O_RDWR)
    eq(os.read(held, 100), b'max=10\n', 'F4: an editor on A has it open')
    a = Vim(A)
    ok(a.expect(b'max=10'), 'U6: vim, too', a.screen())
    swap = os.path.dirname(B) + '/.limits.swp'
    until(lambda: os.path.exists(swap))
    b = Vim(B, '--cmd', 'set backup backupcopy=no backupskip=')
    b.expect(b'E325: ATTENTION')
    b.send(b'e')
    b.expect(b'max=10', 3)
    watch = Watch()
    b.send(b':%s/10/20/\r:w\r')
    ok(b.expect(b'written'), 'U6: B writes, keeping the old file by a rename',
        b.screen())
    events = watch.end()
    eq([e for e in events if e[1] in ('limits', 'limits~')],
        [('MOVED_FROM', 'limits'), ('MOVED_TO', 'limits~'),
        ('CREATE', 'limits'), ('MODIFY', 'limits'), ('CLOSE_WRITE', 'limits')],
        'U6: seen elsewhere: the file goes, and comes with its content')
    a.send(b':%s/10/30/\r:w\r')
    ok(a.expect(b'WARNING: The file has been changed since reading it'),
        'U6: A\'s vim looks at the name, and is told', a.screen())
    os.pwrite(held, b'max=40\n', 0)
    os.close(held)
    sync_all()
    eq([read(C), read(C + '~')], ['max=20\n', 'max=40\n'],
        'F4: who has the old file open writes the old file, and is not')
    for vim in (a, b):
        vim.quit()
    os.unlink(A + '~')


def test_in_place():
    """Editors that keep the file open and write into it."""
    begin('max=10\n')
    fds = [os.open(p, os.O_RDWR) for p in (A, B)]
    texts = [os.read(fd, 100) for fd in fds]
    eq(texts, [b'max=10\n'] * 2, 'F4: two editors have read it')

    def save(fd, text):
        try:
            os.pwrite(fd, text, 0)
            os.fsync(fd)
        except OSError as e:
            return errno.errorcode[e.errno]
    eq(save(fds[1], b'max=20\n'), None, 'F4: one saves')
    eq(save(fds[0], b'max=30\n'), 'ESTALE', 'F4: the other is told ESTALE')
    eq(save(fds[0], b'max=31\n'), 'ESTALE', 'F4: ... again and again')
    eq(save(fds[1], b'max=21\n'), None, 'F4: the first may go on saving')
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass
    sync_all()
    eq([read(p) for p in (A, B, C)], ['max=21\n'] * 3, 'F4: that is what stays')


def test_blind():
    """ed(1) reads, closes, and writes without a look: nobody is told."""
    begin('max=10\n')

    def ed(path):
        return subprocess.Popen(['ed', '-s', path], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    a, b = ed(A), ed(B)
    for p in (a, b):
        p.stdin.write(b'1p\n')
        eq(p.stdout.readline(), b'max=10\n', 'F4: ed has read it')
    outs = [p.communicate(b's/10/%d/\nw\nq\n' % n)[0] for p, n in
        ((b, 20), (a, 30))]
    eq([p.returncode for p in (a, b)], [0, 0], 'F4: both write')
    sync_all()
    eq([read(p) for p in (A, B, C)], ['max=30\n'] * 3,
        'F4: of blind writers the last one stays, and nobody is told')
    # The way out for those who can: the revision that was read.
    before = os.getxattr(A, 'gov.rev').decode()
    begin('max=40\n')
    done = subprocess.run([GOV, 'put', '--if-rev', before, B], input=b'max=50',
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eq(done.returncode, 4, 'F4: gov put --if-rev tells')
    eq(read(A), 'max=40\n', 'F4: ... and changes nothing')


def test_link():
    """emacs marks a file that it edits by a link that names its user."""
    begin('max=10\n')
    mark = os.path.dirname(FILE) + '/.#limits'
    os.symlink('alice@A.77:1', HOST[1] + '/' + mark)
    sync_all()
    eq(os.readlink(HOST[2] + '/' + mark), 'alice@A.77:1',
        'U6: on B it says who edits it')
    try:
        os.symlink('bob@B.78:1', HOST[2] + '/' + mark)
        got = None
    except OSError as e:
        got = errno.errorcode[e.errno]
    eq(got, 'EEXIST', 'U6: ... and nobody else marks it')
    os.unlink(HOST[1] + '/' + mark)


def main():
    signal.alarm(800)
    os.mkdir(HOST[1] + '/config/app')
    sync_all()
    try:
        for test in sys.argv[5:] or [n[5:] for n in globals() if
                n.startswith('test_')]:
            globals()['test_' + test]()
    finally:
        for vim in list(Vim.all):
            os.kill(vim.pid, signal.SIGKILL)
    print('done', flush=True)


main()

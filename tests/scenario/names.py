"""What names.t asks of names that are locks.  CONTRACT F6, L1, O3.

Three processes, one on each host: first they race for fresh names, then they
take one name and give it back, and say who was inside when.
"""
import ctypes, multiprocessing, os, random, sys, time, traceback

HOST = sys.argv[1:4]
TMP = sys.argv[4]
RACES = int(os.environ['NAME_RACES'])
ROUNDS = int(os.environ['NAME_ROUNDS'])
LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_NOREPLACE = -100, 1


def make_excl(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def make_link(path):
    os.link(os.path.dirname(path) + '/source', path)


def make_symlink(path):
    os.symlink('x', path)


def make_rename(path):
    mine = '%s.%d' % (path, os.getpid())
    make_excl(mine)
    if LIBC.renameat2(AT_FDCWD, mine.encode(), AT_FDCWD, path.encode(),
            RENAME_NOREPLACE) != 0:
        err = ctypes.get_errno()
        os.unlink(mine)
        raise OSError(err, os.strerror(err))



KINDS = {
    'O_EXCL': (make_excl, os.unlink),
    'mkdir': (os.mkdir, os.rmdir),
    'link': (make_link, os.unlink),
    'symlink': (make_symlink, os.unlink),
    'rename to an absent name': (make_rename, os.unlink),
}


def ok(good, text, *more):
    print('%d\t%s' % (not good, text), flush=True)
    for line in more if not good else ():
        print('#\t%s' % (line,), flush=True)


def note(text):
    print('#\t%s' % text, flush=True)


def on_each_host(work, *args):
    """work(directory, barrier, ...) on all of them at once; what they return."""
    barrier, queue = multiprocessing.Barrier(3), multiprocessing.Queue()

    def run(host):
        try:
            queue.put((host, work(host, barrier, *args)))
        except Exception:
            barrier.abort()
            queue.put((host, traceback.format_exc()))
    workers = [multiprocessing.Process(target=run, args=(h + '/locks/names',),
        daemon=True) for h in HOST]
    for worker in workers:
        worker.start()
    got = dict(queue.get(timeout=3600) for _ in workers)
    for worker in workers:
        worker.join()
    failed = [line for g in got.values() if isinstance(g, str)
        for line in g.splitlines()]
    if failed:
        ok(False, 'every host comes to the end', *failed)
        return None
    return [got[h + '/locks/names'] for h in HOST]


def race(directory, barrier, make):
    """Which of the names were won here?"""
    won = []
    for n in range(RACES):
        barrier.wait(300)
        try:
            make('%s/%d' % (directory, n))
            won.append(n)
        except FileExistsError:
            pass
    return won


def test_races():
    for kind, (make, free) in KINDS.items():
        begin = time.monotonic()
        won = on_each_host(race, make)
        if won is None:
            return
        took = time.monotonic() - begin
        ok(sorted(sum(won, [])) == list(range(RACES)),
            'U8 F6: %d races of three hosts for a fresh name by %s: one '
            'winner each' % (RACES, kind), [len(w) for w in won])
        note('won %s, %.1f s' % ([len(w) for w in won], took))
        for n in range(RACES):
            free('%s/locks/names/%d' % (HOST[n % 3], n))
        for host in HOST:
            os.getxattr(host, 'gov.sync')


def hold(directory, barrier, make, free, left):
    """When was the name ours?  [(begin, end)], by the one clock of all."""
    path, held, refused = directory + '/one', [], 0
    barrier.wait(300)
    while True:
        try:
            make(path)
        except FileExistsError:
            refused += 1
            time.sleep(0.0005)
            continue
        begin = time.monotonic_ns()
        left.value -= 1
        n = left.value
        end = time.monotonic_ns()
        free(path)
        held.append((begin, end))
        if n <= 0:
            return held, refused


def test_rounds():
    for kind, (make, free) in KINDS.items():
        # Without a lock of its own: the name is what guards it.
        left = multiprocessing.Value('q', ROUNDS, lock=False)
        begin = time.monotonic()
        got = on_each_host(hold, make, free, left)
        if got is None:
            return
        took = time.monotonic() - begin
        rows = sorted(row + (i,) for i, (held, _) in enumerate(got)
            for row in held)
        both = [(a, b) for a, b in zip(rows, rows[1:]) if b[0] <= a[1]]
        ok(not both, 'L1: one name, taken by %s and freed %d times on three '
            'hosts: never two holders' % (kind, len(rows)), both[:5])
        # The last one is counted down to by each host.
        ok(left.value == ROUNDS - len(rows) and len(rows) >= ROUNDS,
            'L1: ... and none lost in a count that only it guards',
            (left.value, len(rows)))
        note('held %s times, refused %d, handed over %d times, %.1f s' % (
            [len(held) for held, _ in got], sum(r for _, r in got),
            sum(a[2] != b[2] for a, b in zip(rows, rows[1:])), took))


class Links:
    """The link count of a file, as the kernel has it or as it is asked for."""
    CACHED, ASKED = 0x4000, 0x2000  # AT_STATX_DONT_SYNC, AT_STATX_FORCE_SYNC

    def __init__(self, path):
        self.path, self.buf = path.encode(), ctypes.create_string_buffer(256)

    def __call__(self, how):
        if LIBC.statx(AT_FDCWD, self.path, how, 0x7ff, self.buf) != 0:
            raise OSError(ctypes.get_errno(), 'statx')
        return int.from_bytes(self.buf.raw[16:20], sys.byteorder)


def test_links():
    """A name goes elsewhere while somebody looks at the file here."""
    source = '/locks/names/source'
    stop = multiprocessing.Event()

    def look():
        links = Links(HOST[0] + source)
        while not stop.is_set():
            time.sleep(random.uniform(0, 0.004))
            links(Links.ASKED)
    lookers = [multiprocessing.Process(target=look, daemon=True)
        for _ in range(2)]
    for looker in lookers:
        looker.start()
    links, names, bad = Links(HOST[0] + source), HOST[1] + '/locks/names/', []
    for n in range(600):
        os.link(HOST[1] + source, names + 'more')
        if n % 2 == 0:
            os.unlink(names + 'more')
        else:
            make_excl(names + 'fresh')
            os.rename(names + 'fresh', names + 'more')
            os.unlink(names + 'more')
        os.getxattr(HOST[0], 'gov.sync')
        if links(Links.CACHED) == 0:
            bad.append(n)
    stop.set()
    for looker in lookers:
        looker.join()
    ok(not bad, 'F7: a file that loses a name elsewhere while it is looked at '
        'keeps its last link here', bad)


def main():
    names = HOST[0] + '/locks/names'
    os.mkdir(names)
    with open(names + '/source', 'w') as f:
        f.write('x')
    for host in HOST:
        os.getxattr(host, 'gov.sync')
    test_races()
    test_rounds()
    test_links()
    print('done', flush=True)


main()

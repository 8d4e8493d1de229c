"""What cut.t asks of hosts that are cut off.  CONTRACT L1, L4, T8, O6.

On each host a gov lock runs a command that notes, every 10 ms, that it holds
the lock.  Whatever happens to the network, no two of them hold it at once.

Who waits in the queue keeps its place as long as its host keeps its session,
which on a machine that stands still may be shorter than an election: rounds.
"""
import os, signal, subprocess, sys, time
from actors import *

TTL = float(os.environ['TTL_MS']) / 1000
NET = os.environ['NET']
NAME = 'locks/cut'
HOLD = '''
import os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
while True:
    os.write(log, b'%s %d\\n' % (sys.argv[2].encode(), time.monotonic_ns()))
    time.sleep(0.01)
'''
LOGS = []
RUNNING = {}
DEAF = set()


def ip(*args):
    subprocess.run(['ip', '-n'] + list(args), check=True)


def cable(host, plugged):
    """The switch forwards nothing there, or all.  The host's own interface stays
    up: of a change of that the kernel tells only once a second."""
    subprocess.run(['bridge', '-n', NET + '-sw', 'link', 'set', 'dev',
        'p%d' % host, 'state', '3' if plugged else '0'], check=True)


def deaf(host, on):
    """It hears the others, and can't answer."""
    (DEAF.add if on else DEAF.remove)(host)
    for other in others(host):
        ip('%s-%d' % (NET, host), 'route', 'add' if on else 'del',
            'blackhole', '10.7.7.%d/32' % other)


def run(host):
    """gov lock on that host, noting in a log of its own."""
    log = '%s/hold.%d' % (TMP, len(LOGS))
    LOGS.append(log)
    with open(log + '.says', 'w') as says:
        RUNNING[host] = subprocess.Popen([GOV, 'lock',
            '--kill=TERM,200ms,KILL', HOST[host] + '/' + NAME, '--',
            sys.executable, '-c', HOLD, log, str(host)],
            stdout=subprocess.DEVNULL, stderr=says)
    RUNNING[host].log = log
    heed(host, log + '.says')
    return log


def stop(host):
    process = RUNNING.pop(host)
    process.terminate()
    return process.wait()


def restore():
    for host in (1, 2, 3):
        cable(host, True)
        if host in DEAF:
            deaf(host, False)
    for process in RUNNING.values():
        process.kill()
        process.wait()
    RUNNING.clear()
    end_all()
    all_well()


def stamps(log):
    """When its command held the lock; [] before it did."""
    if not os.path.exists(log):
        return []
    return [int(line.split()[1]) for line in
        read(log).rsplit('\n', 1)[0].splitlines()]


def comes(hosts, seconds, text, meanwhile=lambda: None):
    """Which host holds the lock first, while one of them waits for it."""
    queue = [RUNNING[h] for h in hosts]
    def over():
        meanwhile()
        return any(stamps(p.log) for p in queue) or all(
            p.poll() is not None for p in queue)
    until(over, seconds)
    held = [h for h, p in zip(hosts, queue) if stamps(p.log)]
    need(held, text, *('%s: exit code %s: %s' % (' '.join(p.args[:4]), p.poll(),
        read(p.log + '.says')) for p in queue))
    return held[0]


def never_two(what, lost_ns=0):
    """lost_ns: in which the machine may have failed to end a command."""
    times = sorted((stamps(log)[0], stamps(log)[-1], log) for log in LOGS
        if stamps(log))
    gaps = [(b[0] - a[1]) / 1e6 for a, b in zip(times, times[1:])]
    ok(all(gap * 1e6 + lost_ns > 0 for gap in gaps), 'L1 L4: %s: never two '
        'holders (%d of them, at least %.1f ms between)' % (what, len(times),
        min(gaps, default=0)), times)


def seen_health(host, seen):
    word = health(host)
    if not seen or seen[-1] != word:
        seen.append(word)


def leader_now(among):
    """Who leads there: a host that is cut off may think it still does."""
    for host in among:
        got = subprocess.run([GOV, 'status', '--state', '%s/c/%d/state' % (TMP,
            host)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if b' is leader' in got.stdout.split(b'\n')[0]:
            return host
    return None


def held_by(host, seconds=10):
    log = run(host)
    comes([host], seconds, 'host %d holds the lock' % host)
    return log


@rounds(restore)
def cut_holder(which, pull, plug, how):
    leader = int(cluster('leader'))
    host = leader if which == 'leader' else others(leader)[0]
    rest = others(host)
    what = 'a %s %s' % (which, how)
    actor = Actor(HOST[host])
    actor('fd = opened("locks/other")\nflock(fd, LOCK_EX)')
    actor('os.mkdir("status/here")') if not os.path.isdir(
        HOST[host] + '/status/here') else None
    actor('os.setxattr("status/here", "gov.lifetime", b"open")')
    actor('here = opened("status/here/me", os.O_WRONLY | os.O_CREAT)\n'
        'os.write(here, b"me")\nos.fsync(here)')
    mine = held_by(host)
    queued = {}
    for n, other in enumerate(rest):
        queued[other] = run(other)
        waiting(NAME, n + 1, other)
    there = rest[0]
    ok(until(lambda: os.path.exists(HOST[there] + '/status/here/me')),
        'T4: an open file is seen elsewhere')
    seen = []
    if int(cluster('leader')) != leader:
        raise Spoiled('host %d leads no more' % leader)
    watch, lease = Watch(), actor('lease()')
    keep(*rest)
    pull(host)
    begin = time.monotonic_ns()
    winner = comes(rest, TTL * 2 + 10, 'U12 L4: %s: the next gets the lock' %
        what, lambda: seen_health(host, seen))
    entered, gone = stamps(queued[winner])[0], stamps(mine)[-1]
    lost = watch.lost_ns()
    ok(gone < entered + lost, 'U12 L4: %s: ... %.2f s after the last sign of '
        'the holder\'s command' % (what, (entered - gone) / 1e9))
    ok(gone - begin < TTL * 1e9 + lost, 'L4: ... which ended within the ttl '
        '(%.2f s)' % ((gone - begin) / 1e9))
    ok(entered > lease * 1e9, 'L4: ... and the lock was not free '
        'before it (%.2f s)' % ((entered - begin) / 1e9))
    ok(until(lambda: seen_health(host, seen) or 'lost' in seen, 5),
        'U12: its health says lost', seen)
    eq(actor('os.pwrite(fd, b"x", 0)'), 'EIO',
        'L4: %s: what goes through its lost lock is EIO' % what)
    eq(actor('flock(fd, LOCK_EX | LOCK_NB)'), 'EIO', 'L4: ... also flock')
    ok(until(lambda: not os.path.exists(HOST[there] + '/status/here/me'), 10),
        'T8: its open file vanishes elsewhere')
    ok(leader_now(rest) in rest, 'O6: the others have a leader')
    with open(HOST[there] + '/config/during', 'w') as f:
        f.write(what)
    eq(RUNNING[host].wait(10 * PATIENCE), 1, 'U12: gov lock says 1')
    del RUNNING[host]
    plug(host)
    ok(until(lambda: health(host) == 'ok', 20), 'O6: healed, its health is ok',
        health(host))
    keep(1, 2, 3)
    ok(until(lambda: os.path.exists(HOST[there] + '/status/here/me') and
        read(HOST[there] + '/status/here/me') == 'me', 10),
        'T8: its open file comes back by itself')
    ok(until(lambda: os.path.exists(HOST[host] + '/config/during') and
        read(HOST[host] + '/config/during') == what, 10),
        'O2: and it has what was written meanwhile')
    eq(actor('os.pwrite(fd, b"x", 0)'), 'EIO', 'L4: the lost lock stays lost')
    run(host)
    waiting(NAME, 2, host)
    stop(winner)
    third = [h for h in rest if h != winner][0]
    comes([third], 5, 'L2: the queue goes on')
    stop(third)
    comes([host], 5, 'L2: ... to the host that was cut off')
    stop(host)
    never_two(what, watch.lost_ns())
    end_all()
    until_free(NAME)


def test_follower():
    cut_holder('follower', lambda h: cable(h, False), lambda h: cable(h, True),
        'is cut off')


def test_leader():
    cut_holder('leader', lambda h: cable(h, False), lambda h: cable(h, True),
        'is cut off')


def test_deaf_follower():
    cut_holder('follower', lambda h: deaf(h, True), lambda h: deaf(h, False),
        'can only listen')


def test_deaf_leader():
    cut_holder('leader', lambda h: deaf(h, True), lambda h: deaf(h, False),
        'can only listen')


def synced(host):
    try:
        return os.getxattr(HOST[host], 'gov.sync')
    except OSError:
        return None


@rounds(restore)
def test_short():
    """Cuts much shorter than the ttl cost nobody a lock."""
    watch = Watch()
    heals = []
    for host in (1, 2, 3):
        log = held_by(host)
        for _ in range(3):
            cable(host, False)
            time.sleep(0.3)
            cable(host, True)
            begin = time.monotonic()
            ok(until(lambda: synced(host), 10), 'O6: a short cut heals')
            heals.append(time.monotonic() - begin)
            time.sleep(TTL / 3)  # it renews its session that often
        before = len(stamps(log))
        ok(until(lambda: len(stamps(log)) > before + 5) and
            RUNNING[host].poll() is None,
            'L4: short cuts of host %d cost it no lock' % host)
        stop(host)
        until_free(NAME)
    never_two('short cuts', watch.lost_ns())
    print('#\theals after %s ms' % [round(h * 1000) for h in heals])


@rounds(restore)
def test_nobody():
    """Nobody reaches anybody: nobody holds anything, and then one does."""
    watch = Watch()
    logs = {1: held_by(1)}
    for n, host in enumerate((2, 3)):
        logs[host] = run(host)
        waiting(NAME, n + 1, host)
    keep()
    for host in (1, 2, 3):
        cable(host, False)
    ok(until(lambda: RUNNING[1].poll() is not None, TTL + 5),
        'L4: without a majority the holder\'s command ends')
    quiet = len(stamps(logs[1]))
    ok(until(lambda: all(health(h) in ('lost', 'readonly')
        for h in (1, 2, 3)), 15), 'O6: each host says so',
        [health(h) for h in (1, 2, 3)])
    ok(len(stamps(logs[1])) == quiet and not stamps(logs[2]) and
        not stamps(logs[3]), 'L4: nobody holds the lock')
    RUNNING.pop(1)
    for host in (1, 2, 3):
        cable(host, True)
    ok(until(lambda: all(health(h) == 'ok' for h in (1, 2, 3)), 30),
        'O6: healed, all are ok')
    keep(1, 2, 3)
    comes([2, 3], TTL * 2 + 10, 'L2: who waited gets it')
    for host in (2, 3):
        stop(host)
    until_free(NAME)
    never_two('all cut off', watch.lost_ns())


watch = Watch()
try:
    run_tests(globals(), 800, restore)
    never_two('all in all', watch.lost_ns())
    print('done', flush=True)
finally:
    for process in RUNNING.values():
        process.kill()

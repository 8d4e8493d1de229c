"""What leases.t asks of hosts that lose their session.  CONTRACT L1, L4, L5.

Sessions last TTL seconds there.  Those that should last, and don't on a
machine that stands still, spoil a round: rounds.
"""
import os, signal, subprocess, sys, time
from actors import *

TTL = float(os.environ['TTL_MS']) / 1000


def background(host, args):
    """gov there; what it says is in .says."""
    says = '%s/says.%d' % (TMP, time.monotonic_ns())
    with open(says, 'w') as f:
        RUNNING.append(subprocess.Popen([GOV] + args,
            stdout=subprocess.DEVNULL, stderr=f))
    heed(host, says)
    return RUNNING[-1]


def stop(host):
    pid = daemon(host)
    suspend(pid)
    return pid


def leading(leader):
    """So that the test does what it says."""
    if int(cluster('leader')) != leader:
        raise Spoiled('host %d leads no more' % leader)


def expires(lease, got, watch, seconds, text):
    """Not before the holder's own lease has ended, nor long after."""
    ok(isinstance(got, float) and got >= lease, text + ', not before',
        'lease until %s, free at %s' % (lease, got))
    watch.within(1000 * (seconds + TTL * watch.leaders()), text)


@rounds(restore)
def host_dies(which):
    leader = int(cluster('leader'))
    host = leader if which == 'leader' else others(leader)[0]
    here, there = others(host)
    holder, p, q = Actor(HOST[host]), Actor(HOST[here]), Actor(HOST[there])
    for actor in (holder, p, q):
        actor.open('locks/db')
    holder('flock(fd, LOCK_EX)')
    before = token(here, 'locks/db')
    p.start('(flock(fd, LOCK_EX), time.monotonic())[1]')
    waiting('locks/db', 1, here)
    leading(leader)
    watch, lease = Watch(), holder('lease()')
    keep(here, there)
    cluster('kill', str(host))
    got = p.wait(TTL + 10)
    expires(lease, got, watch, TTL + 2,
        'U11 L4: the lock of a killed %s is free after its TTL' % which)
    ok(token(here, 'locks/db') > before, 'U11 L5: with a greater token')
    eq(q('flock(fd, LOCK_EX | LOCK_NB)'), 'EAGAIN',
        'L4: ... for one other alone')


def test_host_dies():
    for which in ('follower', 'leader'):
        host_dies(which)
        restore()


@rounds(restore)
def test_delay():
    """U11 with a lock-delay."""
    path = HOST[1] + '/locks/delay'
    host = others(int(cluster('leader')))[0]
    here = others(host)[0]
    os.close(os.open(path, os.O_CREAT | os.O_RDWR))
    os.setxattr(path, 'gov.lock_delay', b'1s')
    until(lambda: all(os.path.exists(h + '/locks/delay') for h in HOST[1:]))
    holder, p = Actor(HOST[host]), Actor(HOST[here])
    holder.open('locks/delay')
    p.open('locks/delay')
    holder('flock(fd, LOCK_EX)')
    p.start('(flock(fd, LOCK_EX), time.monotonic())[1]')
    waiting('locks/delay', 1, here)
    watch, lease = Watch(), holder('lease()')
    keep(*others(host))
    cluster('kill', str(host))
    got = p.wait(TTL + 10)
    expires(lease + 1, got, watch, TTL + 1 + 2,
        'U11: after a host has died the lock-delay comes on top')
    end_all()
    all_well()
    keep(1, 2, 3)
    for i in range(2):
        holder, p = Actor(HOST[host]), Actor(HOST[here])
        holder.open('locks/delay')
        p.open('locks/delay')
        holder('flock(fd, LOCK_EX)', 5)
        p.start('flock(fd, LOCK_EX)')
        waiting('locks/delay', 1, here)
        watch = Watch()
        holder.kill()
        eq(p.wait(5), None, 'U11: a process has died')
        watch.within(500, 'U11: ... and nothing comes on top')
        end_all()


@rounds(restore)
def stopped(what):
    """A holder's daemon stands still for longer than its session lasts."""
    leader = int(cluster('leader'))
    host = leader if what == 'leader' else others(leader)[0]
    here = others(host)[0]
    holder, fresh, p = Actor(HOST[host]), Actor(HOST[host]), Actor(HOST[here])
    with open(HOST[here] + '/config/data', 'w') as f:
        f.write('old')
    until(lambda: os.path.exists(HOST[host] + '/config/data'))
    try:
        os.mkdir(HOST[here] + '/config/fenced')
        os.setxattr(HOST[here] + '/config/fenced', 'gov.guard',
            b'/config/data')
    except FileExistsError:
        pass
    holder.open('config/data')
    holder('r = opened("config/data", os.O_RDONLY)')
    holder('w = opened("config/data", os.O_WRONLY)')
    fresh.open('config/data')
    p.open('config/data')
    holder('flock(fd, LOCK_EX)')
    holder('posix(F_WRLCK, 0, 1, w)')
    holder('os.pwrite(w, b"draft", 0)')
    before = token(here, 'config/data')
    leading(leader)
    keep(*others(host))
    pid = stop(host)
    p.start('(flock(fd, LOCK_EX), time.monotonic())[1]')
    got = p.wait(TTL + 8)
    ok(isinstance(got, float), 'L4: another gets the lock of a stopped %s' %
        what, got)
    ok(token(here, 'config/data') > before, 'L5: with a greater token')
    p('os.pwrite(fd, b"new", 0)')
    p('os.fsync(fd)')
    orders = ['os.pread(fd, 9, 0).decode()', 'flock(fd, LOCK_SH | LOCK_NB)',
        'os.pwrite(w, b"late", 0)', 'os.fsync(w)', 'os.ftruncate(fd, 0)',
        'posix(F_WRLCK, 5, 5)', 'os.close(w)']
    holder.start('os.pwrite(fd, b"late", 0)')
    os.kill(pid, signal.SIGCONT)
    eq(holder.wait(10), 'EIO', 'L1 L4: run on, a write through a lost lock '
        'is EIO')
    eq([(o, holder(o)) for o in orders], [(o, 'EIO') for o in orders],
        'L1 L4: so is all else through its handles')
    late = 'f = os.open("config/fenced/f", os.O_WRONLY | os.O_CREAT)\n' + \
        'os.write(f, b"x")\nos.fsync(f)'
    until(lambda: health(host) == 'ok', 10)
    keep(1, 2, 3)
    eq(fresh(late), 'ESTALE', 'L5: what the lock guards refuses that host')
    eq(p('os.pread(fd, 9, 0).decode()'), 'new', 'L1: nothing was changed')
    eq(fresh('os.pread(opened("config/data", os.O_RDONLY), 9, 0).decode()'),
        'new', 'L4: a new handle works')
    eq(fresh('flock(fd, LOCK_EX | LOCK_NB)'), 'EAGAIN', 'L4: ... and locks')
    p('os.close(fd)')
    eq(fresh('flock(fd, LOCK_EX)', 5), None, 'L4: ... in its turn')
    end_all()
    eq(subprocess.run([GOV, 'cat', '--strict', HOST[here] + '/config/data'],
        stdout=subprocess.PIPE).stdout.decode(), 'new',
        'L1: not by the last close either')


def test_stopped_follower():
    stopped('follower')


def test_stopped_leader():
    stopped('leader')


STAMPS = '''
trap 'echo TERM $(cut -d" " -f1 /proc/uptime) >> %s' TERM
while :; do echo $(cut -d" " -f1 /proc/uptime) >> %s; sleep 0.02; done
'''


def gov_lock(host, name, log, *more):
    return background(host, list(more) + [HOST[host] + '/' + name,
        '--', 'sh', '-c', STAMPS % (log, log)])


def last_stamp(log):
    return [float(w) for w in read(log).split() if w != 'TERM'][-1]


@rounds(restore)
def partitioned(how, which):
    leader = int(cluster('leader'))
    host = leader if which == 'leader' else others(leader)[0]
    here = others(host)[0]
    one, two = TMP + '/u12.1', TMP + '/u12.2'
    for path in (one, two):
        if os.path.exists(path):
            os.unlink(path)
    first = gov_lock(host, 'locks/u12', one, 'lock', '--kill=TERM,200ms,KILL')
    until(lambda: os.path.exists(one))
    second = gov_lock(here, 'locks/u12', two, 'lock', '--kill=KILL')
    waiting('locks/u12', 1, here)
    time.sleep(TTL)
    ok(first.poll() is None and not os.path.exists(two),
        'U12: gov lock holds while its session is renewed')
    leading(leader)
    watch, pid = Watch(), daemon(host)
    keep(*others(host))
    if how == 'cut off':
        cut_off(host)
    else:
        stop(host)
    need(until(lambda: os.path.exists(two) and read(two), TTL * 2 + 8),
        'U12 L4: a holder that is %s (%s): the next gets the lock' % (how,
        which))
    entered = [float(w) for w in read(two).split()][0]
    gone, lost = last_stamp(one), watch.lost_ns() / 1e9
    ok(gone <= entered + lost, 'U12 L4: ... when its command is dead, '
        '%.2f s before' % (entered - gone))
    if 'TERM' not in read(one) and lost > 0.1:
        raise Spoiled('the command had no time to see SIGTERM')
    ok('TERM' in read(one), 'U12: ... asked by SIGTERM first')
    if how == 'cut off':
        ok(until(lambda: health(host) == 'lost'), 'U12: health says lost',
            health(host))
        cut(host, False)
    else:
        os.kill(pid, signal.SIGCONT)
    eq(first.wait(10 * PATIENCE), 1, 'U12: gov lock says 1')
    second.send_signal(signal.SIGKILL)
    second.wait(60)
    ok(until_free('locks/u12', here), 'U12: killed, gov lock takes '
        'its command and its lock with it')
    ok(until(lambda: health(host) == 'ok', 10), 'U12: back in the '
        'cluster, health is ok', health(host))


def test_partitioned():
    """U12; then a daemon that does not answer gov lock."""
    for how in ('cut off', 'stopped'):
        for which in ('follower', 'leader'):
            partitioned(how, which)


@rounds(restore)
def test_u30():
    log = TMP + '/u30'
    script = 'echo $GOV_TOKEN $0 $(cut -d" " -f1 /proc/uptime) >> %s; ' \
        'exec sleep 100' % log
    runs = {}
    if os.path.exists(log):
        os.unlink(log)
    for i in (1, 2, 3):
        runs[i] = background(i, ['elect', '--kill=KILL', '--mount', HOST[i],
            'db-primary', '--', 'sh', '-c', script, str(i)])
        until(lambda: len(locks(1, 'locks/elect/db-primary')) == i)
    need(until(lambda: os.path.exists(log) and read(log)), 'U30: one runs')
    time.sleep(0.2)
    eq(len(read(log).splitlines()), 1, 'U30: ... and one alone')
    first = int(read(log).split()[1])
    rows = locks(others(first)[0], 'elect/db-primary')  # as U30 has it
    eq([s for s, _ in rows], ['held', 'waits', 'waits'],
        'U30: .gov/locks shows it on another host')
    eq(rows[0][1]['host'], 'h%d' % first, 'U30: ... and who it is')
    eq(read(log).split()[0], rows[0][1]['token'], 'U30: GOV_TOKEN')
    watch = Watch()
    runs[first].send_signal(signal.SIGTERM)
    need(until(lambda: len(read(log).splitlines()) == 2),
        'U30: the next is there after a process ends')
    watch.within(500, 'U30: ... in 0.5 s')
    runs[first].wait(60)
    second = int(read(log).split()[4])
    watch = Watch()
    keep(*others(second))
    cluster('kill', str(second))
    ok(until(lambda: len(read(log).splitlines()) == 3, TTL * 2 + 8),
        'U30: the next after a host has died')
    watch.within(1000 * (TTL * (2 + watch.leaders()) + 2),
        'U30: ... within its TTL')
    tokens = [int(w) for w in read(log).split()[0::3]]
    ok(tokens == sorted(set(tokens)), 'L5: the token has grown', tokens)
    for run in runs.values():
        if run.poll() is None:
            run.terminate()
        run.wait(60)
    all_well()


@rounds(restore)
def test_exits():
    """What gov lock says."""
    def run(*args):
        return background(1, ['lock'] + list(args)).wait(60)
    path = HOST[1] + '/locks/exits'
    eq(run(path, '--', 'sh', '-c', 'exit 7'), 7, 'gov lock: CMD\'s exit code')
    eq(run(path, '--', 'sh', '-c', 'kill -TERM $$'), 143,
        'gov lock: 128 + the signal that ended CMD')
    holder = Actor(HOST[2])
    holder.open('locks/exits')
    holder('flock(fd, LOCK_EX)')
    eq(run('-n', path, '--', 'true'), 4, 'gov lock -n: 4 while it is held')
    watch = Watch()
    eq(run('-w', '0.3', path, '--', 'true'), 4, 'gov lock -w: 4, too')
    watch.not_before(300, 'gov lock -w: when it is over')
    watch.within(1500, 'gov lock -w: ... and not long after')
    eq(run('--kill=SOON', path, '--', 'true'), 2, 'gov lock --kill=SOON: 2')
    end_all()
    eq(run(path, '--', '/nonexistent'), 127, 'gov lock: 127 without CMD')


try:
    run_tests(globals(), 800, restore)
    print('done', flush=True)
finally:
    restore()

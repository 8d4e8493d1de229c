"""When this machine stood still: a line for each time, until killed.

    stalls.py DIR FILE

FILE gets lines of three words: the second (since the epoch) in which the machine
got on again, how long it had not, and why.  DIR is on the disk to be watched.
What a test asserts about hosts that are alive means nothing for machines that
stood still: tests/run repeats those that failed then.
"""
import os, sys, threading, time

LATE = 0.3    # s that a process which sleeps is woken late
BLOCK = 1.0   # s that a block takes to the disk
STOLEN = 0.3  # of a second's processor time, by other virtual machines


def tell(seconds, why):
    with open(sys.argv[2], 'a') as f:
        f.write('%d %.1f %s\n' % (time.time(), seconds, why))


def disk():
    path = sys.argv[1] + '/block'
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DSYNC, 0o600)
    while True:
        begin = time.monotonic()
        os.pwrite(fd, b'block', 0)
        took = time.monotonic() - begin
        if took > BLOCK:
            tell(took, 'disk')
        time.sleep(0.1)


def times():
    """Of all processors together, in ticks: all there was, what was stolen."""
    with open('/proc/stat') as f:
        words = [int(word) for word in f.readline().split()[1:]]
    return sum(words[:8]), words[7]


threading.Thread(target=disk, daemon=True).start()
last, second = time.monotonic(), times()
since = last
while True:
    time.sleep(0.02)
    now = time.monotonic()
    if now - last > 0.02 + LATE:
        tell(now - last, 'processor')
    last = now
    if now - since > 1:
        ticks = times()
        total = max(1, ticks[0] - second[0])
        if (ticks[1] - second[1]) / total > STOLEN:
            tell(now - since, 'stolen')
        since, second = now, ticks

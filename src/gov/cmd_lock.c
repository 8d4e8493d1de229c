/*
 * cmd_lock.c: run a command under a lock of the cluster.
 *
 *	gov lock PATH -- CMD...		one holder of PATH at a time
 *	gov elect NAME -- CMD...	the same, under locks/elect/
 *
 * The daemon knows how long its session surely lasts.  When it can no longer
 * be renewed the command is ended before anybody else can hold the lock: the
 * steps of --kill begin so early that the last one comes in time.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ioctl.h"
#include "gov/gov.h"

/* How often the daemon is asked for the rest of the session. */
#define LOOK_MS 100
/* How often that is looked at, and what is too little for any wait. */
#define STEP_MS 20
#define LAST_MS 60
#define STEPS_MAX 8
/* Between tries to take a lock while there is no leader. */
#define AGAIN_MS 200
#define KILL_DEFAULT "TERM,2s,KILL"

enum { OPTION_KILL, OPTION_WAIT, OPTION_NOBLOCK, OPTION_MOUNT };

static int lock_run(const struct gov_args *);
static int elect_run(const struct gov_args *);

#define LOCK_OPTIONS \
	[OPTION_KILL] = {'k', "kill", "STEPS", \
	    "how CMD is ended; default: " KILL_DEFAULT}, \
	[OPTION_WAIT] = {'w', "wait", "SECONDS", \
	    "give up after so long: exit 4"}, \
	[OPTION_NOBLOCK] = {'n', "nonblock", NULL, \
	    "give up at once if somebody has it: exit 4"}

const struct cmd cmd_lock = {
	.name = "lock",
	.args = "PATH -- CMD [ARG...]",
	.help = "run a command while holding a lock of the cluster",
	.min_args = 2,
	.max_args = -1,
	.options = {LOCK_OPTIONS},
	.run = lock_run,
};

const struct cmd cmd_elect = {
	.name = "elect",
	.args = "NAME -- CMD [ARG...]",
	.help = "run a command on one host of the cluster at a time",
	.min_args = 2,
	.max_args = -1,
	.options = {
		LOCK_OPTIONS,
		[OPTION_MOUNT] = {'m', "mount", "DIR",
		    "where the cluster is mounted; default: " GOV_MOUNT_DEFAULT},
	},
	.run = elect_run,
};

struct target {
	const char *path;
	const char *dir;   /* made for it if absent; NULL: none */
	const char *mount; /* where dir is */
};

/* What ends the command: signals, each after so long a wait. */
struct steps {
	unsigned n;
	int total_ms; /* of all waits */
	struct {
		int signal;
		uint64_t after_ms; /* since the first */
	} step[STEPS_MAX];
};

static int
signal_number(const char *name)
{
	static const struct { const char *name; int number; } known[] = {
	    {"TERM", SIGTERM}, {"KILL", SIGKILL}, {"INT", SIGINT},
	    {"HUP", SIGHUP}, {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
	    {"USR2", SIGUSR2},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].number;
	return 0;
}

/* "2s" or "500ms" in milliseconds; -1: neither. */
static int
wait_ms(const char *text)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || value < 0 || value > 3600)
		return -1;
	if (strcmp(end, "ms") == 0)
		return (int)value;
	return strcmp(end, "s") == 0 ? (int)(value * 1000) : -1;
}

static bool
parse_steps(const char *text, struct steps *ret)
{
	char copy[256], *word, *rest = copy;
	int number, ms;

	if (strlen(text) >= sizeof copy)
		return false;
	strcpy(copy, text);
	while ((word = strsep(&rest, ",")) != NULL) {
		number = signal_number(word);
		ms = wait_ms(word);
		if (number != 0 && ret->n < STEPS_MAX) {
			ret->step[ret->n].signal = number;
			ret->step[ret->n++].after_ms =
			    (uint64_t)ret->total_ms;
		} else if (ms >= 0) {
			ret->total_ms += ms;
		} else {
			return false;
		}
	}
	return ret->n > 0;
}

/* Seconds of --wait; 0 is no time at all. */
static bool
parse_seconds(const char *text, struct timeval *ret)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || !(value >= 0 && value <= 1e8))
		return false;
	ret->tv_sec = (time_t)value;
	ret->tv_usec = (suseconds_t)((value - (double)ret->tv_sec) * 1e6);
	if (ret->tv_sec == 0 && ret->tv_usec == 0)
		ret->tv_usec = 1; /* 0 would be no alarm */
	return true;
}

static volatile sig_atomic_t time_is_up;

static void
on_alarm(int number)
{
	time_is_up = 1;
}

static int
make_dir(const struct target *t)
{
	uint64_t rev;

	if (t->dir == NULL || mkdir(t->dir, 0755) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	/* Another host may have just made it: until it is shown here. */
	return access(t->dir, F_OK) == 0 ? 0 : gov_barrier(t->mount, &rev);
}

/* One descriptor for each try: one that met a lost session stays failed. */
static int
try_lock(const struct target *t, int how, int *ret)
{
	int fd, err = make_dir(t);

	if (err != 0)
		return err;
	/* For reading: such a descriptor is closed without asking the daemon. */
	fd = open(t->path, O_RDONLY | O_CREAT, 0644);
	if (fd == -1)
		return -errno;
	if (flock(fd, how) == -1) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret = fd;
	return 0;
}

/* What a host says that can't ask the others, or is behind them. */
static bool
is_stall(int err)
{
	return err == -EROFS || err == -EIO || err == -ETIMEDOUT;
}

/*
 * Waits for the lock.  Who only waits for one loses nothing while the cluster
 * has no leader: he goes on as soon as it has one.  A lock asked for without
 * waiting tells that, granted or not.
 */
static int
wait_lock(const struct target *t, bool block, int *ret)
{
	bool stalled = false;
	int err;

	for (;;) {
		err = try_lock(t, LOCK_EX | (block && !stalled ? 0 : LOCK_NB),
		    ret);
		if (err == -EINTR && !time_is_up) /* stopped, and continued */
			continue;
		if (stalled && (err == 0 || err == -EWOULDBLOCK)) {
			fprintf(stderr, "gov: %s: locks can be taken again\n",
			    t->path);
			stalled = false;
			if (err != 0)
				continue;
		}
		if (time_is_up || !block || !is_stall(err))
			return err;
		if (!stalled)
			fprintf(stderr, "gov: %s: no lock can be taken at the "
			    "moment (%s), waiting until one can\n", t->path,
			    strerror(-err));
		stalled = true;
		poll(NULL, 0, AGAIN_MS);
	}
}

/* 0, or what to exit with. */
static int
take(const struct target *t, const struct gov_args *args, int *ret)
{
	struct sigaction action = {.sa_handler = on_alarm};
	const char *seconds = args->value[OPTION_WAIT];
	int err;
	/* Again and again: the first may come before flock(2) waits. */
	struct itimerval timer = {.it_interval.tv_usec = 50000}, off = {0};

	if (seconds != NULL && !parse_seconds(seconds, &timer.it_value))
		return gov_usage("--wait=%s: not a number of seconds", seconds);
	if (seconds != NULL) {
		sigaction(SIGALRM, &action, NULL);
		setitimer(ITIMER_REAL, &timer, NULL);
	}
	err = wait_lock(t, args->value[OPTION_NOBLOCK] == NULL, ret);
	setitimer(ITIMER_REAL, &off, NULL);
	if (err == -EWOULDBLOCK || err == -EINTR) {
		gov_fail(err == -EINTR ? "%s: the lock was not free in time"
				       : "%s: somebody has the lock", t->path);
		return EXIT_CONFLICT;
	}
	if (is_stall(err))
		return gov_fail("%s: no lock can be taken at the moment (%s), "
		    "gov status says more", t->path, strerror(-err));
	return err == 0 ? 0 : gov_fail_errno(t->path, err);
}

/*
 * Asks how long the lock surely lasts, in a thread: a daemon that is stopped
 * doesn't answer, and what it said last holds meanwhile.
 */
struct lease {
	int fd;
	_Atomic uint64_t until_ns; /* clock_now_ns(); 0: lost */
};

static void
look(struct lease *l)
{
	uint64_t begun_ns = clock_now_ns(), ns;

	if (ioctl(l->fd, GOVFS_IOC_LEASE, &ns) != 0)
		l->until_ns = 0;
	else
		l->until_ns = begun_ns + ns;
}

static void *
look_again(void *arg)
{
	struct lease *l = arg;

	while (l->until_ns != 0) {
		poll(NULL, 0, LOOK_MS);
		look(l);
	}
	return NULL;
}

static uint64_t
left_ms(const struct lease *l)
{
	uint64_t until_ns = l->until_ns, now = clock_now_ns();

	return until_ns > now ? (until_ns - now) / NS_PER_MS : 0;
}

/*
 * Waits for the command, or for the moment to end it: early enough for all
 * steps, but never while renewals come as they should.  What has not been sent
 * when the end is near is sent then.
 */
static int
watch(struct lease *lease, pid_t pid, const struct steps *steps,
    bool *ret_lost)
{
	struct pollfd p = {
	    .fd = (int)syscall(SYS_pidfd_open, pid, 0),
	    .events = POLLIN,
	};
	uint64_t begun_ns = 0, now, left, need = left_ms(lease) / 2;
	unsigned next = 0;
	int status;

	if (need > (uint64_t)steps->total_ms + LOOK_MS)
		need = (uint64_t)steps->total_ms + LOOK_MS;
	while (poll(&p, 1, STEP_MS) <= 0) {
		now = clock_now_ns();
		left = left_ms(lease);
		if (begun_ns == 0 && left <= need) {
			fprintf(stderr, "gov: the lock is being lost (%" PRIu64
				" ms left), ending the command\n", left);
			begun_ns = now;
			*ret_lost = true;
		}
		while (begun_ns != 0 && next < steps->n && (left <= LAST_MS ||
		    now - begun_ns >= steps->step[next].after_ms * NS_PER_MS))
			kill(-pid, steps->step[next++].signal);
	}
	close(p.fd);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status)
				 : 128 + WTERMSIG(status);
}

static pid_t
spawn(int fd, char **argv)
{
	char token[24] = "";
	ssize_t n = fgetxattr(fd, "gov.token", token, sizeof token - 1);
	pid_t parent = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	if (n > 0)
		setenv("GOV_TOKEN", token, 1);
	setpgid(0, 0); /* the steps are for its children, too */
	/* It keeps the descriptor, and so the lock until it has ended, should
	 * we be killed. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	execvp(argv[0], argv);
	fprintf(stderr, "gov: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static pid_t child;

static void
pass_on(int number)
{
	if (child > 0)
		kill(-child, number);
}

static int
run_locked(const struct target *t, const struct gov_args *args)
{
	struct sigaction action = {.sa_handler = pass_on};
	struct steps steps = {0};
	const char *how = args->value[OPTION_KILL];
	struct lease lease = {0};
	pthread_t looks;
	bool lost = false;
	int fd = -1, code;

	if (!parse_steps(how != NULL ? how : KILL_DEFAULT, &steps))
		return gov_usage("--kill=%s: signals and waits, as in %s", how,
		    KILL_DEFAULT);
	code = take(t, args, &fd);
	if (code != 0)
		return code;
	lease.fd = fd;
	look(&lease);
	if (left_ms(&lease) == 0)
		return gov_fail("%s: the lock is lost already: this host is cut "
		    "off", t->path);
	child = spawn(fd, args->argv + 1);
	if (child < 0)
		return gov_fail("fork: %s", strerror(errno));
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	if (pthread_create(&looks, NULL, look_again, &lease) != 0)
		lease.until_ns = 0;
	code = watch(&lease, child, &steps, &lost);
	flock(fd, LOCK_UN); /* whatever it has left running */
	return lost ? EXIT_FAILED : code;
}

/* Elsewhere it would be a lock of this host alone, and no lease. */
static bool
in_govfs(const char *path, const struct gov_args *args)
{
	struct gov_place place;
	bool found = gov_find(args, path, &place);

	gov_place_fini(&place);
	return found;
}

static int
lock_run(const struct gov_args *args)
{
	const struct target t = {.path = args->argv[0]};

	if (!in_govfs(t.path, args))
		return EXIT_FAILED;
	return run_locked(&t, args);
}

static int
elect_run(const struct gov_args *args)
{
	const char *mount = args->value[OPTION_MOUNT];
	char dir[4200], path[4500];
	struct target t = {.path = path, .dir = dir};

	if (strchr(args->argv[0], '/') != NULL || args->argv[0][0] == '\0')
		return gov_usage("elect '%s': a name, not a path",
		    args->argv[0]);
	t.mount = mount != NULL ? mount : GOV_MOUNT_DEFAULT;
	if (!in_govfs(t.mount, args))
		return EXIT_FAILED;
	snprintf(dir, sizeof dir, "%s/locks/elect", t.mount);
	snprintf(path, sizeof path, "%s/%s", dir, args->argv[0]);
	return run_locked(&t, args);
}

/*
 * govbench.c: what users' programs do to a file system, timed from outside.
 *
 *   govbench put SECONDS CLIENTS DIR...   open(O_TRUNC), write 256 B, close
 *   govbench read SECONDS DIR             open+read+close, then stat
 *   govbench sync-read SECONDS DIR        a barrier before each reading
 *   govbench wake SECONDS FROM TO         a put in FROM wakes inotify on TO
 *   govbench gap SECONDS DIR              the longest time without a put
 *   govbench fill FILES DIR...            make files of 256 B
 *   govbench keep SECONDS FILES DIR...    files that are refreshed in time
 *   govbench disk SECONDS WRITERS DIR     4 KiB overwritten durably, raw
 *   govbench disk-append SECONDS DIR      256 B appended durably, raw
 *
 * The directories are one directory as different hosts show it; client I uses
 * the (I mod their number)th, each its own file.  Every client is a process,
 * as users are.  What comes out is "name value" lines, times in us, gap in ms.
 */
#include "config.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum {
	FILE_LEN = 256,
	BLOCK_LEN = 4096,
	N_BLOCKS = 256,
	N_READ = 64,		/* files that are read in turn */
	READ_LEN = 1024,
	MAX_CLIENTS = 256,
	MAX_SAMPLES = 1 << 18,	/* of a client */
	MAX_ERRORS = 1000,
	WAKE_LIMIT_MS = 5000,
	KEEPERS_EACH = 16,	/* of a directory */
	KEEP_MS = 10000 / 3,	/* as etcd's client: thrice in a lease's time */
};

/* One client's results, in memory that it shares with its parent. */
struct client {
	uint64_t n;			/* calls that ended in time */
	uint64_t n_errors;
	int last_errno;
	uint32_t took_ns[MAX_SAMPLES];	/* touched as they come */
};

struct load {
	double seconds;
	unsigned n_clients;
	char **dirs;
	unsigned n_dirs;
	int (*prepare)(unsigned client, const char *dir);
	const char *ready;	/* printed when all are prepared; or NULL */
	void (*pace)(uint64_t n); /* until it is time to call; or NULL */
	int (*call)(unsigned client, uint64_t n);
};

struct shared {
	uint64_t begin_ns, end_ns; /* for all clients */
	unsigned n_made;	/* clients that have made their files */
	uint64_t woken_ns;	/* when the watcher read its event */
};

static struct shared *shared;
static char path[4096];		/* the calling client's file */
static int file = -1;		/* its descriptor, in the raw loads */

static void die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2), noreturn));

static void
die(const char *fmt, ...)
{
	va_list ap;

	fputs("govbench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void *
share(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap: %s", strerror(errno));
	return p;
}

static void
path_set(const char *dir, const char *stem, uint64_t n)
{
	int len = snprintf(path, sizeof(path), "%s/%s.%llu", dir, stem,
	    (unsigned long long)n);

	if (len < 0 || (size_t)len >= sizeof(path))
		die("%s: the name is too long", dir);
}

/* ---- samples ---- */

static int
compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Prints what all clients took; SCALE operations were timed as one. */
static void
report(const char *prefix, const struct client *clients, unsigned n,
    double scale)
{
	uint64_t total = 0, at = 0;
	uint32_t *all;

	for (unsigned i = 0; i < n; i++)
		total += clients[i].n < MAX_SAMPLES ? clients[i].n :
		    MAX_SAMPLES;
	if (total == 0)
		die("nothing succeeded: %s", strerror(clients[0].last_errno));
	all = malloc(total * sizeof(*all));
	if (all == NULL)
		die("no memory");
	for (unsigned i = 0; i < n; i++) {
		uint64_t m = clients[i].n < MAX_SAMPLES ? clients[i].n :
		    MAX_SAMPLES;

		memcpy(all + at, clients[i].took_ns, m * sizeof(*all));
		at += m;
	}
	qsort(all, total, sizeof(*all), compare);
	printf("%sp50 %.2f\n%sp99 %.2f\n", prefix,
	    all[(total - 1) / 2] / scale / 1e3, prefix,
	    all[(total - 1) * 99 / 100] / scale / 1e3);
	free(all);
}

static void
sample(struct client *c, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t ns = to_ns - from_ns;

	if (c->n < MAX_SAMPLES)
		c->took_ns[c->n] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	c->n++;
}

/* ---- clients ---- */

static void
client_run(const struct load *load, struct client *c, unsigned idx)
{
	for (uint64_t n = 1;; n++) {
		uint64_t start, end;
		int err;

		if (load->pace != NULL)
			load->pace(n);
		start = now_ns();
		err = load->call(idx, n);
		end = now_ns();
		if (end > shared->end_ns)
			return;
		if (err == 0) {
			sample(c, start, end);
			continue;
		}
		c->last_errno = -err;
		if (++c->n_errors == MAX_ERRORS)
			return;
	}
}

/* Prepares, tells READY, and begins when GO is closed. */
static void
client_main(const struct load *load, struct client *c, unsigned idx,
    int ready, int go)
{
	int err;
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = load->prepare(idx, load->dirs[idx % load->n_dirs]);
	if (err != 0) {
		c->last_errno = -err;
		_exit(1);
	}
	if (write(ready, &byte, 1) != 1)
		die("lost the parent");
	/* Else the parent would not see it when another one fails. */
	close(ready);
	if (read(go, &byte, 1) != 0)
		die("lost the parent");
	client_run(load, c, idx);
}

static void
clients_failed(const struct client *clients, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (clients[i].last_errno != 0)
			die("client %u: %s", i, strerror(clients[i].last_errno));
	die("a client ended");
}

static void
load_run(const struct load *load)
{
	struct client *clients;
	uint64_t n = 0, n_errors = 0;
	int ready[2], go[2], err = 0;
	char byte;

	if (load->n_clients < 1 || load->n_clients > MAX_CLIENTS)
		die("1 to %d clients", MAX_CLIENTS);
	clients = share(load->n_clients * sizeof(*clients));
	if (pipe2(ready, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	for (unsigned i = 0; i < load->n_clients; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork: %s", strerror(errno));
		if (pid == 0) {
			close(go[1]);
			close(ready[0]);
			client_main(load, &clients[i], i, ready[1], go[0]);
			_exit(0);
		}
	}
	close(ready[1]);
	for (unsigned i = 0; i < load->n_clients; i++)
		if (read(ready[0], &byte, 1) != 1)
			clients_failed(clients, load->n_clients);
	if (load->ready != NULL) {
		puts(load->ready);
		fflush(stdout);
	}
	shared->begin_ns = now_ns();
	shared->end_ns = shared->begin_ns + (uint64_t)(load->seconds * 1e9);
	close(go[1]);
	for (unsigned i = 0; i < load->n_clients; i++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			err = 1;
	}
	if (err != 0)
		clients_failed(clients, load->n_clients);
	report("", clients, load->n_clients, 1);
	for (unsigned i = 0; i < load->n_clients; i++) {
		n += clients[i].n;
		n_errors += clients[i].n_errors;
		if (clients[i].n_errors != 0)
			err = clients[i].last_errno;
	}
	printf("rate %.0f\n", (double)n / load->seconds);
	if (n_errors != 0)
		printf("errors %llu\n", (unsigned long long)n_errors);
	if (err != 0)
		fprintf(stderr, "govbench: some failed: %s\n", strerror(err));
}

/* ---- put ---- */

static int
put(int flags, unsigned client, uint64_t n)
{
	char text[FILE_LEN];
	int fd, err = 0;

	memset(text, ' ', sizeof(text));
	snprintf(text, sizeof(text), "%u %llu %d", client,
	    (unsigned long long)n, (int)getpid());
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | flags, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, text, sizeof(text)) != sizeof(text))
		err = -errno;
	if (close(fd) < 0 && err == 0)
		err = -errno;
	return err;
}

static int
put_prepare(unsigned client, const char *dir)
{
	path_set(dir, "put", client);
	return put(O_CREAT, client, 0);
}

static int
put_call(unsigned client, uint64_t n)
{
	return put(0, client, n);
}

/* ---- fill ---- */

static unsigned n_fill, n_fillers;

static int
fill_prepare(unsigned client, const char *dir)
{
	for (unsigned i = client; i < n_fill; i += n_fillers) {
		int err;

		path_set(dir, "f", i);
		err = put(O_CREAT, client, 0);
		if (err != 0)
			return err;
	}
	return 0;
}

static int
fill_call(unsigned client, uint64_t n)
{
	return 0;
}

/* ---- keep ---- */

static char ready_line[32];
static const char *keep_dir; /* the calling client's */
static unsigned n_keep;	     /* all clients' files */
static unsigned n_keepers;

/* One of the client's files, in turn. */
static int
keep_call(unsigned client, uint64_t n)
{
	unsigned own = (n_keep - client + n_keepers - 1) / n_keepers;

	path_set(keep_dir, "lease", client + n % own * n_keepers);
	return utimensat(AT_FDCWD, path, NULL, 0) < 0 ? -errno : 0;
}

/* All of the client's that are there, if it is time. */
static int
keep_round(unsigned client, unsigned made, uint64_t *last_ns)
{
	int err = 0;

	if (now_ns() - *last_ns < KEEP_MS * UINT64_C(1000000))
		return 0;
	*last_ns = now_ns();
	for (unsigned i = 0; i < made && err == 0; i++)
		err = keep_call(client, i);
	return err;
}

/* Makes them, and keeps them alive until everybody has made his. */
static int
keep_prepare(unsigned client, const char *dir)
{
	unsigned own = (n_keep - client + n_keepers - 1) / n_keepers;
	uint64_t last_ns = now_ns();
	int err = 0;

	keep_dir = dir;
	for (unsigned i = 0; i < own && err == 0; i++) {
		path_set(dir, "lease", client + i * n_keepers);
		err = put(O_CREAT, client, i);
		if (err == 0)
			err = keep_round(client, i, &last_ns);
	}
	__atomic_add_fetch(&shared->n_made, 1, __ATOMIC_RELAXED);
	while (err == 0 && n_keepers > __atomic_load_n(&shared->n_made,
	    __ATOMIC_RELAXED)) {
		usleep(10000);
		err = keep_round(client, own, &last_ns);
	}
	return err;
}

static void
keep_pace(uint64_t n)
{
	uint64_t due = shared->begin_ns +
	    n * n_keepers * KEEP_MS * 1000000 / n_keep;
	uint64_t now = now_ns();

	if (due > now)
		usleep((useconds_t)((due - now) / 1000));
}

/* ---- read ---- */

static void
read_paths(char (*paths)[256], const char *dir)
{
	char text[READ_LEN];

	memset(text, 'x', sizeof(text));
	for (unsigned i = 0; i < N_READ; i++) {
		int fd, len = snprintf(paths[i], sizeof(paths[i]),
		    "%s/read.%u", dir, i);

		if (len < 0 || (size_t)len >= sizeof(paths[i]))
			die("%s: the name is too long", dir);
		fd = open(paths[i], O_WRONLY | O_TRUNC | O_CREAT, 0644);
		if (fd < 0 || write(fd, text, sizeof(text)) < 0 ||
		    close(fd) < 0)
			die("%s: %s", paths[i], strerror(errno));
	}
}

static void
read_one(const char *name)
{
	char text[BLOCK_LEN];
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text)) != READ_LEN)
		die("%s: %s", name, strerror(errno));
	close(fd);
}

/* A stat is shorter than reading the clock twice: a round of all is timed. */
static void
bench_read(double seconds, const char *dir)
{
	static char paths[N_READ][256];
	struct client *c = share(sizeof(*c));
	uint64_t start, end, half = (uint64_t)(seconds * 5e8);
	struct stat st;

	read_paths(paths, dir);
	for (unsigned i = 0; i < N_READ; i++)
		read_one(paths[i]);
	for (end = now_ns(), shared->end_ns = end + half;
	    end < shared->end_ns;) {
		for (unsigned i = 0; i < N_READ; i++) {
			start = now_ns();
			read_one(paths[i]);
			end = now_ns();
			sample(c, start, end);
		}
	}
	report("read_", c, 1, 1);
	c->n = 0;
	for (end = now_ns(), shared->end_ns = end + half;
	    end < shared->end_ns;) {
		start = now_ns();
		for (unsigned i = 0; i < N_READ; i++)
			if (stat(paths[i], &st) < 0)
				die("%s: %s", paths[i], strerror(errno));
		end = now_ns();
		sample(c, start, end);
	}
	report("stat_", c, 1, N_READ);
}

/* What was committed anywhere before the barrier is read after it. */
static void
bench_sync_read(double seconds, const char *dir)
{
	static char paths[N_READ][256];
	struct client *c = share(sizeof(*c));
	uint64_t start, end = now_ns() + (uint64_t)(seconds * 1e9);
	char text[256];

	read_paths(paths, dir);
	while ((start = now_ns()) < end) {
		if (getxattr(dir, "gov.sync", text, sizeof(text)) < 0)
			die("%s: gov.sync: %s", dir, strerror(errno));
		read_one(paths[c->n % N_READ]);
		sample(c, start, now_ns());
	}
	report("", c, 1, 1);
}

/* ---- wake ---- */

/* Tells by a byte that it is there, then each time it has read an event. */
static void
wake_watcher(const char *dir, int out)
{
	int in = inotify_init1(IN_CLOEXEC);
	char events[4096] __attribute__((aligned(8)));
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (in < 0 || inotify_add_watch(in, dir, IN_CLOSE_WRITE) < 0)
		die("inotify %s: %s", dir, strerror(errno));
	do {
		if (write(out, &byte, 1) != 1)
			die("lost the parent");
		if (read(in, events, sizeof(events)) <= 0)
			die("inotify: %s", strerror(errno));
		__atomic_store_n(&shared->woken_ns, now_ns(),
		    __ATOMIC_RELEASE);
	} while (true);
}

static void
wake_wait(int in)
{
	struct pollfd p = { .fd = in, .events = POLLIN };
	char byte;

	if (poll(&p, 1, WAKE_LIMIT_MS) != 1 || read(in, &byte, 1) != 1)
		die("the watcher was not woken within %d ms", WAKE_LIMIT_MS);
}

/* From the begin of a change on FROM to its event, read on TO. */
static void
bench_wake(double seconds, const char *from, const char *to)
{
	struct client *c = share(sizeof(*c));
	uint64_t start, end;
	int pipes[2], err;
	pid_t pid;

	err = put_prepare(0, from);
	if (err != 0)
		die("%s: %s", path, strerror(-err));
	if (pipe2(pipes, O_CLOEXEC) < 0)
		die("pipe: %s", strerror(errno));
	/* What was made above is not to be taken for the first change. */
	usleep(200000);
	pid = fork();
	if (pid == 0)
		wake_watcher(to, pipes[1]);
	close(pipes[1]);
	wake_wait(pipes[0]);
	end = now_ns() + (uint64_t)(seconds * 1e9);
	for (uint64_t n = 1; (start = now_ns()) < end; n++) {
		err = put(0, 0, n);
		if (err != 0)
			die("%s: %s", path, strerror(-err));
		wake_wait(pipes[0]);
		sample(c, start, __atomic_load_n(&shared->woken_ns,
		    __ATOMIC_ACQUIRE));
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	report("", c, 1, 1);
}

/* ---- gap ---- */

static void
bench_gap(double seconds, const char *dir)
{
	uint64_t last, now, end, longest = 0;
	int err = put_prepare(0, dir);

	if (err != 0)
		die("%s: %s", path, strerror(-err));
	last = now_ns();
	end = last + (uint64_t)(seconds * 1e9);
	for (uint64_t n = 1; (now = now_ns()) < end; n++) {
		if (put(0, 0, n) != 0) {
			usleep(1000);
			continue;
		}
		now = now_ns();
		if (now - last > longest)
			longest = now - last;
		last = now;
	}
	if (now - last > longest)
		longest = now - last;
	printf("gap %.1f\n", (double)longest / 1e6);
}

/* ---- raw ---- */

static int
disk_prepare(unsigned client, const char *dir)
{
	static const char zero[BLOCK_LEN];

	path_set(dir, "disk", client);
	file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DSYNC | O_CLOEXEC,
	    0600);
	if (file < 0)
		return -errno;
	for (int i = 0; i < N_BLOCKS; i++)
		if (write(file, zero, sizeof(zero)) != sizeof(zero))
			return -errno;
	return fsync(file) < 0 ? -errno : 0;
}

static int
disk_call(unsigned client, uint64_t n)
{
	char block[BLOCK_LEN];

	memset(block, (int)n, sizeof(block));
	if (pwrite(file, block, sizeof(block),
	    (off_t)(n % N_BLOCKS) * BLOCK_LEN) != sizeof(block))
		return -errno;
	return 0;
}

static int
append_prepare(unsigned client, const char *dir)
{
	path_set(dir, "append", client);
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC,
	    0600);
	return file < 0 ? -errno : 0;
}

static int
append_call(unsigned client, uint64_t n)
{
	char text[FILE_LEN];

	memset(text, (int)n, sizeof(text));
	if (write(file, text, sizeof(text)) != sizeof(text))
		return -errno;
	return fdatasync(file) < 0 ? -errno : 0;
}

/* ---- the command line ---- */

static double
number(const char *s)
{
	char *end;
	double d = strtod(s, &end);

	if (*s == '\0' || *end != '\0' || !(d > 0 && d <= 1e6))
		die("%s is not a number", s);
	return d;
}

int
main(int argc, char **argv)
{
	struct load load = { .n_clients = 1 };
	const char *what = argc > 3 ? argv[1] : "";

	shared = share(sizeof(*shared));
	if (argc <= 3)
		die("usage: govbench WHAT NUMBER ... DIR...");
	load.seconds = number(argv[2]);
	load.dirs = argv + 3;
	if (strcmp(what, "put") == 0 || strcmp(what, "disk") == 0 ||
	    strcmp(what, "keep") == 0) {
		load.n_clients = (unsigned)number(argv[3]);
		load.dirs++;
	}
	load.n_dirs = (unsigned)(argv + argc - load.dirs);
	if (load.n_dirs == 0)
		die("which directory?");
	if (strcmp(what, "put") == 0) {
		load.prepare = put_prepare;
		load.call = put_call;
	} else if (strcmp(what, "keep") == 0) {
		n_keep = load.n_clients;
		n_keepers = load.n_clients = KEEPERS_EACH * load.n_dirs;
		snprintf(ready_line, sizeof(ready_line), "leases %u", n_keep);
		load.ready = ready_line;
		load.prepare = keep_prepare;
		load.pace = keep_pace;
		load.call = keep_call;
	} else if (strcmp(what, "disk") == 0) {
		load.prepare = disk_prepare;
		load.call = disk_call;
	} else if (strcmp(what, "disk-append") == 0) {
		load.prepare = append_prepare;
		load.call = append_call;
	} else if (strcmp(what, "fill") == 0) {
		n_fill = (unsigned)load.seconds;
		n_fillers = load.n_clients = 16;
		load.seconds = 0.01;
		load.prepare = fill_prepare;
		load.call = fill_call;
	} else if (strcmp(what, "read") == 0) {
		bench_read(load.seconds, load.dirs[0]);
		return 0;
	} else if (strcmp(what, "sync-read") == 0) {
		bench_sync_read(load.seconds, load.dirs[0]);
		return 0;
	} else if (strcmp(what, "gap") == 0) {
		bench_gap(load.seconds, load.dirs[0]);
		return 0;
	} else if (strcmp(what, "wake") == 0 && load.n_dirs == 2) {
		bench_wake(load.seconds, load.dirs[0], load.dirs[1]);
		return 0;
	} else {
		die("%s: not like this", what);
	}
	load_run(&load);
	return 0;
}

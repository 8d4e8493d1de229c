/*
 * group_host.c: hosts of a group as child processes.
 */
#include "config.h"

#include "group_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "host_child.h"
#include "tree/tree.h"
#include "../pace.h"

#define CONFIG_DIR (TREE_ROOT + 1) /* what the machine's first command makes */

/* ---- the child ---- */

struct host;

struct request {
	struct engine_req req;
	struct host *host;
	char name[64];
	uint64_t began_ns;
	bool busy;
};

struct host {
	struct child child;
	struct request requests[64], session_req, single;
	struct engine_barrier barrier;
	uint64_t session, seq, done_below, ino, range_end;
	uint64_t barrier_ns;
	bool done_seqs[LIMIT_WINDOW];
	/* a run of `commit` */
	unsigned wanted, begun, ended, good;
	int err;
	char prefix[32];
	uv_idle_t trickle;
	unsigned size; /* of each file; 0: made empty */
	char *content;
	uint64_t *took, run_ns;
	char earlier[128];
	bool later;
	uint64_t applied_rev;
	unsigned order_errors;
	uint64_t answered_seq; /* newest own command that was answered */
	unsigned overtaken;    /* own commands answered after a younger one */
	int acked_fd, refused_fd; /* of `journal`; 0: none */
};

#define say(h, ...) child_say(&(h)->child, __VA_ARGS__)

static void commit_more(struct host *);

static bool
name_exists(struct host *h, const char *name)
{
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);
	struct tree_name n;
	bool found = tree_name_get(txn, CONFIG_DIR, slice_str(name), &n);

	store_abort(txn);
	return found;
}

static void
seq_done(struct host *h, uint64_t seq)
{
	h->done_seqs[seq % LIMIT_WINDOW] = true;
	while (h->done_seqs[h->done_below % LIMIT_WINDOW]) {
		h->done_seqs[h->done_below % LIMIT_WINDOW] = false;
		h->done_below++;
	}
}

static int
submit_create(struct host *h, struct request *r,
    void (*done)(struct engine_req *, const struct outcome *))
{
	struct command *c = &r->req.command;
	int err;

	*c = (struct command){.kind = COMMAND_create,
	    .dir = CONFIG_DIR,
	    .name = slice_str(r->name),
	    .ino = h->ino + 1,
	    .mode = S_IFREG | 0644,
	    .flags = CREATE_EXCL};
	if (h->size > 0) {
		c->kind = COMMAND_birth;
		c->flags = 0;
		c->data = slice_of(h->content, h->size);
	}
	c->stamp = (struct stamp){.session = h->session,
	    .seq = h->seq + 1,
	    .done_below = h->done_below,
	    .host = engine_self(h->child.engine),
	    .seen = engine_rev(h->child.engine),
	    .privileged = true};
	r->host = h;
	r->req.done = done;
	r->began_ns = clock_now_ns();
	err = engine_submit(h->child.engine, &r->req);
	if (err == 0) {
		h->ino++;
		h->seq++;
		r->busy = true;
	}
	return err;
}

/* On disk before anything else happens: kill -9 doesn't take it back. */
static void
journal(struct host *h, const char *name, int err)
{
	int fd = err == 0 ? h->acked_fd : err == -ETIMEDOUT ? 0
							    : h->refused_fd;
	char line[80];
	int n = snprintf(line, sizeof(line), "%s %d\n", name, err);

	if (fd != 0 && write(fd, line, (size_t)n) != n)
		_exit(4);
}

static void
run_journal(struct child *c, char *dir)
{
	struct host *h = (struct host *)c;
	char path[256];

	snprintf(path, sizeof(path), "%s/acked", dir);
	h->acked_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	snprintf(path, sizeof(path), "%s/refused", dir);
	h->refused_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	say(h, "journal");
}

/* Names that are there, names that are not, names refused for a reason that
 * only applying a command twice could give. */
static void
run_verify(struct child *c, char *path)
{
	struct host *h = (struct host *)c;
	unsigned there = 0, absent = 0, twice = 0;
	FILE *f = fopen(path, "re");
	char name[64];
	int err;

	while (f != NULL && fscanf(f, "%63s %d", name, &err) == 2) {
		if (name_exists(h, name))
			there++;
		else
			absent++;
		twice += err == -EEXIST;
	}
	if (f != NULL)
		fclose(f);
	say(h, "verify %u %u %u", there, absent, twice);
}

static int
compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
commit_ended(struct host *h)
{
	uint64_t ns = clock_now_ns() - h->run_ns;

	qsort(h->took, h->ended, sizeof(h->took[0]), compare_ns);
	say(h, "commit %u %d %llu %llu %llu", h->good, h->err,
	    (unsigned long long)h->took[h->ended / 2] / 1000,
	    (unsigned long long)h->took[h->ended * 99 / 100] / 1000,
	    (unsigned long long)(h->ended * NS_PER_S / (ns == 0 ? 1 : ns)));
	free(h->took);
	h->took = NULL;
	h->wanted = h->begun = h->ended = 0;
}

static void
commit_done(struct engine_req *req, const struct outcome *outcome)
{
	struct request *r = (struct request *)req;
	struct host *h = r->host;

	r->busy = false;
	seq_done(h, req->command.stamp.seq);
	h->took[h->ended++] = clock_now_ns() - r->began_ns;
	journal(h, r->name, outcome->err);
	if (outcome->err == 0 && name_exists(h, r->name))
		h->good++;
	else if (h->err == 0)
		h->err = outcome->err != 0 ? outcome->err : -ENOENT;
	commit_more(h);
}

static int
commit_one(struct host *h, struct request *r)
{
	int err;

	snprintf(r->name, sizeof(r->name), "%s-%u", h->prefix, h->begun);
	err = submit_create(h, r, commit_done);
	h->begun++;
	if (err != 0) {
		h->err = err;
		h->took[h->ended++] = 0;
		journal(h, r->name, err);
	}
	return err;
}

static void
commit_more(struct host *h)
{
	for (unsigned i = 0; i < 64; i++) {
		struct request *r = &h->requests[i];

		if (r->busy || r->host == NULL)
			continue;
		while (h->begun < h->wanted && commit_one(h, r) != 0)
			continue;
	}
	if (h->took != NULL && h->ended == h->wanted)
		commit_ended(h);
}

static void
commit_begin(struct host *h, unsigned n, unsigned width, unsigned size)
{
	h->wanted = n;
	h->size = size;
	free(h->content);
	h->content = calloc(1, h->size + 1);
	h->took = calloc(h->wanted, sizeof(h->took[0]));
	h->begun = h->ended = h->good = 0;
	h->err = 0;
	h->run_ns = clock_now_ns();
	for (unsigned i = 0; i < 64; i++)
		h->requests[i].host = i < width ? h : NULL;
	commit_more(h);
}

static void
run_commit(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	unsigned n, width, size = 0;

	if (sscanf(args, "%u %u %31s %u", &n, &width, h->prefix, &size) < 3)
		_exit(5);
	commit_begin(h, n, width, size);
}

/* One more request under way. */
static void
on_trickle(uv_idle_t *idle)
{
	struct host *h = idle->data;
	unsigned i = 0;

	while (i < 64 && h->requests[i].host != NULL)
		i++;
	if (i == 64 || h->begun == h->wanted) {
		uv_close((uv_handle_t *)idle, NULL);
		return;
	}
	h->requests[i].host = h;
	commit_more(h);
}

static void
run_trickle(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	unsigned n;

	if (sscanf(args, "%u %31s", &n, h->prefix) != 2)
		_exit(5);
	uv_idle_init(&c->loop, &h->trickle);
	h->trickle.data = h;
	uv_idle_start(&h->trickle, on_trickle);
	commit_begin(h, n, 0, 0);
}

static void
single_done(struct engine_req *req, const struct outcome *outcome)
{
	struct request *r = (struct request *)req;
	struct host *h = r->host;

	r->busy = false;
	seq_done(h, req->command.stamp.seq);
	snprintf(h->earlier, sizeof(h->earlier), "one %d %llu", outcome->err,
	    (unsigned long long)(clock_now_ns() - r->began_ns) / 1000);
	if (!h->later)
		say(h, "%s", h->earlier);
}

static void
create_one(struct host *h, const char *name, bool later)
{
	int err;

	h->later = later;
	h->size = 0;
	h->earlier[0] = '\0';
	snprintf(h->single.name, sizeof(h->single.name), "%s", name);
	err = submit_create(h, &h->single, single_done);
	if (err != 0)
		say(h, "one %d 0", err);
	else if (later)
		say(h, "later");
}

static void
run_one(struct child *c, char *name)
{
	create_one((struct host *)c, name, false);
}

static void
run_later(struct child *c, char *name)
{
	create_one((struct host *)c, name, true);
}

static void
barrier_done(struct engine_barrier *b, int err)
{
	struct host *h = (struct host *)((char *)b -
	    offsetof(struct host, barrier));

	say(h, "barrier %d %llu %llu", err,
	    (unsigned long long)engine_rev(h->child.engine),
	    (unsigned long long)(clock_now_ns() - h->barrier_ns) / 1000);
}

static void
run_barrier(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	int err;

	h->barrier = (struct engine_barrier){.done = barrier_done};
	h->barrier_ns = clock_now_ns();
	err = engine_barrier(h->child.engine, &h->barrier);
	if (err != 0)
		say(h, "barrier %d 0 0", err);
}

static void
run_digest(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);
	uint8_t d[STORE_DIGEST_LEN];
	char hex[2 * STORE_DIGEST_LEN + 1];

	store_digest(txn, d);
	store_abort(txn);
	for (unsigned i = 0; i < STORE_DIGEST_LEN; i++)
		sprintf(hex + 2 * i, "%02x", d[i]);
	say(h, "digest %llu %s", (unsigned long long)engine_rev(h->child.engine),
	    hex);
}

static void
run_count(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	struct store_txn *txn = store_begin(engine_store(h->child.engine),
	    STORE_READ);
	char after[256] = "";
	struct slice name;
	struct tree_name n;
	unsigned count = 0;

	while (tree_name_next(txn, CONFIG_DIR, slice_str(after), &name, &n)) {
		memcpy(after, name.ptr, name.len);
		after[name.len] = '\0';
		count++;
	}
	store_abort(txn);
	say(h, "count %u %u", count, h->order_errors);
}

static void
run_members(struct child *c, char *args)
{
	struct host *h = (struct host *)c;
	struct engine_member m[LIMIT_MEMBERS];
	unsigned n = engine_members(h->child.engine, m, LIMIT_MEMBERS);
	char text[400] = "members";

	for (unsigned i = 0; i < n; i++)
		sprintf(text + strlen(text), " %s:%s:%llu:%llu", m[i].name,
		    m[i].alive ? "alive" : "gone",
		    (unsigned long long)m[i].rev,
		    (unsigned long long)m[i].replayed);
	say(h, "%s", text);
}

static void
run_earlier(struct child *c, char *args)
{
	struct host *h = (struct host *)c;

	say(h, "%s", h->earlier[0] != '\0' ? h->earlier : "none");
}

static void
run_overtaken(struct child *c, char *args)
{
	child_say(c, "overtaken %u", ((struct host *)c)->overtaken);
}

static void
run_withdraw(struct child *c, char *args)
{
	child_say(c, "withdraw %d",
	    engine_withdraw(c->engine, &((struct host *)c)->single.req));
}

static void
run_abandon(struct child *c, char *args)
{
	engine_abandon(c->engine, &((struct host *)c)->single.req);
	child_say(c, "abandon");
}

static void
run_replayed(struct child *c, char *args)
{
	engine_report_replayed(c->engine, strtoull(args, NULL, 10));
	child_say(c, "replayed");
}

static void
run_stop(struct child *c, char *args)
{
	engine_stop(c->engine, child_stopped, c);
}

static const struct child_command commands[] = {
    {"abandon", run_abandon},
    {"barrier", run_barrier},
    {"commit", run_commit},
    {"count", run_count},
    {"digest", run_digest},
    {"earlier", run_earlier},
    {"journal", run_journal},
    {"later", run_later},
    {"members", run_members},
    {"one", run_one},
    {"overtaken", run_overtaken},
    {"replayed", run_replayed},
    {"stop", run_stop},
    {"trickle", run_trickle},
    {"verify", run_verify},
    {"withdraw", run_withdraw},
    {NULL, NULL},
};

static void
session_done(struct engine_req *req, const struct outcome *outcome)
{
	struct host *h = ((struct request *)req)->host;

	if (outcome->err != 0) {
		say(h, "session %d", outcome->err);
		return;
	}
	h->session = req->command.node;
	h->ino = outcome->value;
	h->seq = 0;
	h->done_below = 1;
	say(h, "ready");
}

static void
session_begin(struct host *h)
{
	struct request *r = &h->session_req;
	struct command *c = &r->req.command;
	uint64_t id;
	int err;

	(void)uv_random(NULL, NULL, &id, sizeof(id), 0, NULL);
	r->host = h;
	*c = (struct command){.kind = COMMAND_session_open,
	    .name = slice_str(engine_name(h->child.engine)),
	    .node = id,
	    .expect = 3600000}; /* nobody renews it */
	c->stamp.host = engine_self(h->child.engine);
	r->req.done = session_done;
	err = engine_submit(h->child.engine, &r->req);
	if (err != 0)
		say(h, "session %d", err);
}

/* The order of publishing: revisions one by one. */
static void
on_applied(struct engine_subscriber *s, const struct engine_applied *a)
{
	struct host *h = (struct host *)((char *)s -
	    offsetof(struct host, child.subscriber));

	if (a->outcome->rev > h->applied_rev) {
		if (h->applied_rev != 0 &&
		    a->outcome->rev != h->applied_rev + 1)
			h->order_errors++;
		h->applied_rev = a->outcome->rev;
	}
	if (a->rev != engine_rev(h->child.engine))
		h->order_errors++;
	if (a->req == NULL || a->command->stamp.session != h->session ||
	    h->session == 0)
		return;
	if (a->command->stamp.seq < h->answered_seq)
		h->overtaken++;
	else
		h->answered_seq = a->command->stamp.seq;
}

static void
host_main(const struct group_conf *conf, int fd)
{
	struct host *h = calloc(1, sizeof(*h));

	h->child.subscriber.applied = on_applied;
	child_open(&h->child, conf, fd, commands);
	session_begin(h);
	child_run(&h->child);
	free(h->content);
	free(h);
	exit(0);
}

/* ---- the parent ---- */

static unsigned
free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		abort();
	close(fd);
	return ntohs(a.sin_port);
}

void
hosts_init(struct hosts *hs, unsigned n)
{
	const char *tmp = getenv("TMPDIR");

	*hs = (struct hosts){0};
	snprintf(hs->dir, sizeof(hs->dir), "%s/govfs-group-XXXXXX",
	    tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(hs->dir) == NULL)
		abort();
	hs->conf.n_members = n;
	memset(hs->conf.cluster, 7, sizeof(hs->conf.cluster));
	for (unsigned i = 0; i < n; i++) {
		struct group_member_conf *m = &hs->conf.members[i];

		m->id = 100 + i;
		snprintf(m->name, sizeof(m->name), "host%u", i);
		snprintf(m->address, sizeof(m->address), "127.0.0.1:%u",
		    free_port());
	}
	signal(SIGPIPE, SIG_IGN);
}

void
hosts_fini(struct hosts *hs)
{
	char command[256];

	for (unsigned i = 0; i < hs->conf.n_members; i++)
		host_kill(hs, i);
	snprintf(command, sizeof(command), "rm -rf '%s'", hs->dir);
	if (system(command) != 0)
		printf("# left behind: %s\n", hs->dir);
}

void
host_start(struct hosts *hs, unsigned i)
{
	static char dir[160];
	int fds[2];

	snprintf(dir, sizeof(dir), "%s/%u", hs->dir, i);
	hs->conf.dir = dir;
	hs->conf.self = hs->conf.members[i].id;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		abort();
	fflush(stdout);
	hs->pid[i] = fork();
	if (hs->pid[i] == 0) {
		for (unsigned j = 0; j < HOSTS_MAX; j++) {
			if (hs->fd[j] > 0 && j != i)
				close(hs->fd[j]);
		}
		close(fds[0]);
		if (hs->main != NULL)
			hs->main(&hs->conf, fds[1]);
		host_main(&hs->conf, fds[1]);
	}
	close(fds[1]);
	hs->fd[i] = fds[0];
}

int
host_wait(struct hosts *hs, unsigned i)
{
	uint64_t until = clock_now_ns() + 10 * NS_PER_S;
	int status;

	while (waitpid(hs->pid[i], &status, WNOHANG) == 0) {
		if (clock_now_ns() > until)
			return -1;
		usleep(1000);
	}
	hs->pid[i] = 0;
	close(hs->fd[i]);
	hs->fd[i] = 0;
	return status;
}

void
host_kill(struct hosts *hs, unsigned i)
{
	if (hs->pid[i] == 0)
		return;
	kill(hs->pid[i], SIGKILL);
	(void)host_wait(hs, i);
}

void
host_tell(struct hosts *hs, unsigned i, const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	if (write(hs->fd[i], line, (size_t)n) != n)
		printf("# host %u is gone\n", i);
}

const char *
host_answer(struct hosts *hs, unsigned i, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;
	size_t len = 0;

	while (len < sizeof(hs->line) - 1) {
		struct pollfd p = {.fd = hs->fd[i], .events = POLLIN};
		uint64_t now = clock_now_ns();

		if (now >= until ||
		    poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0 ||
		    read(hs->fd[i], hs->line + len, 1) != 1)
			break;
		if (hs->line[len] == '\n') {
			hs->line[len] = '\0';
			return hs->line;
		}
		len++;
	}
	return "late";
}

const char *
host_ask(struct hosts *hs, unsigned i, const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	host_tell(hs, i, "%s", line);
	return host_answer(hs, i, 30000);
}

int
hosts_leader(struct hosts *hs, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;

	do {
		for (unsigned i = 0; i < hs->conf.n_members; i++) {
			if (hs->pid[i] != 0 && strncmp(host_ask(hs, i,
			    "status"), "status leader", 13) == 0)
				return (int)i;
		}
		usleep(1000);
	} while (clock_now_ns() < until);
	return -1;
}

bool
hosts_equal(struct hosts *hs, unsigned timeout_ms)
{
	uint64_t until = clock_now_ns() + PATIENCE * timeout_ms * NS_PER_MS;
	char first[512];
	bool equal;

	do {
		first[0] = '\0';
		equal = true;
		for (unsigned i = 0; i < hs->conf.n_members; i++) {
			if (hs->pid[i] == 0)
				continue;
			host_ask(hs, i, "digest");
			if (first[0] == '\0')
				strcpy(first, hs->line);
			equal = equal && strcmp(first, hs->line) == 0;
		}
		if (equal)
			return true;
		usleep(1000);
	} while (clock_now_ns() < until);
	return false;
}

/*
 * ctl.c: the control socket, over a real socket and an engine without Raft.
 */
#include "config.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/reason.h"
#include "ctl/ctl.h"
#include "engine/engine_local.h"
#include "tests/tap.h"
#include "tree/tree.h"

enum { NOBODY = 65534, PRIVATE_INO = 1 };

static uv_loop_t loop;
static struct engine *engine;
static struct ctl *ctl;
static char dir[] = "/tmp/govctl.XXXXXX", path[64];

static void
local_hook(void *arg, struct ctl_local *ret)
{
	ret->replayed = 41;
	ret->mountpoint = "/gov";
	if (*(bool *)arg)
		ret->health = "lagging";
}

static void
dump_hook(void *arg, struct buf *ret)
{
	buf_raw(ret, "view\n", 5);
}

/* A socket that reads without waiting: the daemon is this same thread. */
static int
dial(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	strcpy(sun.sun_path, path);
	assert(connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	return fd;
}

static void
say(int fd, const char *text)
{
	assert(send(fd, text, strlen(text), MSG_NOSIGNAL) ==
	    (ssize_t)strlen(text));
}

/* The next line; NULL: we were cut off.  Bounded. */
static json_t *
hear(int fd)
{
	static char line[1 << 20];
	uint64_t end = clock_now_ns() + 60 * NS_PER_S;
	size_t len = 0;
	ssize_t n;

	while (clock_now_ns() < end) {
		n = recv(fd, line + len, 1, 0);
		if (n == 1 && line[len] == '\n')
			return json_loadb(line, len, 0, NULL);
		if (n == 1 && ++len < sizeof(line))
			continue;
		if (n == 0 || (n == -1 && errno != EAGAIN))
			return NULL;
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	fail("an answer comes within a minute");
	return NULL;
}

static json_t *
ask(const char *request)
{
	int fd = dial();
	json_t *reply;

	say(fd, request);
	say(fd, "\n");
	reply = hear(fd);
	close(fd);
	return reply;
}

static const char *
str(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static bool
is_ok(json_t *o)
{
	return json_is_true(json_object_get(o, "ok"));
}

/* A tree with a directory that is root's alone, made by another host. */
static void
make_tree(void)
{
	struct command open = { .kind = COMMAND_session_open, .node = 77,
		.name = slice_str("other"), .stamp = { .host = 2 } };
	struct command mkdir = { .kind = COMMAND_mkdir, .dir = TREE_ROOT,
		.name = slice_str("private"), .mode = S_IFDIR | 0700,
		.stamp = { .session = 77, .seq = 1, .done_below = 1,
		    .host = 2, .privileged = true } };
	struct store_txn *txn;
	struct tree_meta meta;

	engine_local_remote(engine, &open);
	while (engine_rev(engine) < 1)
		(void)uv_run(&loop, UV_RUN_ONCE);
	txn = store_begin(engine_store(engine), STORE_READ);
	assert(tree_meta_get(txn, &meta));
	store_abort(txn);
	mkdir.ino = ((meta.next_range - 1) << 32) + PRIVATE_INO;
	engine_local_remote(engine, &mkdir);
	while (engine_rev(engine) < 2)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void
test_status(bool *lagging)
{
	json_t *o = ask("{\"request\":\"status\"}"), *member;

	ok(is_ok(o), "status is answered");
	is_str(str(o, "health"), "ok", "its health is a word");
	is_int(json_integer_value(json_object_get(o, "rev")), 2,
	    "it has the revision");
	is_int(json_integer_value(json_object_get(o, "replayed")), 41,
	    "and what only the mount knows");
	is_str(str(o, "mountpoint"), "/gov", "and where that is");
	member = json_array_get(json_object_get(o, "members"), 0);
	is_int(json_array_size(json_object_get(o, "members")), 1,
	    "and the members");
	is_str(str(member, "state"), "", "of whom nodes/ may know nothing");
	json_decref(o);
	*lagging = true;
	o = ask("{\"request\":\"status\"}");
	is_str(str(o, "health"), "lagging", "O3: lagging is shown");
	json_decref(o);
	*lagging = false;
}

static void
test_why(void)
{
	struct slice app = slice_str("app");
	struct store_txn *txn;
	uint64_t config;
	json_t *o;

	txn = store_begin(engine_store(engine), STORE_READ);
	config = tree_lookup_path(txn, slice_str("config"));
	store_abort(txn);
	o = ask("{\"request\":\"why\",\"path\":\"config/app\"}");
	ok(is_ok(o) && json_is_false(json_object_get(o, "known")),
	    "nothing failed, nothing is known");
	json_decref(o);
	reason_note(config, app, 0, -EFBIG, "%d bytes are too many", 7);
	o = ask("{\"request\":\"why\",\"path\":\"/config//app\"}");
	is_str(str(o, "error"), "EFBIG", "why names the errno");
	is_str(str(o, "text"), "7 bytes are too many", "and the sentence");
	json_decref(o);
	o = ask("{\"request\":\"why\",\"path\":\"no/such/path\"}");
	ok(is_ok(o) && json_is_false(json_object_get(o, "known")),
	    "a path that is not there has no reason");
	json_decref(o);
	o = ask("{\"request\":\"why\"}");
	is_str(str(o, "error"), "EINVAL", "without a path it is no question");
	json_decref(o);
}

static void
test_debug(void)
{
	json_t *o = ask("{\"request\":\"fault\",\"name\":\"parking_off\","
	    "\"value\":3}");

	ok(is_ok(o) && fault_get(FAULT_parking_off) == 3, "a fault can be set");
	json_decref(o);
	fault_set(FAULT_parking_off, 0);
	o = ask("{\"request\":\"fault\",\"name\":\"none such\",\"value\":3}");
	is_str(str(o, "error"), "ENOENT", "an unknown one cannot");
	json_decref(o);
	o = ask("{\"request\":\"fault\",\"name\":\"parking_off\"}");
	is_str(str(o, "error"), "EINVAL", "nor one without a value");
	json_decref(o);
	o = ask("{\"request\":\"fault\"}");
	is_int(json_object_size(o), N_FAULTS + 1, "all are listed");
	json_decref(o);
	o = ask("{\"request\":\"metrics\"}");
	ok(strstr(str(o, "text"), "govfs_commands_applied") != NULL,
	    "metrics are printed");
	json_decref(o);
	o = ask("{\"request\":\"digest\"}");
	is_int(strlen(str(o, "digest")), 2 * STORE_DIGEST_LEN,
	    "the digest is hexadecimal");
	is_str(str(o, "check"), "ok", "and the tree is sound");
	json_decref(o);
	o = ask("{\"request\":\"dump\"}");
	is_str(str(o, "text"), "view\n", "the view is dumped");
	json_decref(o);
	o = ask("{\"request\":\"barrier\"}");
	is_int(json_integer_value(json_object_get(o, "rev")), 2,
	    "O4: a barrier answers later, with the revision");
	json_decref(o);
}

static void
test_order(void)
{
	int fd = dial();
	json_t *o;

	say(fd, "{\"request\":\"barrier\"}\n{\"request\":\"status\"}\n{\"req");
	o = hear(fd);
	ok(is_ok(o) && json_object_get(o, "health") == NULL,
	    "of two requests in one write the first is answered first");
	json_decref(o);
	o = hear(fd);
	is_str(str(o, "health"), "ok", "though its answer had to wait");
	json_decref(o);
	say(fd, "uest\":\"status\"}\n");
	o = hear(fd);
	is_str(str(o, "health"), "ok", "a line may come in pieces");
	json_decref(o);
	close(fd);
}

static void
test_hostile(void)
{
	static char flood[LIMIT_CTL_LINE + 2];
	static const char *const bad[] = { "", "{", "[]", "1", "\"status\"",
		"{\"request\":1}", "{\"request\":\"stat\"}",
		"{\"request\":\"status\",\"request\":\"why\"}",
		"{\"request\":\"\xff\"}" };
	int fd = dial(), fds[LIMIT_CTL_CLIENTS + 1];
	json_t *o;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		say(fd, bad[i]);
		say(fd, "\n");
		o = hear(fd);
		is_str(str(o, "error"), "EINVAL", "S3: no request: %s", bad[i]);
		json_decref(o);
	}
	close(fd);

	memset(flood, 'x', sizeof(flood) - 1);
	fd = dial();
	for (size_t sent = 0; sent < sizeof(flood) - 1;) {
		ssize_t n = send(fd, flood + sent, sizeof(flood) - 1 - sent,
		    MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		(void)uv_run(&loop, UV_RUN_NOWAIT);
		if (n == -1 && errno != EAGAIN)
			break;
	}
	ok(hear(fd) == NULL, "S3: a line without an end is cut off");
	close(fd);

	for (int i = 0; i <= LIMIT_CTL_CLIENTS; i++) {
		fds[i] = dial();
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	}
	ok(hear(fds[LIMIT_CTL_CLIENTS]) == NULL,
	    "S3: more than %d clients there cannot be", LIMIT_CTL_CLIENTS);
	say(fds[0], "{\"request\":\"status\"}\n");
	o = hear(fds[0]);
	ok(is_ok(o), "those that were first are served");
	json_decref(o);
	for (int i = 0; i <= LIMIT_CTL_CLIENTS; i++)
		close(fds[i]);
	for (int i = 0; i < 3; i++)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	o = ask("{\"request\":\"status\"}");
	ok(is_ok(o), "and when they are gone, others are");
	json_decref(o);
}

/* Is it cut off before long? */
static bool
cut_off(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	uint64_t end = clock_now_ns() + 60 * NS_PER_S;

	while (poll(&p, 1, 0) == 0 && clock_now_ns() < end)
		(void)uv_run(&loop, UV_RUN_ONCE); /* a tick, at the latest */
	return p.revents != 0;
}

static void
test_idle(void)
{
	int silent = dial(), slow = dial(), deaf = dial();
	json_t *o;

	say(slow, "{\"request\":");
	for (int i = 0; i < 100; i++) /* more answers than a socket holds */
		say(deaf, "{\"request\":\"metrics\"}\n");
	ok(cut_off(silent), "S3: who says nothing makes room in the end");
	ok(cut_off(slow), "S3: so does who says half of it");
	ok(cut_off(deaf), "S3: or does not listen");
	o = ask("{\"request\":\"status\"}");
	ok(is_ok(o), "who asks is answered");
	json_decref(o);
	close(silent);
	close(slow);
	close(deaf);
}

static void
test_rights(void)
{
	json_t *o;

	if (geteuid() != 0) {
		skip(4, "only root can be somebody else");
		return;
	}
	assert(seteuid(NOBODY) == 0);
	int fd = dial(); /* its credentials are taken now */
	assert(seteuid(0) == 0);
	say(fd, "{\"request\":\"status\"}\n");
	o = hear(fd);
	ok(is_ok(o), "anybody may ask for the status");
	json_decref(o);
	say(fd, "{\"request\":\"fault\",\"name\":\"parking_off\",\"value\":1}\n");
	o = hear(fd);
	is_str(str(o, "error"), "EPERM", "but not make the daemon fail");
	is_int(fault_get(FAULT_parking_off), 0, "and nothing is set");
	json_decref(o);
	say(fd, "{\"request\":\"why\",\"path\":\"private/x\"}\n");
	o = hear(fd);
	is_str(str(o, "error"), "EACCES",
	    "S2: why is silent about directories that one may not enter");
	json_decref(o);
	close(fd);
}

static void
stopped(void *arg)
{
	*(bool *)arg = true;
}

static void
test_stop(void)
{
	bool done = false;
	int fd = dial(), busy = dial();

	say(busy, "{\"request\":\"barrier\"}\n");
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	ctl_stop(ctl, stopped, &done);
	while (!done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(access(path, F_OK) == -1, "the socket goes with the daemon");
	close(fd);
	close(busy);
}

int
main(void)
{
	struct ctl_hooks hooks = { .local = local_hook, .dump = dump_hook };
	char deep[200];
	struct store *store;
	bool lagging = false, done = false;

	hooks.arg = &lagging;
	assert(mkdtemp(dir) != NULL && chmod(dir, 0755) == 0);
	snprintf(path, sizeof(path), "%s/control", dir);
	assert(uv_loop_init(&loop) == 0 && store_open_mem(&store) == 0);
	assert(engine_local_open(&loop, store, 0, &engine) == 0);
	make_tree();

	memset(deep, 'd', sizeof(deep));
	deep[0] = '/';
	deep[sizeof(deep) - 1] = '\0';
	is_int(ctl_open(&loop, deep, engine, &hooks, &ctl), -ENAMETOOLONG,
	    "a socket's name has a limit, and it is said");
	assert(mknod(path, S_IFREG | 0600, 0) == 0);
	is_int(ctl_open(&loop, path, engine, &hooks, &ctl), 0,
	    "what a crash left at the socket's place is replaced");
	test_status(&lagging);
	test_why();
	test_debug();
	test_order();
	test_hostile();
	test_idle();
	test_rights();
	test_stop();

	engine_stop(engine, stopped, &done);
	while (!done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	engine_free(engine);
	while (uv_loop_close(&loop) == UV_EBUSY)
		(void)uv_run(&loop, UV_RUN_NOWAIT);
	rmdir(dir);
	return done_testing();
}

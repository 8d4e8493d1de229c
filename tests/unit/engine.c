/*
 * engine.c: the interface and its completion path, on engine_local; and this
 * host's session above it.
 */
#include "config.h"

#include <sys/stat.h>

#include <assert.h>
#include <errno.h>

#include "engine/engine_local.h"
#include "session/session.h"
#include "tests/tap.h"
#include "tree/tree.h"

struct call {
	struct engine_req req;
	struct outcome outcome; /* as done saw it; changes left out */
	unsigned n_done, n_applied_before;
	struct session *resubmit; /* done submits this call again, once */
};

struct watch {
	struct engine_subscriber sub;
	unsigned n_applied, n_remote, n_turns, n_status;
	uint64_t rev;
	bool in_order;
	uint64_t closed_seq; /* of the session's end */
};

static uv_loop_t loop;
static struct engine *engine;
static struct session *session;
static struct watch watch;

static void
call_done(struct engine_req *req, const struct outcome *o)
{
	struct call *call = (struct call *)req;

	call->outcome = *o;
	call->outcome.changes = NULL;
	call->n_done++;
	call->n_applied_before = watch.n_applied;
	if (call->resubmit != NULL) {
		struct session *again = call->resubmit;

		call->resubmit = NULL;
		assert(session_submit(again, &call->req) == 0);
	}
}

static void
watch_applied(struct engine_subscriber *sub, const struct engine_applied *a)
{
	struct watch *w = (struct watch *)sub;

	w->n_applied++;
	w->n_remote += a->req == NULL;
	w->in_order = w->in_order && a->rev >= w->rev &&
	    a->rev == engine_rev(engine);
	w->rev = a->rev;
	if (a->command->kind == COMMAND_session_close)
		w->closed_seq = a->command->stamp.seq;
}

static void
watch_turn(struct engine_subscriber *sub)
{
	((struct watch *)sub)->n_turns++;
}

static void
watch_status(struct engine_subscriber *sub, const struct engine_status *st)
{
	((struct watch *)sub)->n_status++;
}

static void
stopped(void *arg)
{
	*(bool *)arg = true;
}

static void
start(unsigned delay_ms)
{
	struct store *store;

	assert(store_open_mem(&store) == 0);
	assert(uv_loop_init(&loop) == 0);
	assert(engine_local_open(&loop, store, delay_ms, &engine) == 0);
	watch = (struct watch){
		.sub = {watch_applied, watch_turn, watch_status, NULL},
		.in_order = true,
	};
	engine_subscribe(engine, &watch.sub);
	assert(session_open(&(struct session_conf){.loop = &loop,
	    .engine = engine}, &session) == 0);
}

static void
finish(void)
{
	bool done = false;

	session_close(session);
	session = NULL;
	engine_stop(engine, stopped, &done);
	while (!done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	engine_free(engine);
	assert(uv_loop_close(&loop) == 0);
}

static void
run_until_done(struct call *call)
{
	while (call->n_done == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static void
run_until_ready(void)
{
	while (!session_ready(session))
		(void)uv_run(&loop, UV_RUN_ONCE);
}

static struct command
create(const char *name, uint64_t ino)
{
	return (struct command){
		.kind = COMMAND_create, .dir = TREE_ROOT,
		.name = slice_str(name), .ino = ino, .mode = S_IFREG | 0644,
		.flags = CREATE_EXCL,
		.stamp = {.privileged = true, .seen = UINT64_MAX},
	};
}

static struct command
unlink_of(const char *name)
{
	return (struct command){
		.kind = COMMAND_unlink, .dir = TREE_ROOT,
		.name = slice_str(name), .stamp = {.privileged = true},
	};
}

static void
test_completion(void)
{
	struct call call = {.req.done = call_done}, early = call;
	struct tree_applied applied;
	struct store_txn *txn;

	start(0);
	early.req.command = unlink_of("nothing");
	is_int(session_submit(session, &early.req), 0,
	    "a request may come before there is a session");
	is_int(session_new_ino(session), 0, "but no inode number does");
	run_until_done(&early);
	is_int(early.outcome.err, -ENOENT, "it is answered by its outcome");
	ok(session_ready(session), "the session is there");

	call.req.command = create("a", session_new_ino(session));
	is_int(session_submit(session, &call.req), 0, "a request is taken");
	is_int(call.n_done, 0, "and never finished inside submit");
	run_until_done(&call);
	is_int(call.outcome.err, 0, "it succeeds");
	is_int(call.outcome.rev, 2, "with the next revision");
	is_int(engine_rev(engine), 2, "which the engine publishes");
	is_int(call.n_applied_before, 3,
	    "subscribers hear of a command before its own request does");
	is_int(watch.n_remote, 0, "own requests are told from remote ones");
	ok(watch.in_order && watch.n_turns >= 1, "turns end, in order");
	txn = store_begin(engine_store(engine), STORE_READ);
	ok(tree_lookup_path(txn, slice_str("/a")) == call.outcome.ino,
	    "the store has it (O3: read your writes)");
	tree_applied_get(txn, &applied);
	is_int(applied.index, 3, "and knows how far it has applied");
	store_abort(txn);
	finish();
}

static void
test_remote(void)
{
	struct command open = {
		.kind = COMMAND_session_open, .node = 77,
		.name = slice_str("other"), .stamp = {.host = 2},
	}, remote = create("r", (UINT64_C(2) << 32) + 1);

	start(0);
	run_until_ready();
	remote.stamp.session = 77;
	remote.stamp.seq = remote.stamp.done_below = 1;
	remote.stamp.host = 2;
	engine_local_remote(engine, &open);
	engine_local_remote(engine, &remote);
	while (watch.n_applied < 3)
		(void)uv_run(&loop, UV_RUN_ONCE);
	is_int(watch.n_remote, 2, "commands of other hosts have no request");
	is_int(engine_rev(engine), 2, "and are applied in the one order");
	finish();
}

static void
test_back_out(void)
{
	struct call call = {.req.done = call_done}, after = call;

	start(20);
	run_until_ready();
	call.req.command = create("w", session_new_ino(session));
	assert(session_submit(session, &call.req) == 0);
	ok(session_withdraw(session, &call.req),
	    "what nobody has been told yet can be withdrawn");
	is_int(call.n_done, 0, "and its done never fires");

	assert(session_submit(session, &call.req) == 0);
	(void)uv_run(&loop, UV_RUN_NOWAIT);
	ok(!session_withdraw(session, &call.req),
	    "what has been proposed cannot");
	session_abandon(session, &call.req);
	ok(call.n_done == 1 && call.outcome.err == -EINTR,
	    "but it can be abandoned: EINTR at once");
	after.req.command = unlink_of("w");
	assert(session_submit(session, &after.req) == 0);
	run_until_done(&after);
	is_int(watch.n_remote, 1, "its command commits as a remote one");
	is_int(after.outcome.err, 0, "before what came after it");
	is_int(call.n_done, 1, "done fired exactly once");
	finish();
}

static void
test_window(void)
{
	enum { N = LIMIT_WINDOW + 8 };
	struct call *calls = calloc(N, sizeof(*calls));
	unsigned taken = 0, n_again = 0;
	int err = 0;

	start(0);
	run_until_ready();
	while (taken < N) {
		calls[taken].req.done = call_done;
		calls[taken].req.command = unlink_of("x");
		err = session_submit(session, &calls[taken].req);
		if (err != 0)
			break;
		taken++;
	}
	is_int(err, -EAGAIN, "requests under way are bounded");
	is_int(taken, LIMIT_WINDOW,
	    "by the window");
	for (unsigned i = 0; i < 100; i++)
		calls[i].resubmit = session;
	run_until_done(&calls[taken - 1]);
	while (n_again < 100) {
		n_again = 0;
		(void)uv_run(&loop, UV_RUN_ONCE);
		for (unsigned i = 0; i < 100; i++)
			n_again += calls[i].n_done == 2;
	}
	for (unsigned i = 0; i < taken; i++) {
		if (calls[i].outcome.err != -ENOENT)
			err = calls[i].outcome.err;
	}
	is_int(err, -EAGAIN, "all of them are answered by their own outcome");
	free(calls);
	finish();
}

static void
test_lost_session(void)
{
	struct call call = {.req.done = call_done}, made = call;
	struct command steal = {
		.kind = COMMAND_session_open, .node = 78,
		.name = slice_str("local"), .stamp = {.host = 1},
	};
	uint64_t ino;

	start(0);
	run_until_ready();
	ino = session_new_ino(session);
	engine_local_remote(engine, &steal);
	call.req.command = unlink_of("x");
	made.req.command = create("y", ino);
	assert(session_submit(session, &call.req) == 0);
	assert(session_submit(session, &made.req) == 0);
	run_until_done(&call);
	is_int(call.outcome.err, -ENOENT,
	    "a request of an ended session goes into the next one");
	is_int(made.outcome.err, -ESTALE,
	    "unless it carries a number of the old range");
	ok(session_ready(session) && session_new_ino(session) >> 32 != ino >> 32,
	    "the new session has a range of its own");
	finish();
}

static void
lost(void *arg, uint64_t id)
{
	*(uint64_t *)arg = id;
}

static void
test_replaced(void)
{
	struct command steal = {
		.kind = COMMAND_session_open, .node = 79,
		.name = slice_str("local"), .stamp = {.host = 1},
	};
	uint64_t id, lost_id = 0;

	start(0);
	run_until_ready();
	id = session_id(session);
	session_on_lost(session, lost, &lost_id);
	engine_local_remote(engine, &steal);
	while (watch.n_remote == 0)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(session_id(session) != id,
	    "L1: a session that a later one of its host has ended is lost at once");
	run_until_ready();
	while (lost_id == 0 && session_id(session) != id)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(lost_id == id, "and so who holds something in it is told");
	finish();
}

static void
test_stop(void)
{
	struct call late = {.req.done = call_done};
	bool done = false;

	start(0);
	run_until_ready();
	session_stop(session, stopped, &done);
	late.req.command = create("z", session_new_ino(session));
	assert(session_submit(session, &late.req) == 0);
	while (watch.closed_seq == 0 || !done)
		(void)uv_run(&loop, UV_RUN_ONCE);
	ok(late.req.command.stamp.seq != watch.closed_seq,
	    "O5: a request made while the session ends has a place of its own");
	is_int(late.outcome.err, -ESTALE, "which is behind that end");
	finish();
}

static void
test_readonly(void)
{
	struct call call = {.req.done = call_done};

	start(0);
	call.req.command = unlink_of("x");
	assert(session_submit(session, &call.req) == 0);
	/* The session's own request is under way, the caller's is queued. */
	engine_local_set_health(engine, ENGINE_READONLY);
	is_int(call.outcome.err, -EROFS,
	    "what waits for a session fails when there is no leader (O6)");
	is_int(session_submit(session, &call.req), -EROFS,
	    "later requests fail at once");
	engine_local_set_health(engine, ENGINE_OK);
	call.n_done = 0;
	is_int(session_submit(session, &call.req), 0,
	    "writing resumes by itself");
	run_until_done(&call);
	is_int(call.outcome.err, -ENOENT, "in a session");
	is_int(watch.n_status, 2, "subscribers hear of the leader's coming and going");
	finish();
}

static void
barrier_done(struct engine_barrier *b, int err)
{
	b->engine_data = (void *)(intptr_t)(err + 1000);
}

static void
test_barrier(void)
{
	struct engine_barrier one = {.done = barrier_done}, two = one;

	start(0);
	is_int(engine_barrier(engine, &one), 0, "a barrier is taken");
	is_int(engine_barrier(engine, &two), 0, "another one too");
	engine_barrier_cancel(engine, &two);
	while (one.engine_data == NULL)
		(void)uv_run(&loop, UV_RUN_ONCE);
	is_int((intptr_t)one.engine_data, 1000, "and answered");
	ok(two.engine_data == NULL, "a cancelled one never is");
	finish();
}

int
main(void)
{
	test_completion();
	test_remote();
	test_back_out();
	test_window();
	test_lost_session();
	test_replaced();
	test_stop();
	test_readonly();
	test_barrier();
	return done_testing();
}

/*
 * host_child.c: a loop, an engine, and lines from the parent.
 */
#include "config.h"

#include "host_child.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/metric.h"

static void on_alloc(uv_handle_t *, size_t, uv_buf_t *);
static void on_read(uv_stream_t *, ssize_t, const uv_buf_t *);
static void run_status(struct child *, char *);
static void run_metric(struct child *, char *);
static void run_fault(struct child *, char *);

static const struct child_command common[] = {
    {"status", run_status},
    {"metric", run_metric},
    {"fault", run_fault},
    {NULL, NULL},
};

void
child_open(struct child *c, const struct group_conf *conf, int fd,
    const struct child_command *commands)
{
	struct group_conf mine = *conf;

	c->commands = commands;
	uv_loop_init(&c->loop);
	mine.loop = &c->loop;
	uv_pipe_init(&c->loop, &c->control, 0);
	uv_pipe_open(&c->control, fd);
	uv_stream_set_blocking((uv_stream_t *)&c->control, 1);
	c->control.data = c;
	if (engine_group_open(&mine, &c->engine) != 0)
		_exit(6);
	engine_subscribe(c->engine, &c->subscriber);
	uv_read_start((uv_stream_t *)&c->control, on_alloc, on_read);
	child_say(c, "open");
}

void
child_run(struct child *c)
{
	uv_run(&c->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&c->loop) != 0)
		_exit(8);
}

void
child_say(struct child *c, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n, fd;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	uv_fileno((uv_handle_t *)&c->control, &fd);
	if (write(fd, line, (size_t)n) != n)
		_exit(4);
}

void
child_stopped(void *arg)
{
	struct child *c = arg;

	child_say(c, "stopped");
	engine_free(c->engine);
	uv_close((uv_handle_t *)&c->control, NULL);
}

static void
on_alloc(uv_handle_t *handle, size_t want, uv_buf_t *buf)
{
	struct child *c = handle->data;

	*buf = uv_buf_init(c->in + c->in_len,
	    (unsigned)(sizeof(c->in) - c->in_len));
}

static const struct child_command *
find(const struct child_command *commands, const char *name)
{
	while (commands->name != NULL && strcmp(commands->name, name) != 0)
		commands++;
	return commands->name != NULL ? commands : NULL;
}

static void
obey(struct child *c, char *line)
{
	char *args = line + strcspn(line, " ");
	const struct child_command *command;

	if (*args != '\0')
		*args++ = '\0';
	command = find(c->commands, line);
	if (command == NULL)
		command = find(common, line);
	if (command == NULL)
		_exit(5);
	command->run(c, args);
}

static void
on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct child *c = s->data;
	char *end;

	if (n < 0)
		_exit(0); /* the parent is gone */
	c->in_len += (size_t)n;
	while ((end = memchr(c->in, '\n', c->in_len)) != NULL) {
		char line[256];
		size_t len = (size_t)(end - c->in);

		memcpy(line, c->in, len);
		line[len] = '\0';
		c->in_len -= len + 1;
		memmove(c->in, end + 1, c->in_len);
		obey(c, line);
	}
}

static void
run_status(struct child *c, char *args)
{
	static const char *const healths[] = {"ok", "suspended", "readonly",
	    "lost"};
	struct engine_status s;

	engine_status(c->engine, &s);
	child_say(c, "status %s %llu %s %llu %llu %llu %u", s.role,
	    (unsigned long long)s.leader, healths[s.health],
	    (unsigned long long)s.term, (unsigned long long)s.commit,
	    (unsigned long long)s.applied, s.n_alive);
}

static void
run_metric(struct child *c, char *name)
{
	static const char *const names[] = {
#define METRIC(id, kind, text) #id,
#include "base/metric.def"
#undef METRIC
	};

	for (unsigned i = 0; i < N_METRICS; i++) {
		if (strcmp(names[i], name) == 0)
			child_say(c, "metric %lld", (long long)metric_get(i));
	}
}

static void
run_fault(struct child *c, char *args)
{
	char *value = args + strcspn(args, " ");
	enum fault fault;

	if (*value != '\0')
		*value++ = '\0';
	if (fault_parse(args, &fault) == 0)
		fault_set(fault, atoll(value));
	child_say(c, "fault");
}

/*
 * ctl.c: the control socket's bytes: clients, lines, replies.
 *
 * A client has one request under way; what it sends meanwhile waits in its
 * line buffer and then in the kernel, so a client that doesn't read its
 * replies stops itself.
 */
#include "config.h"

#include "ctl/ctl.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "ctl/ctl_internal.h"

static void	on_connection(uv_stream_t *, int);
static void	on_tick(uv_timer_t *);
static void	on_alloc(uv_handle_t *, size_t, uv_buf_t *);
static void	on_read(uv_stream_t *, ssize_t, const uv_buf_t *);
static void	on_written(uv_write_t *, int);
static void	client_next(struct ctl_client *);
static void	client_close(struct ctl_client *);
static int	client_identify(struct ctl_client *);

int
ctl_open(uv_loop_t *loop, const char *path, struct engine *engine,
    const struct ctl_hooks *hooks, struct ctl **ret)
{
	struct sockaddr_un sun;
	struct ctl *ctl;
	int err;

	assert(engine != NULL && hooks != NULL);
	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	ctl = calloc(1, sizeof(*ctl));
	if (ctl == NULL || (ctl->path = strdup(path)) == NULL) {
		free(ctl);
		return -ENOMEM;
	}
	ctl->engine = engine;
	ctl->hooks = *hooks;
	ctl->pipe.data = ctl;
	err = uv_pipe_init(loop, &ctl->pipe, 0);
	assert(err == 0);
	ctl->timer.data = ctl;
	err = uv_timer_init(loop, &ctl->timer);
	assert(err == 0);
	ctl->n_open = 2;
	if (unlink(path) == -1 && errno != ENOENT)
		err = -errno;
	if (err == 0)
		err = uv_pipe_bind(&ctl->pipe, path);
	/* Who may ask what is decided by the peer's credentials. */
	if (err == 0 && chmod(path, 0666) == -1)
		err = -errno;
	if (err == 0)
		err = uv_listen((uv_stream_t *)&ctl->pipe, 16, on_connection);
	if (err == 0)
		err = uv_timer_start(&ctl->timer, on_tick, 1000, 1000);
	if (err != 0) {
		ctl_stop(ctl, NULL, NULL);
		return err;
	}
	*ret = ctl;
	return 0;
}

static void
handle_closed(struct ctl *ctl)
{
	assert(ctl->n_open > 0);
	if (--ctl->n_open > 0 || !uv_is_closing((uv_handle_t *)&ctl->pipe))
		return;
	if (ctl->stopped != NULL)
		ctl->stopped(ctl->stopped_arg);
	free(ctl->path);
	free(ctl);
}

static void
on_own_closed(uv_handle_t *handle)
{
	handle_closed(handle->data);
}

void
ctl_stop(struct ctl *ctl, void (*cb)(void *), void *arg)
{
	ctl->stopped = cb;
	ctl->stopped_arg = arg;
	while (ctl->clients != NULL)
		client_close(ctl->clients);
	unlink(ctl->path);
	uv_close((uv_handle_t *)&ctl->pipe, on_own_closed);
	uv_close((uv_handle_t *)&ctl->timer, on_own_closed);
}

/* Ticks, not time: after a stall of ours everybody's request comes first. */
static void
on_tick(uv_timer_t *timer)
{
	struct ctl *ctl = timer->data;
	struct ctl_client *c, *next;

	for (c = ctl->clients; c != NULL; c = next) {
		next = c->next;
		if (!c->barrier_pending && ++c->n_idle > LIMIT_CTL_IDLE)
			client_close(c);
	}
}

static void
on_connection(uv_stream_t *server, int status)
{
	struct ctl *ctl = server->data;
	struct ctl_client *c;
	unsigned max;
	int err;

	if (status != 0) {
		log_warn("ctl: cannot accept a client: %s, it has to ask "
		    "again", uv_strerror(status));
		return;
	}
	c = calloc(1, sizeof(*c));
	if (c == NULL) {
		/* The connection waits in the backlog until the next one. */
		log_warn("ctl: no memory for a client, it has to wait");
		return;
	}
	c->ctl = ctl;
	uv_pipe_init(server->loop, &c->pipe, 0);
	c->pipe.data = c;
	c->next = ctl->clients;
	ctl->clients = c;
	ctl->n_clients++;
	ctl->n_open++;
	err = uv_accept(server, (uv_stream_t *)&c->pipe);
	if (err == 0)
		err = client_identify(c);
	/* Users can't lock root out: half of the places are not for them. */
	max = c->privileged ? LIMIT_CTL_CLIENTS : LIMIT_CTL_CLIENTS / 2;
	if (err == 0 && ctl->n_clients > max)
		err = -EAGAIN;
	if (err == 0)
		err = uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
	if (err != 0)
		client_close(c);
}

static int
client_identify(struct ctl_client *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;
	int err;

	err = uv_fileno((uv_handle_t *)&c->pipe, &fd);
	if (err != 0)
		return err;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == -1)
		return -errno;
	c->uid = cred.uid;
	c->gid = cred.gid;
	c->privileged = cred.uid == 0 || cred.uid == geteuid();
	return 0;
}

static void
on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *ret)
{
	struct ctl_client *c = handle->data;

	*ret = uv_buf_init(c->line + c->len, sizeof(c->line) - c->len);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct ctl_client *c = stream->data;

	if (n < 0) { /* the end, an error, or a line that is too long */
		client_close(c);
		return;
	}
	c->len += n;
	assert(c->len <= sizeof(c->line));
	client_next(c);
}

/* Takes the next whole line of the buffer, or goes on reading. */
static void
client_next(struct ctl_client *c)
{
	static char line[LIMIT_CTL_LINE];
	size_t len;
	char *nl;

	assert(!c->busy && !c->closing);
	nl = memchr(c->line, '\n', c->len);
	if (nl == NULL) {
		if (c->len == sizeof(c->line))
			client_close(c);
		else
			uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
		return;
	}
	uv_read_stop((uv_stream_t *)&c->pipe);
	c->busy = true;
	c->n_idle = 0;
	len = nl - c->line;
	memcpy(line, c->line, len);
	c->len -= len + 1;
	memmove(c->line, nl + 1, c->len);
	ctl_answer(c, line, len);
}

void
ctl_reply(struct ctl_client *c, json_t *reply)
{
	uv_buf_t bufs[2];
	int err;

	assert(c->busy && c->reply == NULL);
	c->reply = json_dumps(reply, JSON_COMPACT);
	json_decref(reply);
	if (c->reply == NULL) {
		client_close(c);
		return;
	}
	bufs[0] = uv_buf_init(c->reply, strlen(c->reply));
	bufs[1] = uv_buf_init((char *)"\n", 1);
	err = uv_write(&c->write, (uv_stream_t *)&c->pipe, bufs, 2, on_written);
	if (err != 0)
		client_close(c);
}

static void
on_written(uv_write_t *write, int status)
{
	struct ctl_client *c = uv_handle_get_data((uv_handle_t *)write->handle);

	free(c->reply);
	c->reply = NULL;
	c->busy = false;
	c->n_idle = 0;
	if (c->closing)
		return;
	if (status != 0)
		client_close(c);
	else
		client_next(c);
}

static void
on_client_closed(uv_handle_t *handle)
{
	struct ctl_client *c = handle->data;
	struct ctl *ctl = c->ctl;

	free(c->reply);
	free(c);
	handle_closed(ctl);
}

static void
client_close(struct ctl_client *c)
{
	struct ctl_client **p = &c->ctl->clients;

	if (c->closing)
		return;
	c->closing = true;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->ctl->n_clients--;
	if (c->barrier_pending)
		engine_barrier_cancel(c->ctl->engine, &c->barrier);
	c->barrier_pending = false;
	uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

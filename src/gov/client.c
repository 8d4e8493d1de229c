/*
 * client.c: the control socket from the other side: one line, one answer.
 */
#include "config.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "gov/gov.h"

static int	dial(const char *, bool patient);
static json_t  *converse(int fd, json_t *request, int *ret_err);
static void	complain(const char *control, int err);

/* Between questions of gov_attend(). */
#define ATTEND_MS 5000

/* What jansson reads from, and why it could not. */
struct source {
	int fd;
	int err; /* negative errno; 0: it came to its end */
};

json_t *
gov_request(const struct gov_place *place, json_t *request)
{
	json_t *reply;
	int fd, err = 0;

	fd = dial(place->control, place->attended);
	if (fd < 0) {
		complain(place->control, fd);
		json_decref(request);
		return NULL;
	}
	reply = converse(fd, request, &err);
	close(fd);
	json_decref(request);
	if (reply == NULL) {
		complain(place->control, err);
		return NULL;
	}
	if (json_is_true(json_object_get(reply, "ok"))) {
		json_object_del(reply, "ok");
		return reply;
	}
	gov_fail("%s: %s", gov_str(reply, "error"), gov_str(reply, "text"));
	json_decref(reply);
	return NULL;
}

static void
complain(const char *control, int err)
{
	switch (-err) {
	case EAGAIN: /* SO_SNDTIMEO, SO_RCVTIMEO */
		gov_no_answer(control);
		return;
	case ECONNREFUSED:
	case ENOENT:
		gov_fail("%s: %s (no daemon runs there)", control,
		    strerror(-err));
		return;
	case 0:
		gov_fail("%s: the daemon hung up", control);
		return;
	default:
		gov_fail("%s: %s", control, strerror(-err));
	}
}

static int
dial(const char *path, bool patient)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval wait = { .tv_sec = LIMIT_CTL_ANSWER_S };
	struct timeval answer = { .tv_sec = patient ? 0 : wait.tv_sec };
	int fd, err;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -errno;
	/* connect(2) waits, too, for a place in the daemon's backlog. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answer, sizeof(answer)) ||
	    connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static size_t
read_some(void *buf, size_t len, void *arg)
{
	struct source *source = arg;
	ssize_t n;

	do
		n = read(source->fd, buf, len);
	while (n == -1 && errno == EINTR);
	if (n == -1)
		source->err = -errno;
	return n == -1 ? (size_t)-1 : (size_t)n;
}

/* NULL without an error: the daemon hung up. */
static json_t *
converse(int fd, json_t *request, int *ret_err)
{
	struct source source = { .fd = fd };
	json_t *reply;
	char *text = json_dumps(request, JSON_COMPACT);
	struct iovec iov[2] = { { text, text ? strlen(text) : 0 },
		{ (char *)"\n", 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (text == NULL) {
		*ret_err = -ENOMEM;
		return NULL;
	}
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	if (n == -1 && errno != EPIPE)
		*ret_err = -errno;
	free(text);
	if (n == -1)
		return NULL;
	shutdown(fd, SHUT_WR);
	reply = json_load_callback(read_some, &source, JSON_DISABLE_EOF_CHECK,
	    NULL);
	if (source.err != -ECONNRESET)
		*ret_err = source.err;
	return reply;
}

/* Whatever it says: one that is stopped says nothing. */
static bool
answers(const char *control)
{
	json_t *request = json_pack("{s:s}", "request", "status");
	int err = 0, fd = dial(control, false);

	if (fd >= 0) {
		json_decref(converse(fd, request, &err));
		close(fd);
	}
	json_decref(request);
	return fd != -EAGAIN && err != -EAGAIN;
}

/*
 * A request that a stopped daemon has read already outlives even the end of the
 * process that made it: so another one makes it.
 */
bool
gov_attend(struct gov_place *place, int *ret_code)
{
	pid_t pid = fork();
	struct pollfd p = { .events = POLLIN };
	int status;

	place->attended = pid == 0;
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (pid <= 0)
		return false;
	p.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	while (p.fd >= 0 && poll(&p, 1, ATTEND_MS) == 0) {
		if (!answers(place->control)) {
			kill(pid, SIGKILL);
			*ret_code = gov_no_answer(place->control);
			return true;
		}
	}
	waitpid(pid, &status, 0);
	*ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
	return true;
}

const char *
gov_str(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s != NULL ? s : "";
}

long long
gov_int(const json_t *obj, const char *key)
{
	return json_integer_value(json_object_get(obj, key));
}

json_t *
gov_json_path(const char *path)
{
	json_t *text = json_string(path);
	char *copy;

	if (text != NULL || (copy = strdup(path)) == NULL)
		return text;
	for (char *p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	text = json_string(copy);
	free(copy);
	return text;
}

void
gov_print_json(json_t *obj)
{
	json_dumpf(obj, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(obj);
}

/*
 * client.c: the control socket from the other side: one line, one answer.
 */
#include "config.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gov/gov.h"

static int	dial(const char *);
static json_t  *converse(int fd, json_t *request);

json_t *
gov_request(const struct gov_place *place, json_t *request)
{
	json_t *reply;
	int fd;

	fd = dial(place->control);
	if (fd < 0) {
		gov_fail("%s: %s%s", place->control, strerror(-fd),
		    fd == -ECONNREFUSED || fd == -ENOENT ?
		    " (no daemon runs there)" : "");
		json_decref(request);
		return NULL;
	}
	reply = converse(fd, request);
	close(fd);
	json_decref(request);
	if (reply == NULL) {
		gov_fail("%s: the daemon hung up", place->control);
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

static int
dial(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd, err;

	if (strlen(path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	strcpy(sun.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd == -1)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == -1) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static size_t
read_some(void *buf, size_t len, void *fd)
{
	ssize_t n;

	do
		n = read(*(int *)fd, buf, len);
	while (n == -1 && errno == EINTR);
	return n == -1 ? (size_t)-1 : (size_t)n;
}

static json_t *
converse(int fd, json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT);
	struct iovec iov[2] = { { text, text ? strlen(text) : 0 },
		{ (char *)"\n", 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (text == NULL)
		return NULL;
	n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	free(text);
	if (n == -1)
		return NULL;
	shutdown(fd, SHUT_WR);
	return json_load_callback(read_some, &fd, JSON_DISABLE_EOF_CHECK, NULL);
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

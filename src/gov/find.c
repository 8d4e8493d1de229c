/*
 * find.c: from a path to its mount, and from there to its daemon.
 */
#include "config.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "gov/gov.h"

static bool find(const struct gov_args *, const char *path,
    struct gov_place *);
static char *absolute(const char *);
static char *mount_of(const char *);

/*
 * Real path of everything but a last name, which may be absent, or be a
 * symbolic link that is meant itself.  What can't be resolved, because it is
 * absent too or in a dead mount, is kept as it was written.
 */
static char *
absolute(const char *path)
{
	size_t len = strlen(path), at;
	char *head, *real, *ret = NULL;
	const char *name;

	while (len > 1 && path[len - 1] == '/')
		len--;
	for (at = len; at > 0 && path[at - 1] != '/';)
		at--;
	name = path + at;
	if (len - at == strspn(name, ".") && len - at <= 2)
		return realpath(path, NULL); /* "", "." and ".." */
	for (;;) {
		head = at == 0 ? strdup(".") : strndup(path, at);
		real = head != NULL ? realpath(head, NULL) : NULL;
		free(head);
		if (real != NULL || at <= 1)
			break;
		for (at--; at > 0 && path[at - 1] != '/';)
			at--;
	}
	if (real != NULL && asprintf(&ret, "%s%s%.*s", real,
	    strcmp(real, "/") == 0 ? "" : "/", (int)(len - at), path + at) == -1)
		ret = NULL;
	free(real);
	return ret;
}

static bool
is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	if (strcmp(dir, "/") == 0)
		return true;
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* The govfs mount that holds an absolute path, from the kernel's list: asking
 * the mount itself could take as long as its daemon likes. */
static char *
mount_of(const char *path)
{
	struct mntent *m;
	char *ret = NULL;
	bool ours = false;
	FILE *f;

	f = setmntent("/proc/self/mounts", "r");
	if (f == NULL)
		return NULL;
	while ((m = getmntent(f)) != NULL) {
		if (!is_below(path, m->mnt_dir) ||
		    (ret != NULL && strlen(m->mnt_dir) < strlen(ret)))
			continue;
		free(ret);
		ret = strdup(m->mnt_dir);
		ours = strcmp(m->mnt_type, "fuse.govfs") == 0;
	}
	endmntent(f);
	if (!ours) {
		free(ret);
		ret = NULL;
	}
	return ret;
}

/* The daemon of a mount, as the mount names it. */
static char *
control_of(const char *mount)
{
	char link[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "%s/.gov/control", mount);
	n = readlink(link, target, sizeof(target) - 1);
	if (n == -1) {
		gov_fail("%s: %s%s", link, strerror(errno), errno == ENOTCONN ?
		    " (the daemon of this mount is gone)" : "");
		return NULL;
	}
	target[n] = '\0';
	return strdup(target);
}

/*
 * A call on the mount of a stopped daemon ends for nothing less than the end of
 * the process: so somebody else has to look at the clock.
 */
static void *
give_up(void *what)
{
	sleep(LIMIT_CTL_ANSWER_S);
	_exit(gov_no_answer(what));
}

bool
gov_find(const struct gov_args *args, const char *path, struct gov_place *ret)
{
	const char *what = path != NULL ? path : GOV_MOUNT_DEFAULT;
	pthread_t watch;
	bool found;
	int err;

	err = pthread_create(&watch, NULL, give_up, (void *)(uintptr_t)what);
	found = find(args, path, ret);
	if (err == 0) {
		pthread_cancel(watch);
		pthread_join(watch, NULL);
	}
	return found;
}

static bool
find(const struct gov_args *args, const char *path, struct gov_place *ret)
{
	const char *shown = path != NULL ? path : GOV_MOUNT_DEFAULT;
	const char *state = args->state;
	char *abs;

	*ret = (struct gov_place){ 0 };
	if (path != NULL || state == NULL) {
		abs = absolute(shown);
		ret->mount = abs != NULL ? mount_of(abs) : NULL;
		if (ret->mount != NULL && path != NULL) {
			const char *rel = abs + strlen(ret->mount);
			ret->rel = strdup(rel + strspn(rel, "/"));
		}
		free(abs);
		if (path != NULL && ret->mount == NULL) {
			gov_fail("%s: this is in no mounted govfs", path);
			return false;
		}
	}
	if (ret->mount != NULL && state == NULL) {
		ret->control = control_of(ret->mount);
		if (ret->control != NULL)
			return true;
		gov_place_fini(ret);
		return false;
	}
	if (state == NULL)
		state = GOV_STATE_DEFAULT;
	if (asprintf(&ret->control, "%s/control", state) == -1)
		ret->control = NULL;
	return ret->control != NULL;
}

void
gov_place_fini(struct gov_place *p)
{
	free(p->mount);
	free(p->rel);
	free(p->control);
	*p = (struct gov_place){ 0 };
}

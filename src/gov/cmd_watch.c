/*
 * cmd_watch.c: print what happens below a path, on whatever host it is done.
 *
 * Plain inotify does it all; what is added is the revision that the file has
 * by then, and that nothing is missed in a directory made while we look: its
 * names are listed once it is watched, and a CREATE that comes for one of
 * them afterwards is old news.
 */
#include "config.h"

#include <sys/inotify.h>
#include <sys/stat.h>

#include <dirent.h>
#include <errno.h>
#include <inotifytools/inotify.h>
#include <inotifytools/inotifytools.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "gov/gov.h"

#define WATCHED                                                          \
	(IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | \
	    IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF)

/* A name printed because it was found, not because an event told of it. */
struct found {
	UT_hash_handle hh;
	char path[];
};

struct watch {
	bool json;
	uint64_t left;		/* events to print; UINT64_MAX: no end */
	struct found *found;	/* by path; owned */
	char moved_from[PATH_MAX + 1]; /* directory on its way, or "" */
	uint32_t cookie;	/* of moved_from */
};

static int	watch_run(const struct gov_args *);
static void	on_event(struct watch *, const struct inotify_event *);
static void	on_directory(struct watch *, uint32_t mask, uint32_t cookie,
		    const char *);
static void	add_directory(struct watch *, const char *);
static bool	found_take(struct watch *, const char *);
static void	print_event(struct watch *, uint32_t mask, const char *);

enum { OPT_COUNT };

const struct cmd cmd_watch = {
	.name = "watch",
	.args = "PATH...",
	.help = "print events below paths, with the revision of the file",
	.min_args = 1,
	.max_args = -1,
	.options = { [OPT_COUNT] = { 'n', "count", "N",
	    "end after N events" } },
	.run = watch_run,
};

static int
watch_run(const struct gov_args *args)
{
	struct watch w = { .json = args->json, .left = UINT64_MAX };
	const struct inotify_event *ev;

	if (args->value[OPT_COUNT] != NULL &&
	    (!gov_parse_rev(args->value[OPT_COUNT], &w.left) || w.left == 0))
		return gov_usage("--count %s: not a number of events",
		    args->value[OPT_COUNT]);
	if (!inotifytools_initialize())
		return gov_fail("inotify: %s", strerror(inotifytools_error()));
	for (int i = 0; i < args->argc; i++)
		if (!inotifytools_watch_recursively(args->argv[i], WATCHED))
			return gov_fail("%s: %s", args->argv[i],
			    strerror(inotifytools_error()));
	setvbuf(stdout, NULL, _IOLBF, 0);
	fputs("gov: watching\n", stderr);
	while (w.left > 0 && inotifytools_get_num_watches() > 0) {
		ev = inotifytools_next_event(-1);
		if (ev == NULL)
			return gov_fail("inotify: %s",
			    strerror(inotifytools_error()));
		on_event(&w, ev);
	}
	return EXIT_OK;
}

static void
on_event(struct watch *w, const struct inotify_event *ev)
{
	const char *dir;
	char path[PATH_MAX];

	if (ev->mask & IN_Q_OVERFLOW) {
		gov_fail("events were lost: they came faster than they were "
		    "read");
		return;
	}
	dir = inotifytools_filename_from_wd(ev->wd);
	if (dir == NULL || (ev->mask & IN_IGNORED))
		return;
	snprintf(path, sizeof(path), "%s%s", dir, ev->len > 0 ? ev->name : "");
	if ((ev->mask & IN_CREATE) && found_take(w, path))
		return;
	if (ev->mask & (IN_DELETE | IN_MOVED_FROM))
		found_take(w, path);
	print_event(w, ev->mask, path);
	if ((ev->mask & IN_ISDIR) && ev->len > 0)
		on_directory(w, ev->mask, ev->cookie, path);
}

/* The library keeps a path per watch: it has to be told of moves. */
static void
on_directory(struct watch *w, uint32_t mask, uint32_t cookie, const char *path)
{
	char dir[PATH_MAX + 1];

	snprintf(dir, sizeof(dir), "%s/", path);
	if (mask & IN_MOVED_FROM) {
		snprintf(w->moved_from, sizeof(w->moved_from), "%s", dir);
		w->cookie = cookie;
	} else if ((mask & IN_MOVED_TO) && *w->moved_from != '\0' &&
	    w->cookie == cookie) {
		inotifytools_replace_filename(w->moved_from, dir);
		*w->moved_from = '\0';
	} else if (mask & (IN_CREATE | IN_MOVED_TO)) {
		add_directory(w, dir);
	}
}

/* dir ends in a slash. */
static void
add_directory(struct watch *w, const char *dir)
{
	char path[PATH_MAX];
	struct dirent *d;
	struct found *f;
	struct stat st;
	size_t len;
	DIR *stream;

	/* It may be gone again: then its own DELETE tells. */
	if (!inotifytools_watch_file(dir, WATCHED))
		return;
	stream = opendir(dir);
	if (stream == NULL)
		return;
	while ((d = readdir(stream)) != NULL && w->left > 0) {
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		len = snprintf(path, sizeof(path), "%s%s", dir, d->d_name);
		if (len >= sizeof(path) || lstat(path, &st) == -1)
			continue;
		f = malloc(sizeof(*f) + len + 1);
		if (f == NULL)
			break;
		memcpy(f->path, path, len + 1);
		HASH_ADD_KEYPTR(hh, w->found, f->path, len, f);
		print_event(w, IN_CREATE | (S_ISDIR(st.st_mode) ? IN_ISDIR : 0),
		    path);
		if (S_ISDIR(st.st_mode) && len + 1 < sizeof(path)) {
			strcpy(path + len, "/");
			add_directory(w, path);
		}
	}
	closedir(stream);
}

static bool
found_take(struct watch *w, const char *path)
{
	struct found *f;

	HASH_FIND_STR(w->found, path, f);
	if (f == NULL)
		return false;
	HASH_DEL(w->found, f);
	free(f);
	return true;
}

static void
print_event(struct watch *w, uint32_t mask, const char *path)
{
	/* "CLOSE_WRITE,CLOSE", the library would say. */
	const char *name = mask & IN_CLOSE_WRITE ? "CLOSE_WRITE" :
	    inotifytools_event_to_str(mask);
	uint64_t rev = 0;
	bool known = gov_file_rev(path, &rev) == 0;
	json_t *obj;

	if (w->left == 0)
		return;
	if (w->left != UINT64_MAX)
		w->left--;
	if (w->json) {
		obj = json_pack("{s:s}", "event", name);
		json_object_set_new(obj, "path", gov_json_path(path));
		if (known)
			json_object_set_new(obj, "rev", json_integer(rev));
		gov_print_json(obj);
	} else if (known) {
		printf("%s %s %" PRIu64 "\n", name, path, rev);
	} else {
		printf("%s %s -\n", name, path);
	}
}

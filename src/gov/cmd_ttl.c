/*
 * cmd_ttl.c: how long files live without a sign of life.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "gov/gov.h"

static int ttl_run(const struct gov_args *);

const struct cmd cmd_ttl = {
	.name = "ttl",
	.args = "PATH [DURATION]",
	.help = "show or set how long files live that nobody refreshes",
	.min_args = 1,
	.max_args = 2,
	.run = ttl_run,
};

static int
ttl_run(const struct gov_args *args)
{
	const char *path = args->argv[0], *ttl = args->argv[1];
	struct gov_place place;
	char value[280];
	ssize_t n;
	int err;

	/* Said the other way round: no file has that name. */
	if (args->argc == 2 && access(path, F_OK) != 0 &&
	    access(ttl, F_OK) == 0) {
		path = args->argv[1];
		ttl = args->argv[0];
	}
	if (!gov_find(args, path, &place))
		return EXIT_FAILED;
	gov_place_fini(&place);
	if (args->argc == 2) {
		snprintf(value, sizeof value, "ttl=%s", ttl);
		err = setxattr(path, "gov.lifetime", value, strlen(value), 0) ==
		    0 ? 0 : -errno;
		if (err == -EINVAL)
			return gov_usage("%s: not a duration from 100ms to "
			    "365d, as in 500ms, 10s, 5m, 24h, 30d", ttl);
		if (err != 0)
			return gov_fail_why(args, path, err);
	}
	n = getxattr(path, "gov.lifetime", value, sizeof value - 1);
	if (n < 0)
		return gov_fail_errno(path, -errno);
	value[n] = '\0';
	if (args->json)
		gov_print_json(json_pack("{s:o,s:s}", "path",
		    gov_json_path(path), "lifetime", value));
	else
		printf("%s\n", value);
	return EXIT_OK;
}

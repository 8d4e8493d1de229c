/*
 * cmd_why.c: why the last operation on a path failed, in one sentence.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "gov/gov.h"

static int	why_run(const struct gov_args *);
static json_t  *ask(const struct gov_args *, const char *path);
static bool	is_known(const json_t *);

const struct cmd cmd_why = {
	.name = "why",
	.args = "PATH",
	.help = "say why the last operation on a path failed",
	.min_args = 1,
	.max_args = 1,
	.run = why_run,
};

static int
why_run(const struct gov_args *args)
{
	const char *path = args->argv[0];
	json_t *reply = ask(args, path);
	char when[32] = "";
	struct tm tm;
	time_t at;
	int code;

	if (reply == NULL)
		return EXIT_FAILED;
	code = is_known(reply) ? EXIT_OK : EXIT_FAILED;
	if (args->json) {
		gov_print_json(reply);
		return code;
	}
	if (code != EXIT_OK) {
		printf("%s: nothing has failed there that this host remembers\n",
		    path);
	} else {
		at = gov_int(reply, "at_ns") / 1000000000;
		if (localtime_r(&at, &tm) != NULL)
			strftime(when, sizeof(when), "%F %T", &tm);
		printf("%s: %s: %s (%s)\n", path, gov_str(reply, "meaning"),
		    gov_str(reply, "text"), when);
	}
	json_decref(reply);
	return code;
}

int
gov_fail_why(const struct gov_args *args, const char *path, int err)
{
	int code = gov_fail_errno(path, err);
	json_t *reply = ask(args, path);

	/* What failed there before, in another way, is no reason for this. */
	if (is_known(reply) &&
	    strcmp(gov_str(reply, "error"), strerrorname_np(-err)) == 0)
		gov_fail("%s", gov_str(reply, "text"));
	json_decref(reply);
	return code;
}

/* NULL: that failed, which has been said. */
static json_t *
ask(const struct gov_args *args, const char *path)
{
	struct gov_place place;
	json_t *request, *reply = NULL;

	if (!gov_find(args, path, &place))
		return NULL;
	request = json_pack("{s:s, s:s}", "request", "why", "path", place.rel);
	if (request != NULL)
		reply = gov_request(&place, request);
	else
		gov_fail("%s: a daemon can be asked about names in UTF-8 only",
		    path);
	gov_place_fini(&place);
	return reply;
}

static bool
is_known(const json_t *reply)
{
	return json_is_true(json_object_get(reply, "known"));
}

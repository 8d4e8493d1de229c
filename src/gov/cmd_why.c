/*
 * cmd_why.c: why the last operation on a path failed, in one sentence.
 */
#include "config.h"

#include <stdio.h>
#include <time.h>

#include "gov/gov.h"

static int	why_run(const struct gov_args *);

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
	struct gov_place place;
	json_t *request, *reply;
	char when[32] = "";
	struct tm tm;
	time_t at;
	int code = EXIT_OK;

	if (!gov_find(args, path, &place))
		return EXIT_FAILED;
	request = json_pack("{s:s, s:s}", "request", "why", "path", place.rel);
	if (request == NULL) {
		gov_place_fini(&place);
		return gov_fail("%s: a daemon can be asked about names in "
		    "UTF-8 only", path);
	}
	reply = gov_request(&place, request);
	gov_place_fini(&place);
	if (reply == NULL)
		return EXIT_FAILED;
	if (!json_is_true(json_object_get(reply, "known")))
		code = EXIT_FAILED;
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

/*
 * cmd_sync.c: wait until all that was committed anywhere is visible here.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "gov/gov.h"

static int	sync_run(const struct gov_args *);

const struct cmd cmd_sync = {
	.name = "sync",
	.args = "[DIRECTORY]",
	.help = "wait until everything committed before is visible here",
	.max_args = 1,
	.run = sync_run,
};

static int
sync_run(const struct gov_args *args)
{
	const char *path = args->argc > 0 ? args->argv[0] : GOV_MOUNT_DEFAULT;
	struct gov_place place;
	uint64_t rev;
	json_t *reply;
	int err;

	if (args->argc == 0 && args->state != NULL) {
		/* No mount to ask: the daemon's store is the view. */
		if (!gov_find(args, NULL, &place))
			return EXIT_FAILED;
		reply = gov_request(&place,
		    json_pack("{s:s}", "request", "barrier"));
		gov_place_fini(&place);
		if (reply == NULL)
			return EXIT_FAILED;
		rev = gov_int(reply, "rev");
		json_decref(reply);
	} else {
		if (!gov_find(args, path, &place))
			return EXIT_FAILED;
		gov_place_fini(&place);
		err = gov_barrier(path, &rev);
		if (err != 0)
			return gov_fail_errno(path, err);
	}
	if (args->json)
		gov_print_json(json_pack("{s:I}", "rev", (json_int_t)rev));
	else
		printf("%" PRIu64 "\n", rev);
	return EXIT_OK;
}

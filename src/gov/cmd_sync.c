/*
 * cmd_sync.c: wait until all that was committed anywhere is visible here.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "gov/gov.h"

static int	sync_run(const struct gov_args *);
static int	barrier(const struct gov_place *, uint64_t *ret_rev);

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
	/* With --state alone there is no mount: the daemon's store is the view. */
	bool by_mount = args->argc > 0 || args->state == NULL;
	const char *path = args->argc > 0 ? args->argv[0] : GOV_MOUNT_DEFAULT;
	struct gov_place place;
	uint64_t rev;
	int err, code = EXIT_OK;

	if (!gov_find(args, by_mount ? path : NULL, &place))
		return EXIT_FAILED;
	if (gov_attend(&place, &code)) {
		gov_place_fini(&place);
		return code;
	}
	if (!by_mount)
		code = barrier(&place, &rev);
	else if ((err = gov_barrier(path, &rev)) != 0)
		code = gov_fail_barrier(path, err);
	gov_place_fini(&place);
	if (code != EXIT_OK)
		return code;
	if (args->json)
		gov_print_json(json_pack("{s:I}", "rev", (json_int_t)rev));
	else
		printf("%" PRIu64 "\n", rev);
	return EXIT_OK;
}

static int
barrier(const struct gov_place *place, uint64_t *ret_rev)
{
	json_t *reply = gov_request(place,
	    json_pack("{s:s}", "request", "barrier"));

	if (reply == NULL)
		return EXIT_FAILED;
	*ret_rev = gov_int(reply, "rev");
	json_decref(reply);
	return EXIT_OK;
}

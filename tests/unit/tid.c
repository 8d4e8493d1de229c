/*
 * tid.c: what is remembered of the threads that call, and whose words go.
 */
#include "config.h"

#include "mount/mount_internal.h"
#include "tests/tap.h"

enum { MANY = 5000 }; /* threads, more than are remembered */

static struct mount mount;

int
main(void)
{
	tid_of(&mount, 1)->stale_op = 7;
	tid_of(&mount, 2)->stale_op = 8;
	for (pid_t t = 3; t < MANY; t++) {
		(void)tid_of(&mount, t);
		(void)tid_of(&mount, 1);
	}
	ok(tid_find(&mount, 1) != NULL && tid_of(&mount, 1)->stale_op == 7,
	    "a busy thread is remembered, however many there are");
	ok(tid_find(&mount, 2) == NULL, "one not heard of is not");
	ok(HASH_COUNT(mount.tids) < MANY, "S3: there is a bound");
	tid_free_all(&mount);
	ok(mount.tids == NULL, "and all are forgotten in the end");
	return done_testing();
}

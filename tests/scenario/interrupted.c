/*
 * interrupted.c: a program that signals hit all the time, as the runtimes of
 * some languages do to their own threads.
 *
 *	interrupted DIR N [restart]
 *
 * Makes and removes N lock files with O_EXCL under 1,000 signals a second,
 * with or without SA_RESTART.  EINTR is tried again, as such programs do.
 * Prints what happened; exits with 1 if one of its own files was in its way,
 * or was not there after a success (CONTRACT O5).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static volatile sig_atomic_t n_signals;

static void
on_alarm(int number)
{
	n_signals++;
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_alarm,
	    .sa_flags = argc > 3 ? SA_RESTART : 0};
	struct itimerval every = {{0, 1000}, {0, 1000}};
	unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	unsigned n_own = 0, n_missing = 0, n_other = 0, n_eintr = 0;
	char path[4096];
	struct stat st;
	int fd;

	if (n == 0)
		return 2;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (unsigned i = 0; i < n; i++) {
		snprintf(path, sizeof path, "%s/%d.%u", argv[1], getpid(), i);
		while ((fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600)) <
			0 && errno == EINTR)
			n_eintr++;
		if (fd >= 0)
			close(fd);
		else if (errno == EEXIST)
			n_own++;
		else
			n_other++;
		if (fd >= 0 && stat(path, &st) != 0)
			n_missing++;
		while (unlink(path) != 0 && errno == EINTR)
			n_eintr++;
	}
	printf("%u opens, %d signals, %u EINTR; own file in the way %u, "
	       "missing %u, other errors %u\n", n, (int)n_signals, n_eintr,
	    n_own, n_missing, n_other);
	return n_own + n_missing + n_other > 0;
}

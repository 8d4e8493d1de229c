/*
 * pace.h: a clock for upper bounds on a machine that has other things to do.
 *
 * "Free within 0.2 s" is a promise about the program, not about a machine whose
 * processors and disk are somebody else's at the moment.  pace_us() is a clock
 * that stands still while this machine doesn't get on: while a process that
 * sleeps for a millisecond isn't woken, or a block isn't written to the disk; and
 * then for some time more, as a change is handed on by several processes, each of
 * which had to wait like that.
 * What must not happen too early is measured with the real clock.
 */
#ifndef TESTS_PACE_H
#define TESTS_PACE_H

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
	/* What is there in time on a machine at rest is waited for so many times
	 * as long. */
	PATIENCE = 10,
	PACE_TICK_US = 1000,
	PACE_LATE_US = 200,  /* what a wake-up may cost on a machine at rest */
	PACE_DISK_US = 3000, /* what a block may */
	PACE_PAUSE_US = 20000,
	PACE_HANDS = 3,	     /* through so many a change goes */
	PACE_OWED_US = 500000, /* no older losses than these count */
	PACE_LEAST = 20,     /* a part of the time that the clock always goes */
};

static struct pace {
	volatile uint64_t us;	   /* the clock */
	volatile uint64_t disk_us; /* a block is being written since; 0: none */
} *pace;

static uint64_t
pace_real_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void *
pace_disk(void *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	unlink(path);
	for (;;) {
		pace->disk_us = pace_real_us();
		if (pwrite(fd, "block", 5, 0) < 0 || fdatasync(fd) < 0)
			break;
		pace->disk_us = 0;
		usleep(PACE_PAUSE_US);
	}
	pace->disk_us = 0; /* there is no such disk */
	return NULL;
}

/* Keeps the clock; each_tick is called at every one. */
__attribute__((noreturn)) static void
pace_keep(char *path, void (*each_tick)(void))
{
	pthread_t thread;
	uint64_t last, now, since, took, lost, owed = 0, pays, goes;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pthread_create(&thread, NULL, pace_disk, path);
	for (last = pace_real_us();; last = now) {
		usleep(PACE_TICK_US);
		now = pace_real_us();
		since = pace->disk_us;
		took = now - last;
		lost = 0;
		if (since != 0 && now > since + PACE_DISK_US)
			lost = took;
		else if (took > PACE_TICK_US + PACE_LATE_US)
			lost = took - PACE_TICK_US;
		/* Its own time is lost in any case, however long; the other
		 * hands' follows. */
		goes = took - lost;
		owed += (PACE_HANDS - 1) * lost;
		if (owed > PACE_OWED_US)
			owed = PACE_OWED_US;
		pays = owed < goes ? owed : goes;
		owed -= pays;
		goes -= pays;
		if (goes < took / PACE_LEAST)
			goes = took / PACE_LEAST;
		pace->us += goes;
		if (each_tick != NULL)
			each_tick();
	}
}

static void
pace_map(void)
{
	pace = mmap(NULL, sizeof *pace, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pace == MAP_FAILED)
		abort();
}

/* The process that keeps the clock ends with this one. */
__attribute__((unused)) static void
pace_start(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[256];

	snprintf(path, sizeof path, "%s/govtest.pace.%d",
	    tmp != NULL ? tmp : "/tmp", (int)getpid());
	pace_map();
	if (fork() == 0)
		pace_keep(path, NULL);
}

__attribute__((unused)) static uint64_t
pace_us(void)
{
	return pace->us;
}

__attribute__((unused)) static uint64_t
pace_ns(void)
{
	return pace->us * 1000;
}

#endif

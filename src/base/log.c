/*
 * log.c: lines on stderr, each in one write(2) so that threads do not mix.
 */
#include "config.h"

#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 }; /* a longer line is cut */

static const struct {
	const char *name;
	int priority; /* syslog(3) */
} levels[] = {
    [LOG_LEVEL_ERROR] = {"error", 3},
    [LOG_LEVEL_WARN] = {"warn", 4},
    [LOG_LEVEL_INFO] = {"info", 6},
    [LOG_LEVEL_DEBUG] = {"debug", 7},
};

static _Atomic int level_max = LOG_LEVEL_INFO;
static bool to_journal; /* settled once, by the first line */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void find_journal(void);
static int print_prefix(char *, size_t, enum log_level);

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}

int
log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void
log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno;
	va_list ap;
	size_t len;
	int n;

	if ((int)level >
	    atomic_load_explicit(&level_max, memory_order_relaxed))
		return;
	(void)pthread_once(&once, find_journal);
	len = (size_t)print_prefix(line, sizeof(line), level);
	va_start(ap, fmt);
	errno = saved; /* for %m */
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	/* There is nobody to tell that a log line was lost. */
	if (write(STDERR_FILENO, line, len) < 0)
		errno = 0;
	errno = saved;
}

/* sd-daemon(3): JOURNAL_STREAM names the device and inode of the stream. */
static void
find_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (stream == NULL || sscanf(stream, "%llu:%llu", &dev, &ino) != 2)
		return;
	if (fstat(STDERR_FILENO, &st) != 0)
		return;
	to_journal = st.st_dev == dev && st.st_ino == ino;
}

static int
print_prefix(char *ret, size_t len, enum log_level level)
{
	struct timespec ts;
	struct tm tm;

	if (to_journal)
		return snprintf(ret, len, "<%d>", levels[level].priority);
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	return snprintf(ret, len, "%02d:%02d:%02d.%03ld %s: ", tm.tm_hour,
	    tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000, levels[level].name);
}

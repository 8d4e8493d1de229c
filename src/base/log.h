/*
 * log.h: one line per event that a human may want to know, on stderr.
 *
 * "room: subject: what happened, what we do about it".  error wants a human,
 * warn heals by itself, info is a change of role or membership, debug is free.
 * Never secrets, never file contents.  With stderr connected to the journal
 * lines carry a syslog priority prefix (sd-daemon(3)).  Any thread may log.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG };

void log_set_level(enum log_level);
int log_level_parse(const char *name, enum log_level *ret); /* -EINVAL */
void log_line(enum log_level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif

/*
 * conf.h: govfs.conf, read once at start.
 *
 * INI as systemd users know it; conf.def lists the keys with their defaults and
 * bounds.  Nothing is guessed: an unknown section or key, a key given twice
 * and a bad value are errors, in a sentence that names file and line.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "base/log.h"

#define CONF_DEFAULT_PATH "/etc/govfs/govfs.conf"

enum { /* with the NUL */
	CONF_NAME_BYTES = 64,
	CONF_ADDRESS_BYTES = 64,
	CONF_LABELS_BYTES = 512,
};

struct conf_member {
	char name[CONF_NAME_BYTES];
	char address[CONF_ADDRESS_BYTES]; /* host:port, [v6]:port */
	uint64_t id;			  /* never 0 */
};

struct conf {
	char name[CONF_NAME_BYTES];
	char listen[CONF_ADDRESS_BYTES];
	char state[LIMIT_PATH];
	char mountpoint[LIMIT_PATH];
	char labels[CONF_LABELS_BYTES]; /* one a line, each with its newline */
	enum log_level log;
	bool has_cluster; /* the file says which */
	uint8_t cluster[16];
	uint32_t election_ms, heartbeat_ms, write_timeout_ms, session_ttl_ms;
	uint32_t max_file;		/* bytes */
	unsigned n_members;		/* 0: a group of this host alone */
	struct conf_member members[LIMIT_MEMBERS]; /* as in the file */
};

/*
 * path NULL: CONF_DEFAULT_PATH, and its absence is no error.  On failure *ret is
 * untouched and ret_why holds a sentence.
 */
int conf_load(const char *path, struct conf *ret, char *ret_why,
    size_t why_len);

const struct conf_member *conf_member(const struct conf *, uint64_t id);

/* "host:port", "[v6]:port"; port 0 is fine.  -EINVAL.  ret_host may be NULL. */
int conf_split_address(const char *address, char *ret_host, size_t host_len,
    uint16_t *ret_port);

#endif

/*
 * fault.h: named points in the shipped daemon where tests make things fail.
 *
 * fault.def lists them.  Each holds one number, 0 meaning off; `gov debug
 * fault NAME VALUE` sets it over the control socket (root only).  Reading one
 * is a relaxed atomic load: any thread, practically free.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include <stdbool.h>
#include <stdint.h>

enum fault {
#define FAULT(name, text) FAULT_##name,
#include "base/fault.def"
#undef FAULT
	N_FAULTS
};

int64_t fault_get(enum fault); /* 0: off */
void fault_set(enum fault, int64_t value);
bool fault_take(enum fault);   /* true once per unit of its value: counts down */
int fault_parse(const char *name, enum fault *ret); /* -ENOENT */
const char *fault_name(enum fault);

#endif

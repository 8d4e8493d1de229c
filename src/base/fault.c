/*
 * fault.c: one atomic number per fault point.
 */
#include "config.h"

#include "base/fault.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic int64_t values[N_FAULTS];

static const char *const names[N_FAULTS] = {
#define FAULT(name, text) [FAULT_##name] = #name,
#include "base/fault.def"
#undef FAULT
};

int64_t
fault_get(enum fault f)
{
	assert(f < N_FAULTS);
	return atomic_load_explicit(&values[f], memory_order_relaxed);
}

void
fault_set(enum fault f, int64_t value)
{
	assert(f < N_FAULTS);
	atomic_store_explicit(&values[f], value, memory_order_relaxed);
}

bool
fault_take(enum fault f)
{
	int64_t value = fault_get(f);

	/* A failed exchange reloads value: another thread took a unit. */
	while (value > 0) {
		if (atomic_compare_exchange_weak(&values[f], &value, value - 1))
			return true;
	}
	return false;
}

int
fault_parse(const char *name, enum fault *ret)
{
	for (unsigned i = 0; i < N_FAULTS; i++) {
		if (strcmp(names[i], name) == 0) {
			*ret = (enum fault)i;
			return 0;
		}
	}
	return -ENOENT;
}

const char *
fault_name(enum fault f)
{
	assert(f < N_FAULTS);
	return names[f];
}

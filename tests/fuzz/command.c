/*
 * command.c: libFuzzer's way into entries and commands.  What is accepted must
 * encode to the same bytes: there is one encoding of each command.
 */
#include "config.h"

#include <assert.h>

#include "command/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input = slice_of(data, size), bytes;
	struct entry_reader e;
	struct command c;
	struct buf b;

	buf_init(&b, LIMIT_COMMAND);
	if (command_decode(input, &c) == 0) {
		command_encode(&b, &c);
		assert(slice_eq(buf_slice(&b), input));
	}
	if (entry_open(input, &e) == 0) {
		while (entry_next(&e, &bytes) == 1) {
			buf_reset(&b);
			if (command_decode(bytes, &c) != 0)
				continue;
			command_encode(&b, &c);
			assert(slice_eq(buf_slice(&b), bytes));
		}
	}
	buf_fini(&b);
	return 0;
}

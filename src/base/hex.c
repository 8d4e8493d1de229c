/*
 * hex.c: hexadecimal digits, whatever the locale.
 */
#include "config.h"

#include "base/hex.h"

#include <errno.h>
#include <string.h>

static int digit(char c);

void
hex_print(const uint8_t *bytes, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		*ret++ = digits[bytes[i] >> 4];
		*ret++ = digits[bytes[i] & 15];
	}
	*ret = '\0';
}

int
hex_parse(const char *text, uint8_t *ret, size_t len)
{
	if (strlen(text) != 2 * len)
		return -EINVAL;
	for (size_t i = 0; i < 2 * len; i++) {
		if (digit(text[i]) < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < len; i++)
		ret[i] = (uint8_t)(digit(text[2 * i]) << 4 |
		    digit(text[2 * i + 1]));
	return 0;
}

int
hex_parse_u64(const char *text, uint64_t *ret)
{
	size_t len = strlen(text);
	uint64_t value = 0;

	if (len == 0 || len > 16)
		return -EINVAL;
	for (; *text != '\0'; text++) {
		if (digit(*text) < 0)
			return -EINVAL;
		value = value << 4 | (uint64_t)digit(*text);
	}
	*ret = value;
	return 0;
}

static int
digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

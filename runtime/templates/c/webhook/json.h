// As much of JSON as a handler needs that passes it on.
#ifndef JSON_H
#define JSON_H

#include "plugin.h"

// Whether all of the bytes are one value in JSON (RFC 8259) and so UTF-8, nested 128
// deep at most.
bool json_is_valid(const plugin_list_u8_t *bytes);

// A text as JSON, in quotation marks; it comes from malloc.
char *json_quoted(const plugin_string_t *text);

#endif

// See json.h. Where a function gets a place in a text, it returns the place behind
// what it has found there; NULL if it has not.
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "utf8.h"

enum { MOST_DEEP = 128 };

static const char *value(const char *at, const char *end, int depth);

static const char *space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')) at++;
  return at;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static const char *digits(const char *at, const char *end) {
  if (at == end || !is_digit(*at)) return NULL;
  while (at < end && is_digit(*at)) at++;
  return at;
}

static const char *number(const char *at, const char *end) {
  if (*at == '-') at++;
  at = at < end && *at == '0' ? at + 1 : digits(at, end);
  if (at != NULL && at < end && *at == '.') at = digits(at + 1, end);
  if (at == NULL || at == end || (*at != 'e' && *at != 'E')) return at;
  at++;
  if (at < end && (*at == '+' || *at == '-')) at++;
  return digits(at, end);
}

static const char *word(const char *at, const char *end, const char *word) {
  size_t length = strlen(word);
  return (size_t)(end - at) >= length && memcmp(at, word, length) == 0 ? at + length : NULL;
}

static bool is_hexadecimal(char byte) { return byte != 0 && strchr("0123456789abcdefABCDEF", byte) != NULL; }

static const char *escape(const char *at, const char *end) {
  if (at == end) return NULL;
  if (*at != 'u') return *at != 0 && strchr("\"\\/bfnrt", *at) != NULL ? at + 1 : NULL;
  if (end - at < 5) return NULL;
  for (int n = 1; n <= 4; n++) {
    if (!is_hexadecimal(at[n])) return NULL;
  }
  return at + 5;
}

static const char *character(const char *at, const char *end) {
  size_t length = utf8_length((const uint8_t *)at, end - at);
  return length == 0 ? NULL : at + length;
}

static const char *string(const char *at, const char *end) {
  if (at == end || *at++ != '"') return NULL;
  while (at != NULL && at < end && *at != '"') {
    if ((unsigned char)*at < ' ') return NULL;
    at = *at == '\\' ? escape(at + 1, end) : character(at, end);
  }
  return at == NULL || at == end ? NULL : at + 1;
}

// A name and its colon.
static const char *name(const char *at, const char *end) {
  at = string(space(at, end), end);
  if (at != NULL) at = space(at, end);
  return at != NULL && at < end && *at == ':' ? at + 1 : NULL;
}

// The rest of a list or an object, behind the bracket that opens it.
static const char *members(const char *at, const char *end, int depth, char close) {
  at = space(at, end);
  if (at < end && *at == close) return at + 1;
  for (;;) {
    if (close == '}') at = name(at, end);
    if (at != NULL) at = value(at, end, depth + 1);
    if (at == NULL || at == end || (*at != ',' && *at != close)) return NULL;
    if (*at++ == close) return at;
  }
}

// A value with the white space around it.
static const char *value(const char *at, const char *end, int depth) {
  at = space(at, end);
  if (at == end || depth > MOST_DEEP) return NULL;
  switch (*at) {
    case '{': at = members(at + 1, end, depth, '}'); break;
    case '[': at = members(at + 1, end, depth, ']'); break;
    case '"': at = string(at, end); break;
    case 't': at = word(at, end, "true"); break;
    case 'f': at = word(at, end, "false"); break;
    case 'n': at = word(at, end, "null"); break;
    default: at = number(at, end); break;
  }
  return at == NULL ? NULL : space(at, end);
}

bool json_is_valid(const plugin_list_u8_t *bytes) {
  const char *start = (const char *)bytes->ptr, *end = start + bytes->len;
  return bytes->len > 0 && value(start, end, 0) == end;
}

char *json_quoted(const plugin_string_t *text) {
  // At most six bytes for one: `\u001f`.
  char *quoted = malloc(6 * text->len + 3), *to = quoted;
  if (quoted == NULL) abort();
  *to++ = '"';
  for (size_t n = 0; n < text->len; n++) {
    uint8_t byte = text->ptr[n];
    if (byte < ' ') {
      to += sprintf(to, "\\u%04x", byte);
      continue;
    }
    if (byte == '"' || byte == '\\') *to++ = '\\';
    *to++ = byte;
  }
  *to++ = '"';
  *to = 0;
  return quoted;
}

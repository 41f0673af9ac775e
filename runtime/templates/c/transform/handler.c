// Makes JSON of a reading, `sensor;value`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "plugin.h"

enum { MOST_BYTES = 256 };

static bool fail(exports_pelton_events_handler_failure_t *failure, uint8_t kind, const char *why) {
  failure->tag = kind;
  plugin_string_dup(kind == PELTON_EVENTS_TYPES_FAILURE_RETRY ? &failure->val.retry : &failure->val.reject, why);
  return false;
}

// A name that needs no escape in JSON.
static bool is_name(const char *text) {
  size_t length = strlen(text);
  return length > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == length;
}

// A decimal number as JSON has them; no exponent, so that all of them are finite.
static bool is_decimal(const char *text) {
  static const char digits[] = "0123456789";
  if (*text == '-') text++;
  size_t length = strspn(text, digits);
  if (length == 0 || (length > 1 && *text == '0')) return false;
  text += length;
  if (*text != '.') return *text == 0;
  length = strspn(++text, digits);
  return length > 0 && text[length] == 0;
}

bool exports_pelton_events_handler_handle(
    exports_pelton_events_handler_event_t *event,
    exports_pelton_events_handler_list_output_t *outputs,
    exports_pelton_events_handler_failure_t *failure) {
  char line[MOST_BYTES], json[2 * MOST_BYTES];
  if (event->payload.len >= sizeof line) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, "the line is too long");
  memcpy(line, event->payload.ptr, event->payload.len);
  line[event->payload.len] = 0;

  char *value = strchr(line, ';');
  if (value == NULL) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, "not `sensor;value`");
  *value++ = 0;
  if (!is_name(line)) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, "not a name of a sensor");
  if (*value == 0) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_RETRY, "the sensor has no value yet");
  if (!is_decimal(value)) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, "not a decimal number");

  plugin_string_t key, unit;
  plugin_string_set(&key, "unit");
  if (!pelton_events_config_get(&key, &unit)) plugin_string_dup(&unit, "celsius");
  // The digits are passed on as they came: none is lost.
  int length = snprintf(json, sizeof json, "{\"sensor\":\"%s\",\"value\":%s,\"unit\":\"%.*s\"}",
                        line, value, (int)unit.len, unit.ptr);
  plugin_string_free(&unit);
  if (length < 0 || (size_t)length >= sizeof json) return fail(failure, PELTON_EVENTS_TYPES_FAILURE_REJECT, "the line is too long");

  // What is returned has to come from malloc; it is freed after it has been read.
  plugin_string_t payload;
  plugin_string_dup_n(&payload, json, length);
  outputs->len = 1;
  outputs->ptr = calloc(1, sizeof *outputs->ptr);
  plugin_string_dup(&outputs->ptr->subject, "readings.parsed");
  outputs->ptr->headers = event->headers;
  outputs->ptr->payload = (plugin_list_u8_t){payload.ptr, payload.len};
  return true;
}

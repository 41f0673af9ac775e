// Reads the line that a tracker sends and writes it as JSON.
//
//   $FLT,<tracker>,<number>,<time>,<lat>,<lon>,<km/h>,<fuel %>,<fuel change %>,<g>,<flags>*<checksum>
//
// The checksum is the exclusive or of all bytes between `$` and `*`, in two
// hexadecimal digits, as in NMEA 0183; the flags are hexadecimal: 1 ignition,
// 2 panic button. What is not such a line can never be read: it is rejected.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "plugin.h"

enum { LINE_MAX_BYTES = 160, N_FIELDS = 11, JSON_MAX_BYTES = 512, SUBJECT_MAX_BYTES = 64 };

// One report of one tracker, with every number checked.
struct report {
  const char *tracker;
  long long number, time;
  double lat, lon, speed, fuel, fuel_change, acceleration;
  unsigned long flags;
};

// What is wrong with the line, or NULL; the line without its frame is left in `line`.
static const char *unframe(char *line) {
  line[strcspn(line, "\r\n")] = 0;
  char *star = strrchr(line, '*');
  if (line[0] != '$' || star == NULL || strlen(star) != 3) return "no frame of `$` and `*`";
  unsigned char sum = 0;
  for (char *at = line + 1; at < star; at++) sum ^= (unsigned char)*at;
  char expected[3];
  snprintf(expected, sizeof expected, "%02X", sum);
  if (strcmp(star + 1, expected) != 0) return "the checksum is wrong";
  *star = 0;
  memmove(line, line + 1, star - line);
  return NULL;
}

// Cuts the line at its commas; whether there are as many fields as there have to be.
static bool split(char *line, char *fields[N_FIELDS]) {
  for (int n = 0;; n++) {
    if (n == N_FIELDS) return false;
    fields[n] = line;
    line = strchr(line, ',');
    if (line == NULL) return n == N_FIELDS - 1;
    *line++ = 0;
  }
}

// A decimal number of digits, sign and point only: no space, no `inf`, no `0x`.
static bool decimal(const char *field, double *value) {
  char *end;
  if (*field == 0 || field[strspn(field, "0123456789.-")] != 0) return false;
  *value = strtod(field, &end);
  return *end == 0;
}

static bool whole(const char *field, long long *value) {
  char *end;
  if (*field == 0 || strlen(field) > 15 || field[strspn(field, "0123456789")] != 0) return false;
  *value = strtoll(field, &end, 10);
  return *end == 0;
}

// A name that may be a part of a subject, and needs no escape in JSON.
static bool is_name(const char *field) {
  size_t length = strlen(field);
  const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-";
  return length > 0 && length <= 16 && field[strspn(field, allowed)] == 0;
}

// What is wrong with the fields, or NULL.
static const char *read_fields(char *fields[N_FIELDS], struct report *report) {
  char *end;
  if (strcmp(fields[0], "FLT") != 0) return "not a report of position";
  if (!is_name(fields[1])) return "no name of a tracker";
  report->tracker = fields[1];
  if (!whole(fields[2], &report->number)) return "no number";
  if (!whole(fields[3], &report->time)) return "no time";
  double *values[] = {&report->lat, &report->lon, &report->speed,
                      &report->fuel, &report->fuel_change, &report->acceleration};
  for (int n = 0; n < 6; n++)
    if (!decimal(fields[4 + n], values[n])) return "a field is no decimal number";
  report->flags = strtoul(fields[10], &end, 16);
  return fields[10][0] == 0 || *end != 0 ? "the flags are not hexadecimal" : NULL;
}

static const char *parse(const plugin_list_u8_t *payload, char *line, struct report *report) {
  char *fields[N_FIELDS];
  if (payload->len >= LINE_MAX_BYTES) return "the line is too long";
  memcpy(line, payload->ptr, payload->len);
  line[payload->len] = 0;
  const char *wrong = unframe(line);
  if (wrong != NULL) return wrong;
  return split(line, fields) ? read_fields(fields, report) : "not 11 fields";
}

static int print(const struct report *report, char *json) {
  return snprintf(json, JSON_MAX_BYTES,
      "{\"tracker\":\"%s\",\"number\":%lld,\"time\":%lld,\"lat\":%.6f,\"lon\":%.6f,\"speed\":%.1f,"
      "\"fuel\":%.1f,\"fuel-change\":%.1f,\"acceleration\":%.2f,\"ignition\":%s,\"panic\":%s}",
      report->tracker, report->number, report->time, report->lat, report->lon, report->speed,
      report->fuel, report->fuel_change, report->acceleration,
      report->flags & 1 ? "true" : "false", report->flags & 2 ? "true" : "false");
}

static bool reject(exports_pelton_events_handler_failure_t *failure, const char *why) {
  failure->tag = PELTON_EVENTS_TYPES_FAILURE_REJECT;
  plugin_string_dup(&failure->val.reject, why);
  return false;
}

bool exports_pelton_events_handler_handle(
    exports_pelton_events_handler_event_t *event,
    exports_pelton_events_handler_list_output_t *outputs,
    exports_pelton_events_handler_failure_t *failure) {
  char line[LINE_MAX_BYTES], json[JSON_MAX_BYTES], subject[SUBJECT_MAX_BYTES];
  struct report report;
  const char *wrong = parse(&event->payload, line, &report);
  if (wrong != NULL) return reject(failure, wrong);
  int length = print(&report, json);
  if (length >= JSON_MAX_BYTES) return reject(failure, "a number is too large");
  snprintf(subject, sizeof subject, "fleet.position.%s", report.tracker);

  exports_pelton_events_handler_output_t *output = calloc(1, sizeof *output);
  plugin_string_dup(&output->subject, subject);
  plugin_string_dup_n((plugin_string_t *)&output->payload, json, length);
  // The headers move over, so that what handles the event later has them, too.
  output->headers = event->headers;
  event->headers.len = 0;
  event->headers.ptr = NULL;
  exports_pelton_events_handler_event_free(event);
  *outputs = (exports_pelton_events_handler_list_output_t){output, 1};
  return true;
}

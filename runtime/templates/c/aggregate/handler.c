// Makes a summary of a batch of readings, `20;22;27`.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "plugin.h"

struct summary {
  int count;
  double min, max, sum;
};

// Whether all of the text, which ends with a NUL, are decimal numbers that JSON can hold.
static bool summarize(const char *text, struct summary *summary) {
  // strtod would take `nan`, `inf` and `0x10`, too.
  if (text[strspn(text, "0123456789+-.eE;")] != 0) return false;
  for (;;) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || (*end != 0 && *end != ';')) return false;
    if (summary->count == 0 || value < summary->min) summary->min = value;
    if (summary->count == 0 || value > summary->max) summary->max = value;
    summary->sum += value;
    summary->count++;
    if (*end == 0) return isfinite(summary->sum);
    text = end + 1;
  }
}

// `readings.batch.boiler` to `readings.summary.boiler`; it comes from malloc.
static void subject_for(const plugin_string_t *subject, plugin_string_t *ret) {
  char text[512];
  const char *sensor = memchr(subject->ptr, '.', subject->len);
  sensor = memchr(sensor + 1, '.', subject->len - (sensor + 1 - (char *)subject->ptr));
  int rest = subject->len - (sensor - (char *)subject->ptr);
  snprintf(text, sizeof text, "readings.summary%.*s", rest, sensor);
  plugin_string_dup(ret, text);
}

bool exports_pelton_events_handler_handle(
    exports_pelton_events_handler_event_t *event,
    exports_pelton_events_handler_list_output_t *outputs,
    exports_pelton_events_handler_failure_t *failure) {
  outputs->len = 0;
  outputs->ptr = NULL;
  if (event->payload.len == 0) return true;

  struct summary summary = {0};
  char *text = strndup((char *)event->payload.ptr, event->payload.len);
  bool is_batch = summarize(text, &summary);
  free(text);
  if (!is_batch) {
    failure->tag = PELTON_EVENTS_TYPES_FAILURE_REJECT;
    plugin_string_dup(&failure->val.reject, "not a batch of numbers");
    return false;
  }
  char json[256];
  int length = snprintf(json, sizeof json, "{\"count\":%d,\"min\":%.15g,\"max\":%.15g,\"mean\":%.15g}",
                        summary.count, summary.min, summary.max, summary.sum / summary.count);
  // What is returned has to come from malloc; it is freed after it has been read.
  plugin_string_t payload;
  plugin_string_dup_n(&payload, json, length);
  outputs->len = 1;
  outputs->ptr = calloc(1, sizeof *outputs->ptr);
  subject_for(&event->subject, &outputs->ptr->subject);
  outputs->ptr->headers = event->headers;
  outputs->ptr->payload = (plugin_list_u8_t){payload.ptr, payload.len};
  return true;
}

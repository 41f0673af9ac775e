// Sends a reading, `room/sensor;value`, on to the subject of its room.
#include <stdlib.h>
#include <string.h>
#include "plugin.h"

static const char *const ROOMS[][2] = {
    {"attic/", "rooms.attic"},
    {"cellar/", "rooms.cellar"},
    {"kitchen/", "rooms.kitchen"},
};

static const char *subject_of(const plugin_list_u8_t *payload) {
  for (size_t n = 0; n < sizeof ROOMS / sizeof *ROOMS; n++) {
    size_t length = strlen(ROOMS[n][0]);
    if (payload->len >= length && memcmp(payload->ptr, ROOMS[n][0], length) == 0) return ROOMS[n][1];
  }
  return "rooms.other";
}

bool exports_pelton_events_handler_handle(
    exports_pelton_events_handler_event_t *event,
    exports_pelton_events_handler_list_output_t *outputs,
    exports_pelton_events_handler_failure_t *failure) {
  if (event->payload.len == 0 || memchr(event->payload.ptr, '/', event->payload.len) == NULL) {
    failure->tag = PELTON_EVENTS_TYPES_FAILURE_REJECT;
    plugin_string_dup(&failure->val.reject, "the reading names no room");
    return false;
  }
  // What is returned has to come from malloc, as headers and payload of the event do.
  outputs->len = 1;
  outputs->ptr = calloc(1, sizeof *outputs->ptr);
  plugin_string_dup(&outputs->ptr->subject, subject_of(&event->payload));
  outputs->ptr->headers = event->headers;
  outputs->ptr->payload = event->payload;
  return true;
}

#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include "cJSON.h"
#include "plugin.h"

bool exports_pelton_events_handler_handle(exports_pelton_events_handler_event_t *event,
    exports_pelton_events_handler_list_output_t *outputs, exports_pelton_events_handler_failure_t *failure) {
  cJSON *question = cJSON_ParseWithLength((char *)event->payload.ptr, event->payload.len);
  char *line, *greeting, *name = cJSON_GetStringValue(cJSON_GetObjectItem(question, "name"));
  if (name == NULL || asprintf(&line, "greeting %s", name) < 0 || asprintf(&greeting, "Hello, %s!", name) < 0) {
    failure->tag = PELTON_EVENTS_TYPES_FAILURE_REJECT;
    plugin_string_dup(&failure->val.reject, "nobody to greet");
    return false;
  }
  pelton_events_log_write(PELTON_EVENTS_LOG_LEVEL_INFO, &(plugin_string_t){(uint8_t *)line, strlen(line)});
  cJSON *answer = cJSON_CreateObject();
  cJSON_AddStringToObject(answer, "greeting", greeting);
  char *text = cJSON_PrintUnformatted(answer);
  *outputs = (exports_pelton_events_handler_list_output_t){cJSON_malloc(sizeof *outputs->ptr), 1};
  plugin_string_dup(&outputs->ptr->subject, "hello.said");
  outputs->ptr->headers = event->headers;
  outputs->ptr->payload = (plugin_list_u8_t){(uint8_t *)text, strlen(text)};
  return true;
}

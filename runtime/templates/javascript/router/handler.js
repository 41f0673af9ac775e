// Sends an alert on by its severity.

import { get } from "pelton:events/config@0.1.0";
import { write } from "pelton:events/log@0.1.0";

const decoder = new TextDecoder();

export const handler = {
  handle(event) {
    const severity = severityOf(event);
    const routes = new Map(Object.entries(JSON.parse(get("routes") ?? "{}")));
    const subjects = routes.get(severity) ?? [];
    if (subjects.length === 0) write("debug", `nobody wants to know of ${severity}`);
    // No output at all is fine, too: the event is handled.
    return subjects.map((subject) => ({ subject, headers: event.headers, payload: event.payload }));
  },
};

function severityOf(event) {
  try {
    const { severity } = JSON.parse(decoder.decode(event.payload));
    if (severity !== undefined) return severity;
  } catch {}
  // It can never succeed: to the dead letters. The tag `retry` would try it again.
  throw { tag: "reject", val: "not an alert" };
}

"""Sends an alert on by its severity."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, log
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            severity = json.loads(event.payload)["severity"]
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"not an alert: {error!r}"))
        routes = json.loads(config.get("routes") or "{}")
        subjects = routes.get(severity, []) if isinstance(severity, str) else []
        if not subjects:
            log.write(log.Level.DEBUG, f"nobody wants to know of {severity}")
        # No output at all is fine, too: the event is handled.
        return [Output(subject, event.headers, event.payload) for subject in subjects]

"""Makes a summary of a batch of readings."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            values = [value + 0.0 for value in json.loads(event.payload)["values"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"not a batch: {error!r}"))
        if not values:
            return []
        summary = {
            "count": len(values),
            "min": min(values),
            "max": max(values),
            "mean": sum(values) / len(values),
        }
        subject = event.subject.replace(".batch.", ".summary.", 1)
        return [Output(subject, event.headers, json.dumps(summary).encode())]

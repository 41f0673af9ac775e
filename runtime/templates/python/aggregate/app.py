"""Makes a summary of a batch of readings."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            values = [number(value) for value in json.loads(event.payload)["values"]]
            if not values:
                return []
            summary = {
                "count": len(values),
                "min": min(values),
                "max": max(values),
                "mean": sum(values) / len(values),
            }
            # NaN and Infinity, which Python reads and computes, are no JSON.
            payload = json.dumps(summary, allow_nan=False).encode()
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise Err(Failure_Reject(f"not a batch: {error!r}"))
        subject = event.subject.replace(".batch.", ".summary.", 1)
        return [Output(subject, event.headers, payload)]


def number(value: object) -> float:
    # Not `float(value)` alone, which takes "3" and true, too.
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)

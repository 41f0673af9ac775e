"""Makes one summary for each sensor of a batch of readings.

A handler keeps nothing from one event to the next: what belongs together has to
come together, as the readings of one batch do.
"""

import json
from statistics import fmean

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        sensors: dict[str, list[float]] = {}
        try:
            for reading in json.loads(event.payload)["readings"]:
                sensors.setdefault(str(reading["sensor"]), []).append(float(reading["value"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"not a batch of readings: {error!r}"))
        return [summary(event, sensor, values) for sensor, values in sorted(sensors.items())]


def summary(event: Event, sensor: str, values: list[float]) -> Output:
    figures = {"sensor": sensor, "count": len(values), "min": min(values), "max": max(values), "mean": fmean(values)}
    return Output("readings.summary", event.headers, json.dumps(figures, ensure_ascii=False).encode())

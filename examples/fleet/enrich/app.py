"""Adds to a report which vehicle sent it and how far the next depot is."""

import json
import math
from functools import cache

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, log
from wit_world.imports.types import Event, Failure_Reject, Failure_Retry, Output

EARTH_RADIUS_KM = 6371.0


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            report = json.loads(event.payload)
            tracker, place = report["tracker"], (report["lat"], report["lon"])
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"not a report: {error!r}"))
        vehicle = table("vehicles").get(tracker)
        if vehicle is None:
            # A tracker may report before its vehicle is registered.
            raise Err(Failure_Retry(f"no vehicle has the tracker {tracker}"))
        if event.attempt > 1:
            log.write(log.Level.INFO, f"{tracker} is known by now")
        depot, distance = nearest(place)
        report |= {"vehicle": vehicle, "depot": depot, "km-to-depot": round(distance, 1)}
        payload = json.dumps(report, ensure_ascii=False).encode()
        return [Output(f"fleet.enriched.{tracker}", event.headers, payload)]


@cache
def table(key: str) -> dict:
    """A table of this plugin's config, read once an instance."""
    return json.loads(config.get(key) or "{}")


def nearest(place: tuple[float, float]) -> tuple[str, float]:
    """The nearest depot and its distance in km."""
    depots = {name: kilometres(place, there) for name, there in table("depots").items()}
    if not depots:
        raise Err(Failure_Retry("no depots are configured"))
    return min(depots.items(), key=lambda depot: depot[1])


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Along the surface of the earth, by the haversine formula."""
    (lat_a, lon_a), (lat_b, lon_b) = (map(math.radians, place) for place in (a, b))
    half = math.sin((lat_b - lat_a) / 2) ** 2
    half += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, half)))

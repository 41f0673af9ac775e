"""Sends an order on to the warehouse for its country."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports.types import Event, Failure_Reject, Output

WAREHOUSES = {
    "shipping.europe": {"AT", "DE", "FR", "IT"},
    "shipping.america": {"CA", "MX", "US"},
}


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            country = json.loads(event.payload)["country"]
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"not an order with a country: {error!r}"))
        # The event goes on as it came.
        return [Output(warehouse(str(country)), event.headers, event.payload)]


def warehouse(country: str) -> str:
    for subject, countries in WAREHOUSES.items():
        if country in countries:
            return subject
    return "shipping.world"

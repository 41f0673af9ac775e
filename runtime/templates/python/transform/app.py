"""Adds the total to an order."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, log
from wit_world.imports.types import Event, Failure_Reject, Failure_Retry, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            # All fields are kept, also those that this handler does not know.
            order = json.loads(event.payload)
            quantity, price = number(order["quantity"]), order.get("price")
            if price is None:
                raise Err(Failure_Retry("the order has no price yet"))
            order["total"] = quantity * number(price)
            order["currency"] = config.get("currency") or "EUR"
            # NaN and Infinity, which Python reads and computes, are no JSON.
            payload = json.dumps(order, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise Err(Failure_Reject(f"not an order: {error!r}"))
        log.write(log.Level.INFO, f"priced {event.id}")
        return [Output("orders.priced", event.headers, payload)]


def number(value: object) -> float:
    # Not `float(value)` alone, which takes "3" and true, too.
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return float(value)

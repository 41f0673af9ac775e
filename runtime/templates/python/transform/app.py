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
            quantity, price = float(order["quantity"]), order.get("price")
            if price is None:
                raise Err(Failure_Retry("the order has no price yet"))
            order["total"] = quantity * float(price)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Err(Failure_Reject(f"not an order: {error!r}"))
        order["currency"] = config.get("currency") or "EUR"
        log.write(log.Level.INFO, f"priced {event.id}")
        payload = json.dumps(order, ensure_ascii=False).encode()
        return [Output("orders.priced", event.headers, payload)]

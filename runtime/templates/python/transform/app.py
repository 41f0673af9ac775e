"""Adds the total to an order."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config, log
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            order = json.loads(event.payload)
            total = sum(item["quantity"] * item["price"] for item in order["items"])
        except (ValueError, KeyError, TypeError) as error:
            # It can never succeed: to the dead letters. `Failure_Retry` would try it again.
            raise Err(Failure_Reject(f"not an order: {error!r}"))
        order |= {"total": total, "currency": config.get("currency") or "EUR"}
        log.write(log.Level.INFO, f"order {order.get('id')}: {total}")
        return [Output("orders.priced", event.headers, json.dumps(order, ensure_ascii=False).encode())]

"""Posts each event to an HTTP endpoint."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config
from wit_world.imports.pelton_events_types import (
    Event,
    Failure_Reject,
    Failure_Retry,
    Failure_RetryAfter,
    Output,
)

from endpoint import Answer, BadUrl, Endpoint, NoAnswer

# What may go well another time, beside all of 500 to 599.
LATER = {408, 425, 429}
WANTED = "a URL such as https://example.com/orders: http or https, a host, no user"


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            # The endpoint is told that it is JSON: in UTF-8, and without NaN.
            json.loads(event.payload.decode(), parse_constant=refuse)
        except ValueError as error:
            raise Err(Failure_Reject(f"not JSON: {error}"))
        url = config.get("url") or ""
        try:
            answer = Endpoint(url).post(event.subject, event.payload)
        except BadUrl:
            raise Err(Failure_Reject(f'`config.url` is "{url}"; it has to be {WANTED}'))
        except NoAnswer as error:
            raise Err(Failure_Retry(f"no answer from {url}: {error}"))
        if 200 <= answer.status < 300:
            return [delivered(event, answer.status)]
        if answer.status in LATER or 500 <= answer.status < 600:
            raise Err(later(answer))
        raise Err(Failure_Reject(f"refused with {answer.status}: {answer.text}"))


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def delivered(event: Event, status: int) -> Output:
    receipt = {"event": event.id, "subject": event.subject, "status": status}
    return Output("deliveries.done", event.headers, json.dumps(receipt).encode())


def later(answer: Answer) -> Failure_Retry | Failure_RetryAfter:
    reason = f"put off with {answer.status}: {answer.text}"
    if answer.retry_after is None:
        return Failure_Retry(reason)
    return Failure_RetryAfter((answer.retry_after * 1000, reason))

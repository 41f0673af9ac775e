import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log
from wit_world.imports.types import Event, Failure_Reject, Output


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            name = json.loads(event.payload)["name"]
        except (ValueError, KeyError, TypeError) as error:
            raise Err(Failure_Reject(f"nobody to greet: {error!r}"))
        log.write(log.Level.INFO, f"greeting {name}")
        answer = {"greeting": f"Hello, {name}!"}
        return [Output("hello.said", event.headers, json.dumps(answer).encode())]

"""Asks the server whose URL is the payload, and publishes what it says."""

from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import outgoing_handler
from wit_world.imports.pelton_events_types import Event, Failure_Reject, Output
from wit_world.imports.streams import InputStream, StreamError_Closed
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingResponse,
    OutgoingBody,
    OutgoingRequest,
    Method_Post,
    Scheme_Http,
    Scheme_Https,
)


class Handler(exports.Handler):
    def handle(self, event: Event) -> list[Output]:
        try:
            response = post(event.payload.decode(), b"from python")
        except Err as refused:
            raise Err(Failure_Reject(f"{refused.value}"))
        answer = f"{response.status()} ".encode() + body(response)
        return [Output("out.x", [], answer)]


def post(url: str, payload: bytes) -> IncomingResponse:
    parts = urlsplit(url)
    request = OutgoingRequest(Fields.from_list([("x-language", b"python")]))
    request.set_method(Method_Post())
    request.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path)
    outgoing = request.body()
    sent = outgoing_handler.handle(request, None)
    with outgoing.write() as stream:
        stream.blocking_write_and_flush(payload)
    OutgoingBody.finish(outgoing, None)
    sent.subscribe().block()
    match sent.get():
        case Ok(Ok(response)):
            return response
        case Ok(Err() as refused):
            raise refused
        case other:
            raise AssertionError(f"no response: {other}")


def body(response: IncomingResponse) -> bytes:
    read = b""
    with response.consume() as incoming, incoming.stream() as stream:
        while (more := next_bytes(stream)) is not None:
            read += more
    return read


def next_bytes(stream: InputStream) -> bytes | None:
    try:
        return stream.blocking_read(16 * 1024)
    except Err as error:
        if isinstance(error.value, StreamError_Closed):
            return None
        raise

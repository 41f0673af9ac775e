"""One POST request, by wasi:http."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world.imports import outgoing_handler
from wit_world.imports.wasi_http_types import (
    ErrorCode,
    ErrorCode_HttpRequestUriInvalid,
    Fields,
    IncomingResponse,
    Method_Post,
    OutgoingBody,
    OutgoingRequest,
    Scheme_Http,
    Scheme_Https,
)


class NoAnswer(Exception):
    """Why there is none."""


class BadUrl(Exception):
    """It can never be asked."""


@dataclass
class Answer:
    status: int
    # Seconds.
    retry_after: int | None
    # The beginning of the body.
    text: str


class Endpoint:
    def __init__(self, url: str):
        try:
            parts = urlsplit(url)
        except ValueError:
            raise BadUrl
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise BadUrl
        self.scheme = Scheme_Https() if parts.scheme == "https" else Scheme_Http()
        self.authority = parts.netloc
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def post(self, subject: str, body: bytes) -> Answer:
        """The host adds `Idempotency-Key`, made of the event's id: the same each time."""
        headers = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "event-subject": subject,
        }
        fields = Fields.from_list([(name, value.encode()) for name, value in headers.items()])
        request = OutgoingRequest(fields)
        request.set_method(Method_Post())
        request.set_scheme(self.scheme)
        try:
            request.set_authority(self.authority)
            request.set_path_with_query(self.path)
        except Err:
            raise BadUrl
        content = request.body()
        try:
            sent = outgoing_handler.handle(request, None)
        except Err as refused:
            raise no_answer(refused.value)
        write(content, body)
        with sent, sent.subscribe() as pollable:
            pollable.block()
            match sent.get():
                case Ok(Ok(response)):
                    with response:
                        return read(response)
                case Ok(Err(code)):
                    raise no_answer(code)
                case other:
                    raise NoAnswer(other)


def no_answer(code: ErrorCode) -> Exception:
    return BadUrl() if isinstance(code, ErrorCode_HttpRequestUriInvalid) else NoAnswer(code)


def write(content: OutgoingBody, body: bytes) -> None:
    """As much of the body as is taken; why that is not all of it, the answer says."""
    try:
        with content.write() as stream:
            # A stream takes 4 KiB at a time.
            for start in range(0, len(body), 4096):
                stream.blocking_write_and_flush(body[start : start + 4096])
        OutgoingBody.finish(content, None)
    except Err:
        pass


def read(response: IncomingResponse) -> Answer:
    with response.headers() as headers:
        times = headers.get("retry-after")
    text = b""
    with response.consume() as body, body.stream() as stream:
        try:
            text = stream.blocking_read(200)
        except Err:
            pass
    after = int(times[0]) if times and times[0].isdigit() else None
    return Answer(response.status(), after, text.decode(errors="replace"))

//! One POST request, by `wasi:http`.

use wasip2::http::{
    outgoing_handler,
    types::{
        ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
        OutgoingRequest, Scheme,
    },
};

/// Where requests go: a URL in parts.
pub struct Endpoint<'a> {
    scheme: Scheme,
    authority: &'a str,
    path: &'a str,
}

pub struct Answer {
    pub status: u16,
    /// Seconds.
    pub retry_after: Option<u64>,
    /// The beginning of the body.
    pub text: String,
}

impl Endpoint<'_> {
    pub fn parse(url: &str) -> Option<Endpoint<'_>> {
        let (scheme, rest) = url.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        (!authority.is_empty()).then_some(Endpoint { scheme, authority, path })
    }

    /// The host adds `Idempotency-Key`, made of the event's id: the same each time.
    pub fn post(&self, subject: &str, body: &[u8]) -> Result<Answer, ErrorCode> {
        let headers = Fields::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("content-length", &body.len().to_string()),
            ("event-subject", subject),
        ] {
            let set = headers.append(name, value.as_bytes());
            set.map_err(|error| ErrorCode::InternalError(Some(format!("{name}: {error:?}"))))?;
        }
        let request = OutgoingRequest::new(headers);
        let bad = |()| ErrorCode::HttpRequestUriInvalid;
        request.set_method(&Method::Post).map_err(bad)?;
        request.set_scheme(Some(&self.scheme)).map_err(bad)?;
        request.set_authority(Some(self.authority)).map_err(bad)?;
        request.set_path_with_query(Some(self.path)).map_err(bad)?;
        let content = request.body().map_err(bad)?;
        let sent = outgoing_handler::handle(request, None)?;
        write(content, body);
        answer(&wait(&sent)?)
    }
}

/// As much of the body as is taken; why that is not all of it, the answer says.
fn write(content: OutgoingBody, body: &[u8]) {
    if let Ok(stream) = content.write() {
        // A stream takes 4 KiB at a time.
        _ = body.chunks(4096).try_for_each(|part| stream.blocking_write_and_flush(part));
    }
    _ = OutgoingBody::finish(content, None);
}

fn wait(sent: &FutureIncomingResponse) -> Result<IncomingResponse, ErrorCode> {
    sent.subscribe().block();
    sent.get().and_then(Result::ok).unwrap_or(Err(ErrorCode::HttpResponseIncomplete))
}

fn answer(response: &IncomingResponse) -> Result<Answer, ErrorCode> {
    let retry_after = response.headers().get("retry-after").into_iter().next();
    let retry_after = retry_after.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
    let text = response.consume().ok().and_then(|body| {
        let stream = body.stream().ok()?;
        stream.blocking_read(200).ok()
    });
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    Ok(Answer { status: response.status(), retry_after, text })
}

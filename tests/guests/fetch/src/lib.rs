//! Sends the HTTP requests that the payload says and publishes what came of each:
//!
//! ```json
//! { "requests": [{ "method": "POST", "url": ["http", "127.0.0.1:80", "/path"],
//!                  "headers": [["a", "b"]], "body": 3, "whole": true, "read": false }],
//!   "parallel": true, "retries": 1, "leave": false }
//! ```

use guest::{Event, Failure, Guest, Handled};
use serde_json::{Value, json};
use wasip2::{
    http::{
        outgoing_handler,
        types::{
            ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
            OutgoingRequest, Scheme,
        },
    },
    io::streams::StreamError,
};

struct Fetch;

impl Guest for Fetch {
    fn handle(event: Event) -> Handled {
        let asked: Value = serde_json::from_slice(&event.payload).unwrap();
        let requests = asked["requests"].as_array().unwrap();
        let answers: Vec<Value> = match asked["parallel"] == true {
            true => {
                let sent: Vec<_> = requests.iter().map(|it| (it, send(it))).collect();
                sent.into_iter().map(|(it, sent)| told(it, sent)).collect()
            }
            false => requests.iter().map(|it| told(it, send(it))).collect(),
        };
        if u64::from(event.attempt) <= asked["retries"].as_u64().unwrap_or(0) {
            return Err(Failure::Retry("asked to".into()));
        }
        if asked["leave"] == true {
            std::mem::forget(requests.iter().map(send).collect::<Vec<_>>());
        }
        guest::answer(&event, Value::from(answers).to_string())
    }
}

fn send(request: &Value) -> Result<FutureIncomingResponse, ErrorCode> {
    let headers = Fields::new();
    for header in request["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        if let Err(error) = headers.append(name, value.as_bytes()) {
            return Err(ErrorCode::InternalError(Some(format!("{name}: {error:?}"))));
        }
    }
    let outgoing = OutgoingRequest::new(headers);
    let url = &request["url"];
    let scheme = if url[0] == "https" { Scheme::Https } else { Scheme::Http };
    let bad = |_| ErrorCode::HttpRequestUriInvalid;
    outgoing.set_scheme(Some(&scheme)).map_err(bad)?;
    outgoing.set_authority(url[1].as_str()).map_err(bad)?;
    outgoing.set_path_with_query(url[2].as_str()).map_err(bad)?;
    let method = method(request["method"].as_str().unwrap_or("GET"));
    outgoing.set_method(&method).map_err(bad)?;
    let body = outgoing.body().unwrap();
    let sent = outgoing_handler::handle(outgoing, None)?;
    write(body, request["body"].as_u64().unwrap_or(0), request["whole"] == true);
    Ok(sent)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    }
}

/// As much of the body as is taken; `whole`: that has to be all of it.
fn write(body: OutgoingBody, length: u64, whole: bool) {
    let stream = body.write().unwrap();
    let mut left = usize::try_from(length).unwrap();
    while left > 0 {
        let size = left.min(4096);
        if let Err(error) = stream.blocking_write_and_flush(&vec![b'x'; size]) {
            assert!(!whole, "{left} bytes were not taken: {error:?}");
            break;
        }
        left -= size;
    }
    drop(stream);
    _ = OutgoingBody::finish(body, None);
}

fn told(request: &Value, sent: Result<FutureIncomingResponse, ErrorCode>) -> Value {
    let answer = sent.and_then(|sent| {
        sent.subscribe().block();
        sent.get().unwrap().unwrap()
    });
    match answer.and_then(|response| read(&response, request["read"] != false)) {
        Ok(told) => told,
        Err(code) => json!({ "error": format!("{code:?}") }),
    }
}

fn read(response: &IncomingResponse, whole: bool) -> Result<Value, ErrorCode> {
    let headers: serde_json::Map<_, _> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| (name, json!(String::from_utf8_lossy(&value))))
        .collect();
    let mut bytes = Vec::new();
    if whole {
        let body = response.consume().unwrap();
        let stream = body.stream().unwrap();
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(more) => bytes.extend(more),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    let code = wasip2::http::types::http_error_code(&error);
                    return Err(code.unwrap_or(ErrorCode::InternalError(None)));
                }
            }
        }
    }
    bytes.truncate(4096);
    let body = String::from_utf8_lossy(&bytes);
    Ok(json!({ "status": response.status(), "headers": headers, "body": body }))
}

guest::export!(Fetch);

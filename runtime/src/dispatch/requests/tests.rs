use std::time::Duration;

use bytes::Bytes;

use super::Terms;
use crate::{
    event::{Header, Request, RequestError},
    subject::Pattern,
};

fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned() }
}

fn check(subject: &str, headers: Vec<Header>, payload: &str) -> Result<Request, RequestError> {
    let terms = Terms {
        granted: vec![Pattern::parse("rpc.>").expect("a pattern")],
        max_message: 1_000,
        headers: vec![header("traceparent", "00-1-2-03"), header("Nats-Msg-Id", "7")],
    };
    terms.check(Request {
        subject: subject.to_owned(),
        headers,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        timeout: Duration::from_secs(1),
        replies: 1,
        reply_bytes: 1_000,
    })
}

#[test]
fn what_is_granted_goes_with_the_trace_of_the_event() {
    let copied = vec![header("Nats-Msg-Id", "7"), header("Colour", "blue")];
    let checked = check("rpc.x", copied, "hello").expect("it is granted");
    assert_eq!(checked.headers, [header("traceparent", "00-1-2-03"), header("Colour", "blue")]);
}

#[test]
fn what_is_not_granted_names_what_is() {
    let Err(RequestError::NotGranted(text)) = check("other.x", Vec::new(), "") else {
        panic!("it is not granted");
    };
    assert!(text.contains("rpc.>"), "{text}");
}

#[test]
fn what_breaks_a_rule_is_refused() {
    let bad = [
        check("rpc.*", Vec::new(), ""),
        check("$JS.API.INFO", Vec::new(), ""),
        check("rpc.x\r\nPUB a 1", Vec::new(), ""),
        check("rpc.x", vec![header("A", "b\r\nC: d")], ""),
        check("rpc.x", vec![header("Nats-Rollup", "all")], ""),
        check("rpc.x", Vec::new(), &"x".repeat(1_000)),
    ];
    for bad in bad {
        assert!(matches!(bad, Err(RequestError::Refused(_))), "{bad:?}");
    }
}

//! The headers of an event as bytes before its payload, for a letter that has no
//! room for them among its own.
//!
//! A stream stores 64 KiB of headers with a message at most, and the facts come
//! on top of the event's. In the payload they are lines `name: value`, each with
//! a carriage return and a line feed behind it, as they are on the wire, and a
//! fact says how many bytes they take. A block that could not be read follows
//! them as it was sent.

use bytes::Bytes;

use super::{Facts, Header, fact};

/// How many bytes of the payload are headers.
const HEADERS: &str = "Headers-In-Payload";
/// How many bytes after those are the block that could not be read.
const MALFORMED: &str = "Malformed-Headers-In-Payload";

/// A stored payload, taken apart.
pub(super) struct Unpacked {
    /// The headers of the event that were in it.
    pub(super) headers: Vec<Header>,
    /// The block of headers that could not be read, if the facts tell of one.
    pub(super) malformed: Option<Bytes>,
    /// The rest: the event's own.
    pub(super) payload: Bytes,
}

/// `headers`, and the block `malformed` that could not be read, before `payload`;
/// and the facts that say so.
pub fn packed(
    headers: &[Header],
    malformed: Option<&[u8]>,
    payload: &[u8],
) -> (Vec<Header>, Bytes) {
    let mut bytes = Vec::new();
    for Header { name, value } in headers {
        bytes.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let mut facts = vec![fact(HEADERS, bytes.len().to_string())];
    if let Some(block) = malformed {
        bytes.extend(block);
        facts.push(fact(MALFORMED, block.len().to_string()));
    }
    bytes.extend(payload);
    (facts, bytes.into())
}

/// How many bytes of the payload that is stored with `headers` are not the
/// event's payload.
pub fn packed_size(headers: &[Header]) -> u64 {
    let facts = Facts(headers);
    let sizes = [HEADERS, MALFORMED].map(|name| facts.number::<u64>(name).unwrap_or(0));
    sizes.into_iter().fold(0, u64::saturating_add)
}

/// Takes apart what is stored with `facts`. Where it is shorter than they say,
/// only headers were read, and nothing is known of the rest.
pub(super) fn unpacked(facts: &Facts<'_>, mut payload: Bytes) -> Unpacked {
    let mut front = |name| {
        let size = facts.number::<usize>(name)?;
        Some(if size <= payload.len() { payload.split_to(size) } else { Bytes::new() })
    };
    let (lines, malformed) = (front(HEADERS).unwrap_or_default(), front(MALFORMED));
    let text = String::from_utf8_lossy(&lines);
    let headers = text.split_terminator("\r\n").filter_map(|line| line.split_once(": "));
    let header = |(name, value): (&str, &str)| Header { name: name.into(), value: value.into() };
    Unpacked { headers: headers.map(header).collect(), malformed, payload }
}

//! That the server sees the id of a message among its other headers.
//!
//! Servers before 2.11.11, and 2.12.0 and 2.12.1, look only at the first place in
//! the block of headers where the name of a header stands, be it in the middle
//! of another name or in a value (`sliceHeader` in `server/client.go`). If that
//! is no header of this name, they take it for missing: nothing is deduplicated.
//! A copy of the event's own id in a dead letter does that, and so can anybody
//! who publishes an event whose headers are passed on.
//!
//! The client writes headers in the order of a hash map, so the same headers in
//! another map come in another order.

use async_nats::{HeaderMap, HeaderName};

/// How many headers are put into another order, in all. One order in two is good
/// beside one header that hides the id, one in fifty beside forty-nine: outputs
/// have 64 at most. A dead letter has as many as its event; with hundreds that all
/// hide the id it may be stored twice by an old server, which is better than to
/// spend seconds on each.
const MAX_MOVES: usize = 100_000;

/// The same headers, in an order in which nothing hides `name`.
pub(super) fn visible(mut headers: HeaderMap, name: &HeaderName) -> HeaderMap {
    for _ in 0..MAX_MOVES / headers.len().max(1) {
        if !is_hidden(&headers, name) {
            break;
        }
        headers = in_another_order(&headers);
    }
    headers
}

/// Whether the text of `name` stands in another header before it.
fn is_hidden(headers: &HeaderMap, name: &HeaderName) -> bool {
    let text: &str = name.as_ref();
    let before = headers.iter().take_while(|(other, _)| *other != name);
    let mut before = before.map(|(other, values)| {
        let other: &str = other.as_ref();
        other.contains(text) || values.iter().any(|value| value.as_str().contains(text))
    });
    before.any(|is_there| is_there)
}

fn in_another_order(headers: &HeaderMap) -> HeaderMap {
    let mut other = HeaderMap::new();
    for (name, values) in headers.iter() {
        for value in values {
            other.append(name.clone(), value.clone());
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use async_nats::header::NATS_MESSAGE_ID;
    use proptest::prelude::*;

    use super::*;

    /// As the servers concerned look a header up.
    fn look_up<'a>(block: &'a str, name: &str) -> Option<&'a str> {
        let index = block.find(name)?;
        let line = block[index..].split("\r\n").next().unwrap();
        let is_name = block[..index].ends_with("\r\n");
        let value = line[name.len()..].strip_prefix(':').map(str::trim);
        value.filter(|_| is_name)
    }

    /// In the client's order.
    fn block(headers: &HeaderMap) -> String {
        let lines = headers.iter().flat_map(|(name, values)| {
            values.iter().map(move |value| format!("{name}: {}\r\n", value.as_str()))
        });
        format!("NATS/1.0\r\n{}\r\n", lines.collect::<String>())
    }

    proptest! {
        #[test]
        fn nothing_hides_the_id(
            names in prop::collection::btree_set("(X-)?(Nats-Msg-Id)?[a-c]{1,2}", 0..12),
            values in prop::collection::vec("[a-c]{0,2}(Nats-Msg-Id: x)?", 12),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in names.iter().zip(&values) {
                headers.append(name.as_str(), value.as_str());
                headers.append(name.as_str(), "second");
            }
            headers.insert(NATS_MESSAGE_ID, "the-id");
            let sent = visible(headers.clone(), &NATS_MESSAGE_ID);
            let block = block(&sent);
            prop_assert_eq!(look_up(&block, "Nats-Msg-Id"), Some("the-id"));
            prop_assert_eq!(sent, headers);
        }
    }
}

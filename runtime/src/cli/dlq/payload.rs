//! How a payload is shown: as JSON, as text, or as bytes.

use std::fmt::Write as _;

use super::look::clean;

/// The most bytes that are shown.
const MAX_SHOWN: usize = 64 * 1024;
/// Bytes on a line.
const LINE: usize = 16;

/// The heading and the lines that show `payload`.
pub fn lines(payload: &[u8]) -> (String, String) {
    let n = payload.len();
    let shown = payload.get(..MAX_SHOWN).unwrap_or(payload);
    let (kind, mut text) = match (n, text(payload)) {
        (0, _) => return ("payload (empty)".to_owned(), String::new()),
        (_, Some((kind, text))) if n <= MAX_SHOWN => (kind, text),
        _ => ("bytes", dump(shown)),
    };
    if n > MAX_SHOWN {
        text += &format!("  … {} more: --raw writes all\n", n - MAX_SHOWN);
    }
    (format!("payload ({n} bytes, {kind})"), text)
}

fn text(payload: &[u8]) -> Option<(&'static str, String)> {
    let text = str::from_utf8(payload).ok()?;
    let json = serde_json::from_str::<serde_json::Value>(text).ok();
    // Only what has parts is laid out: `1e3` and `"x"` are shown as they were sent.
    let json = json.filter(|json| json.is_object() || json.is_array());
    match json.and_then(|json| serde_json::to_string_pretty(&json).ok()) {
        Some(json) => Some(("JSON", indent(&json))),
        None => Some(("text", indent(text))),
    }
}

/// Each line of `text`, moved in and made harmless.
pub fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {}\n", clean(line))).collect()
}

/// Offset, bytes, and what of them can be read.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(LINE).enumerate() {
        let hex: String = line.iter().map(|byte| format!("{byte:02x} ")).collect();
        let readable = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
        let readable: String = line.iter().map(readable).collect();
        // Writing to a text cannot fail.
        writeln!(text, "  {:08x}  {hex:<48} {readable}", index * LINE).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_text_is_shown_as_text() {
        assert_eq!(lines(b""), ("payload (empty)".to_owned(), String::new()));
        let (heading, text) = lines(b"{\"b\":1,\"a\":[]}");
        assert_eq!(heading, "payload (14 bytes, JSON)");
        assert!(text.contains("  \"b\": 1"), "{text}");
        assert_eq!(lines("grün\u{1b}[31m\nx".as_bytes()).1, "  grün\\u{1b}[31m\n  x\n");
        let (heading, text) = lines(b"\xff\0A");
        assert_eq!(heading, "payload (3 bytes, bytes)");
        assert!(text.starts_with("  00000000  ff 00 41 ") && text.ends_with(" ..A\n"), "{text}");
        let long = lines(&vec![b'x'; MAX_SHOWN + 5]);
        assert!(long.1.ends_with("  … 5 more: --raw writes all\n"));
    }
}

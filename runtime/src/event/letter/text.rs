//! Any text as one that a header's value may be, and bytes as text.

/// `text` as a header's value: line breaks become ` | `, other control
/// characters are shown as escapes, and at most `max` bytes are kept.
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for character in text.trim().replace('\n', " | ").chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
        if line.len() > max {
            line.push('…');
            break;
        }
    }
    line
}

/// Every byte but printable ASCII, and `%`, as `%` and two digits.
pub fn percent_encoded(bytes: &[u8]) -> String {
    let encode = |byte: &u8| match byte {
        b'%' => "%25".to_owned(),
        byte if byte.is_ascii_graphic() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}

/// [`percent_encoded`] read back; what was not written by it stays as it is.
pub fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.split_at_checked(2).filter(|_| *first == b'%');
        let byte = escaped.and_then(|(digits, after)| Some((hex(digits)?, after)));
        let (byte, after) = byte.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn hex(digits: &[u8]) -> Option<u8> {
    let digits = str::from_utf8(digits).ok()?;
    u8::from_str_radix(digits, 16).ok()
}

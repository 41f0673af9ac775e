//! No text breaks the reader, and none makes it say what it must not.

use proptest::prelude::*;

use super::*;

fn survive(bytes: &[u8]) {
    if let Err(problems) = parse_bytes(bytes) {
        assert!(problems.count() > 0);
        let text = problems.render(Look::Plain);
        let broken = text.contains("Failed to read contents");
        assert!(!broken, "a label points outside of the text:\n{text}");
    }
}

/// A manifest in which one piece was replaced by something else.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        "[\\[\\]{}=\"'.,#\\n\\r0-9a-z -]{0,12}".prop_map(String::into_bytes),
        "(0|-1|9{20}|nan|inf|\\[\\]|\\{\\}|true|\"\"|\"\u{1b}é🦀\"|1979-05-27)"
            .prop_map(String::into_bytes),
    ];
    (0..FULL.len(), 0..40_usize, piece).prop_map(|(start, length, piece)| {
        let mut bytes = FULL.as_bytes().to_vec();
        let end = (start + length).min(bytes.len());
        bytes.splice(start..end, piece);
        bytes
    })
}

/// A manifest in which one value was replaced by another.
fn with_another_value() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<&str> = FULL.lines().filter(|line| line.contains(" = ")).collect();
    let value = "(0|-1|9{20}|1\\.5|nan|\\[\\]|\\[1\\]|\\{\\}|\\{ x = 1 \\}|true|\"\"|\"[ -~é]{1,8}\"|\"x.>\"|\"9999999y\"|\"0s\"|\"1EiB\"|1979-05-27)";
    (proptest::sample::select(lines), value.prop_filter("quotes", |v| v.matches('"').count() != 3))
        .prop_map(|(line, value)| {
            let key = line.split(" = ").next().unwrap_or(line);
            FULL.replacen(line, &format!("{key} = {value}"), 1).into_bytes()
        })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        survive(&bytes);
    }

    #[test]
    fn no_text_panics(text in "[\\[\\]{}=\"'.,#\\n\\r\\t a-z0-9é\u{feff}-]{0,200}") {
        survive(text.as_bytes());
    }

    #[test]
    fn no_change_of_a_manifest_panics(bytes in mutated()) {
        survive(&bytes);
    }

    #[test]
    fn no_other_value_panics(bytes in with_another_value()) {
        survive(&bytes);
    }
}

#[test]
fn more_than_can_be_compared_is_refused_at_once() {
    let subjects: String = (0..60_000).map(|i| format!("\"s{i}\",")).collect();
    let plugins: String = (0..20_000).map(|i| format!("[plugins.p{i}]\n")).collect();
    let keys: String = (0..60_000).map(|i| format!("k{i} = 1\n")).collect();
    let texts = [
        format!("{MINIMAL}publish-core = [{subjects}]\n"),
        format!("[streams.S]\nsubjects = [{subjects}]\n{MINIMAL}"),
        plugins,
        format!("{keys}{MINIMAL}"),
    ];
    for text in texts {
        assert!(text.len() < 1 << 20);
        assert_eq!(kinds(&text).iter().filter(|kind| **kind == "too-many").count(), 1);
        survive(text.as_bytes());
    }
}

#[test]
fn awkward_texts_are_survived() {
    let deep = "[".repeat(10_000);
    let deep_keys = vec!["a"; 10_000].join(".") + " = 1";
    let long_line = format!("x = \"{}\"", "y".repeat(100_000));
    let texts = [
        "\u{feff}",
        "\u{feff}\u{feff}",
        "\r",
        "\n\n",
        "\"",
        "é",
        "é = é",
        "[é]",
        "\u{1b}[31m",
        "\0",
        "a.b.c",
        "[[plugins]]",
        "[[plugins.price]]",
        "[plugins]\n\"a.b\" = {}",
        "plugins.x.y.z = 1",
        "[plugins.\"\\n\"]",
        "nats.url = '''\n\n'''",
        "[nats]\ntoken",
        "[nats]\ntoken=",
        &deep,
        &deep_keys,
        &long_line,
    ];
    for text in texts {
        survive(text.as_bytes());
    }
}

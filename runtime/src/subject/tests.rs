use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap()
}

#[test]
fn wildcards_match_as_in_nats() {
    let cases = [
        ("orders.new", "orders.new", true),
        ("orders.*", "orders.new", true),
        ("orders.*", "orders.new.eu", false),
        ("orders.*", "orders", false),
        ("orders.>", "orders.new.eu", true),
        ("orders.>", "orders", false),
        ("orders.new", "orders", false),
        ("orders", "orders.new", false),
        ("*.new", "orders.new", true),
        (">", "orders", true),
        ("Orders.new", "orders.new", false),
    ];
    for (text, subject, expected) in cases {
        assert_eq!(pattern(text).matches(subject), expected, "{text} / {subject}");
    }
}

#[test]
fn containment_and_overlap() {
    let cases = [
        ("a.>", "a.b", true, true),
        ("a.>", "a.>", true, true),
        ("a.*", "a.>", false, true),
        ("a.*.c", "a.b.*", false, true),
        ("a.b", "a.c", false, false),
        (">", "a.*.c", true, true),
        ("a.*", "a.*", true, true),
        ("a.*", "a", false, false),
        ("a.>", "a", false, false),
    ];
    for (wide, narrow, contains, overlaps) in cases {
        assert_eq!(pattern(wide).contains(&pattern(narrow)), contains, "{wide} ⊇ {narrow}");
        assert_eq!(pattern(wide).overlaps(&pattern(narrow)), overlaps, "{wide} ∩ {narrow}");
        assert_eq!(pattern(narrow).overlaps(&pattern(wide)), overlaps, "{narrow} ∩ {wide}");
    }
}

#[test]
fn hostile_subjects_are_refused() {
    let long = "a".repeat(MAX_BYTES + 1);
    let deep = vec!["a"; MAX_TOKENS + 1].join(".");
    let cases = [
        "",
        ".",
        "a..b",
        ".a",
        "a.",
        "*",
        ">",
        "a.*",
        "a.>",
        "a.>.b",
        "a b",
        "a\tb",
        "a\r\nPUB x 0\r\n",
        "a\0",
        "é",
        "a.🦀",
        "$JS.API.STREAM.DELETE.X",
        "$SYS.>",
        "$KV.b.k",
        "$O.x",
        "_INBOX.x",
        "_R_.x",
        &long,
        &deep,
    ];
    for subject in cases {
        assert!(check(subject).is_err(), "{subject:?} was accepted");
    }
    for subject in ["a", "orders.new", "a-b_c.D9", "a.$b", "_x.y"] {
        assert_eq!(check(subject), Ok(()), "{subject:?}");
    }
}

#[test]
fn patterns_place_wildcards_as_whole_tokens() {
    for text in ["a.b*", "a.>.b", "a>", ">.a", "a.*b"] {
        assert!(matches!(Pattern::parse(text), Err(Error::MisplacedWildcard(_))), "{text}");
    }
}

#[test]
fn replies_may_go_to_inboxes_only_outside_the_system() {
    assert_eq!(check_reply("_INBOX.abc.1"), Ok(()));
    assert!(check_reply("$JS.API.STREAM.DELETE.X").is_err());
    assert!(check_reply("_INBOX.>").is_err());
}

proptest! {
    #[test]
    fn a_subject_that_matches_both_proves_overlap(
        left in "[ab*](\\.[ab*]){0,3}(\\.>)?",
        right in "[ab*](\\.[ab*]){0,3}(\\.>)?",
        subject in "[ab](\\.[ab]){0,4}",
    ) {
        let (left, right) = (pattern(&left), pattern(&right));
        if left.matches(&subject) && right.matches(&subject) {
            prop_assert!(left.overlaps(&right));
        }
        if left.contains(&right) && right.matches(&subject) {
            prop_assert!(left.matches(&subject));
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        check(&text).ok();
        Pattern::parse(&text).ok();
    }
}

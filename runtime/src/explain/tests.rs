use super::*;

fn sample(text: &'static str) -> Page {
    Page { code: "sample", area: Area::Run, text }
}

#[test]
fn every_page_begins_with_its_code_and_a_title() {
    for page in PAGES {
        let first = page.text.lines().next().unwrap();
        assert_eq!(first, format!("# {}: {}", page.code, page.title()));
        assert!(page.title().len() <= 72, "{}: the title is long", page.code);
        assert!(page.text.contains("\n## What to do\n"), "{}: no remedy", page.code);
        assert!(page.text.contains("\n```"), "{}: no example", page.code);
    }
}

#[test]
fn codes_are_in_order_and_of_one_form() {
    for pair in PAGES.windows(2) {
        let [left, right] = pair else { unreachable!() };
        assert!((left.area, left.code) < (right.area, right.code), "{}", right.code);
    }
    for page in PAGES {
        let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(page.code.chars().all(is_allowed), "{}", page.code);
        assert_eq!(PAGES.iter().filter(|other| other.code == page.code).count(), 1);
    }
}

#[test]
fn a_code_is_found_as_people_copy_it() {
    for spelling in ["ack-wait", "Ack-Wait", "[ack-wait]", "`ack-wait`"] {
        assert_eq!(page(spelling).map(|page| page.code), Some("ack-wait"), "{spelling}");
    }
    assert_eq!(page("ackwait"), None);
    assert_eq!(nearest("ackwait"), Some("ack-wait"));
    assert_eq!(nearest("Time-out"), Some("timeout"));
    assert_eq!(nearest("zzzzzzzz"), None);
    assert_eq!(nearest(""), None);
}

#[test]
fn plain_text_has_no_marks() {
    let page = sample(
        "# sample: a title\n\nsee [the book](../x.md) and [y](y.md)\n\n```toml bad\nx = 1\n```\n\n## What to do\n",
    );
    let expected = "sample: a title\n\nsee the book and y\n\n    x = 1\n\nWhat to do\n";
    assert_eq!(page.plain(), expected);
    assert_eq!(sample("# sample: [").plain(), "sample: [\n");
}

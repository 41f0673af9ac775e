use super::*;

fn fields(differences: &[Difference]) -> Vec<&'static str> {
    differences.iter().map(|difference| difference.field).collect()
}

#[test]
fn limits_that_the_server_writes_otherwise_are_no_difference() {
    let wanted = stream::Config { max_bytes: -1, max_messages: -1, ..Default::default() };
    let found = stream::Config { max_bytes: 0, max_message_size: -1, ..wanted.clone() };
    assert_eq!(of_streams(&wanted, &found), []);
}

#[test]
fn the_order_of_subjects_is_no_difference() {
    let of = |subjects: [&str; 2]| stream::Config {
        subjects: subjects.map(str::to_owned).to_vec(),
        ..Default::default()
    };
    assert_eq!(of_streams(&of(["a", "b"]), &of(["b", "a"])), []);
    assert_eq!(fields(&of_streams(&of(["a", "b"]), &of(["b", "c"]))), ["subjects"]);
}

#[test]
fn one_filter_may_be_written_in_either_field() {
    let one = consumer::Config { filter_subject: "a".to_owned(), ..Default::default() };
    let many = consumer::Config { filter_subjects: vec!["a".to_owned()], ..Default::default() };
    assert_eq!(of_consumers(&one, &many), []);
    // What a server before 2.10 does with several filters.
    let ignored = consumer::Config::default();
    assert_eq!(fields(&of_consumers(&many, &ignored)), ["subscribe"]);
}

#[test]
fn only_what_loses_no_place_is_safe_to_change() {
    let wanted = consumer::Config::default();
    let found = consumer::Config {
        ack_wait: Duration::from_secs(1),
        max_deliver: 3,
        max_ack_pending: 2,
        filter_subject: "a".to_owned(),
        ..Default::default()
    };
    let differences = of_consumers(&wanted, &found);
    assert_eq!(fields(&differences), ["subscribe", "ack-wait", "max-ack-pending", "max-deliver"]);
    assert!(differences.iter().all(is_safe_to_change));
    let found = consumer::Config { headers_only: true, ..Default::default() };
    assert!(!of_consumers(&wanted, &found).iter().any(is_safe_to_change));
}

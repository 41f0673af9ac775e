use bytes::Bytes;

use super::*;
use crate::event::Event;

const SECOND: Duration = Duration::from_secs(1);

fn retry() -> Retry {
    Retry { attempts: 5, first: SECOND, max: 10 * SECOND, budget: 1.0 }
}

/// The verdict when jitter takes the whole of what it may.
fn verdict(failure: &Failure, attempt: u32) -> Verdict {
    failure.verdict(&retry(), attempt, |attempt| retry().longest_delay(attempt))
}

fn asked(after: Option<Duration>) -> Failure {
    CallError::Retry { reason: "later".to_owned(), after }.into()
}

#[test]
fn what_may_pass_is_tried_until_the_attempts_are_used_up() {
    let failures: [Failure; 7] = [
        asked(None),
        CallError::Trap { reason: String::new(), backtrace: None }.into(),
        CallError::Timeout(SECOND).into(),
        CallError::Cpu(SECOND).into(),
        CallError::Memory(1).into(),
        CallError::Stack { backtrace: None }.into(),
        CallError::Unavailable(String::new()).into(),
    ];
    for failure in failures {
        for attempt in 1..5 {
            assert!(matches!(verdict(&failure, attempt), Verdict::Retry(_)), "{failure:?}");
        }
        assert_eq!(verdict(&failure, 5), Verdict::DeadLetter, "{failure:?}");
    }
}

#[test]
fn what_cannot_pass_goes_to_the_dead_letters_at_once() {
    let output = OutputError {
        index: 0,
        subject: "x".to_owned(),
        problem: super::super::outputs::Problem::NoStream,
    };
    let event = Event {
        id: String::new(),
        subject: String::new(),
        headers: Vec::new(),
        payload: Bytes::new(),
        reply_to: None,
        time_ms: 0,
        attempt: 1,
        position: None,
        replay: None,
    };
    let (detail, headers) = (String::new(), Bytes::new());
    let unreadable = DecodeError { detail, event: Box::new(event), headers };
    let failures: [Failure; 6] = [
        CallError::Reject { reason: String::new() }.into(),
        CallError::Outputs(String::new()).into(),
        output.into(),
        Failure::Publish { subject: String::new(), detail: String::new() },
        Failure::CrashLoop { deliveries: 9 },
        unreadable.into(),
    ];
    for failure in failures {
        assert_eq!(verdict(&failure, 1), Verdict::DeadLetter, "{failure:?}");
    }
    assert_eq!(verdict(&Failure::Stopped, 1), Verdict::Leave);
}

#[test]
fn delays_double_up_to_the_longest() {
    let longest = [1, 2, 4, 8].map(|seconds| Verdict::Retry(seconds * SECOND));
    for (attempt, expected) in (1..).zip(longest) {
        assert_eq!(verdict(&asked(None), attempt), expected);
    }
    let patient = Retry { attempts: u32::MAX, ..retry() };
    let late = asked(None).verdict(&patient, 1_000_000, |attempt| patient.longest_delay(attempt));
    assert_eq!(late, Verdict::Retry(10 * SECOND));
}

#[test]
fn jitter_takes_any_part_of_the_delay() {
    assert_eq!(
        asked(None).verdict(&retry(), 3, |attempt| retry().longest_delay(attempt) / 4),
        Verdict::Retry(SECOND)
    );
    assert_eq!(
        asked(None).verdict(&retry(), 3, |_| Duration::ZERO),
        Verdict::Retry(Duration::ZERO)
    );
}

#[test]
fn retry_after_is_a_lower_bound_and_capped() {
    let none = |after| asked(Some(after)).verdict(&retry(), 1, |_| Duration::ZERO);
    assert_eq!(none(3 * SECOND), Verdict::Retry(3 * SECOND));
    assert_eq!(none(Duration::MAX), Verdict::Retry(10 * SECOND));
    assert_eq!(verdict(&asked(Some(Duration::ZERO)), 2), Verdict::Retry(2 * SECOND));
}

#[test]
fn an_output_that_cannot_be_sent_now_is_tried_again() {
    let unsent = Failure::Unsent { detail: String::new() };
    assert!(matches!(verdict(&unsent, 1), Verdict::Retry(_)));
    assert_eq!(verdict(&unsent, 5), Verdict::DeadLetter);
}

#[test]
fn crashes_are_allowed_a_few_deliveries_more() {
    assert_eq!(retry().crash_limit(), 5 + Retry::CRASH_ALLOWANCE);
    assert_eq!(Retry { attempts: u32::MAX, ..retry() }.crash_limit(), u32::MAX);
}

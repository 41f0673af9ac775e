use futures::FutureExt as _;

use super::*;

#[tokio::test]
async fn events_and_bytes_are_both_bounds() {
    let admission = Admission::new(2, 4096);
    let large = admission.admit(4096).now_or_never().unwrap();
    assert!(admission.admit(1).now_or_never().is_none(), "no bytes are left");
    drop(large);
    let _first = admission.admit(1).now_or_never().unwrap();
    let _second = admission.admit(1).now_or_never().unwrap();
    assert!(admission.admit(1).now_or_never().is_none(), "no events are left");
}

#[tokio::test]
async fn an_event_larger_than_all_room_gets_in_alone() {
    let admission = Admission::new(8, 1024);
    let huge = admission.admit(1 << 30).now_or_never().unwrap();
    assert!(admission.admit(1).now_or_never().is_none());
    drop(huge);
    assert!(admission.admit(1).now_or_never().is_some());
}

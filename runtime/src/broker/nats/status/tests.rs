use super::*;

fn refused(pending: usize, reason: &str) -> Status {
    Status::Refused { pending, reason: reason.to_owned() }
}

fn lost(reason: &str) -> Status {
    Status::Lost { reason: reason.to_owned() }
}

#[test]
fn every_status_has_one_meaning() {
    let table = [
        ((100, "Idle Heartbeat", None), Status::Alive),
        ((404, "No Messages", Some(3)), refused(3, "404 No Messages")),
        ((408, "Request Timeout", Some(3)), Status::Expired { pending: 3 }),
        ((408, "Requests Pending", None), refused(8, "408 Requests Pending")),
        ((409, "Batch Completed", Some(0)), Status::Expired { pending: 0 }),
        (
            (409, "Message Size Exceeds MaxBytes", Some(2)),
            refused(2, "409 Message Size Exceeds MaxBytes"),
        ),
        ((409, "Exceeded MaxWaiting", None), refused(8, "409 Exceeded MaxWaiting")),
        (
            (409, "Exceeded MaxRequestBatch of 4", None),
            refused(8, "409 Exceeded MaxRequestBatch of 4"),
        ),
        ((409, "Consumer Deleted", None), lost("409 Consumer Deleted")),
        ((409, "Consumer is push based", None), lost("409 Consumer is push based")),
        ((409, "Leadership Change", None), lost("409 Leadership Change")),
        ((409, "Server Shutdown", None), lost("409 Server Shutdown")),
        ((423, "Nats-Pin-Id mismatch", Some(8)), refused(8, "423 Nats-Pin-Id mismatch")),
        ((503, "", None), lost("503")),
        ((400, "Bad Request", None), refused(8, "400 Bad Request")),
        ((599, "What", None), refused(8, "599 What")),
    ];
    for ((code, text, missing), meaning) in table {
        assert_eq!(read(code, text, 8, missing), meaning, "{code} {text}");
    }
}

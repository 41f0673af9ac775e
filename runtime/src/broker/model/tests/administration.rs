use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_purged_is_settled_and_the_sequence_goes_on() {
    let broker = filled(3).await;
    let mut source = opened(&broker, wish(10)).await;
    let taken = source.next().await.unwrap();
    broker.purge_stream("IN");
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 0)));
    taken.settle(Disposition::Ack).await.unwrap();
    broker.publish(&stored("next")).await.unwrap();
    assert_eq!(all_that_comes(&mut source).await, [(4, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_consumer_comes_back_after_what_was_settled_when_it_was_opened() {
    let broker = filled(4).await;
    let mut source = opened(&broker, wish(10)).await;
    for delivery in take(&mut source, 2).await {
        delivery.settle(Disposition::Ack).await.unwrap();
    }
    drop(source);
    let mut source = opened(&broker, wish(10)).await;
    for delivery in take(&mut source, 1).await {
        delivery.settle(Disposition::Ack).await.unwrap();
    }
    broker.delete_consumer("IN", "h-p");
    assert_eq!(all_that_comes(&mut source).await, [(3, 1), (4, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_made_anew_is_read_from_its_beginning() {
    let broker = filled(3).await;
    let mut source = opened(&broker, wish(10)).await;
    let old = source.next().await.unwrap();
    broker.delete_stream("IN");
    assert_eq!(attempt_within(&mut source, WAIT * 2).await, None);
    assert!(broker.publish(&stored("x")).await.is_err());
    broker.make_stream("IN", &settings());
    broker.publish(&stored("0")).await.unwrap();
    let new = source.next().await.unwrap().event().unwrap();
    let old = old.event().unwrap();
    assert_eq!(new.position.as_ref().unwrap().sequence, 1);
    assert_ne!(new.id, old.id);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_changed_only_by_who_may() {
    let broker = filled(4).await;
    let mut source = opened(&broker, wish(1)).await;
    let held = source.next().await.unwrap();
    assert!(broker.subscribe(wish(2)).await.is_err());
    let updating = broker.clone().updating_consumers();
    let _more = updating.subscribe(wish(2)).await.unwrap();
    assert_eq!(all_that_comes(&mut source).await, [(2, 1)]);
    held.settle(Disposition::Ack).await.unwrap();
    let narrow = Subscription { subjects: pattern("in.other"), ..wish(2) };
    let _narrow = updating.subscribe(narrow).await.unwrap();
    assert_eq!(all_that_comes(&mut source).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_ack_wait_that_changes_moves_what_is_pending() {
    let broker = filled(1).await.updating_consumers();
    let mut source = opened(&broker, wish(2)).await;
    let _held = source.next().await.unwrap();
    let From::Stream { stream, max_deliver, start, ack, .. } = wish(2).from else { panic!() };
    let from = From::Stream { stream, ack_wait: WAIT / 10, max_deliver, start, ack };
    let _other = broker.subscribe(Subscription { from, ..wish(2) }).await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT / 10).await, Some((1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_paused_consumer_delivers_nothing_and_takes_answers() {
    let broker = filled(3).await;
    let mut source = opened(&broker, wish(10)).await;
    let mut taken = take(&mut source, 2).await;
    assert!(broker.pause_consumer("IN", "h-p", WAIT * 4));
    taken.remove(1).settle(Disposition::Ack).await.unwrap();
    assert_eq!(attempt_within(&mut source, WAIT * 2).await, None);
    assert_eq!(broker.backlog("IN", "h-p"), Some((1, 1)));
    broker.pause_consumer("IN", "h-p", Duration::ZERO);
    assert_eq!(all_that_comes(&mut source).await, [(1, 2), (3, 1)]);
    broker.pause_consumer("IN", "h-p", WAIT / 2);
    sleep(WAIT).await;
    assert_eq!(all_that_comes(&mut source).await, [(1, 3), (3, 2)]);
    assert!(!broker.pause_consumer("IN", "nobody", WAIT));
}

fn exclusive() -> Subscription {
    Subscription { exclusive: true, ..wish(10) }
}

#[tokio::test(start_paused = true)]
async fn one_source_at_a_time_gets_the_deliveries_of_an_exclusive_subscription() {
    let broker = filled(4).await;
    let (mut first, other) = (opened(&broker, exclusive()).await, broker.another());
    let mut second = opened(&other, exclusive()).await;
    let held = first.next().await.unwrap();
    assert_eq!(all_that_comes(&mut second).await, []);
    assert!(held.is_ours());
    broker.cut(LEASE * 3);
    sleep(LEASE).await;
    let came = all_that_comes(&mut second).await;
    assert_eq!(came.len(), 4);
    assert_eq!(came[0], (1, 2), "what was left comes first");
    assert!(!held.is_ours());
    sleep(LEASE * 3).await;
    assert_eq!(all_that_comes(&mut first).await, []);
    second.close().await;
    sleep(WAIT).await;
    assert!(!all_that_comes(&mut first).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_noted_outlives_the_source() {
    let broker = filled(1).await;
    let mut first = opened(&broker, wish(1)).await;
    let note = Note { spared: 2, begun: 1 };
    first.next().await.unwrap().note(note).await.unwrap();
    drop(first);
    let mut second = opened(&broker.another(), wish(1)).await;
    assert_eq!(second.next().await.unwrap().noted().await, note);
}

#[tokio::test(start_paused = true)]
async fn a_pace_holds_back_and_forgets_nothing() {
    let broker = filled(4).await;
    let mut source = opened(&broker, wish(10)).await;
    source.pace(Some(1));
    assert_eq!(all_that_comes(&mut source).await, [(1, 1)]);
    source.pace(None);
    assert_eq!(all_that_comes(&mut source).await.len(), 3);
}

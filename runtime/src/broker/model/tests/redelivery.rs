use super::*;

async fn retry(delivery: Delivery, delay: Duration) {
    delivery.settle(Disposition::Retry(delay)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn time_outs_come_by_sequence_and_before_what_is_new() {
    let broker = filled(6).await;
    let mut source = opened(&broker, wish(10)).await;
    let mut taken = take(&mut source, 4).await;
    taken.remove(1).settle(Disposition::Ack).await.unwrap();
    sleep(WAIT).await;
    let came = all_that_comes(&mut source).await;
    assert_eq!(came, [(1, 2), (3, 2), (4, 2), (5, 1), (6, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_retried_comes_after_later_ones_unless_only_one_may_be_pending() {
    for (pending, order) in [(10, [1, 3, 4, 2]), (1, [1, 2, 3, 4])] {
        let broker = filled(4).await;
        let mut source = opened(&broker, wish(pending)).await;
        let mut came = Vec::new();
        while came.len() < 4 {
            let delivery = source.next().await.unwrap();
            let event = delivery.event().unwrap();
            if sequence(&delivery) == 2 && event.attempt == 1 {
                retry(delivery, Duration::from_millis(5)).await;
                continue;
            }
            came.push(sequence(&delivery));
            delivery.settle(Disposition::Ack).await.unwrap();
        }
        assert_eq!(came, order, "{pending} pending");
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_due_first_comes_first() {
    let broker = filled(3).await;
    let mut source = opened(&broker, wish(10)).await;
    let seconds = Duration::from_secs;
    for (delivery, delay) in take(&mut source, 3).await.into_iter().zip([3, 1, 2]) {
        retry(delivery, seconds(delay)).await;
    }
    sleep(seconds(5)).await;
    assert_eq!(all_that_comes(&mut source).await, [(2, 2), (3, 2), (1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_needs_no_room() {
    let broker = filled(3).await;
    let mut source = opened(&broker, wish(2)).await;
    let first = take(&mut source, 2).await.remove(0);
    retry(first, Duration::from_secs(1)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(all_that_comes(&mut source).await, [(1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_late_retry_of_an_earlier_delivery_counts() {
    let broker = filled(1).await;
    let mut source = opened(&broker, wish(10)).await;
    let stale = source.next().await.unwrap();
    sleep(WAIT).await;
    assert_eq!(all_that_comes(&mut source).await, [(1, 2)]);
    retry(stale, Duration::from_secs(1)).await;
    assert_eq!(attempt_within(&mut source, Duration::from_secs(2)).await, Some((1, 3)));
}

#[tokio::test(start_paused = true)]
async fn progress_does_not_call_back_what_is_due() {
    let broker = filled(1).await;
    let mut source = broker.subscribe(wish(10)).await.unwrap();
    source.allow(1);
    let delivery = source.next().await.unwrap();
    sleep(WAIT).await;
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 1)));
    delivery.progress().await.unwrap();
    source.allow(1);
    assert_eq!(all_that_comes(&mut source).await, [(1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_is_given_up_changes_nothing() {
    let broker = filled(1).await;
    let mut source = opened(&broker, wish(10)).await;
    let mut last = None;
    for _ in 0..3 {
        last = Some(source.next().await.unwrap());
    }
    sleep(WAIT).await;
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 0)));
    retry(last.unwrap(), Duration::ZERO).await;
    assert_eq!(all_that_comes(&mut source).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_is_at_its_limit_is_pending_until_somebody_asks() {
    let broker = filled(2).await;
    let mut source = broker.subscribe(wish(1)).await.unwrap();
    source.allow(3);
    for _ in 0..3 {
        assert_eq!(sequence(&source.next().await.unwrap()), 1);
    }
    sleep(WAIT * 2).await;
    assert_eq!(broker.backlog("IN", "h-p"), Some((1, 1)));
    source.allow(1);
    assert_eq!(all_that_comes(&mut source).await, [(2, 1)]);
}

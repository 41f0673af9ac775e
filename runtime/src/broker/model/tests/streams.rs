use super::*;

fn sized(id: &str, bytes: usize) -> Message {
    Message { payload: Bytes::from(vec![b'x'; bytes]), ..stored(id) }
}

async fn with(settings: manifest::Stream) -> Broker {
    let broker = Broker::new();
    broker.make_stream("IN", &settings);
    broker
}

async fn put(broker: &Broker, message: Message) -> String {
    match broker.publish(&message).await {
        Ok(published) => format!("{published:?}"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_counts_for_the_whole_stream() {
    let broker = filled(1).await;
    let elsewhere = Message { subject: "in.other".to_owned(), ..stored("0") };
    assert_eq!(put(&broker, elsewhere).await, "Duplicate");
}

#[tokio::test(start_paused = true)]
async fn an_id_outlives_its_message_but_not_a_restart() {
    let broker = with(manifest::Stream { storage: Storage::File, ..settings() }).await;
    put(&broker, stored("gone")).await;
    put(&broker, stored("kept")).await;
    broker.delete_message("IN", 1);
    assert_eq!(put(&broker, stored("gone")).await, "Duplicate");
    broker.restart(Duration::ZERO);
    assert_eq!(put(&broker, stored("kept")).await, "Duplicate");
    assert_eq!(put(&broker, stored("gone")).await, "Stored");
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_drops_the_oldest_or_refuses() {
    let limits = [
        manifest::Stream { max_messages: Some(2), ..settings() },
        manifest::Stream { max_bytes: Some(2_500), ..settings() },
    ];
    for (limit, text) in limits.into_iter().zip(["messages", "bytes"]) {
        let old = with(limit.clone()).await;
        let new = with(manifest::Stream { discard: Discard::New, ..limit }).await;
        for id in ["a", "b"] {
            put(&old, sized(id, 1_000)).await;
            put(&new, sized(id, 1_000)).await;
        }
        assert_eq!(put(&old, sized("c", 1_000)).await, "Stored");
        assert_eq!(old.stored("IN"), [sized("b", 1_000), sized("c", 1_000)]);
        let refused = put(&new, sized("c", 1_000)).await;
        assert_eq!(refused, format!("`in.a` was not stored: maximum {text} exceeded"));
        assert_eq!(put(&new, sized("a", 1_000)).await, "Duplicate");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_grows_old() {
    let minute = Duration::from_secs(60);
    let broker = with(manifest::Stream { max_age: Some(minute), ..settings() }).await;
    put(&broker, stored("a")).await;
    let mut source = opened(&broker, wish(10)).await;
    let _taken = source.next().await.unwrap();
    sleep(WAIT * 2).await;
    assert_eq!(broker.stored("IN"), []);
    assert_eq!(broker.backlog("IN", "h-p"), Some((0, 0)));
    assert_eq!(all_that_comes(&mut source).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_work_queue_loses_what_is_settled_and_keeps_what_is_given_up() {
    let broker = with(manifest::Stream { retention: Retention::WorkQueue, ..settings() }).await;
    for id in ["a", "b", "c"] {
        put(&broker, stored(id)).await;
    }
    let mut source = opened(&broker, wish(10)).await;
    let mut taken = take(&mut source, 3).await;
    taken.remove(0).settle(Disposition::Ack).await.unwrap();
    taken.remove(0).settle(Disposition::Reject).await.unwrap();
    assert_eq!(broker.stored("IN").len(), 1);
    sleep(WAIT).await;
    let _second = source.next().await.unwrap();
    sleep(WAIT).await;
    let third = source.next().await.unwrap();
    sleep(WAIT).await;
    assert_eq!((broker.backlog("IN", "h-p"), broker.stored("IN").len()), (Some((0, 0)), 1));
    third.settle(Disposition::Ack).await.unwrap();
    assert_eq!(broker.stored("IN").len(), 0);
    let other = Subscription { plugin: "q".to_owned(), ..wish(10) };
    assert!(broker.subscribe(other).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn interest_keeps_a_message_until_all_have_settled_it() {
    let broker = with(manifest::Stream { retention: Retention::Interest, ..settings() }).await;
    assert_eq!(put(&broker, stored("nobody's")).await, "Stored");
    assert_eq!(broker.stored("IN"), []);
    let mut left = opened(&broker, wish(10)).await;
    let mut right = opened(&broker, Subscription { plugin: "q".to_owned(), ..wish(10) }).await;
    put(&broker, stored("a")).await;
    left.next().await.unwrap().settle(Disposition::Ack).await.unwrap();
    assert_eq!(broker.stored("IN").len(), 1);
    right.next().await.unwrap().settle(Disposition::Ack).await.unwrap();
    assert_eq!(broker.stored("IN"), []);
}

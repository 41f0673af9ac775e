use super::*;
use crate::event::{Reply, Request, RequestError};

fn request(subject: &str, millis: u64, replies: usize) -> Request {
    Request {
        subject: subject.to_owned(),
        headers: Vec::new(),
        payload: Bytes::from_static(b"?"),
        timeout: Duration::from_millis(millis),
        replies,
        reply_bytes: 1_000,
    }
}

async fn ask(broker: &Broker, request: &Request) -> Result<Vec<String>, RequestError> {
    let replies = broker::Broker::request(broker, request).await?;
    let text = |reply: Reply| String::from_utf8(reply.payload.to_vec()).unwrap();
    Ok(replies.into_iter().map(text).collect())
}

/// Answers every event on `rpc.x` so many times.
async fn service(broker: &Broker, times: usize) {
    let wish =
        Subscription { subjects: pattern("rpc.x"), from: From::Core { queue: 10 }, ..wish(1) };
    let mut source = broker.another().subscribe(wish).await.unwrap();
    source.allow(10);
    let broker = broker.another();
    tokio::spawn(async move {
        while let Some(delivery) = source.next().await {
            let event = delivery.event().unwrap();
            for n in 0..times {
                let answer = message(event.reply_to.as_deref().unwrap(), Keep::Fleeting);
                let answer = Message { payload: n.to_string().into(), ..answer };
                broker.publish(&answer).await.unwrap();
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_by_who_listens() {
    let broker = Broker::new();
    service(&broker, 1).await;
    assert_eq!(ask(&broker, &request("rpc.x", 1_000, 1)).await, Ok(vec!["0".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn answers_are_gathered_until_there_are_enough_or_time_is_up() {
    let broker = Broker::new();
    service(&broker, 3).await;
    let answers = |n: usize| Ok((0..n).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(ask(&broker, &request("rpc.x", 1_000, 2)).await, answers(2));
    assert_eq!(ask(&broker, &request("rpc.x", 1_000, 9)).await, answers(3));
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_or_nobody_answers() {
    let broker = Broker::new();
    let nobody = ask(&broker, &request("rpc.x", 1_000, 1)).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    service(&broker, 0).await;
    let silent = ask(&broker, &request("rpc.x", 1_000, 1)).await;
    assert_eq!(silent, Err(RequestError::TimedOut(Duration::from_secs(1))));
}

#[tokio::test(start_paused = true)]
async fn a_stream_answers_for_what_it_stores() {
    let broker = filled(2).await;
    let answer = ask(&broker, &request("in.more", 1_000, 1)).await;
    assert_eq!(answer, Ok(vec![r#"{"seq":3,"stream":"IN"}"#.to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_its_time_and_a_lost_connection_takes_none() {
    let broker = Broker::new();
    service(&broker, 1).await;
    let latency = Duration::from_millis(5);
    broker.trouble(1, Trouble { latency, ..Trouble::default() });
    assert_eq!(ask(&broker, &request("rpc.x", 1_000, 1)).await, Ok(vec!["0".to_owned()]));
    broker.cut(Duration::from_secs(1));
    let lost = ask(&broker, &request("rpc.x", 1_000, 1)).await;
    assert!(matches!(lost, Err(RequestError::Connection(_))), "{lost:?}");
}

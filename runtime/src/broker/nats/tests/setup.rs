use super::*;

async fn refusal(settings: &manifest::Nats) -> String {
    let connecting = Broker::connect(settings, "test", WhenUnreachable::Wait);
    timeout(PATIENCE, connecting).await.expect("no waiting").unwrap_err().to_string()
}

#[tokio::test]
async fn a_stream_is_made_once_and_every_difference_is_shown() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let made = broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    assert_eq!(broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap(), made);

    let other = manifest::Stream {
        max_age: Some(Duration::from_secs(3600)),
        discard: Discard::New,
        max_messages: Some(9),
        ..stream(&["in.>", "more"])
    };
    let error = broker.ensure_stream("IN", &other).await.unwrap_err().to_string();

    for text in [
        "stream `IN`",
        "subjects: wanted \"in.>\" \"more\", found \"in.>\"",
        "max-age: wanted 1h, found no limit",
        "max-messages: wanted 9, found no limit",
        "discard: wanted new, found old",
        "nats stream edit IN",
    ] {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
    assert!(!error.contains("retention") && !error.contains("storage"), "{error}");
    assert_eq!(broker.stream_facts("IN").await.unwrap(), made);
}

#[tokio::test]
async fn streams_that_would_store_the_same_are_named() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let error = broker.ensure_stream("A", &stream(&["in.a.*"])).await.unwrap_err().to_string();
    assert!(error.contains("stream `A`") && error.contains("stream `IN` stores"), "{error}");
}

#[tokio::test]
async fn a_stream_that_is_missing_is_named_with_the_remedy() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    let error = broker.subscribe(subscription(Ack::Plain)).await.unwrap_err().to_string();
    assert!(error.contains("stream `IN`") && error.contains("[streams.IN]"), "{error}");
}

#[tokio::test]
async fn streams_are_found_by_what_they_store() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    broker.ensure_stream("OUT", &stream(&["out.*.x"])).await.unwrap();
    for (pattern, names) in [
        ("in.a", vec!["IN"]),
        ("out.>", vec!["OUT"]),
        ("out.a.y", vec![]),
        (">", vec!["IN", "OUT"]),
    ] {
        let mut found = broker.streams_storing(&Pattern::parse(pattern).unwrap()).await.unwrap();
        found.sort();
        assert_eq!(found, names, "{pattern}");
    }
}

#[tokio::test]
async fn a_consumer_that_differs_is_refused_and_changed_only_on_request() {
    let server = Server::start().await;
    let broker = connect(&server).await;
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    drop(broker.subscribe(subscription(Ack::Plain)).await.unwrap());
    // The place where it began is no difference.
    let mut again = subscription(Ack::Plain);
    if let From::Stream { start, .. } = &mut again.from {
        *start = Start::New;
    }
    drop(broker.subscribe(again).await.unwrap());

    let other = Subscription {
        subjects: patterns(&["in.a", "in.b"]),
        max_in_flight: 7,
        exclusive: false,
        replicas: 1,
        ..subscription(Ack::Plain)
    };
    let error = broker.subscribe(other.clone()).await.unwrap_err().to_string();
    for text in [
        "consumer `host-plugin` of stream `IN`",
        "subscribe: wanted \"in.a\" \"in.b\", found \"in.>\"",
        "max-ack-pending: wanted 7, found 1000",
        "nats consumer edit IN host-plugin",
        "--update-consumers",
    ] {
        assert!(error.contains(text), "{text:?} is not in: {error}");
    }
    drop(broker.clone().updating_consumers().subscribe(other.clone()).await.unwrap());
    drop(broker.subscribe(other).await.unwrap());
}

#[tokio::test]
async fn a_consumer_of_another_kind_is_never_changed() {
    let server = Server::start().await;
    let broker = connect(&server).await.updating_consumers();
    broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap();
    let foreign = consumer::pull::Config {
        durable_name: Some("host-plugin".to_owned()),
        ack_policy: consumer::AckPolicy::None,
        ..Default::default()
    };
    broker.inner.jetstream.create_consumer_on_stream(foreign, "IN").await.unwrap();

    let error = broker.subscribe(subscription(Ack::Plain)).await.unwrap_err().to_string();

    assert!(error.contains("ack-policy: wanted explicit, found none"), "{error}");
    assert!(error.contains("nats consumer rm IN host-plugin"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for_or_not() {
    let mut server = Server::start().await;
    server.kill();
    let settings = server.settings();
    let failing = Broker::connect(&settings, "test", WhenUnreachable::Fail);
    let error = failing.await.unwrap_err().to_string();
    assert!(error.contains(&settings.urls[0]) && error.contains("start the server"), "{error}");

    let waiting =
        tokio::spawn(
            async move { Broker::connect(&settings, "test", WhenUnreachable::Wait).await },
        );
    sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    server.run().await;
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap().is_connected());
}

#[tokio::test]
async fn wrong_credentials_are_not_waited_for() {
    let config = "authorization { user: u, password: right }";
    let server = Server::with(config).await;
    let mut settings = server.settings();
    let error = refusal(&settings).await;
    assert!(error.contains("the server wants credentials"), "{error}");

    let password = Secret::new("wrong".to_owned());
    settings.auth = Auth::Password { user: "u".to_owned(), password };
    let error = refusal(&settings).await;
    assert!(error.contains("user `u`") && !error.contains("wrong"), "{error}");

    let password = Secret::new("right".to_owned());
    settings.auth = Auth::Password { user: "u".to_owned(), password };
    let broker = Broker::connect(&settings, "t", WhenUnreachable::Fail).await;
    let error = broker.unwrap().jetstream_ready().await.unwrap_err().to_string();
    assert!(error.contains("enable it"), "{error}");

    settings.auth = Auth::Credentials("/nowhere/user.creds".into());
    let error = refusal(&settings).await;
    assert!(error.contains("/nowhere/user.creds"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_not_waited_for_when_tls_is_required() {
    let server = Server::start().await;
    for first in [false, true] {
        let mut settings = server.settings();
        settings.tls = manifest::Tls { required: true, first, ca: None, identity: None };
        let error = refusal(&settings).await;
        assert!(error.contains("[nats.tls]"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_permission_is_named_at_once() {
    let server = Server::with(
        r#"
        jetstream { store_dir: "$FOLDER" }
        authorization {
            users: [{
                user: u, password: p
                permissions { publish: { deny: ["$JS.API.STREAM.CREATE.>", "out.>"] } }
            }]
        }"#,
    )
    .await;
    let password = Secret::new("p".to_owned());
    let auth = Auth::Password { user: "u".to_owned(), password };
    let settings = manifest::Nats { auth, ..server.settings() };
    let patient = manifest::Nats { request_timeout: PATIENCE, ..settings.clone() };
    let broker = Broker::connect(&patient, "test", WhenUnreachable::Fail);
    let broker = broker.await.unwrap();
    broker.jetstream_ready().await.unwrap();

    let begun = Instant::now();
    let error = broker.ensure_stream("IN", &stream(&["in.>"])).await.unwrap_err().to_string();
    assert!(error.contains("$JS.API.STREAM.CREATE.IN") && error.contains("grant"), "{error}");
    assert!(begun.elapsed() < PATIENCE / 2, "not before the time-out: {:?}", begun.elapsed());
    // That a publish is denied is seen when its answer is overdue.
    let broker = Broker::connect(&settings, "test", WhenUnreachable::Fail).await.unwrap();
    let error = broker.publish(&stored("out.a", "x")).await.unwrap_err();
    assert!(matches!(error, PublishError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("grant"), "{error}");
}

//! What the host makes on the server, what it compares, and what it refuses.

use async_nats::jetstream::{consumer::pull, stream};
use std::time::Duration;

use crate::harness::{Project, Server, eventually, guest, verb};

/// A daemon that must end by itself: its exit code and its log.
async fn refused(project: &Project, server: &Server) -> (Option<i32>, String) {
    let mut daemon = project.launch(server);
    let status = daemon.end().await;
    (status.code(), daemon.log())
}

#[track_caller]
fn assert_says(log: &str, words: &[&str]) {
    let flat = log.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(flat.contains(word), "no {word:?} in: {log}");
    }
}

#[tokio::test]
async fn streams_are_made_as_the_manifest_says() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\nmax-age = \"2h\"\nmax-bytes = \"1MiB\"\n\
         storage = \"memory\"\nduplicate-window = \"20m\"\n[streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        crate::harness::plugin_table("subject", "echo", "in.>", "")
    ));
    let _daemon = project.run(&server).await;

    let config =
        server.jetstream().await.get_stream("IN").await.unwrap().cached_info().config.clone();
    assert_eq!(config.subjects, ["in.>"]);
    assert_eq!(config.max_age, Duration::from_secs(7200));
    assert_eq!(config.max_bytes, 1 << 20);
    assert_eq!(config.storage, stream::StorageType::Memory);
    assert_eq!(config.duplicate_window, Duration::from_secs(1200));
    let dead = server.jetstream().await.get_stream("pelton_DEAD_LETTERS").await.unwrap();
    assert_eq!(dead.cached_info().config.subjects, ["dead-letters.pelton.>"]);
}

#[tokio::test]
async fn a_stream_that_differs_is_refused_field_by_field_and_left_alone() {
    let server = Server::start().await;
    let existing = stream::Config {
        name: "IN".to_owned(),
        subjects: vec!["in.a".to_owned()],
        max_messages: 7,
        duplicate_window: Duration::from_secs(600),
        ..Default::default()
    };
    server.jetstream().await.create_stream(existing.clone()).await.unwrap();
    let project = Project::with_guest("echo", "");

    let (code, log) = refused(&project, &server).await;

    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["IN", "subjects", "in.a", "in.>", "max-messages", "7", "pelton.toml:"]);
    let config =
        server.jetstream().await.get_stream("IN").await.unwrap().cached_info().config.clone();
    assert_eq!((config.subjects, config.max_messages), (existing.subjects, 7));
}

#[tokio::test]
async fn a_consumer_that_differs_is_refused() {
    let server = Server::start().await;
    let stream = server.stream("IN", &["in.>"]).await;
    let existing = pull::Config {
        durable_name: Some("pelton-subject".to_owned()),
        filter_subject: "in.other".to_owned(),
        ack_wait: Duration::from_secs(77),
        ..Default::default()
    };
    stream.create_consumer(existing).await.unwrap();
    let project = Project::with_guest("echo", "");

    let (code, log) = refused(&project, &server).await;

    assert_eq!(code, Some(2), "{log}");
    assert_says(
        &log,
        &["pelton-subject", "in.other", "in.>", "1m 17s", "owner", "nats consumer rm"],
    );
}

#[tokio::test]
async fn a_missing_stream_is_named() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[plugins.subject]\ncomponent = {:?}\nstream = \"NONE\"\nsubscribe = [\"in.>\"]\n",
        guest("echo")
    ));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["NONE", "[streams.NONE]"]);
}

#[tokio::test]
async fn an_output_that_no_stream_stores_is_refused() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\n{}",
        crate::harness::plugin_table("subject", "echo", "in.>", "")
    ));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["out.>", "publish-core"]);
}

#[tokio::test]
async fn an_output_stream_with_a_short_memory_for_ids_is_refused() {
    let server = Server::start().await;
    let short = stream::Config {
        name: "SHORT".to_owned(),
        subjects: vec!["out.>".to_owned()],
        duplicate_window: Duration::from_secs(2),
        ..Default::default()
    };
    server.jetstream().await.create_stream(short).await.unwrap();
    let project = Project::new(&format!(
        "[streams.IN]\nsubjects = [\"in.>\"]\n{}",
        crate::harness::plugin_table("subject", "echo", "in.>", "")
    ));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["SHORT", "duplicate window", "2s"]);
}

#[tokio::test]
async fn all_mistakes_are_shown_at_once() {
    let server = Server::start().await;
    let project = Project::new(&format!(
        "[plugins.a]\ncomponent = {0:?}\nstream = \"FIRST\"\nsubscribe = [\"in.a\"]\n\
         [plugins.b]\ncomponent = {0:?}\nstream = \"SECOND\"\nsubscribe = [\"in.b\"]\n",
        guest("echo")
    ));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["FIRST", "SECOND"]);
}

#[tokio::test]
async fn a_server_without_jetstream_is_named_as_such() {
    let server = Server::with_config("").await;
    let project = Project::with_guest("echo", "");
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(1), "{log}");
    assert_says(&log, &["JetStream", "`jetstream {}`"]);
}

#[tokio::test]
async fn no_server_and_no_wait_fails_with_the_address() {
    let mut server = Server::start().await;
    server.kill();
    let project = Project::with_guest("echo", "");
    let url = server.url();
    let finished = verb(project.path(), &["run", "--no-wait", "--nats-url", &url]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert_says(&finished.stderr, &[&url]);
}

#[tokio::test]
async fn a_wrong_password_fails_at_once_with_the_remedy() {
    let server =
        Server::with_config("jetstream {}\nauthorization { user: u, password: secret }").await;
    let project = Project::with_guest("echo", "");
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(1), "{log}");
    assert_says(&log, &["uthori"]);
    assert!(!log.contains("secret"));
}

#[tokio::test]
async fn user_and_password_come_from_a_file() {
    let server =
        Server::with_config("jetstream {}\nauthorization { user: u, password: secret }").await;
    let project = Project::new(&format!(
        "[nats]\nuser = \"u\"\npassword = {{ from-file = \"password\" }}\n\
         [plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in\"]\n",
        guest("echo")
    ));
    std::fs::write(project.path().join("password"), "secret\n").unwrap();
    let daemon = project.run(&server).await;
    assert!(!daemon.log().contains("secret"));
}

#[tokio::test]
async fn a_token_comes_from_a_file() {
    let server = Server::with_config("jetstream {}\nauthorization { token: s3cret }").await;
    let project = Project::new(&format!(
        "[nats]\ntoken = {{ from-file = \"token\" }}\n\
         [plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in\"]\n",
        guest("echo")
    ));
    std::fs::write(project.path().join("token"), "s3cret").unwrap();
    project.run(&server).await;
}

#[tokio::test]
async fn missing_permissions_are_named() {
    let server = Server::with_config(
        "jetstream {}\nauthorization { users: [{ user: u, password: p, permissions: { \
         publish: { deny: [\"$JS.API.STREAM.CREATE.>\"] } } }] }",
    )
    .await;
    let project = Project::new(&format!(
        "[nats]\nuser = \"u\"\npassword = {{ from-file = \"password\" }}\nrequest-timeout = \"5s\"\n\
         [streams.IN]\nsubjects = [\"in.>\"]\n[streams.OUT]\nsubjects = [\"out.>\"]\n{}",
        crate::harness::plugin_table("subject", "echo", "in.>", "")
    ));
    std::fs::write(project.path().join("password"), "p").unwrap();
    let (code, log) = refused(&project, &server).await;
    assert!(matches!(code, Some(1 | 2)), "{log}");
    assert_says(&log, &["$JS.API.STREAM.CREATE", "ermission"]);
}

#[tokio::test]
async fn check_with_a_server_compares_and_makes_nothing() {
    let server = Server::start().await;
    let project = Project::with_guest("echo", "");
    let check = || verb(project.path(), &["check", "--connect", "--nats-url", &server.url()]);

    let finished = check();
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    assert_eq!(server.count("IN").await, 0);
    assert!(server.jetstream().await.get_stream("IN").await.is_err(), "check made a stream");

    server.stream("IN", &["other.>"]).await;
    let finished = check();
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stdout);
    assert_says(&finished.stderr, &["IN", "other.>", "in.>"]);
}

#[tokio::test]
async fn two_hosts_with_different_names_each_see_every_event() {
    let server = Server::start().await;
    let project = |host: &str| {
        Project::new(&format!(
            "[host]\nname = \"{host}\"\n[streams.IN]\nsubjects = [\"in.>\"]\n\
             [streams.OUT]\nsubjects = [\"out.>\"]\n{}",
            crate::harness::plugin_table("subject", "echo", "in.>", "")
        ))
    };
    let (left, right) = (project("left"), project("right"));
    let (_left, _right) = (left.run(&server).await, right.run(&server).await);

    server.publish("in.x", "x").await;

    server.settled("IN", "left-subject").await;
    server.settled("IN", "right-subject").await;
    // Both hosts' plugins are called `subject`: their outputs are different all the same.
    eventually("two outputs", async || (server.count("OUT").await == 2).then_some(())).await;
}

#[tokio::test]
async fn an_nkey_comes_from_a_file() {
    let pair = nkeys::KeyPair::new_user();
    let server = Server::with_config(&format!(
        "jetstream {{}}\nauthorization {{ users: [{{ nkey: {} }}] }}",
        pair.public_key()
    ))
    .await;
    let project = Project::new(&format!(
        "[nats]\nnkey = {{ from-file = \"seed\" }}\n\
         [plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in\"]\n",
        guest("echo")
    ));
    std::fs::write(project.path().join("seed"), pair.seed().unwrap()).unwrap();
    project.run(&server).await;
}

/// An authority, and what it signed for a server on 127.0.0.1 and for a client.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    fn new() -> Certificates {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        write("ca.pem", authority.self_signed(&authority_key).unwrap().pem());
        let issuer = rcgen::Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            let certificate = parameters.signed_by(&key, &issuer).unwrap();
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Certificates { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A server that speaks TLS and wants a certificate of its clients.
    async fn server(&self) -> Server {
        Server::with_config(&format!(
            "jetstream {{}}\ntls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
            self.path("server.pem"),
            self.path("server.key"),
            self.path("ca.pem")
        ))
        .await
    }
}

fn with_tls(tls: &str) -> Project {
    Project::new(&format!(
        "[nats.tls]\n{tls}\n[plugins.subject]\ncomponent = {:?}\nsubscribe = [\"in\"]\n",
        guest("echo")
    ))
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides() {
    let certificates = Certificates::new();
    let server = certificates.server().await;
    let project = with_tls(&format!(
        "ca = {:?}\ncert = {:?}\nkey = {:?}",
        certificates.path("ca.pem"),
        certificates.path("client.pem"),
        certificates.path("client.key")
    ));
    project.run(&server).await;
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_refused_at_once() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = certificates.server().await;
    let project = with_tls(&format!("ca = {:?}", others.path("ca.pem")));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(1), "{log}");
    assert_says(&log, &["ertificate"]);
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    let certificates = Certificates::new();
    let server = Server::start().await;
    let project = with_tls(&format!("ca = {:?}", certificates.path("ca.pem")));
    let (code, log) = refused(&project, &server).await;
    assert_eq!(code, Some(1), "{log}");
    assert_says(&log, &["TLS"]);
}

#[tokio::test]
async fn one_name_for_two_plugins_is_noticed() {
    let server = Server::start().await;
    let project = |host: &str, plugin: &str| {
        Project::new(&format!(
            "[host]\nname = \"{host}\"\n[streams.IN]\nsubjects = [\"in.>\"]\n\
             [streams.OUT]\nsubjects = [\"out.>\"]\n{}",
            crate::harness::plugin_table(plugin, "echo", "in.>", "")
        ))
    };
    let first = project("a-b", "c");
    let _first = first.run(&server).await;

    let (code, log) = refused(&project("a", "b-c"), &server).await;

    assert_eq!(code, Some(2), "{log}");
    assert_says(&log, &["a-b-c", "owner", "a-b/c", "a/b-c"]);
}

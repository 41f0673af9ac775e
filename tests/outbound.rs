//! Outbound HTTP of real guests against a real server: what is granted works,
//! what is not is refused, and nothing is without an end.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
};

use crate::harness::{Daemon, Project, Server, Web, eventually, free_port};

struct Fetch {
    server: Server,
    daemon: Daemon,
    _project: Project,
}

/// Grants everything on this server.
fn granted(web: &Web) -> String {
    format!("http = [\"http://{}\"]\n", web.authority())
}

fn get(web: &Web, path: &str) -> Value {
    json!({ "url": ["http", web.authority(), path] })
}

fn post(web: &Web, path: &str, length: u64) -> Value {
    json!({ "method": "POST", "url": ["http", web.authority(), path], "body": length })
}

impl Fetch {
    async fn start(grants: &str) -> Fetch {
        Fetch::with(grants, &[]).await
    }

    async fn with(grants: &str, variables: &[(&str, &str)]) -> Fetch {
        let backoff = "[plugins.subject.retry]\nbackoff = { first = \"1ms\", max = \"2ms\" }\n";
        let project = Project::with_guest("fetch", &format!("{grants}\n{backoff}"))
            .edited("timeout = \"1s\"", "timeout = \"20s\"")
            .edited("ack-wait = \"3s\"", "ack-wait = \"30s\"");
        let server = Server::start().await;
        let daemon = project.run_with(&server, variables).await;
        Fetch { server, daemon, _project: project }
    }

    /// What came of the requests.
    async fn asked(&self, what: Value) -> Vec<Value> {
        let before = self.server.count("OUT").await;
        self.server.publish("in.x", what.to_string()).await;
        let answer = eventually("an answer", async || {
            let stored = self.server.stored("OUT").await;
            stored.get(usize::try_from(before).unwrap()).map(|stored| stored.text())
        });
        serde_json::from_str(&answer.await).unwrap()
    }

    /// The error of one request.
    async fn error(&self, request: Value) -> String {
        let answer = self.asked(json!({ "requests": [request] })).await.remove(0);
        answer["error"].as_str().unwrap_or_else(|| panic!("no error: {answer}")).to_owned()
    }

    #[track_caller]
    fn said(&self, words: &str) {
        let log = self.daemon.log();
        assert!(log.contains(words), "no {words:?} in {log}");
    }
}

/// The request as the server saw it, out of its answer.
fn echoed(answer: &Value) -> Value {
    assert_eq!(answer["status"], 200, "{answer}");
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn a_granted_server_is_reached_as_the_guest_says() {
    let web = Web::start().await;
    let fetch = Fetch::start(&granted(&web)).await;
    let mut request = post(&web, "/echo?a=b", 100_000);
    request["headers"] = json!([["X-Own", "value"], ["User-Agent", "mine"]]);
    let answers =
        fetch.asked(json!({ "requests": [request, get(&web, "/"), get(&web, "/redirect")] })).await;
    let seen = echoed(&answers[0]);
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["length"]),
        (&json!("POST"), &json!("/echo?a=b"), &json!(100_000))
    );
    assert_eq!(seen["headers"]["host"], web.authority());
    assert_eq!(
        (&seen["headers"]["x-own"], &seen["headers"]["user-agent"]),
        (&json!("value"), &json!("mine"))
    );
    let seen = echoed(&answers[1]);
    assert!(seen["headers"]["user-agent"].as_str().unwrap().starts_with("pelton/"), "{seen}");
    assert_eq!(seen["headers"]["idempotency-key"], Value::Null);
    // A redirect is an answer like any other.
    assert_eq!(
        (&answers[2]["status"], &answers[2]["headers"]["location"]),
        (&json!(302), &json!("/echo"))
    );
    assert_eq!(web.requests().len(), 3);
    assert_eq!(web.connections(), 1, "connections are used again");
}

#[tokio::test]
async fn what_is_not_granted_is_refused_before_a_connection_is_made() {
    let (web, other) = (Web::start().await, Web::start().await);
    let fetch = Fetch::start(&granted(&web)).await;
    let port = web.address.port();
    for authority in [
        other.authority(),
        "127.0.0.1".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.2:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("2130706433:{port}"),
        format!("127.1:{port}"),
        format!("0x7f.0.0.1:{port}"),
        format!("0:{port}"),
        format!("127.0.0.1.:{port}"),
        "169.254.169.254".to_owned(),
    ] {
        let error = fetch.error(json!({ "url": ["http", authority, "/"] })).await;
        assert!(error.contains("HttpRequestDenied"), "{authority}: {error}");
    }
    let error = fetch.error(json!({ "url": ["https", web.authority(), "/"] })).await;
    assert!(error.contains("HttpRequestDenied"), "{error}");
    for authority in [format!("user:pw@127.0.0.1:{port}"), format!("@127.0.0.1:{port}")] {
        let error = fetch.error(json!({ "url": ["http", authority, "/"] })).await;
        assert!(error.contains("UriInvalid"), "{authority}: {error}");
    }
    let mut tunnel = get(&web, "/");
    tunnel["method"] = json!("CONNECT");
    assert!(fetch.error(tunnel).await.contains("MethodInvalid"));
    for (name, value) in
        [("Host", "elsewhere"), ("Connection", "upgrade"), ("Transfer-Encoding", "chunked")]
    {
        let mut forged = get(&web, "/");
        forged["headers"] = json!([[name, value]]);
        assert!(fetch.error(forged).await.contains("Forbidden"), "{name}");
    }
    assert_eq!((web.connections(), other.connections()), (0, 0));
    fetch.said(&format!("http = [\\\"http://{}\\\"]", other.authority()));
}

#[tokio::test]
async fn without_the_grant_every_request_is_refused_and_the_log_says_what_to_do() {
    let web = Web::start().await;
    let fetch = Fetch::start("").await;
    for _ in 0..3 {
        assert!(fetch.error(get(&web, "/")).await.contains("HttpRequestDenied"));
    }
    let log = fetch.daemon.log();
    assert_eq!(log.matches("is not granted it").count(), 1, "{log}");
    assert_eq!(web.connections(), 0);
}

#[tokio::test]
async fn localhost_is_this_machine_when_it_is_granted_by_name() {
    let web = Web::start().await;
    let authority = format!("localhost:{}", web.address.port());
    let fetch = Fetch::start(&format!("http = [\"http://{authority}\"]\n")).await;
    let request = json!({ "url": ["http", authority, "/"] });
    let answers = fetch.asked(json!({ "requests": [request] })).await;
    assert_eq!(echoed(&answers[0])["headers"]["host"], authority);
}

#[tokio::test]
async fn a_name_leads_into_the_networks_that_are_named_for_it_and_nowhere_else() {
    let web = Web::start().await;
    let authority = format!("localhost:{}", web.address.port());
    let request = json!({ "url": ["http", authority, "/"] });
    let grants = |network: &str| {
        format!(
            "http = [\"http://{authority}\"]\nhttp-options = {{ private = {{ localhost = \"{network}\" }} }}\n"
        )
    };
    let fetch = Fetch::start(&grants("127.0.0.0/8")).await;
    let answers = fetch.asked(json!({ "requests": [request] })).await;
    assert_eq!(echoed(&answers[0])["headers"]["host"], authority);

    let fetch = Fetch::start(&grants("10.0.0.0/8")).await;
    assert!(fetch.error(request).await.contains("DestinationIpProhibited"));
    fetch.said("http-options.private");
    assert_eq!(web.connections(), 1);
}

#[tokio::test]
async fn nothing_that_a_server_does_lasts_for_ever() {
    let web = Web::start().await;
    let options = "[plugins.subject.http-options]\ntimeout = \"5s\"\nresponse-bytes = \"256KiB\"\nheader-bytes = \"16KiB\"\nrequest-bytes = \"64KiB\"";
    let fetch = Fetch::start(&format!("{}{options}", granted(&web))).await;
    for (path, code, said) in [
        ("/silent", "HttpResponseTimeout", "http-options.timeout"),
        // The interface has codes for what happens to a body, but the library that
        // we use gives them to no guest: the guest sees that it ended too early.
        ("/stalled", "InternalError(None)", "http-options.timeout"),
        ("/endless", "InternalError(None)", "http-options.response-bytes"),
        ("/announced", "HttpResponseBodySize", "http-options.response-bytes"),
        ("/head", "HttpResponseHeaderSectionSize", "http-options.header-bytes"),
        ("/nonsense", "HttpProtocolError", "invalid HTTP"),
        ("/cut", "InternalError(None)", "failed: "),
    ] {
        let error = fetch.error(get(&web, path)).await;
        assert!(error.contains(code), "{path}: {error}");
        fetch.said(said);
    }
    let error = fetch.error(post(&web, "/echo", 100_000)).await;
    assert!(error.contains("HttpRequestBodySize"), "{error}");
    eventually("all connections are closed", async || (web.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_for_the_guest() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let fetch = Fetch::start(&format!("http = [\"http://{nowhere}\"]\n")).await;
    let error = fetch.error(json!({ "url": ["http", nowhere, "/"] })).await;
    assert!(error.contains("ConnectionRefused"), "{error}");
    fetch.said("no connection");
}

#[tokio::test]
async fn a_body_that_nobody_wants_is_taken_all_the_same() {
    let (web, other) = (Web::start().await, Web::start().await);
    let closed = format!("127.0.0.1:{}", free_port());
    let options = "[plugins.subject.http-options]\nrequest-bytes = \"1MiB\"";
    let origins = format!("\"http://{}\", \"http://{closed}\"", web.authority());
    let fetch = Fetch::start(&format!("http = [{origins}]\n{options}")).await;
    let mut requests = [&web, &web, &other].map(|to| post(to, "/echo", 1_000_000));
    requests[0]["body"] = json!(1_500_000);
    requests[1]["url"] = json!(["http", closed, "/echo"]);
    for request in &mut requests {
        request["whole"] = json!(true);
    }
    let answers = fetch.asked(json!({ "requests": requests })).await;
    let [over, gone, refused] = [0, 1, 2].map(|n: usize| answers[n]["error"].as_str().unwrap());
    assert!(over.contains("HttpRequestBodySize"), "{over}");
    assert!(gone.contains("ConnectionRefused"), "{gone}");
    assert!(refused.contains("HttpRequestDenied"), "{refused}");
    // Not without an end: a guest that has no measure meets a closed body.
    let request = post(&other, "/echo", 1_000_000_000);
    assert!(fetch.error(request).await.contains("HttpRequestDenied"));
}

#[tokio::test]
async fn a_secret_in_the_name_of_a_server_does_not_get_into_the_log() {
    let grants = "env = { TOKEN = { from-env = \"FETCH_TOKEN\" } }\n";
    let fetch = Fetch::with(grants, &[("FETCH_TOKEN", "Hunter2-and-more")]).await;
    let request = json!({ "url": ["http", "Hunter2-and-more.example.com", "/"] });
    assert!(fetch.error(request).await.contains("HttpRequestDenied"));
    fetch.said("a request to http://(secret).example.com");
    assert!(!fetch.daemon.log().to_lowercase().contains("hunter2"));
}

#[tokio::test]
async fn requests_of_a_run_wait_for_a_place() {
    let web = Web::start().await;
    let options = "[plugins.subject.http-options]\nrequests = 4";
    let fetch = Fetch::start(&format!("{}{options}", granted(&web))).await;
    let requests = vec![get(&web, "/slow"); 20];
    let answers = fetch.asked(json!({ "requests": requests, "parallel": true })).await;
    assert!(answers.iter().all(|answer| answer["status"] == 200), "{answers:?}");
    assert!((2..=4).contains(&web.most()), "{}", web.most());
}

#[tokio::test]
async fn places_that_nobody_gives_back_are_an_error_for_those_who_wait() {
    let web = Web::start().await;
    // The third gives up long before the others do.
    let options = "[plugins.subject.http-options]\nrequests = 2\nconnect-timeout = \"50ms\"\ntimeout = \"10s\"";
    let fetch = Fetch::start(&format!("{}{options}", granted(&web))).await;
    let requests = vec![get(&web, "/silent"); 3];
    let answers = fetch.asked(json!({ "requests": requests, "parallel": true })).await;
    let codes = answers.iter().map(|answer| answer["error"].as_str().unwrap());
    let codes: Vec<_> = codes.map(|code| code.contains("ConnectionLimitReached")).collect();
    assert_eq!(codes.into_iter().filter(|limited| *limited).count(), 1, "{answers:?}");
    fetch.said("http-options.requests");
}

#[tokio::test]
async fn a_guest_that_waits_for_a_response_ends_with_its_time_out() {
    let web = Web::start().await;
    let project = Project::with_guest(
        "fetch",
        &format!("{}[plugins.subject.retry]\nattempts = 1", granted(&web)),
    );
    let server = Server::start().await;
    let daemon = project.run(&server).await;
    let request = json!({ "requests": [get(&web, "/silent")] });
    server.publish("in.x", request.to_string()).await;
    let dead = crate::delivery::dead_letters(&server, 1).await.remove(0);
    assert_eq!(dead.header("Pelton-Dlq-Reason"), Some("timeout"), "{}", daemon.log());
    eventually("the connection is closed", async || (web.open() == 0).then_some(())).await;
}

#[tokio::test]
async fn what_a_run_leaves_behind_ends_with_it() {
    let web = Web::start().await;
    let fetch = Fetch::start(&format!("isolation = {{ reuse = 100 }}\n{}", granted(&web))).await;
    let mut request = get(&web, "/silent");
    for n in 1..=3 {
        request["headers"] = json!([["n", n.to_string()]]);
        let leave = json!({ "requests": [], "leave": true });
        assert!(fetch.asked(leave).await.is_empty());
    }
    let leaving = json!({ "requests": [get(&web, "/echo")], "leave": true });
    assert_eq!(fetch.asked(leaving).await[0]["status"], 200);
    let answers = fetch.asked(json!({ "requests": [get(&web, "/echo")] })).await;
    assert_eq!(answers[0]["status"], 200);
    eventually("nothing is under way", async || (web.open() <= 1).then_some(())).await;
}

#[tokio::test]
async fn the_idempotency_key_is_the_same_in_every_attempt() {
    let web = Web::start().await;
    let fetch = Fetch::start(&granted(&web)).await;
    let mut own = post(&web, "/own", 1);
    own["headers"] = json!([["Idempotency-Key", "mine"]]);
    let mut patch = post(&web, "/patch", 1);
    patch["method"] = json!("PATCH");
    let mut put = post(&web, "/put", 1);
    put["method"] = json!("PUT");
    let requests = json!([post(&web, "/first", 1), get(&web, "/get"), own, put, patch]);
    fetch.asked(json!({ "requests": requests, "retries": 2 })).await;
    fetch.asked(json!({ "requests": [post(&web, "/first", 1)] })).await;

    let key = |request: &Value| request["headers"]["idempotency-key"].clone();
    let seen = web.requests();
    let keys = |attempt: usize| seen[attempt * 5..][..5].iter().map(key).collect::<Vec<_>>();
    let first = keys(0);
    assert_eq!((keys(1), keys(2)), (first.clone(), first.clone()));
    assert_eq!(first[1..4], [Value::Null, json!("mine"), Value::Null]);
    let (one, two) = (first[0].as_str().unwrap(), first[4].as_str().unwrap());
    assert_eq!(one.strip_suffix("-0"), two.strip_suffix("-1"), "{first:?}");
    assert_ne!(key(&seen[15]), first[0], "another event, another key");
}

#[tokio::test]
async fn the_idempotency_key_can_be_left_out() {
    let web = Web::start().await;
    let options = "[plugins.subject.http-options]\nidempotency-key = false";
    let fetch = Fetch::start(&format!("{}{options}", granted(&web))).await;
    fetch.asked(json!({ "requests": [post(&web, "/", 1)] })).await;
    assert_eq!(web.requests()[0]["headers"]["idempotency-key"], Value::Null);
}

/// What signed a certificate for `localhost`, in a file, and a server with it.
fn authority() -> (tempfile::NamedTempFile, TlsAcceptor) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn tls_with_an_authority_that_the_system_trusts_and_no_other() {
    let (file, acceptor) = authority();
    let web = Web::with_tls(acceptor).await;
    let port = web.address.port();
    let origins = format!("\"https://localhost:{port}\", \"https://127.0.0.1:{port}\"");
    let grants = format!("http = [{origins}]\n");
    let get = |host: &str| json!({ "url": ["https", format!("{host}:{port}"), "/"] });

    let variables = [("SSL_CERT_FILE", file.path().to_str().unwrap())];
    let fetch = Fetch::with(&grants, &variables).await;
    let answers = fetch.asked(json!({ "requests": [get("localhost")] })).await;
    assert_eq!(echoed(&answers[0])["headers"]["host"], format!("localhost:{port}"));
    // The certificate is for the name.
    assert!(fetch.error(get("127.0.0.1")).await.contains("TlsCertificateError"));

    let (other, _) = authority();
    let variables = [("SSL_CERT_FILE", other.path().to_str().unwrap())];
    let fetch = Fetch::with(&grants, &variables).await;
    assert!(fetch.error(get("localhost")).await.contains("TlsCertificateError"));
    fetch.said("SSL_CERT_FILE");
}

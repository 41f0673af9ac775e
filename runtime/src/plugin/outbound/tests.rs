//! What a name may lead to, with look-ups that lie.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio_rustls::rustls::RootCertStore;
use tower_service::Service as _;

use super::{
    connect::{Connector, Lookup},
    *,
};
use crate::manifest::Private;

type Found = BoxFuture<'static, io::Result<Vec<SocketAddr>>>;

fn found(addresses: &[&str], port: u16) -> Found {
    let addresses = addresses.iter().map(|it| SocketAddr::new(it.parse().unwrap(), port));
    let addresses: Vec<_> = addresses.collect();
    Box::pin(async move { Ok(addresses) })
}

async fn connect(lookup: Lookup, uri: &str) -> Result<(), Refusal> {
    connect_with(lookup, &Private::new(), uri).await
}

async fn connect_with(lookup: Lookup, private: &Private, uri: &str) -> Result<(), Refusal> {
    let limit = Duration::from_secs(5);
    let mut connector = Connector::new(lookup, private, limit, RootCertStore::empty());
    connector.call(uri.parse().unwrap()).await.map(drop)
}

#[tokio::test]
async fn a_public_name_that_leads_to_a_private_address_is_refused() {
    let lookups: [(Lookup, &str); 5] = [
        (|_, port| found(&["127.0.0.1"], port), "127.0.0.1"),
        (|_, port| found(&["169.254.169.254"], port), "169.254.169.254"),
        (|_, port| found(&["::ffff:127.0.0.1"], port), "::ffff:127.0.0.1"),
        (|_, port| found(&["fd00::1", "10.0.0.1"], port), "fd00::1"),
        (|_, port| found(&["0.0.0.0"], port), "0.0.0.0"),
    ];
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (lookup, address) in lookups {
        let refusal = connect(lookup, &format!("http://api.example.com:{port}")).await.unwrap_err();
        let Refusal::Private(found) = &refusal else { panic!("{address}: {refusal:?}") };
        assert_eq!(found.to_string(), address);
        let origin = Origin::parse(&format!("http://api.example.com:{port}")).unwrap();
        let said = refusal.explain(&origin);
        assert!(said.contains(address) && said.contains("grant the address itself"), "{said}");
    }
}

#[tokio::test]
async fn localhost_that_leads_elsewhere_is_refused() {
    let refusal = connect(|_, port| found(&["10.0.0.1"], port), "http://localhost").await;
    assert!(matches!(refusal, Err(Refusal::Private(_))), "{refusal:?}");
}

/// The name `billing` leads to these networks.
fn billing(networks: &[&str]) -> Private {
    let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
    Private::from([("billing".to_owned(), networks)])
}

#[tokio::test]
async fn a_name_that_may_lead_into_a_private_network_is_reached_there() {
    let lookup: Lookup = |_, port| found(&["1.1.1.1", "10.0.0.1", "127.0.0.1"], port);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = format!("http://billing:{port}");
    let private = billing(&["127.0.0.0/8"]);
    let (connected, accepted) =
        tokio::join!(connect_with(lookup, &private, &uri), listener.accept());
    connected.unwrap();
    accepted.unwrap();
}

#[tokio::test]
async fn a_name_that_leads_out_of_its_networks_is_refused() {
    let lookups: [(Lookup, &str); 4] = [
        (|_, port| found(&["1.1.1.1"], port), "1.1.1.1"),
        (|_, port| found(&["127.0.0.1"], port), "127.0.0.1"),
        (|_, port| found(&["169.254.169.254"], port), "169.254.169.254"),
        (|_, port| found(&["fd00:ec2::254"], port), "fd00:ec2::254"),
    ];
    for (lookup, address) in lookups {
        let private = billing(&["10.0.0.0/8", "fd00::/8"]);
        let refusal = connect_with(lookup, &private, "http://billing").await.unwrap_err();
        let Refusal::Elsewhere(found) = &refusal else { panic!("{address}: {refusal:?}") };
        assert_eq!(found.to_string(), address);
        let said = refusal.explain(&Origin::parse("http://billing").unwrap());
        assert!(said.contains(address) && said.contains("http-options.private"), "{said}");
    }
}

#[tokio::test]
async fn the_remedy_names_a_network_only_where_one_can_be_named() {
    let lookups: [(Lookup, bool); 2] = [
        (|_, port| found(&["10.0.0.1"], port), true),
        (|_, port| found(&["169.254.169.254"], port), false),
    ];
    for (lookup, nameable) in lookups {
        let refusal = connect(lookup, "http://billing:8080").await.unwrap_err();
        let said = refusal.explain(&Origin::parse("http://billing:8080").unwrap());
        assert!(said.contains(":8080\"]`"), "{said}");
        assert_eq!(said.contains("http-options.private"), nameable, "{said}");
    }
}

#[tokio::test]
async fn the_address_that_was_checked_is_the_one_that_is_connected_to() {
    // A name that leads somewhere else each time that it is looked up.
    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
    let lookup: Lookup = |_, port| match LOOKUPS.fetch_add(1, Ordering::SeqCst) {
        0 => found(&["127.0.0.1"], port),
        _ => found(&["10.0.0.1"], port),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = format!("http://localhost:{port}");
    let (connected, accepted) = tokio::join!(connect(lookup, &uri), listener.accept());
    connected.unwrap();
    accepted.unwrap();
    assert_eq!(LOOKUPS.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_address_is_not_looked_up() {
    let never: Lookup = |name, _| panic!("looked up {name}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let uri = format!("http://127.0.0.1:{port}");
    let (connected, accepted) = tokio::join!(connect(never, &uri), listener.accept());
    connected.unwrap();
    accepted.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_does_not_end_is_given_up() {
    let never: Lookup = |_, _| Box::pin(std::future::pending());
    let refusal = connect(never, "http://api.example.com").await;
    assert!(matches!(refusal, Err(Refusal::ConnectTimeout(_))), "{refusal:?}");
}

#[tokio::test]
async fn a_name_that_is_not_known_is_an_error_of_the_look_up() {
    let none: Lookup = |_, port| found(&[], port);
    let refusal = connect(none, "http://api.example.com").await;
    assert!(matches!(refusal, Err(Refusal::Lookup(_))), "{refusal:?}");
    let broken: Lookup = |_, _| Box::pin(async { Err(io::Error::other("no such name")) });
    let refusal = connect(broken, "http://api.example.com").await.unwrap_err();
    assert!(
        refusal.explain(&Origin::parse("http://api.example.com").unwrap()).contains("no such name")
    );
}

#[test]
fn the_same_is_said_once_and_only_so_much_is_said() {
    let outbound = Outbound::new("p".into(), None, &Redaction::default());
    let origin = |n: u16| Origin::of_request(false, "a", Some(n));
    let kind = Refusal::NotGranted.kind();
    assert!(outbound.is_news(kind, &origin(1)));
    assert!(!outbound.is_news(kind, &origin(1)));
    assert!(outbound.is_news(Refusal::Tunnel.kind(), &origin(1)));
    let said = (2..1_000).filter(|n| outbound.is_news(kind, &origin(*n))).count();
    assert_eq!(said, MOST_SAID - 2);
}

#[test]
fn an_authority_with_more_than_host_and_port_leads_nowhere() {
    let of = |uri: &str| origin_of(&uri.parse().unwrap()).map(|origin| origin.to_string());
    assert_eq!(of("http://a:81/x").as_deref(), Some("http://a:81"));
    assert_eq!(of("https://[::1]:443/x").as_deref(), Some("https://[::1]"));
    assert_eq!(of(&format!("http://{}/", "a".repeat(255))).map(|origin| origin.len()), Some(262));
    assert_eq!(of(&format!("http://{}/", "a".repeat(256))), None);
    for uri in ["http://u@a/", "http://u:p@a:80/", "http://@a/", "/x"] {
        assert_eq!(of(uri), None, "{uri}");
    }
}

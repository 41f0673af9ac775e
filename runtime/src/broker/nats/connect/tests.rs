use super::*;

#[test]
fn versions_are_read_though_they_look_odd() {
    for (text, version) in [
        ("2.10.0", Some(Version(2, 10, 0))),
        ("v2.14.6", Some(Version(2, 14, 6))),
        ("2.12.0-RC.3", Some(Version(2, 12, 0))),
        ("2.15", Some(Version(2, 15, 0))),
        ("2", None),
        ("", None),
        ("dev", None),
        ("99999999999999999999.1.1", None),
    ] {
        assert_eq!(Version::parse(text), version, "{text}");
    }
    assert!(Version(2, 9, 25) < OLDEST_SERVER && Version(3, 0, 0) > OLDEST_SERVER);
}

#[test]
fn delays_grow_are_spread_and_have_a_limit() {
    for attempt in [0, 1, 2, 5, 9, 1000, usize::MAX] {
        let delays = (0..50).map(|_| delay(attempt)).collect::<Vec<_>>();
        assert!(delays.iter().all(|d| *d >= Duration::from_millis(25) && *d <= LONGEST_DELAY));
        assert!(delays.iter().any(|d| *d != delays[0]), "attempt {attempt} has no jitter");
    }
    assert!(delay(9) >= LONGEST_DELAY / 2);
}

#[test]
fn secrets_in_addresses_are_not_shown() {
    let urls = ["nats://user:pass@one:4222", "tok@two:4222", "tls://three"];
    let nats = Nats {
        urls: urls.map(str::to_owned).to_vec(),
        auth: Auth::None,
        tls: Tls::default(),
        request_timeout: Duration::from_secs(1),
        ping_interval: Duration::from_secs(1),
    };
    assert_eq!(place(&nats), "nats://one:4222,two:4222,tls://three");
}

//! Which addresses a name may lead to: those of the public internet, unless the
//! manifest says into which private networks it leads. What else is private,
//! special or not assigned for use there has to be named itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::manifest::{Origin, Private, Server, is_nameable};

/// Azure's metadata and management service, which looks like a public address.
const AZURE: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whether a connection for `origin` may go to `address`. A name that leads into
/// private networks leads nowhere else: what it is told must not get out when it
/// does.
pub(super) fn may_reach(origin: &Origin, private: &Private, address: IpAddr) -> bool {
    let name = match &origin.host {
        Server::Address(granted) => return *granted == address,
        Server::Name(name) => name,
    };
    match private.get(name) {
        Some(networks) => {
            is_nameable(address) && networks.iter().any(|network| network.contains(&address))
        }
        None if name == "localhost" => address.is_loopback(),
        None => is_public(address),
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// After the registry of special-purpose addresses (RFC 6890).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, ..) | (224.., ..) => true,
        (100, 64..=127, _) | (169, 254, _) | (172, 16..=31, _) | (192, 168, _) => true,
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18..=19, _) => true,
        (198, 51, 100) | (203, 0, 113) => true,
        _ => address == AZURE,
    };
    !special
}

/// Global unicast without its special parts; IPv4 behind a NAT64 as the IPv4
/// address that it stands for.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        return is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    }
    match segments {
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] => false,
        [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(address: &str) -> bool {
        let origin = Origin::parse("http://api.example.com").unwrap();
        may_reach(&origin, &Private::new(), address.parse().unwrap())
    }

    #[test]
    fn a_name_leads_to_public_addresses_only() {
        for address in [
            "1.1.1.1",
            "93.184.216.34",
            "100.63.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::101:101",
        ] {
            assert!(by_name(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!by_name(address), "{address}");
        }
    }

    #[test]
    fn an_address_that_is_named_is_that_address() {
        let origin = Origin::parse("http://169.254.169.254").unwrap();
        let reaches = |address: &str| may_reach(&origin, &Private::new(), address.parse().unwrap());
        assert!(reaches("169.254.169.254"));
        assert!(!reaches("169.254.169.253"));
    }

    #[test]
    fn localhost_is_this_machine_and_nothing_else() {
        let origin = Origin::parse("http://localhost").unwrap();
        for (address, expected) in
            [("127.0.0.1", true), ("::1", true), ("10.0.0.1", false), ("1.1.1.1", false)]
        {
            let reached = may_reach(&origin, &Private::new(), address.parse().unwrap());
            assert_eq!(reached, expected, "{address}");
        }
    }

    #[test]
    fn a_name_leads_into_its_networks_and_nowhere_else() {
        let networks = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let private = Private::from([
            ("billing".to_owned(), networks(&["10.0.0.0/8", "fd00::/8", "100.64.0.0/10"])),
            ("localhost".to_owned(), networks(&["127.0.0.1/32"])),
        ]);
        let reaches = |name: &str, address: &str| {
            let origin = Origin::parse(&format!("http://{name}")).unwrap();
            may_reach(&origin, &private, address.parse().unwrap())
        };
        for address in ["10.1.2.3", "fd12::1", "100.64.0.1"] {
            assert!(reaches("billing", address), "{address}");
            assert!(!reaches("other", address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "127.0.0.1",
            "192.168.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "fd00:ec2::254",
            "::ffff:10.1.2.3",
            "64:ff9b::a01:203",
        ] {
            assert!(!reaches("billing", address), "{address}");
        }
        assert!(reaches("localhost", "127.0.0.1") && !reaches("localhost", "::1"));
    }
}

//! Private networks that the name of a server may lead into: addresses with a
//! prefix, none of them part of the public internet.
//!
//! Whether an address is public is not decided here; nor which names there are.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// For each name, the networks that it may lead into: there, and nowhere else. A
/// name that is not among them leads to public addresses.
pub type Private = BTreeMap<String, Vec<IpNet>>;

/// How a network is written.
const EXAMPLE: &str =
    "write a network, \"10.0.0.0/8\" or \"fd12:3456::/32\", or one address, \"10.0.3.7\"";

const fn v4(a: u8, b: u8, bits: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), bits))
}

const fn v6(address: Ipv6Addr, bits: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(address, bits))
}

/// What may be named: private use, shared by a provider's customers, loopback, and
/// benchmarks, which clusters use for more. Not link-local addresses: no name leads
/// there but to the metadata of a cloud's machines.
const NAMEABLE: [IpNet; 8] = [
    v4(10, 0, 8),
    v4(172, 16, 12),
    v4(192, 168, 16),
    v4(100, 64, 10),
    v4(198, 18, 15),
    v4(127, 0, 8),
    v6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    v6(Ipv6Addr::LOCALHOST, 128),
];

/// Metadata and credentials of clouds' machines inside of what may be named:
/// Alibaba's, Amazon's, Google's.
const METADATA: [IpNet; 3] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    v6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32),
    v6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128),
];

/// Whether a name may be allowed to lead to `address` at all.
pub fn is_nameable(address: IpAddr) -> bool {
    let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address));
    within(&NAMEABLE) && !within(&METADATA)
}

/// Reads a network as it is written in a manifest.
///
/// # Errors
/// What is wrong with it, and the remedy.
pub fn parse(text: &str) -> Result<IpNet, (String, String)> {
    let wrong = |what: &str, help: &str| Err((what.to_owned(), help.to_owned()));
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    let Ok(network) = alone.or_else(|_| text.parse::<IpNet>()) else {
        return wrong("it is neither a network nor an address", EXAMPLE);
    };
    if network.trunc() != network {
        let help = format!(
            "write \"{}\" for the network, or \"{}\" for the address",
            network.trunc(),
            network.addr()
        );
        return wrong("it is an address within a network", &help);
    }
    if METADATA.iter().any(|metadata| metadata.contains(&network)) {
        let help =
            "no name may lead there; if the plugin needs it, grant the address itself in `http`";
        return wrong("credentials of the machine are kept there by its cloud", help);
    }
    if !NAMEABLE.iter().any(|nameable| nameable.contains(&network)) {
        let nameable = NAMEABLE.map(|network| network.to_string()).join(", ");
        let help = format!(
            "name a part of {nameable}; a name leads to public addresses without this, and link-local addresses are granted one by one in `http`"
        );
        return wrong("it is no private network, or more than one", &help);
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_and_addresses_can_be_named() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.3.7", "10.0.3.7/32"),
            ("127.0.0.0/8", "127.0.0.0/8"),
            ("172.20.0.0/16", "172.20.0.0/16"),
            ("192.168.1.128/25", "192.168.1.128/25"),
            ("100.64.0.0/10", "100.64.0.0/10"),
            ("::1", "::1/128"),
            ("fd12:3456::/32", "fd12:3456::/32"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn nothing_public_wider_or_of_a_cloud_can_be_named() {
        for text in [
            "",
            "10",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/255.0.0.0",
            "10.0.0.7/8",
            "0.0.0.0/0",
            "0.0.0.0",
            "::/0",
            "8.0.0.0/5",
            "1.1.1.1",
            "169.254.0.0/16",
            "169.254.169.254",
            "fe80::/10",
            "100.100.100.200",
            "fd00:ec2::254",
            "fd00:ec2::/32",
            "fd20:ce::254",
            "::ffff:10.0.0.1",
            "::ffff:10.0.0.0/104",
            "billing",
            " 10.0.0.0/8",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wide_network_does_not_hold_a_clouds_credentials() {
        let nameable = |address: &str| is_nameable(address.parse().unwrap());
        assert!(nameable("10.1.2.3") && nameable("fd12::1") && nameable("127.0.0.1"));
        for address in
            ["100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "169.254.169.254", "1.1.1.1"]
        {
            assert!(!nameable(address), "{address}");
        }
    }
}

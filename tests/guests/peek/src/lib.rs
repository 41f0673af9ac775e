//! Tries to reach what a guest has no business with, and publishes what it got:
//! `{"environment": [], "arguments": [], "files": [], "sockets": [], "clock": true, "random": true}`.
//!
//! Clock and random numbers are open to every guest; each list has to be empty
//! unless the manifest grants something.

use std::{collections::HashSet, env, fs, hash::RandomState, time::SystemTime};

use guest::{Event, Guest, Handled, answer};
use serde_json::{Value, json};
use wasip2::sockets::{
    instance_network::instance_network,
    ip_name_lookup::resolve_addresses,
    network::{IpAddressFamily, IpSocketAddress, Ipv4SocketAddress},
    tcp_create_socket::create_tcp_socket,
    udp_create_socket::create_udp_socket,
};

const LOCALHOST: (u8, u8, u8, u8) = (127, 0, 0, 1);
const NATS: u16 = 4222;

struct Peek;

impl Guest for Peek {
    fn handle(event: Event) -> Handled {
        let seen = json!({
            "environment": env::vars().map(|(name, _)| name).collect::<Vec<_>>(),
            "arguments": env::args().collect::<Vec<_>>(),
            "files": files(),
            "sockets": sockets(),
            "clock": SystemTime::now() > SystemTime::UNIX_EPOCH,
            "random": HashSet::<u8, RandomState>::new().is_empty(),
        });
        answer(&event, seen.to_string())
    }
}

fn files() -> Vec<Value> {
    let preopened = wasip2::filesystem::preopens::get_directories();
    let mut reached: Vec<Value> = preopened.iter().map(|(_, path)| json!(path)).collect();
    for path in
        ["/", ".", "..", "/etc/passwd", "/proc/self/environ", "/dev/stdin", "../../Cargo.toml"]
    {
        if fs::metadata(path).is_ok() || fs::read(path).is_ok() || fs::read_dir(path).is_ok() {
            reached.push(json!(path));
        }
    }
    if fs::write("peek.txt", "was here").is_ok() || fs::write("/tmp/peek.txt", "was here").is_ok() {
        reached.push(json!("wrote peek.txt"));
    }
    reached
}

/// Asks WASI itself: the standard library has no sockets on every Wasm target.
fn sockets() -> Vec<&'static str> {
    let attempts = [
        ("tcp bind", tcp_bind as fn() -> bool),
        ("tcp connect", tcp_connect),
        ("udp bind", udp_bind),
        ("dns", dns),
    ];
    attempts.into_iter().filter(|(_, reached)| reached()).map(|(name, _)| name).collect()
}

fn address(port: u16) -> IpSocketAddress {
    IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: LOCALHOST })
}

fn tcp_bind() -> bool {
    let Ok(socket) = create_tcp_socket(IpAddressFamily::Ipv4) else { return false };
    socket.start_bind(&instance_network(), address(0)).is_ok() && socket.finish_bind().is_ok()
}

fn tcp_connect() -> bool {
    let Ok(socket) = create_tcp_socket(IpAddressFamily::Ipv4) else { return false };
    if socket.start_connect(&instance_network(), address(NATS)).is_err() {
        return false;
    }
    socket.subscribe().block();
    // Refused by the peer is reached, too: the packet left the sandbox.
    !matches!(socket.finish_connect(), Err(error) if error.name() == "access-denied")
}

fn udp_bind() -> bool {
    let Ok(socket) = create_udp_socket(IpAddressFamily::Ipv4) else { return false };
    socket.start_bind(&instance_network(), address(0)).is_ok() && socket.finish_bind().is_ok()
}

fn dns() -> bool {
    let Ok(addresses) = resolve_addresses(&instance_network(), "localhost") else { return false };
    addresses.subscribe().block();
    matches!(addresses.resolve_next_address(), Ok(Some(_)))
}

guest::export!(Peek);

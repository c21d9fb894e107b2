//! The addresses of this machine, as far as `/proc` tells.

use std::{
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
};

/// Of each process, so that a service that sees nothing else of `/proc` sees them, too.
const IPV4_TABLE: &str = "/proc/self/net/fib_trie";
const IPV6_TABLE: &str = "/proc/self/net/if_inet6";

/// Bytes that are read of a table: a router may know a million routes.
const TABLE_MAX: u64 = 1 << 20;

/// Somebody elsewhere, who does not exist (RFC 5737, RFC 3849).
const ELSEWHERE: [(&str, &str); 2] = [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")];

/// `IFA_F_TEMPORARY`, `IFA_F_DADFAILED`, `IFA_F_DEPRECATED` and `IFA_F_TENTATIVE`: addresses that are gone soon, or that somebody else has.
const PASSING: u8 = 0x01 | 0x08 | 0x20 | 0x40;

/// All of them, with port 0: those that others can reach, and of these first the ones that what is sent elsewhere would come from; then loopback, then those of one link.
/// Empty where the system does not tell.
pub(crate) fn addresses() -> Vec<SocketAddr> {
    let mut found = ipv4(&read(IPV4_TABLE).unwrap_or_default());
    found.extend(ipv6(&read(IPV6_TABLE).unwrap_or_default()));
    in_order(found, &ELSEWHERE.map(|(from, to)| towards(from, to)))
}

fn read(path: &str) -> io::Result<String> {
    let mut table = String::new();
    File::open(path)?.take(TABLE_MAX).read_to_string(&mut table)?;
    Ok(table)
}

/// Where a datagram to that address would come from. None is sent.
fn towards(from: &str, to: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.connect(to).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn in_order(mut found: Vec<SocketAddr>, outward: &[Option<IpAddr>]) -> Vec<SocketAddr> {
    let is_of_a_link = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let rank = |address: &SocketAddr| {
        let ip = address.ip();
        (is_of_a_link(ip), ip.is_loopback(), !outward.contains(&Some(ip)))
    };
    found.sort_by_key(|address| (rank(address), *address));
    found.dedup();
    found
}

/// The leaves of the tree of routes that are this machine, an address and below it what is known of it: `|-- 192.0.2.7`, `/32 host LOCAL`.
fn ipv4(table: &str) -> Vec<SocketAddr> {
    let mut leaf = None;
    let mut found = Vec::new();
    for line in table.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(ip) = leaf
        {
            found.push((ip, 0).into());
        }
    }
    found
}

/// A line for each address: 32 hexadecimal digits, then, hexadecimal too, number of the interface, length of the prefix, scope and flags, then the interface's name.
fn ipv6(table: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut columns = line.split_whitespace();
        let ip = Ipv6Addr::from(u128::from_str_radix(columns.next()?, 16).ok()?);
        let interface = u32::from_str_radix(columns.next()?, 16).ok()?;
        let flags = u8::from_str_radix(columns.nth(2)?, 16).ok()?;
        // Elsewhere the interface says nothing.
        let scope = if ip.is_unicast_link_local() { interface } else { 0 };
        (flags & PASSING == 0).then(|| SocketAddrV6::new(ip, 0, 0, scope).into())
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(found: &[SocketAddr]) -> Vec<String> {
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_the_tree_of_routes_only_this_machine_counts() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 127.0.0.0\n        /8 host LOCAL\n     \
                     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.0\n        /24 link UNICAST\n           |-- 192.0.2.7\n              \
                     /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";

        assert_eq!(shown(&ipv4(table)), ["127.0.0.1:0", "192.0.2.7:0"]);
    }

    #[test]
    fn an_address_that_passes_is_left_out_and_one_of_a_link_says_which() {
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fe800000000000000000000000000007 0a 40 20 80     eth0\n\
                     20010db8000000000000000000000007 0a 40 00 80     eth0\n\
                     20010db8000000000000000000000008 0a 40 00 01     eth0\n\
                     20010db8000000000000000000000009 0a 40 00 c8     eth0\n\
                     nonsense\n";

        assert_eq!(shown(&ipv6(table)), ["[::1]:0", "[fe80::7%10]:0", "[2001:db8::7]:0"]);
    }

    #[test]
    fn what_others_reach_is_first() {
        let found = ["127.0.0.1:0", "169.254.0.7:0", "10.0.0.7:0", "192.0.2.7:0", "[fe80::7]:0", "[2001:db8::7]:0", "10.0.0.7:0"];
        let found = found.iter().map(|address| address.parse().unwrap()).collect();

        let sorted = in_order(found, &[Some("192.0.2.7".parse().unwrap()), None]);

        assert_eq!(
            shown(&sorted),
            ["192.0.2.7:0", "10.0.0.7:0", "[2001:db8::7]:0", "127.0.0.1:0", "169.254.0.7:0", "[fe80::7]:0"]
        );
    }

    #[test]
    fn a_machine_has_the_address_that_it_talks_to_itself_from() {
        assert!(addresses().contains(&"127.0.0.1:0".parse().unwrap()), "{:?}", addresses());
    }
}

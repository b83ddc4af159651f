//! Which addresses a delivery may connect to. Asked with the address that is about to be connected
//! to, so that no name, redirect or second DNS answer gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// Decides about addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// Public addresses, and those in `allowed`.
    pub const fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether a delivery may connect to `address`.
    pub fn permits(&self, address: IpAddr) -> bool {
        // An IPv4 address that is written as IPv6 connects to the IPv4 address.
        let address = address.to_canonical();
        self.allowed.iter().any(|net| net.contains(&address)) || is_public(address)
    }
}

/// Whether an address is globally reachable unicast, by IANA's registries of special addresses.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// A metadata service with an address of the public range.
const AZURE_METADATA: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)                // this network, private, loopback
            | (100, 64..=127, _)            // shared by carriers (RFC 6598)
            | (169, 254, _)                 // link-local: metadata services, Lambda's runtime
            | (172, 16..=31, _)             // private
            | (192, 0, 0 | 2)               // protocol assignments, documentation
            | (192, 88, 99)                 // relays of 6to4
            | (192, 168, _)                 // private
            | (198, 18 | 19, _)             // benchmarks
            | (198, 51, 100)                // documentation
            | (203, 0, 113)                 // documentation
            | (224.., _, _) // multicast, reserved, broadcast
    ) && address != AZURE_METADATA
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // NAT64 leads to the IPv4 address at its end.
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        let [.., a, b, c, d] = address.octets();
        return is_public_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Only 2000::/3 is assigned as global unicast; loopback, mapped, unique local, link-local and
    // multicast addresses all lie outside of it.
    let global = segments[0] & 0xe000 == 0x2000;
    let special = match segments[0] {
        // 2001::/23: Teredo, ORCHID, benchmarks; 2001:db8::/32: documentation.
        0x2001 => segments[1] < 0x200 || segments[1] == 0xdb8,
        // 6to4 leads to an IPv4 address through relays that are gone.
        0x2002 => true,
        // 3fff::/20: documentation.
        0x3fff => segments[1] < 0x1000,
        _ => false,
    };
    global && !special
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;

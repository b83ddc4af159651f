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
    )
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
mod tests {
    use super::*;

    fn permitted(guard: &Guard, addresses: &[&str]) -> Vec<String> {
        let parsed = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
        parsed.filter(|address| guard.permits(*address)).map(|address| address.to_string()).collect()
    }

    const INSIDE: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.100.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378::1",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "3fff:fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ];
    const OUTSIDE: &[&str] = &[
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2001:200::1",
        "2606:4700::1111",
        "2a00::1",
        "3ffe::1",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
    ];

    #[test]
    fn inside_is_refused_and_outside_is_not() {
        let guard = Guard::default();
        assert_eq!(permitted(&guard, INSIDE), Vec::<String>::new());
        assert_eq!(permitted(&guard, OUTSIDE).len(), OUTSIDE.len());
    }

    #[test]
    fn operators_can_allow_networks() {
        let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        assert_eq!(
            permitted(&guard, INSIDE),
            ["127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1", "fd00:ec2::254", "fdff::1"]
        );
    }
}

//! The corpus in `testdata/addresses.txt`: each network by its ends and its neighbours, each address in
//! every way to write it, as the URL of an endpoint.

use http::Uri;
use url::Url;

use super::*;

const CORPUS: &str = include_str!("../../../testdata/addresses.txt");

/// The lines of one kind, without what follows the first word behind it.
fn lines(kind: &str) -> impl Iterator<Item = &'static str> {
    let lines = CORPUS.lines().map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    lines.filter_map(move |mut words| (words.next() == Some(kind)).then(|| words.next()).flatten())
}

/// Where a delivery to `url` would connect to; none if it would not get that far. As in the exchange:
/// the URL is read by the URL standard, and what that makes of it is sent to.
fn target(url: &str) -> Option<IpAddr> {
    let url = Url::parse(url).ok()?;
    let uri: Uri = url.as_str().parse().ok()?;
    uri.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The ways to write an IPv4 address that URLs know.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let (number, low) = (u32::from(address), u32::from_be_bytes([0, b, c, d]));
    let (lower, text) = (u16::from_be_bytes([c, d]), address.to_string());
    let wide: String = text.chars().map(|c| char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c)).collect();
    let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        text.clone(),
        format!("{text}."),
        format!("{number}"),
        format!("0x{number:x}"),
        format!("0X{number:08X}"),
        format!("0{number:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{lower}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("000{a:o}.{b}.0x{lower:x}"),
        format!("{a}.0x{low:x}"),
        text.replace('.', "\u{3002}"),
        text.replace('.', "\u{ff0e}"),
        text.replace('.', "%2e"),
        wide,
        escaped,
    ]
}

/// The IPv6 forms that hold an IPv4 address: those that lead to it, and those that lead nowhere.
fn embedded(address: Ipv4Addr) -> ([Ipv6Addr; 2], [Ipv6Addr; 6]) {
    let [a, b, c, d] = address.octets().map(u16::from);
    let (high, low) = ((a << 8) | b, (c << 8) | d);
    let of = |segments: [u16; 8]| Ipv6Addr::from(segments);
    (
        [of([0, 0, 0, 0, 0, 0xffff, high, low]), of([0x64, 0xff9b, 0, 0, 0, 0, high, low])],
        [
            of([0, 0, 0, 0, 0, 0, high, low]),         // compatible
            of([0, 0, 0, 0, 0xffff, 0, high, low]),    // translated
            of([0x64, 0xff9b, 1, 0, 0, 0, high, low]), // NAT64 with a prefix of one's own
            of([0x2002, high, low, 0, 0, 0, 0, 1]),    // 6to4
            of([0x2001, 0, high, low, 0, 0, 0, 1]),    // Teredo, as the server
            of([0x2001, 0, 1, 1, 0, 0, !high, !low]),  // Teredo, as the client
        ],
    )
}

fn hosts(address: IpAddr) -> Vec<String> {
    match address {
        IpAddr::V4(address) => spellings(address),
        IpAddr::V6(address) => {
            let segments = address.segments().map(|segment| format!("{segment:04X}")).join(":");
            vec![format!("[{address}]"), format!("[{segments}]")]
        }
    }
}

fn urls(address: IpAddr) -> impl Iterator<Item = String> {
    let of = |host: String| {
        [
            format!("http://{host}/"),
            format!("https://user:pass@{host}:8443/x?y#z"),
            format!("HTTP:\\\\{host}:65535"),
            format!(" http:{host}\t"),
        ]
    };
    hosts(address).into_iter().flat_map(of)
}

/// Both ends of a network, its middle, and its neighbours on both sides, if it has any.
fn ends(net: IpNet) -> (Vec<IpAddr>, Vec<IpAddr>) {
    match net {
        IpNet::V4(net) => {
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            let inside = [first, first + (last - first) / 2, last];
            let outside = [first.checked_sub(1), last.checked_add(1)];
            let address = |number: u32| IpAddr::from(Ipv4Addr::from(number));
            (inside.map(address).into(), outside.into_iter().flatten().map(address).collect())
        }
        IpNet::V6(net) => {
            let (first, last) = (u128::from(net.network()), u128::from(net.broadcast()));
            let inside = [first, first + (last - first) / 2, last];
            let outside = [first.checked_sub(1), last.checked_add(1)];
            let address = |number: u128| IpAddr::from(Ipv6Addr::from(number));
            (inside.map(address).into(), outside.into_iter().flatten().map(address).collect())
        }
    }
}

/// Counts what was tried, and remembers what went wrong.
#[derive(Default)]
struct Tried {
    addresses: usize,
    urls: usize,
    wrong: Vec<String>,
}

impl Tried {
    /// Expects the guard to say the same of an address in all its spellings and embeddings.
    fn expect(&mut self, guard: &Guard, address: IpAddr, permitted: bool) {
        let mut expect = |address: IpAddr, permitted: bool| {
            self.addresses += 1;
            for url in urls(address) {
                self.urls += 1;
                let target = target(&url);
                let said = target.is_some_and(|target| guard.permits(target));
                // A URL that leads to no address must be none that was to be permitted.
                if said != permitted || target.is_none() {
                    self.wrong.push(format!("{url} leads to {target:?}, permitted: {said}"));
                }
            }
        };
        expect(address, permitted);
        if let IpAddr::V4(address) = address {
            let (leading, dead) = embedded(address);
            leading.into_iter().for_each(|address| expect(address.into(), permitted));
            dead.into_iter().for_each(|address| expect(address.into(), false));
        }
    }
}

/// INV-27
#[test]
#[expect(clippy::print_stdout, reason = "the size of the corpus is the result")]
fn inside_is_refused_and_outside_is_not_however_it_is_written() {
    let guard = Guard::default();
    let refused: Vec<IpNet> = lines("refused").map(|net| net.parse().expect("a network")).collect();
    let mut tried = Tried::default();
    for net in &refused {
        let (inside, outside) = ends(*net);
        inside.into_iter().for_each(|address| tried.expect(&guard, address, false));
        for address in outside {
            let other = refused.iter().any(|net| net.contains(&address));
            // Above multicast there is nothing, and outside of global unicast only what leads to IPv4.
            let permitted =
                !other && !matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xe000 != 0x2000);
            tried.expect(&guard, address, permitted);
        }
    }
    for address in lines("inside") {
        tried.expect(&guard, address.parse().expect("an address"), false);
    }
    for address in lines("public") {
        tried.expect(&guard, address.parse().expect("an address"), true);
    }
    assert_eq!(tried.wrong, Vec::<String>::new());
    println!(
        "{} networks and addresses of the corpus: {} addresses in {} URLs",
        refused.len() + lines("inside").count() + lines("public").count(),
        tried.addresses,
        tried.urls
    );
}

#[test]
fn what_cannot_be_read_is_not_sent_to() {
    for url in lines("broken") {
        let url = url.replace("_", " ");
        assert_eq!(target(&url).filter(|target| Guard::default().permits(*target)), None, "{url}");
    }
    assert!(lines("broken").count() > 10);
}

#[test]
fn operators_can_allow_networks() {
    let guard = Guard::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
    for (address, permitted) in [
        ("127.0.0.1", true),
        ("127.255.255.255", true),
        ("::ffff:127.0.0.1", true),
        ("fd00:ec2::254", true),
        ("8.8.8.8", true),
        ("126.255.255.255", true),
        ("10.0.0.1", false),
        ("169.254.169.254", false),
        ("::1", false),
        ("fc00::1", false),
        // Named as IPv4; a translator is another way, and has to be named itself.
        ("64:ff9b::7f00:1", false),
        ("::127.0.0.1", false),
    ] {
        assert_eq!(guard.permits(address.parse().unwrap()), permitted, "{address}");
    }
}

#[test]
fn names_are_looked_up_as_the_url_standard_writes_them() {
    for (url, host) in [
        ("http://EXAMPLE.com/", "example.com"),
        ("http://b\u{fc}cher.example/", "xn--bcher-kva.example"),
        ("http://\u{ff45}xample.com/", "example.com"),
        ("http://ex%61mple.com/", "example.com"),
        ("http://example\u{3002}com/", "example.com"),
        ("http://example.com./", "example.com."),
        ("http://8.8.8.8@localhost/", "localhost"),
        ("http:\\\\localhost\\@8.8.8.8/", "localhost"),
        ("http://loc\u{ad}alhost/", "localhost"),
        ("http://lo\tcal\nhost:1/", "localhost"),
    ] {
        let written = Url::parse(url).unwrap();
        let uri: Uri = written.as_str().parse().unwrap();
        assert_eq!(uri.host(), Some(host), "{url}");
    }
}

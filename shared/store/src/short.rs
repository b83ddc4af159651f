//! Short texts, JSON above all, in as few bytes as that takes little work (ADR 0040).
//!
//! A payload of some hundred bytes is too short to say what repeats in it: DEFLATE takes a tenth of a kilobyte for its tables, or
//! does without them. Here names that webhooks have in common stand before the text, as if it had said them already, and the codes are
//! agreed on ([`tables`]). It is LZ77 and Huffman, as DEFLATE is: a symbol is a byte or the length of a match, behind which stand the
//! bits of the length, the symbol of the distance and its bits; then the symbol of the end. Bits fill bytes from the highest on,
//! codes are canonical.

mod tables;

use std::sync::LazyLock;

use tables::{DISTANCE_BITS, DISTANCES, LENGTHS, LITERAL_BITS, NAMES};

/// Longest text. For a longer one DEFLATE's own tables pay.
pub(super) const TEXT_MAX: usize = 4096;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 258;
/// The symbol behind the last byte.
const END: usize = 285;
const FIRST_LENGTH: usize = 256;
const BITS_MAX: usize = 15;
/// Earlier places that are looked at for each.
const LOOK: usize = 16;
/// A match that is good enough not to look a byte further.
const LONG: usize = 32;
const HASH_BITS: u32 = 11;
const NONE: u16 = u16::MAX;

/// A canonical code: of the same length, symbols are in their order.
struct Code {
    /// Code and its bits, by symbol.
    codes: Vec<(u16, u8)>,
    /// Symbols by their codes.
    symbols: Vec<u16>,
    /// How many codes have so many bits.
    counts: [u16; BITS_MAX + 1],
}

impl Code {
    /// `lengths`: hexadecimal digits. An incomplete code is a mistake in the tables, which a test finds.
    fn new(lengths: &[u8]) -> Self {
        let bits = |digit: &u8| (*digit as char).to_digit(16).unwrap_or_default() as u8;
        let lengths: Vec<u8> = lengths.iter().map(bits).collect();
        let mut symbols: Vec<u16> = (0..).take(lengths.len()).collect();
        symbols.sort_by_key(|symbol| lengths[usize::from(*symbol)]);
        let (mut codes, mut counts) = (vec![(0, 0); lengths.len()], [0; BITS_MAX + 1]);
        let (mut code, mut before) = (0_u32, 0);
        for symbol in &symbols {
            let bits = lengths[usize::from(*symbol)];
            code <<= bits - before;
            codes[usize::from(*symbol)] = (code as u16, bits);
            counts[usize::from(bits)] += 1;
            (code, before) = (code + 1, bits);
        }
        Self { codes, symbols, counts }
    }

    fn bits(&self, symbol: usize) -> u32 {
        u32::from(self.codes[symbol].1)
    }
}

/// The codes, and where the names' places are found.
struct Agreed {
    literals: Code,
    distances: Code,
    head: [u16; 1 << HASH_BITS],
    earlier: Vec<u16>,
}

static AGREED: LazyLock<Agreed> = LazyLock::new(|| {
    let mut places = Places { head: [NONE; 1 << HASH_BITS], earlier: Vec::new() };
    // The last two places need what comes behind them, and are left out.
    (0..NAMES.len()).for_each(|at| places.add(NAMES.as_bytes(), at));
    Agreed {
        literals: Code::new(LITERAL_BITS),
        distances: Code::new(DISTANCE_BITS),
        head: places.head,
        earlier: places.earlier,
    }
});

/// Where the same three bytes stood before.
struct Places {
    /// The last place of each hash.
    head: [u16; 1 << HASH_BITS],
    /// The one before it, by place.
    earlier: Vec<u16>,
}

fn hash(window: &[u8], at: usize) -> Option<usize> {
    let [a, b, c] = *window.get(at..at + MATCH_MIN)?.as_array()?;
    let bytes = u32::from_le_bytes([a, b, c, 0]);
    Some((bytes.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize)
}

impl Places {
    fn add(&mut self, window: &[u8], at: usize) {
        let last = match hash(window, at) {
            Some(hash) => std::mem::replace(&mut self.head[hash], at as u16),
            None => NONE,
        };
        self.earlier.push(last);
    }
}

/// A match: how many bits it saves, its length and its distance.
#[derive(Clone, Copy, Default)]
struct Match {
    saves: u32,
    length: usize,
    distance: usize,
}

struct Packer<'a> {
    agreed: &'static Agreed,
    window: &'a [u8],
    /// How many bits the text takes up to each place byte by byte.
    literals: Vec<u32>,
    places: Places,
    out: Vec<u8>,
    /// Bits that no byte is full of yet, the last ones of the number.
    rest: u64,
    count: u32,
}

/// The symbol of a length, which [`LENGTHS`] has, and the bits behind it.
const fn symbol_of_length(length: usize) -> usize {
    match length - MATCH_MIN {
        _ if length == MATCH_MAX => LENGTHS.len() - 1,
        more @ 0..8 => more,
        more => {
            let bits = more.ilog2() as usize - 2;
            4 * bits + (more >> bits)
        }
    }
}

/// The symbol of a distance, which [`DISTANCES`] has.
const fn symbol_of_distance(distance: usize) -> usize {
    match distance - 1 {
        more @ 0..4 => more,
        more => {
            let bits = more.ilog2() as usize - 1;
            2 * bits + (more >> bits)
        }
    }
}

/// How many bytes two places have in common, up to the end of the first.
fn in_common(window: &[u8], there: usize, at: usize, end: usize) -> usize {
    let (a, b) = (&window[at..end], &window[there..there + (end - at)]);
    let eights = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let mut same = 0;
    for (a, b) in eights {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return same + differ.trailing_zeros() as usize / 8;
        }
        same += 8;
    }
    same + a[same..].iter().zip(&b[same..]).take_while(|(a, b)| a == b).count()
}

impl Packer<'_> {
    fn put(&mut self, value: u32, bits: u8) {
        self.rest = self.rest << bits | u64::from(value);
        self.count += u32::from(bits);
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.rest >> self.count) as u8);
        }
    }

    fn put_symbol(&mut self, symbol: usize) {
        let (code, bits) = self.agreed.literals.codes[symbol];
        self.put(u32::from(code), bits);
    }

    fn put_match(&mut self, found: Match) {
        let symbol = symbol_of_length(found.length);
        let (least, bits) = LENGTHS[symbol];
        self.put_symbol(FIRST_LENGTH + symbol);
        self.put((found.length - usize::from(least)) as u32, bits);
        let symbol = symbol_of_distance(found.distance);
        let ((code, code_bits), (least, bits)) = (self.agreed.distances.codes[symbol], DISTANCES[symbol]);
        self.put(u32::from(code), code_bits);
        self.put((found.distance - usize::from(least)) as u32, bits);
    }

    /// The match at a place that saves most against its bytes one by one.
    fn best(&self, at: usize) -> Match {
        let (mut best, mut longest) = (Match::default(), MATCH_MIN - 1);
        let Some(hash) = hash(self.window, at) else { return best };
        let (mut place, end) = (self.places.head[hash], self.window.len().min(at + MATCH_MAX));
        let literals = &self.literals[at - NAMES.len()..];
        for _ in 0..LOOK {
            if place == NONE || at + longest == end {
                break;
            }
            let there = usize::from(place);
            place = self.places.earlier[there];
            // What is nearer takes no more bits: only a longer one can save more.
            if self.window[there + longest] != self.window[at + longest] {
                continue;
            }
            let length = in_common(self.window, there, at, end);
            if length > longest {
                longest = length;
                let distance = at - there;
                let (length_symbol, distance_symbol) =
                    (symbol_of_length(length), symbol_of_distance(distance));
                let takes = self.agreed.literals.bits(FIRST_LENGTH + length_symbol)
                    + self.agreed.distances.bits(distance_symbol)
                    + u32::from(LENGTHS[length_symbol].1 + DISTANCES[distance_symbol].1);
                let saves = (literals[length] - literals[0]).saturating_sub(takes);
                if saves > best.saves {
                    best = Match { saves, length, distance };
                }
            }
        }
        best
    }
}

/// `text` in fewer bytes; none where it takes no fewer, or is longer than [`TEXT_MAX`].
pub(super) fn pack(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let agreed = &*AGREED;
    let window = [NAMES.as_bytes(), text].concat();
    let mut literals = Vec::with_capacity(text.len() + 1);
    literals.push(0);
    literals.extend(text.iter().scan(0, |sum, byte| {
        *sum += agreed.literals.bits(usize::from(*byte));
        Some(*sum)
    }));
    let mut earlier = Vec::with_capacity(window.len());
    earlier.extend_from_slice(&agreed.earlier);
    let mut packer = Packer {
        agreed,
        window: &window,
        literals,
        places: Places { head: agreed.head, earlier },
        out: Vec::with_capacity(text.len()),
        rest: 0,
        count: 0,
    };
    let mut at = NAMES.len();
    let mut found = packer.best(at);
    while at < window.len() {
        packer.places.add(&window, at);
        let next = if found.length < LONG { packer.best(at + 1) } else { Match::default() };
        // A better one a byte later comes first.
        if found.saves == 0 || next.saves > found.saves {
            packer.put_symbol(usize::from(window[at]));
            (at, found) = (at + 1, next);
            continue;
        }
        packer.put_match(found);
        (at + 1..at + found.length).for_each(|at| packer.places.add(&window, at));
        at += found.length;
        found = packer.best(at);
        if packer.out.len() >= text.len() {
            return None;
        }
    }
    packer.put_symbol(END);
    let unused = (8 - packer.count % 8) % 8;
    packer.put(0, unused as u8);
    Some(packer.out).filter(|out| out.len() < text.len())
}

/// Reads bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, bits: u8) -> Option<u16> {
        let mut value = 0;
        for _ in 0..bits {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u16::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn symbol(&mut self, code: &Code) -> Option<usize> {
        let (mut bits, mut first, mut index) = (0, 0, 0);
        for count in &code.counts[1..] {
            bits = bits << 1 | self.take(1)?;
            if let Some(nth) = bits.checked_sub(first).filter(|nth| nth < count) {
                return code.symbols.get(usize::from(index + nth)).map(|symbol| usize::from(*symbol));
            }
            index += count;
            first = (first + count) << 1;
        }
        None
    }

    /// A number by its symbol and the bits behind it.
    fn number(&mut self, symbol: usize, table: &[(u16, u8)]) -> Option<usize> {
        let (least, bits) = *table.get(symbol)?;
        Some(usize::from(least + self.take(bits)?))
    }
}

/// The text of [`pack`]; none where these bytes are none of its.
pub(super) fn unpack(bytes: &[u8]) -> Option<Vec<u8>> {
    let agreed = &*AGREED;
    let mut bits = Bits { bytes, at: 0 };
    let mut window = NAMES.as_bytes().to_vec();
    loop {
        match bits.symbol(&agreed.literals)? {
            END => break,
            length @ FIRST_LENGTH.. => {
                let length = bits.number(length - FIRST_LENGTH, &LENGTHS)?;
                let distance = bits.symbol(&agreed.distances)?;
                let distance = bits.number(distance, &DISTANCES)?;
                let from = window.len().checked_sub(distance)?;
                // A match may reach into itself.
                for at in from..from + length {
                    window.push(window[at]);
                }
            }
            byte => window.push(byte as u8),
        }
        if window.len() > NAMES.len() + TEXT_MAX {
            return None;
        }
    }
    let is_over = bits.at.div_ceil(8) == bytes.len();
    is_over.then(|| window.split_off(NAMES.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [&str; 5] = [
        r#"{"id":"invoice_WF7WtCLFFtd8ubcTgboSFNql","status":"paid","attempt":2}"#,
        r#"{"type":"user.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485","type":"contact","first_name":"John","last_name":"Smith","email":"john@example.org"}}"#,
        r#"{"orderId":"ord_8812","customerId":"c_4471","status":"shipped","shippedAt":"2026-03-01T12:44:10Z","carrier":"DHL","trackingNumber":"JJD0099988","items":[{"sku":"A-1","quantity":2},{"sku":"B-9","quantity":1}],"address":{"city":"Berlin","country":"DE","postalCode":"10115","street":"Invalidenstr. 1"}}"#,
        r#"{"text":"Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, und keiner weiß, warum sie das tun."}"#,
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];

    #[test]
    fn short_texts_take_little_room() {
        for (text, most) in SAMPLES.iter().zip([39, 95, 113, 99, 6]) {
            let packed = pack(text.as_bytes()).unwrap();
            assert!(packed.len() <= most, "{text}: {}", packed.len());
            assert_eq!(unpack(&packed).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn these_bytes_are_read_for_as_long_as_messages_are_kept() {
        let packed = pack(br#"{"id":"inv_1","paid":true,"amount":1200}"#).unwrap();
        let hex: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "67b04531aacee8dd07aeb1419042b780");
    }

    #[test]
    fn each_length_and_distance_has_its_symbol() {
        let is_of = |(least, bits): (u16, u8), value: usize| {
            (usize::from(least)..usize::from(least) + (1 << bits)).contains(&value)
        };
        for length in MATCH_MIN..=MATCH_MAX {
            assert!(is_of(LENGTHS[symbol_of_length(length)], length), "{length}");
        }
        for distance in 1..=NAMES.len() + TEXT_MAX {
            assert!(is_of(DISTANCES[symbol_of_distance(distance)], distance), "{distance}");
        }
    }

    #[test]
    fn codes_are_complete() {
        for (code, bits) in [(&AGREED.literals, LITERAL_BITS.as_slice()), (&AGREED.distances, DISTANCE_BITS)]
        {
            let filled: u32 =
                code.counts.iter().zip(0..).map(|(count, bits)| u32::from(*count) << (15 - bits)).sum();
            assert_eq!((filled, code.codes.len()), (1 << 15, bits.len()));
        }
        let last = DISTANCES[DISTANCES.len() - 1];
        assert!(NAMES.len() + TEXT_MAX < usize::from(last.0) + (1 << last.1));
    }

    /// Numbers that look random, the same ones each time.
    fn numbers(mut state: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        }
    }

    #[test]
    fn each_text_comes_back_or_is_left_as_it_is() {
        let mut number = numbers(1);
        let mut packed_some = 0;
        for round in 0..2_000 {
            let length = [0, 1, 2, 3, 20, 300, TEXT_MAX][number(7)];
            // Of few letters, of all bytes, of pieces of what is there.
            let mut text: Vec<u8> = Vec::new();
            while text.len() < length {
                match (round % 4, text.len()) {
                    (0, _) => text.push(b'a' + number(3) as u8),
                    (1, _) => text.push(number(256) as u8),
                    (2, 1..) => {
                        let from = number(text.len());
                        let to = text.len().min(from + number(300));
                        text.extend_from_within(from..to);
                        text.push(number(256) as u8);
                    }
                    _ => {
                        let from = number(NAMES.len());
                        text.extend_from_slice(&NAMES.as_bytes()[from..NAMES.len().min(from + number(40))]);
                    }
                }
            }
            text.truncate(length);
            if let Some(packed) = pack(&text) {
                packed_some += 1;
                assert!(packed.len() < text.len());
                assert_eq!(unpack(&packed).as_ref(), Some(&text));
                assert_eq!(unpack(&packed[..packed.len() - 1]), None);
                assert_eq!(unpack(&[packed, vec![0]].concat()), None);
            }
        }
        assert!(packed_some > 500, "{packed_some}");
        assert_eq!(pack(&[b'a'; TEXT_MAX + 1]), None);
    }

    #[test]
    fn any_bytes_are_a_text_or_none() {
        let mut number = numbers(2);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..number(40)).map(|_| number(256) as u8).collect();
            if let Some(text) = unpack(&bytes) {
                assert!(text.len() <= TEXT_MAX + MATCH_MAX);
            }
        }
    }
}

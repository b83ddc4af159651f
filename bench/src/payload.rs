//! Payloads: JSON like that of an invoice, of an exact length, which says which message it is.

use std::fmt::Write as _;

/// What every payload begins with; the number of its message follows, in ten digits.
const BEGINNING: &str = "{\"nth\":\"";
const DIGITS: usize = 10;

/// Makes the payloads of one length.
#[derive(Debug)]
pub(crate) struct Payloads {
    /// What follows the number.
    rest: String,
}

impl Payloads {
    /// Payloads of `size` bytes; at least 32.
    pub(crate) fn new(size: usize) -> Self {
        let wanted = size.saturating_sub(BEGINNING.len() + DIGITS);
        let mut rest = String::from("\"");
        const END: &str = ",\"note\":\"\"}";
        let mut nth: u32 = 0;
        loop {
            let line = line(nth);
            // The first line opens the list and the last one closes it.
            let length = line.len() + if nth == 0 { ",\"lines\":[".len() } else { 1 } + "]".len();
            if rest.len() + length + END.len() > wanted {
                break;
            }
            rest.push_str(if nth == 0 { ",\"lines\":[" } else { "," });
            rest.push_str(&line);
            nth += 1;
        }
        if nth > 0 {
            rest.push(']');
        }
        rest.push_str(",\"note\":\"");
        while rest.len() + 2 < wanted {
            rest.push('.');
        }
        rest.push_str("\"}");
        Self { rest }
    }

    /// The payload of a message.
    pub(crate) fn text(&self, nth: u32) -> String {
        let mut text = String::with_capacity(BEGINNING.len() + DIGITS + self.rest.len());
        text.push_str(BEGINNING);
        let _written = write!(text, "{nth:0DIGITS$}");
        text.push_str(&self.rest);
        text
    }

    /// The message that a body is of; none where a byte of it is another one.
    pub(crate) fn message(&self, body: &[u8]) -> Option<u32> {
        let rest = body.strip_prefix(BEGINNING.as_bytes())?;
        let (digits, rest) = rest.split_at_checked(DIGITS)?;
        (rest == self.rest.as_bytes()).then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
    }
}

/// A line of an invoice. Lines differ from each other as those of real ones do.
fn line(nth: u32) -> String {
    let (sku, price) = (u64::from(nth) * 7_919 % 10_007, u64::from(nth) * 2_654_435_761 % 99_991);
    format!(
        "{{\"sku\":\"SKU-{sku}\",\"title\":\"Article number {nth}\",\"quantity\":{},\"unitPrice\":{price},\
         \"currency\":\"EUR\",\"taxRate\":19}}",
        nth % 3 + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_of_the_length_that_was_asked_for() {
        for size in [32, 33, 100, 200, 512, 1_024, 3_072, 200_000] {
            let payloads = Payloads::new(size);
            let text = payloads.text(4_242);
            assert_eq!(text.len(), size, "{text}");
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json["nth"], "0000004242");
            assert_eq!(payloads.message(text.as_bytes()), Some(4_242));
        }
    }

    #[test]
    fn a_body_with_another_byte_is_of_no_message() {
        let payloads = Payloads::new(512);
        let text = payloads.text(7);
        assert_eq!(payloads.message(text.replace("EUR", "USD").as_bytes()), None);
        assert_eq!(payloads.message(&text.as_bytes()[..511]), None);
        assert_eq!(payloads.message(b""), None);
    }
}

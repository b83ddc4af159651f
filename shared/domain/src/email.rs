//! Addresses of mailboxes, as far as mail is sent to them.

/// Most characters of an address, and of the part before the `@`, by RFC 5321 (4.5.3.1).
const LENGTH_MAX: usize = 254;
const LOCAL_LENGTH_MAX: usize = 64;
/// Most characters of a label of a domain, by RFC 1035.
const LABEL_LENGTH_MAX: usize = 63;

/// The name in an application's metadata under which it says who is warned by mail.
pub const METADATA_NAME: &str = "postrider.email";

/// Whether mail can be sent to that address: a dot-atom and a domain of letters, digits and hyphens (RFC 5322, 3.4.1),
/// without the quoted forms that hardly anybody has.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let atom = |part: &str| {
        let is_atext = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
        !part.is_empty() && part.bytes().all(is_atext)
    };
    let label = |part: &str| {
        (1..=LABEL_LENGTH_MAX).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    text.len() <= LENGTH_MAX
        && local.len() <= LOCAL_LENGTH_MAX
        && local.split('.').all(atom)
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_mail_can_be_sent_to() {
        for good in ["a@example.com", "a.b+c@mail.example.co.uk", "o'hara@x-y.example", "1@2.example"] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for bad in [
            "",
            "example.com",
            "@example.com",
            "a@",
            "a@localhost",
            "a@b@example.com",
            "a b@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "a@-x.example",
            "a@exa_mple.com",
            "a..b@example.com",
            ".a@example.com",
            "a@example..com",
            "\"a b\"@example.com",
            "A <a@example.com>",
            "a@example.com,b@example.com",
            "ä@example.com",
            &long,
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}

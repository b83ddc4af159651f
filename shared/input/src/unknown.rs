//! What a request says and nobody asked for: a typo in the name of a parameter or of a field. The contract
//! has such requests accepted; the answer names them in the header `postrider-unknown`.
//!
//! What is asked for is noted by the code that reads it, in the task that handles the request.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;

/// The header that names them.
pub const HEADER: &str = "postrider-unknown";
/// Longest value of the header, in bytes; what does not fit is left out.
const LENGTH_MAX: usize = 512;
/// Longest name in it, in characters.
const NAME_LENGTH_MAX: usize = 64;

tokio::task_local! {
    static NOTED: RefCell<Noted>;
}

#[derive(Debug, Default)]
struct Noted {
    /// Parameters that were asked for.
    asked: BTreeSet<&'static str>,
    /// Fields that were not.
    unknown: BTreeSet<String>,
    /// The request was not read: its answer is an earlier one's.
    unread: bool,
}

fn note(change: impl FnOnce(&mut Noted)) {
    // Outside of a request, nobody wants to know.
    let _ = NOTED.try_with(|noted| change(&mut noted.borrow_mut()));
}

/// Notes that the query parameter `name` was asked for.
pub fn asked(name: &'static str) {
    note(|noted| _ = noted.asked.insert(name));
}

/// Notes a field that nobody asked for.
pub fn unknown(field: String) {
    note(|noted| _ = noted.unknown.insert(field));
}

/// Notes that an earlier request's answer is given.
pub fn unread() {
    note(|noted| noted.unread = true);
}

/// Does `work` and says what it did not ask for of the query `parameters` and the body.
pub async fn noting<T>(
    parameters: impl IntoIterator<Item = String>,
    work: impl Future<Output = T>,
) -> (T, Option<String>) {
    NOTED
        .scope(RefCell::default(), async {
            let done = work.await;
            let Noted { asked, mut unknown, unread } = NOTED.with(RefCell::take);
            unknown.extend(parameters.into_iter().filter(|name| !asked.contains(name.as_str())));
            (done, if unread { None } else { written(&unknown) })
        })
        .await
}

/// The header's value, unless there is nothing to say.
fn written(names: &BTreeSet<String>) -> Option<String> {
    let mut text = String::new();
    for name in names {
        // Not the encoding of a query: whatever is no letter, so that no name can end the header.
        let shown = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '?' };
        let name: String = name.chars().take(NAME_LENGTH_MAX).map(shown).collect();
        let separator = if text.is_empty() { "" } else { ", " };
        if text.len() + separator.len() + name.len() > LENGTH_MAX {
            break;
        }
        text.push_str(separator);
        text.push_str(&name);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_short_and_harmless() {
        let of = |names: &[&str]| written(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["rate_limit", "limt"]).unwrap(), "limt, rate_limit");
        assert_eq!(of(&["a\r\nset-cookie: b", "é"]).unwrap(), "a??set-cookie??b, ?");
        let many: Vec<String> = (0..10_000).map(|nth| format!("{nth}{}", "x".repeat(1_000))).collect();
        let many = of(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert!((400..=LENGTH_MAX).contains(&many.len()));
    }

    #[tokio::test]
    async fn what_was_asked_for_is_known() {
        let query = ["limit".to_owned(), "limt".to_owned()];
        let (done, said) = noting(query.clone(), async {
            asked("limit");
            unknown("rate_limit".into());
            7
        })
        .await;
        assert_eq!((done, said.as_deref()), (7, Some("limt, rate_limit")));
        assert_eq!(noting(query, async { unread() }).await.1, None);
        asked("outside of a request");
    }
}

//! An attempt as bytes: the first one, which is part of its delivery's state (ADR 0040).
//!
//! There is one for each delivery, and each byte of it is paid for as long as attempts are kept. What follows from the state's
//! key, from the message's time or from what most receivers say takes one byte or none.
//!
//! ```text
//! version   1 byte: 1
//! flags     1 byte: failed 1, disables 2, transformed 4, cancelled 8, has a next one 16, has an error 32, has lists 64,
//!           texts are short ones 128
//! code      signed number: the response's status less 200
//! at        signed number: ms after the message's time
//! duration  number: ms
//! next      signed number: ms after `at`                      (where flagged)
//! URL       number: 4 × length behind the scheme + scheme (1 https://, 2 http://, 0 none of them)
//! type      length
//! error     length                                            (where flagged)
//! lists     channels, tags: number: 0 none, else entries + 1; then a length each (where flagged)
//! texts     what has a length, one behind the other; where flagged in the code for short texts ([`short`])
//! ```
//!
//! A number is a varint: seven bits in each byte, the lowest first, the eighth says that more follow. A signed one is zigzag
//! within that. The response's body and headers are attributes beside it, so that they can be removed by an update that has not
//! read them.

pub(super) mod headers;
mod numbers;

use domain::attempt::{Attempt, Passage, ResponseBody, Status, Trigger};
use domain::error::{Result, corrupt};
use domain::ids::{AttemptId, EndpointId, MessageId};
use domain::labels::Labels;
use numbers::{Reader, put_number, put_signed};
use runtime::clock::Timestamp;

use super::short;

const VERSION: u8 = 1;
const FAILED: u8 = 1;
const DISABLES: u8 = 2;
const TRANSFORMED: u8 = 4;
const CANCELED: u8 = 8;
const HAS_NEXT: u8 = 16;
const HAS_ERROR: u8 = 32;
const HAS_LISTS: u8 = 64;
const SHORT: u8 = 128;
/// By their place: the number in a packed URL. Append only.
const SCHEMES: [&str; 3] = ["", "https://", "http://"];
const CODE_USUAL: i64 = 200;

/// An attempt without its response.
pub(super) fn pack(attempt: &Attempt) -> Vec<u8> {
    let Labels { event_type, channels, tags } = &attempt.labels;
    let mut flags = match attempt.passage {
        Passage::Untransformed => 0,
        Passage::Transformed => TRANSFORMED,
        Passage::Canceled => CANCELED,
    };
    for (flag, is) in [
        (FAILED, attempt.status != Status::Success),
        (DISABLES, attempt.disables),
        (HAS_NEXT, attempt.next.is_some()),
        (HAS_ERROR, attempt.error.is_some()),
        (HAS_LISTS, channels.is_some() || tags.is_some()),
    ] {
        flags |= if is { flag } else { 0 };
    }
    let scheme = (1..SCHEMES.len()).find(|nth| attempt.url.starts_with(SCHEMES[*nth])).unwrap_or(0);
    let rest = &attempt.url[SCHEMES[scheme].len()..];
    let lists = if flags & HAS_LISTS == 0 { None } else { Some([channels, tags]) };
    let entries = lists.iter().flatten().flat_map(|list| list.iter().flatten());
    let texts: Vec<&str> = [rest, event_type]
        .into_iter()
        .chain(attempt.error.as_deref())
        .chain(entries.map(String::as_str))
        .collect();
    let texts = texts.concat().into_bytes();
    let short = short::pack(&texts);
    flags |= if short.is_some() { SHORT } else { 0 };

    let mut out = Vec::with_capacity(16 + texts.len());
    out.extend([VERSION, flags]);
    put_signed(&mut out, i64::from(attempt.code) - CODE_USUAL);
    put_signed(&mut out, between(attempt.message.time(), attempt.at));
    put_number(&mut out, attempt.duration_ms);
    if let Some(next) = attempt.next {
        put_signed(&mut out, between(attempt.at, next));
    }
    put_number(&mut out, (rest.len() * 4 + scheme) as u64);
    put_number(&mut out, event_type.len() as u64);
    if let Some(error) = &attempt.error {
        put_number(&mut out, error.len() as u64);
    }
    for list in lists.iter().flatten() {
        put_number(&mut out, list.as_ref().map_or(0, |list| list.len() as u64 + 1));
        list.iter().flatten().for_each(|entry| put_number(&mut out, entry.len() as u64));
    }
    out.extend(short.unwrap_or(texts));
    out
}

/// The first attempt of `message` at `endpoint` out of its bytes; its response is empty.
///
/// # Errors
/// `Corrupt` if that is none, or one of a later version.
pub(super) fn unpack(bytes: &[u8], endpoint: EndpointId, message: MessageId) -> Result<Attempt> {
    read(bytes, endpoint, message).ok_or_else(|| corrupt("a first attempt")("its bytes cannot be read"))
}

fn read(bytes: &[u8], endpoint: EndpointId, message: MessageId) -> Option<Attempt> {
    let mut from = Reader(bytes);
    if from.byte()? != VERSION {
        return None;
    }
    let flags = from.byte()?;
    let has = |flag| flags & flag != 0;
    let code = u16::try_from(from.signed()?.checked_add(CODE_USUAL)?).ok()?;
    let at = later(message.time(), from.signed()?)?;
    let duration_ms = from.number()?;
    let next = if has(HAS_NEXT) { Some(later(at, from.signed()?)?) } else { None };
    let url = from.length()?;
    let scheme = SCHEMES.get(url % 4)?;
    let event_type = from.length()?;
    let error = if has(HAS_ERROR) { Some(from.length()?) } else { None };
    let (channels, tags) = if has(HAS_LISTS) { (from.lengths()?, from.lengths()?) } else { (None, None) };

    let texts = if has(SHORT) { short::unpack(from.0)? } else { from.0.to_vec() };
    let mut texts = Reader(&texts);
    let mut text = |length| texts.text_of(length).map(str::to_owned);
    let url = [scheme, text(url / 4)?.as_str()].concat();
    let event_type = text(event_type)?;
    let error = error.map(&mut text).map_or(Some(None), |error| error.map(Some))?;
    let mut list = |lengths: Option<Vec<usize>>| match lengths {
        None => Some(None),
        Some(lengths) => lengths.into_iter().map(&mut text).collect::<Option<_>>().map(Some),
    };
    let (channels, tags) = (list(channels)?, list(tags)?);
    if !texts.0.is_empty() {
        return None;
    }
    Some(Attempt {
        id: AttemptId::first(message, endpoint),
        endpoint,
        message,
        url,
        status: if has(FAILED) { Status::Fail } else { Status::Success },
        code,
        response: ResponseBody::Text(String::new()),
        error,
        response_headers: Vec::new(),
        duration_ms,
        at,
        trigger: Trigger::Scheduled,
        next,
        disables: has(DISABLES),
        passage: match (has(CANCELED), has(TRANSFORMED)) {
            (true, _) => Passage::Canceled,
            (_, true) => Passage::Transformed,
            _ => Passage::Untransformed,
        },
        labels: Labels { event_type, channels, tags },
    })
}

/// Milliseconds from one time to another, which may be earlier.
fn between(from: Timestamp, to: Timestamp) -> i64 {
    to.ms().wrapping_sub(from.ms()).cast_signed()
}

fn later(from: Timestamp, ms: i64) -> Option<Timestamp> {
    from.ms().checked_add_signed(ms).map(Timestamp::from_ms)
}

#[cfg(test)]
mod tests {
    use domain::ids::{Id as _, Ksuid};

    use super::*;

    fn attempt() -> Attempt {
        let at = Timestamp::from_ms(1_800_000_000_123);
        let message = MessageId::from_ksuid(Ksuid::new(at, [7; 15]));
        let endpoint = EndpointId::from_ksuid(Ksuid::new(at, [8; 15]));
        Attempt {
            id: AttemptId::first(message, endpoint),
            endpoint,
            message,
            url: "https://example.com/hooks".into(),
            status: Status::Success,
            code: 200,
            response: ResponseBody::Text(String::new()),
            error: None,
            response_headers: Vec::new(),
            duration_ms: 17,
            at: Timestamp::from_ms(message.time().ms() + 60),
            trigger: Trigger::Scheduled,
            next: None,
            disables: false,
            passage: Passage::Untransformed,
            labels: Labels::of("invoice.paid"),
        }
    }

    #[test]
    fn an_ordinary_success_is_its_texts_and_seven_bytes() {
        let attempt = attempt();
        let packed = pack(&attempt);
        // What is stored is read for as long as attempts are kept: these bytes stay as they are.
        assert_eq!(packed[..7], *b"\x01\x80\x00\x78\x11\x45\x0c");
        assert_eq!(short::unpack(&packed[7..]).unwrap(), b"example.com/hooksinvoice.paid");
        assert!(packed.len() < 26, "{}", packed.len());
        assert_eq!(unpack(&packed, attempt.endpoint, attempt.message).unwrap(), attempt);
    }

    #[test]
    fn each_attempt_comes_back_as_it_was() {
        let plain = attempt();
        let at = |ms: i64| Timestamp::from_ms(plain.at.ms().saturating_add_signed(ms));
        let others = [
            Attempt { url: "http://127.0.0.1:80/".into(), code: 0, ..plain.clone() },
            Attempt { url: "arn:aws:sqs:eu-west-1:1:q".into(), code: u16::MAX, ..plain.clone() },
            Attempt { url: String::new(), duration_ms: u64::MAX, ..plain.clone() },
            Attempt { url: "https://x/".repeat(500), at: at(-90_000), ..plain.clone() },
            Attempt { at: Timestamp::from_ms(0), ..plain.clone() },
            Attempt { at: Timestamp::from_ms(1 << 60), ..plain.clone() },
            Attempt {
                status: Status::Fail,
                next: Some(at(5_000)),
                error: Some("cut".into()),
                ..plain.clone()
            },
            Attempt { status: Status::Fail, next: Some(at(-1)), disables: true, ..plain.clone() },
            Attempt { passage: Passage::Transformed, ..plain.clone() },
            Attempt { passage: Passage::Canceled, ..plain.clone() },
            Attempt {
                labels: Labels {
                    event_type: "ä".repeat(100),
                    channels: Some(vec!["a".into(), String::new()]),
                    tags: None,
                },
                ..plain.clone()
            },
            Attempt {
                labels: Labels {
                    event_type: "a".into(),
                    channels: Some(vec![]),
                    tags: Some(vec!["t".into()]),
                },
                ..plain.clone()
            },
        ];
        for attempt in others {
            let packed = pack(&attempt);
            assert_eq!(unpack(&packed, attempt.endpoint, attempt.message).unwrap(), attempt);
            for length in 0..packed.len() {
                // Cut off anywhere it is no attempt, and nothing panics.
                assert!(unpack(&packed[..length], attempt.endpoint, attempt.message).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn what_a_later_version_packed_is_not_guessed() {
        let attempt = attempt();
        let mut packed = pack(&attempt);
        packed[0] = 2;
        assert!(unpack(&packed, attempt.endpoint, attempt.message).is_err());
    }
}

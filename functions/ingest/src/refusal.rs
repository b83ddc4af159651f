//! Why a message is not accepted, for whoever reads the log.

use shared::Error;
use shared::batch::Outcome;
use shared::error::{Violation, ViolationKind};

/// Most bytes of a reason.
const LENGTH_MAX: usize = 1_000;

/// What becomes of a record whose message was not accepted. What its sender has to correct is refused;
/// the rest comes back.
pub fn outcome(error: Error) -> Outcome {
    match error {
        Error::Invalid(violations) => Outcome::Refused(reason(&violations)),
        Error::BadRequest(_)
        | Error::LimitReached(_)
        | Error::Unauthenticated(_)
        | Error::Forbidden(_)
        | Error::NotFound(_)
        | Error::MethodNotAllowed
        | Error::Conflict(_)
        | Error::TooLarge(_)
        | Error::UnsupportedEncoding => Outcome::Refused(error.to_string()),
        Error::Unfinished(_) | Error::TooMany { .. } | Error::Unavailable { .. } | Error::Corrupt { .. } => {
            Outcome::Failed(error)
        }
    }
}

/// The broken rules, and nothing of what the message says.
fn reason(violations: &[Violation]) -> String {
    let mut reason = String::new();
    for violation in violations {
        let msg = match violation.msg.rsplit_once(", expected ") {
            // Before it is the value itself.
            Some((_, expected)) if violation.kind == ViolationKind::TypeError => {
                format!("Must be {expected}")
            }
            _ => violation.msg.clone(),
        };
        let one = format!("{}: {msg}", violation.loc.join("."));
        if reason.len() + one.len() > LENGTH_MAX {
            reason.push_str(" …");
            break;
        }
        if !reason.is_empty() {
            reason.push_str("; ");
        }
        reason.push_str(&one);
    }
    reason
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::queued::Queued;

    fn refused(body: &str) -> String {
        match Queued::parse(body, shared::clock::Timestamp::default()).map_err(outcome) {
            Err(Outcome::Refused(reason)) => reason,
            other => panic!("{body} gave {other:?}"),
        }
    }

    const ORG: &str = "org_23rb8YdGqMT0qIzpgGwdXfHirMu";

    #[test]
    fn every_broken_rule_is_named() {
        assert_eq!(
            refused(r#"{"orgId":"acme","appId":"a b","idempotencyKey":"","orgid":1}"#),
            "body.orgid: There is no such field; body.orgId: Must be the id of an organisation; \
             body.appId: Must be the id or the uid of an application; \
             body.idempotencyKey: String must have between 1 and 256 bytes; body.message: Field required"
        );
        let body = |message: &str| format!(r#"{{"orgId":"{ORG}","appId":"acme","message":{message}}}"#);
        assert_eq!(
            refused(&body(r#"{"eventType":"a b","payload":[]}"#)),
            "body.message.eventType: String must match ^[a-zA-Z0-9\\-_.]+$ and have between 1 and 256 characters; \
             body.message.payload: Must be a JSON object"
        );
        let other = r#"{"eventType":"a","payload":{},"application":{"name":"x","uid":"other"}}"#;
        assert!(refused(&body(other)).starts_with("body.message.application: "));
        assert_eq!(refused("no JSON"), "body: The request body is not valid JSON (line 1, column 2)");
        assert_eq!(refused("[]"), "body: A JSON object is expected");
    }

    #[test]
    fn nothing_of_a_message_is_in_a_reason() {
        for message in [
            r#""{\"eventType\":\"a\",\"payload\":{\"secret\":1}}""#,
            r#"["secret"]"#,
            r#"{"eventType":{"secret":1},"payload":{}}"#,
            r#"{"eventType":"a","channels":"secret, expected secret","payload":{}}"#,
            r#"{"eventType":"a","payload":"secret"}"#,
            r#"{"eventType":"a","payload":{},"payloadRetentionPeriod":"secret"}"#,
        ] {
            let reason = refused(&format!(r#"{{"orgId":"{ORG}","appId":"acme","message":{message}}}"#));
            assert!(reason.starts_with("body.message") && !reason.contains("secret"), "{reason}");
        }
        let many: Vec<String> = (0..10_000).map(|nth| format!(r#""x{nth}":1"#)).collect();
        assert!(refused(&format!("{{{}}}", many.join(","))).len() <= LENGTH_MAX + 5);
    }

    #[test]
    fn what_may_work_later_comes_back() {
        let error = Error::TooMany { retry_after: Duration::from_secs(1) };
        assert!(matches!(outcome(error), Outcome::Failed(Error::TooMany { .. })));
        let error = shared::error::unavailable("store")("down");
        assert!(matches!(outcome(error), Outcome::Failed(Error::Unavailable { .. })));
        assert!(
            matches!(outcome(Error::NotFound("Application")), Outcome::Refused(reason) if reason == "Application not found")
        );
    }
}

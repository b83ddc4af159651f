use std::sync::Arc;

use super::*;
use domain::caller::DEFAULT_ORG;
use domain::ids::Reference;
use runtime::clock::{Clock, Sleep};

#[derive(Debug)]
struct At(u64);
impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_ms(self.0 * 1000)
    }
    fn sleep(&self, _: Duration) -> Sleep {
        Box::pin(std::future::ready(()))
    }
}

const SECRET: &str = "a secret of more than 32 characters";

fn tokens(secret: &'static str, now: u64) -> Tokens {
    let env = Env::new(move |name| (name == "POSTRIDER_JWT_SECRET").then(|| secret.to_owned()));
    Tokens::read(&env, Arc::new(At(now))).unwrap()
}

#[test]
fn tokens_name_their_bearer() {
    let at = tokens(SECRET, 1_800_000_000);
    let (org, app) = (DEFAULT_ORG.parse().unwrap(), "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap());
    assert_eq!(at.verify(&at.for_org(org).unwrap()).unwrap().who, Who::Org(org));
    let flags = vec!["beta".to_owned()];
    let access = AppAccess { feature_flags: flags.clone(), ..AppAccess::default() };
    let token = at.for_app(org, app, access).unwrap();
    assert_eq!(
        at.verify(&token).unwrap().who,
        Who::App {
            org,
            app,
            feature_flags: flags,
            made: at.clock.now(),
            capabilities: Capabilities::ALL,
            session: None,
        }
    );
}

#[test]
fn secrets_are_exchanged_in_three_steps() {
    const NEW: &str = "another, with a comma, of more than 32 characters";
    let org = DEFAULT_ORG.parse().unwrap();
    let list = |secrets: &[&str]| serde_json::to_string(secrets).unwrap().leak();
    let of = |text| tokens(text, 1_800_000_000);
    let (both, turned) = (of(list(&[SECRET, NEW])), of(list(&[NEW, SECRET])));
    let (before, after) = (of(SECRET), of(NEW));
    let (early, late) = (before.for_org(org).unwrap(), turned.for_org(org).unwrap());
    for (tokens, takes_early, takes_late) in
        [(&before, true, false), (&both, true, true), (&turned, true, true), (&after, false, true)]
    {
        assert_eq!(tokens.verify(&early).is_ok(), takes_early);
        assert_eq!(tokens.verify(&late).is_ok(), takes_late);
    }
    assert!(before.verify(&both.for_org(org).unwrap()).is_ok());
    for secret in [SECRET, NEW] {
        let error = both.verify(secret).unwrap_err().to_string();
        assert!(error.starts_with("The signing secret itself"), "{error}");
    }
}

#[test]
fn others_tokens_are_refused() {
    let (ours, later) = (tokens(SECRET, 1_800_000_000), tokens(SECRET, 1_800_000_000 + 29 * 86_400));
    let theirs = tokens("another secret of more than 32 characters", 1_800_000_000);
    let org = DEFAULT_ORG.parse().unwrap();
    let app = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap();
    let message = |result: Result<Caller>| result.unwrap_err().to_string();
    assert_eq!(message(ours.verify(&theirs.for_org(org).unwrap())), "Invalid token");
    assert_eq!(
        message(later.verify(&ours.for_app(org, app, AppAccess::default()).unwrap())),
        "The token has expired."
    );
    assert_eq!(message(ours.verify("x.y.z")), "Invalid token");
    assert!(message(ours.verify(SECRET)).starts_with("The signing secret itself"));
    // `alg: none`, unsigned
    let none =
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvcmdfMjNyYjhZZEdxTVQwcUl6cGdHd2RYZkhpck11IiwiZXhwIjo5OTk5OTk5OTk5fQ.";
    assert_eq!(message(ours.verify(none)), "Invalid token");
}

#[test]
fn a_token_that_is_known_ends_when_it_does_and_is_known_by_all_of_it() {
    #[derive(Debug, Default)]
    struct Passing(std::sync::atomic::AtomicU64);
    impl Clock for Passing {
        fn now(&self) -> Timestamp {
            Timestamp::from_ms(1_800_000_000_000 + self.0.load(std::sync::atomic::Ordering::Relaxed))
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::ready(()))
        }
    }
    let clock = Arc::new(Passing::default());
    let env = Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| SECRET.to_owned()));
    let tokens = Tokens::read(&env, clock.clone()).unwrap().lasting(Duration::from_secs(30));
    let token = tokens.for_org(DEFAULT_ORG.parse().unwrap()).unwrap();
    let first = tokens.known(&token).unwrap();
    assert_eq!(first.token_id.as_deref(), Some(token_id(&token).as_str()));
    assert_eq!(tokens.known(&token).unwrap(), first);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    for other in [forged.as_str(), signed, &token[..token.len() - 1]] {
        assert!(tokens.known(other).is_err(), "{other}");
    }
    clock.0.store(30_000, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(tokens.known(&token).unwrap_err().to_string(), "The token has expired.");
}

/// A token with these parts, signed with [`SECRET`].
fn signed(header: &str, claims: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{text}.{}", BASE64.encode(ring::hmac::sign(&key, text.as_bytes())))
}

#[test]
fn dates_may_have_fractions_and_none_may_lie_ahead() {
    const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
    let at = tokens(SECRET, 1_800_000_000);
    let verified = |claims: &str| {
        let claims = format!(r#"{{"sub":"{DEFAULT_ORG}",{claims}}}"#);
        at.verify(&signed(HEADER, &claims)).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(verified(r#""exp":1800003600.25"#), Ok(()));
    assert_eq!(verified(r#""exp":1800003600,"iat":1799999999.9,"nbf":1799999999.9"#), Ok(()));
    assert_eq!(verified(r#""exp":1800003600,"iat":1800000050"#), Ok(()), "a clock that is a little off");
    assert_eq!(verified(r#""exp":1800003600,"iat":1800000061"#), Err("The token is not valid yet.".into()));
    assert_eq!(verified(r#""exp":1800003600,"nbf":1800000061"#), Err("The token is not valid yet.".into()));
    assert_eq!(verified(r#""exp":1799999999.5"#), Err("The token has expired.".into()));
    for none in [r#""iat":1"#, r#""exp":"soon""#, r#""exp":-1"#, r#""exp":null"#, r#""exp":1e300"#] {
        assert_eq!(verified(none), Err("Invalid token".into()), "{none}");
    }
}

#[test]
fn extensions_that_have_to_be_understood_are_refused() {
    let at = tokens(SECRET, 1_800_000_000);
    let claims = format!(r#"{{"sub":"{DEFAULT_ORG}","exp":1800003600}}"#);
    assert!(at.verify(&signed(r#"{"alg":"HS256"}"#, &claims)).is_ok());
    let critical = signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims);
    assert_eq!(at.verify(&critical).unwrap_err().to_string(), "Invalid token");
}

#[test]
fn a_customer_means_its_own_application() {
    let org = DEFAULT_ORG.parse().unwrap();
    let app: AppId = "app_23rb8YdGqMT0qIzpgGwdXfHirMu".parse().unwrap();
    let other: AppId = "app_23rb8YdGqMT0qIzpgGwdXfHirMv".parse().unwrap();
    let caller: Caller = Who::App {
        org,
        app,
        feature_flags: vec![],
        made: Timestamp::default(),
        capabilities: Capabilities::ALL,
        session: None,
    }
    .into();
    assert_eq!(caller.narrow(Reference::Id(app)).unwrap(), Reference::Id(app));
    assert!(matches!(caller.narrow(Reference::Id(other)), Err(Error::NotFound(_))));
    assert!(matches!(caller.organisation_only(), Err(Error::Forbidden(_))));
}

#[test]
fn a_tokens_id_is_of_what_is_signed() {
    assert_eq!(token_id("a.b.c"), token_id("a.b.d"));
    assert_ne!(token_id("a.b.c"), token_id("a.c.c"));
    // As `printf %s a.b | sha256sum` has it.
    assert!(token_id("a.b.c").starts_with("2e7336dc8eba"), "{}", token_id("a.b.c"));
}

#[test]
fn short_secrets_stop_the_start() {
    let env = Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| "short".to_owned()));
    let error = Tokens::read(&env, Arc::new(At(0))).unwrap_err();
    assert_eq!(error.to_string(), "POSTRIDER_JWT_SECRET: is too short; it should have 32 characters or more");
}

#[test]
fn keys_that_lambda_has_no_room_for_stop_the_start() {
    let env =
        Env::new(|name| (name == "POSTRIDER_JWT_SECRET").then(|| "x".repeat(keys::SECRETS_LENGTH_MAX + 1)));
    let error = Tokens::read(&env, Arc::new(At(0))).unwrap_err().to_string();
    assert!(error.contains("has 2801 bytes of keys") && error.contains("use EdDSA"), "{error}");
}

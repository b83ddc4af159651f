//! What an application's token allows, and what each operation needs of it.
//!
//! A token says its capabilities in the claim `capabilities`; one without the claim has all of them, as
//! tokens had before there were any. Functions hold requests against [`NEEDS`] where they verify the
//! token: neither the portal nor a handler decides.

use crate::error::{Error, Result};

/// Something that an application's token may do. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Read endpoints, messages, attempts, statistics and event types.
    ViewBase,
    /// Read an endpoint's signing secret.
    ViewEndpointSecret,
    /// Rotate an endpoint's signing secret.
    ManageEndpointSecret,
    /// Read, change and try an endpoint's transformation.
    ManageTransformations,
    /// Resend, send an example, recover and replay.
    CreateAttempts,
    /// Create, change and delete endpoints and their headers.
    ManageEndpoint,
}

impl Capability {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::ViewBase,
        Self::ViewEndpointSecret,
        Self::ManageEndpointSecret,
        Self::ManageTransformations,
        Self::CreateAttempts,
        Self::ManageEndpoint,
    ];

    /// As requests, answers and claims spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ViewBase => "ViewBase",
            Self::ViewEndpointSecret => "ViewEndpointSecret",
            Self::ManageEndpointSecret => "ManageEndpointSecret",
            Self::ManageTransformations => "ManageTransformations",
            Self::CreateAttempts => "CreateAttempts",
            Self::ManageEndpoint => "ManageEndpoint",
        }
    }

    /// What a caller without it is told.
    const fn refusal(self) -> &'static str {
        match self {
            Self::ViewBase => "This token lacks the capability ViewBase.",
            Self::ViewEndpointSecret => "This token lacks the capability ViewEndpointSecret.",
            Self::ManageEndpointSecret => "This token lacks the capability ManageEndpointSecret.",
            Self::ManageTransformations => "This token lacks the capability ManageTransformations.",
            Self::CreateAttempts => "This token lacks the capability CreateAttempts.",
            Self::ManageEndpoint => "This token lacks the capability ManageEndpoint.",
        }
    }

    /// The one of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.name() == name)
    }
}

/// The capabilities of one token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Every capability.
    pub const ALL: Self = Self((1 << Capability::ALL.len()) - 1);
    /// What a token that may only read has.
    pub const READ_ONLY: Self = Self(1 << Capability::ViewBase as u8);

    /// Whether `capability` is among them.
    pub const fn contain(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.contain(*capability))
    }

    /// Those that a claim names. A name that this version does not know allows nothing.
    pub fn of_claim<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Capability::of).collect()
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, capability| bits | 1 << capability as u8))
    }
}

/// What an operation needs of an application's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A valid token of any capabilities.
    Nothing,
    /// This capability.
    Of(Capability),
}

const VIEW: Need = Need::Of(Capability::ViewBase);
const MANAGE: Need = Need::Of(Capability::ManageEndpoint);
const SEND: Need = Need::Of(Capability::CreateAttempts);

/// Every operation that an application's token may call: method, path as the router has it, need. An
/// operation that is not here is refused to such tokens.
pub const NEEDS: &[(&str, &str, Need)] = &[
    ("GET", "/api/v1/app/{app_id}", VIEW),
    ("GET", "/api/v1/app/{app_id}/attempt/endpoint/{endpoint_id}", VIEW),
    ("GET", "/api/v1/app/{app_id}/attempt/msg/{msg_id}", VIEW),
    ("GET", "/api/v1/app/{app_id}/endpoint", VIEW),
    ("POST", "/api/v1/app/{app_id}/endpoint", MANAGE),
    ("POST", "/api/v1/app/{app_id}/endpoint/filter/test", VIEW),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}", VIEW),
    ("PUT", "/api/v1/app/{app_id}/endpoint/{endpoint_id}", MANAGE),
    ("PATCH", "/api/v1/app/{app_id}/endpoint/{endpoint_id}", MANAGE),
    ("DELETE", "/api/v1/app/{app_id}/endpoint/{endpoint_id}", MANAGE),
    // An AutoConfig key does it as well, for its own endpoint.
    ("PUT", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/auto-config", MANAGE),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", VIEW),
    ("PUT", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", MANAGE),
    ("PATCH", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/headers", MANAGE),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", VIEW),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats", VIEW),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/stats/series", VIEW),
    ("GET", "/api/v1/app/{app_id}/stats/series", VIEW),
    ("GET", "/api/v1/app/{app_id}/failing-endpoint", VIEW),
    ("GET", "/api/v1/app/{app_id}/undelivered", VIEW),
    ("GET", "/api/v1/environment/settings", Need::Nothing),
    // They send nothing, and say less than the lists of deliveries do.
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover/count", VIEW),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing/count", VIEW),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay/count", VIEW),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret", Need::Of(Capability::ViewEndpointSecret)),
    (
        "POST",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret/rotate",
        Need::Of(Capability::ManageEndpointSecret),
    ),
    // Its variables are often secrets: who may not change them may not read them either.
    (
        "GET",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation",
        Need::Of(Capability::ManageTransformations),
    ),
    (
        "PATCH",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation",
        Need::Of(Capability::ManageTransformations),
    ),
    (
        "POST",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/transformation/simulate",
        Need::Of(Capability::ManageTransformations),
    ),
    ("GET", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order", VIEW),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/pause", MANAGE),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/resume", MANAGE),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/retry", SEND),
    // It gives a message up.
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/order/skip", MANAGE),
    ("GET", "/api/v1/app/{app_id}/poller/{sink_id}", VIEW),
    // A consumer's position is its endpoint's: whoever moves it changes what others are given.
    ("GET", "/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}", MANAGE),
    ("POST", "/api/v1/app/{app_id}/poller/{sink_id}/consumer/{consumer_id}/seek", MANAGE),
    ("GET", "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}", MANAGE),
    ("POST", "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}/commit", MANAGE),
    (
        "GET",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/poller/token",
        Need::Of(Capability::ViewEndpointSecret),
    ),
    (
        "POST",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/poller/token/rotate",
        Need::Of(Capability::ManageEndpointSecret),
    ),
    (
        "DELETE",
        "/api/v1/app/{app_id}/endpoint/{endpoint_id}/poller/token",
        Need::Of(Capability::ManageEndpointSecret),
    ),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/recover", SEND),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/replay-missing", SEND),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/bulk-replay", SEND),
    ("POST", "/api/v1/app/{app_id}/endpoint/{endpoint_id}/send-example", SEND),
    ("GET", "/api/v1/app/{app_id}/msg", VIEW),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}", VIEW),
    // What a customer may take out of the log is a matter of its own endpoints' data.
    ("DELETE", "/api/v1/app/{app_id}/msg/{msg_id}/content", MANAGE),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}/attempt", VIEW),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}", VIEW),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/headers", VIEW),
    ("DELETE", "/api/v1/app/{app_id}/msg/{msg_id}/attempt/{attempt_id}/content", MANAGE),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}/endpoint", VIEW),
    ("GET", "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/attempt", VIEW),
    ("POST", "/api/v1/app/{app_id}/msg/{msg_id}/endpoint/{endpoint_id}/resend", SEND),
    // Of its own application: what it began, and how far that is.
    ("GET", "/api/v1/background-task", VIEW),
    ("GET", "/api/v1/background-task/{task_id}", VIEW),
    ("GET", "/api/v1/event-type", VIEW),
    ("GET", "/api/v1/event-type/{event_type_name}", VIEW),
    // Whoever may see endpoints may see what they can be made with.
    ("GET", "/api/v1/connector", VIEW),
    ("GET", "/api/v1/connector/{connector_id}", VIEW),
    ("GET", "/api/v1/auth/whoami", Need::Nothing),
    ("POST", "/api/v1/auth/logout", Need::Nothing),
];

/// What the operation at `path` needs of an application's token; none if such tokens may not call it.
pub fn need(method: &str, path: &str) -> Option<Need> {
    // A router answers HEAD by the route of GET.
    let method = if method == "HEAD" { "GET" } else { method };
    NEEDS.iter().find(|(of, at, _)| *of == method && *at == path).map(|(.., need)| *need)
}

/// Demands that `capability` is among those held.
///
/// # Errors
/// `Forbidden`, which names the capability.
pub const fn demand(held: Capabilities, capability: Capability) -> Result<()> {
    if held.contain(capability) { Ok(()) } else { Err(Error::Forbidden(capability.refusal())) }
}

/// Holds an application's token against what the operation needs.
///
/// # Errors
/// `Forbidden`, which names the capability that is missing.
pub fn check(held: Capabilities, method: &str, path: &str) -> Result<()> {
    match need(method, path) {
        Some(Need::Nothing) => Ok(()),
        Some(Need::Of(capability)) => demand(held, capability),
        None => Err(Error::Forbidden("An organisation's token is needed for this operation.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_unknown_ones_allow_nothing() {
        let all: Vec<&str> = Capabilities::ALL.iter().map(Capability::name).collect();
        assert_eq!(Capabilities::of_claim(all.iter().copied()), Capabilities::ALL);
        assert_eq!(Capabilities::of_claim(["ViewBase", "Rule"]), Capabilities::READ_ONLY);
        assert_eq!(Capabilities::of_claim([]).iter().count(), 0);
    }

    #[test]
    fn a_refusal_names_what_is_missing() {
        let secret = "/api/v1/app/{app_id}/endpoint/{endpoint_id}/secret";
        let refused = |held, method, path| check(held, method, path).map_err(|error| error.to_string());
        for capability in Capability::ALL {
            let others: Capabilities = Capability::ALL.into_iter().filter(|one| *one != capability).collect();
            for (method, path, need) in NEEDS {
                let expected = match need {
                    Need::Of(needed) if *needed == capability => Err(capability.refusal().to_owned()),
                    _ => Ok(()),
                };
                assert_eq!(refused(others, method, path), expected, "{method} {path}");
            }
            assert!(capability.refusal().contains(capability.name()));
        }
        assert_eq!(refused(Capabilities::ALL, "GET", secret), Ok(()));
        assert!(refused(Capabilities::ALL, "POST", "/api/v1/app/{app_id}/msg").is_err());
        assert_eq!(refused(Capabilities::READ_ONLY, "HEAD", "/api/v1/event-type"), Ok(()));
    }
}

//! The portal's way in: links, their tokens and sessions, and who a token is for.

use std::time::Duration;

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Extensions, HeaderMap};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use shared::auth::{
    AppAccess, Authenticated, Bearer, Caller, Capabilities, Capability, Organisation, Who, token_id,
};
use shared::clock::Timestamp;
use shared::http::{
    ApiResult, AppRef, Body, BodyType, Fields, Idempotent, Json, NoContent, Once, Path, Registry,
    RequestBody, Text, own_url,
};
use shared::ids::{AppId, NAME_LENGTH_MAX, OrgId, Reference};
use shared::limits::FEATURE_FLAGS_MAX;
use shared::store::applications::ApplicationSettings;
use shared::wire::ApplicationIn;
use shared::{Api, Error, Result, random};

use super::Auth;

/// How long a portal token lasts, in seconds: at least, at most, and if nothing is said.
const LIFE_SECONDS_MIN: u64 = 3_600;
const LIFE_SECONDS_MAX: u64 = 604_800;
/// How long expired tokens may stay valid.
const GRACE_SECONDS_MAX: u64 = 259_200;
/// Most sessions of one request.
const SESSIONS_MAX: usize = 1_000;
/// How many capabilities one name each may take.
const CAPABILITIES_MAX: usize = Capability::ALL.len();
/// Longest text that is looked at as a one-time token.
const ONE_TIME_LENGTH_MAX: usize = 128;

pub(super) fn operations<R: Registry<Auth>>(to: R, tag: &'static str) -> R {
    to.post("/api/v1/auth/app-portal-access/{app_id}", portal_access, |operation| {
        operation
            .named("v1.authentication.app-portal-access", tag)
            .summary("Get an app portal link")
            .text(
                "Creates a token for the application and a link that opens the portal with it. The token lasts \
                 seven days unless `expiry` says otherwise.",
            )
            .returns("The link and the token.")
    })
    .post("/api/v1/auth/dashboard-access/{app_id}", portal_access, |operation| {
        operation
            .named("v1.authentication.dashboard-access", tag)
            .summary("Get an app portal link")
            .text("Deprecated alias of app-portal-access.")
            .deprecated()
            .returns("The link and the token.")
    })
    .post("/api/v1/auth/one-time-token", one_time_token, |operation| {
        operation
            .named("v1.authentication.exchange-one-time-token", tag)
            .summary("Exchange the one-time token of a portal link")
            .text("A one-time token works once, within ten minutes of its creation. No other token is needed.")
            .returns("The bearer token.")
    })
    .get("/api/v1/auth/whoami", whoami, |operation| {
        operation
            .named("v1.authentication.whoami", tag)
            .summary("Get who the token is for, and what it allows")
            .returns("The bearer.")
    })
    .post("/api/v1/auth/logout", logout, |operation| {
        operation
            .named("v1.authentication.logout", tag)
            .summary("Log out an application's token")
            .text("The token is invalid from now on. A token that is already invalid gets 401.")
            .returns("Logged out.")
    })
    .post("/api/v1/auth/app/{app_id}/expire-all", expire_all, |operation| {
        operation
            .named("v1.authentication.expire-all", tag)
            .summary("Expire an application's tokens")
            .text("All tokens that were created so far, or those of the named sessions. Later ones are valid.")
            .returns("Expired.")
    })
}

/// What portal access is asked for.
struct PortalAccess {
    access: AppAccess,
    /// Created if it is missing.
    application: Option<ApplicationSettings>,
}

impl RequestBody for PortalAccess {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "AppPortalAccessIn",
        &[
            ("featureFlags", "The application sees event types with these feature flags."),
            ("application", "Created if it is missing; its uid must be the one in the path."),
            ("expiry", "Seconds for which the token is valid; 604,800 (seven days) by default."),
            ("sessionId", "A name for the session, by which `expire-all` can end it."),
            (
                "capabilities",
                "What the token allows: ViewBase, ViewEndpointSecret, ManageEndpointSecret, ManageTransformations, \
                 CreateAttempts, ManageEndpoint. All of them by default.",
            ),
            ("readOnly", "Deprecated: the same as the capability ViewBase alone."),
        ],
    )
    .with_parts(&[("application", &ApplicationIn::TYPE)])
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let flags = fields.names(&["featureFlags"], NAME_LENGTH_MAX, 0, FEATURE_FLAGS_MAX);
        let life = fields.number(&["expiry"], LIFE_SECONDS_MIN..=LIFE_SECONDS_MAX).value();
        let session = fields.text(&["sessionId"], Text::Session).value();
        // None at all would be a link that opens nothing; taken for "nothing said" it would open everything.
        let names = fields.list(&["capabilities"], Text::Name(NAME_LENGTH_MAX), 1, CAPABILITIES_MAX).value();
        let read_only = fields.or(&["readOnly"], false);
        let unknown = names.iter().flatten().find(|name| Capability::of(name).is_none()).cloned();
        if let Some(unknown) = unknown {
            let known: Vec<&str> = Capability::ALL.into_iter().map(Capability::name).collect();
            let msg = format!("No such capability: {unknown}; expected some of {}", known.join(", "));
            fields.violation("capabilities", msg);
        }
        let given = names.map(|names| Capabilities::of_claim(names.iter().map(String::as_str)));
        let capabilities = match (read_only, given) {
            (true, Some(given)) if given != Capabilities::READ_ONLY => {
                let msg =
                    "Contradicts `capabilities`: readOnly means ViewBase alone; leave one of the two out";
                fields.violation("readOnly", msg);
                given
            }
            (true, _) => Capabilities::READ_ONLY,
            (false, given) => given.unwrap_or(Capabilities::ALL),
        };
        let application = ApplicationIn::part_of(fields);
        let access = AppAccess {
            feature_flags: flags.value().unwrap_or_default(),
            capabilities,
            session,
            life: Duration::from_secs(life.unwrap_or(LIFE_SECONDS_MAX)),
        };
        Self { access, application }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppPortalAccessOut")]
struct PortalAccessOut {
    /// Opens the portal; the token is in its fragment.
    url: String,
    token: String,
}

async fn portal_access(
    State(auth): State<Auth>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(AppRef,)>,
    extensions: Extensions,
    idempotent: Idempotent,
    body: Body<PortalAccess>,
) -> ApiResult<Once<Json<PortalAccessOut>>> {
    let api = &auth.api;
    idempotent
        .once(&caller, async || {
            let PortalAccess { access, application: new } = body.read_and(|asked, fields| {
                if let Some(new) = &asked.application
                    && !matches!(&reference, Reference::Uid(uid) if new.uid.as_ref() == Some(uid))
                {
                    fields.violation("application", "Its uid must be the one in the path");
                }
            })?;
            let app = match (api.store.application_for(&caller, &reference).await, new) {
                (Err(Error::NotFound(_)), Some(new)) => {
                    match api.store.create_application(&caller, new).await {
                        Err(Error::Conflict(_)) => api.store.application_for(&caller, &reference).await?,
                        made => made?.0,
                    }
                }
                (found, _) => found?,
            };
            let token = api.tokens.for_app(caller.org(), app.id, access)?;
            let url = auth.link(app.id, &token, &extensions).await?;
            Ok(Json(PortalAccessOut { url, token }))
        })
        .await
}

impl Auth {
    /// The link that opens the portal of `app` with `token`. What it holds is in the fragment, which stays in
    /// the browser and reaches no server's log.
    async fn link(&self, app: AppId, token: &str, extensions: &Extensions) -> Result<String> {
        // Never by what a header says: whoever follows the link gives the token away.
        let own = own_url(extensions);
        let server = own.as_deref().or(self.portal_url.as_deref()).map(|url| url.trim_end_matches('/'));
        let server = server.ok_or_else(|| {
            shared::error::corrupt("a portal link")("the request does not say where the API is")
        })?;
        let base = self.portal_url.as_deref().map_or(server, |url| url.trim_end_matches('/'));
        let mut key = json!({ "appId": app.to_string(), "region": "self", "serverUrl": server });
        if self.one_time {
            let one_time = format!("ott_{}", URL_SAFE_NO_PAD.encode(random::bytes::<32>(&*self.api.random)));
            self.api.store.keep_for_one_time_token(&digest(&one_time), token).await?;
            key["oneTimeToken"] = one_time.into();
        } else {
            key["token"] = token.into();
        }
        Ok(format!("{base}/login#key={}", STANDARD.encode(key.to_string())))
    }
}

/// Under which name a one-time token is kept: the table does not hold what opens it.
fn digest(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

struct OneTimeIn(String);

impl RequestBody for OneTimeIn {
    type With = ();
    const TYPE: BodyType =
        BodyType::of::<Self>("OneTimeTokenIn", &[("oneTimeToken", "The token of the link.")]);

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let token = fields.required_text(&["oneTimeToken"], Text::Length(ONE_TIME_LENGTH_MAX));
        Self(token.unwrap_or_default())
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OneTimeTokenOut")]
struct OneTimeOut {
    /// The bearer token.
    token: String,
    /// What it allows.
    capabilities: Vec<String>,
}

fn names(capabilities: Capabilities) -> Vec<String> {
    capabilities.iter().map(|capability| capability.name().to_owned()).collect()
}

async fn one_time_token(
    State(Auth { api, .. }): State<Auth>,
    body: Body<OneTimeIn>,
) -> ApiResult<Json<OneTimeOut>> {
    let OneTimeIn(one_time) = body.read()?;
    let kept = api.store.take_one_time_token(&digest(&one_time)).await?;
    let Some(token) = kept else {
        let text = "The link was used already or has expired: ask for a new one.";
        return Err(Error::Unauthenticated(text).into());
    };
    let capabilities = match api.tokens.admit(&token).await?.who {
        Who::App { capabilities, .. } => names(capabilities),
        Who::Org(_) | Who::Postrider(_) => Vec::new(),
    };
    Ok(Json(OneTimeOut { token, capabilities }))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "WhoamiOut")]
#[serde(rename_all = "camelCase")]
struct WhoamiOut {
    /// The organisation.
    env_id: OrgId,
    /// The application, of an application's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<AppId>,
    /// The kind of token, in the words of the SDKs: always `SvixJwt`.
    permission_source: &'static str,
    /// The session of the token, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<String>,
    /// What the token allows; an organisation's allows everything.
    capabilities: Vec<String>,
    /// When the token expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// A pattern of the roles that endpoints in AWS may name. Left out where there are no such endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_roles: Option<String>,
    /// The ARN of the role that those roles have to trust. Left out where there are none, and by the local runner,
    /// which has no role.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_role: Option<String>,
}

async fn whoami(
    State(Auth { api, destination_roles, deliver_role, .. }): State<Auth>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
) -> ApiResult<Json<WhoamiOut>> {
    still_there(&api, &caller).await?;
    let Bearer(token) = Bearer::read(&headers)?;
    let (app_id, session_id, capabilities) = match &caller.who {
        Who::App { app, session, capabilities, .. } => (Some(*app), session.clone(), *capabilities),
        Who::Org(_) | Who::Postrider(_) => (None, None, Capabilities::ALL),
    };
    Ok(Json(WhoamiOut {
        env_id: caller.org(),
        app_id,
        permission_source: "SvixJwt",
        session_id,
        capabilities: names(capabilities),
        expires_at: api.tokens.end_within(caller.org(), &token),
        deliver_role: destination_roles.as_ref().and(deliver_role).map(|role| role.to_string()),
        destination_roles: destination_roles.map(|roles| roles.to_string()),
    }))
}

/// Whether an application's token did not expire with all others of its application, and that is there.
async fn still_there(api: &Api, caller: &Caller) -> Result<()> {
    let Who::App { app, .. } = &caller.who else { return Ok(()) };
    match api.store.application_for(caller, &Reference::Id(*app)).await {
        Err(Error::NotFound(_)) => Err(Error::Unauthenticated("The application is gone.")),
        found => found.map(drop),
    }
}

/// A request that is repeated with its idempotency key is answered as the first was; any other comes too late.
async fn logout(
    State(Auth { api, .. }): State<Auth>,
    Bearer(token): Bearer,
    idempotent: Idempotent,
) -> ApiResult<Once<NoContent>> {
    let caller = api.tokens.verify(&token)?;
    // Two tokens of one application are two callers here.
    idempotent
        .within(&token_id(&token))
        .once(&caller, async || {
            let caller = api.tokens.admit(&token).await?;
            still_there(&api, &caller).await?;
            api.tokens.log_out(&token).await?;
            Ok(NoContent)
        })
        .await
}

/// How long expired tokens stay valid, and of which sessions.
struct ExpireIn {
    grace: Duration,
    sessions: Vec<String>,
}

impl RequestBody for ExpireIn {
    type With = ();
    const TYPE: BodyType = BodyType::of::<Self>(
        "ApplicationTokenExpireIn",
        &[
            ("expiry", "Seconds for which they stay valid; 0 by default."),
            ("sessionIds", "Only the tokens of these sessions; all tokens if there are none."),
        ],
    )
    .optional();

    fn read(fields: &mut Fields<'_>, (): ()) -> Self {
        let grace = fields.number(&["expiry"], 0..=GRACE_SECONDS_MAX).value().unwrap_or(0);
        let sessions = fields.list(&["sessionIds"], Text::Session, 0, SESSIONS_MAX).value();
        Self { grace: Duration::from_secs(grace), sessions: sessions.unwrap_or_default() }
    }
}

async fn expire_all(
    State(Auth { api, .. }): State<Auth>,
    Organisation(caller): Organisation,
    Path((reference,)): Path<(AppRef,)>,
    idempotent: Idempotent,
    body: Body<ExpireIn>,
) -> ApiResult<Once<NoContent>> {
    idempotent
        .once(&caller, async || {
            let ExpireIn { grace, sessions } = body.read()?;
            if !sessions.is_empty() {
                let app = api.store.application_for(&caller, &reference).await?;
                api.store.expire_sessions(&caller, &app, &sessions, grace).await?;
                return Ok(NoContent);
            }
            let expired = api.store.retry_on_conflict(async || {
                let app = api.store.application_for(&caller, &reference).await?;
                Ok(api.store.expire_tokens(&caller, &app, grace).await?.then_some(NoContent))
            });
            expired.await
        })
        .await
}

//! Messages to places in AWS: take on the role that the endpoint names, and make one signed request
//! (ADR 0030). There is no SDK for it: each service is asked for one operation.

mod answer;
mod assume;
pub mod call;
mod form;
pub mod lines;

use std::sync::Arc;

use shared::Result;
use shared::aws_place::AwsPlace;
use shared::clock::SharedClock;
use shared::config::{ConfigError, Delivery, Env, HeaderStyle};
use shared::ids::AppId;
use shared::{signing, webhook};

use super::http::{Http, HttpSender};
use super::{AttemptResult, Sender, Webhook};
use assume::Roles;
use call::{Call, Outgoing};

/// Where AWS is, and who asks there.
#[derive(Clone, Debug)]
pub struct OwnAws {
    /// Region and credentials of this function.
    own: shared::config::Aws,
    /// Other addresses of services, by what ARNs call these; for emulators.
    addresses: Vec<(&'static str, String)>,
}

impl OwnAws {
    /// Reads `AWS_REGION`, the credentials, and `AWS_ENDPOINT_URL` with and without a service.
    ///
    /// # Errors
    /// Region or credentials are missing.
    pub fn read(env: &Env<'_>) -> Result<Self, ConfigError> {
        const SERVICES: [(&str, &str); 7] = [
            ("sts", "STS"),
            ("sqs", "SQS"),
            ("sns", "SNS"),
            ("events", "EVENTBRIDGE"),
            ("s3", "S3"),
            ("ses", "SESV2"),
            // Of its own: `AWS_ENDPOINT_URL_LAMBDA` is where this installation's own functions are.
            ("lambda", "LAMBDA_DESTINATIONS"),
        ];
        let address = |(code, name): (&'static str, &str)| {
            let given = env.optional(&format!("AWS_ENDPOINT_URL_{name}"));
            let given = given.or_else(|| env.optional("AWS_ENDPOINT_URL"))?;
            Some((code, given.trim_end_matches('/').to_owned()))
        };
        Ok(Self {
            own: shared::config::Aws::read(env)?,
            addresses: SERVICES.into_iter().filter_map(address).collect(),
        })
    }

    /// Region and credentials of this function.
    pub(crate) const fn own(&self) -> &shared::config::Aws {
        &self.own
    }

    /// The other address of a service, if it has one.
    pub(crate) fn address(&self, code: &str) -> Option<&str> {
        self.addresses.iter().find(|(other, _)| *other == code).map(|(_, address)| address.as_str())
    }
}

/// Sends to places in AWS.
#[derive(Clone, Debug)]
pub struct Aws {
    http: Http,
    clock: SharedClock,
    style: HeaderStyle,
    aws: Arc<OwnAws>,
    roles: Roles,
}

impl Aws {
    /// Sends by `transport`, as `aws`.
    pub fn new(transport: Arc<dyn HttpSender>, clock: SharedClock, settings: &Delivery, aws: OwnAws) -> Self {
        let aws = Arc::new(aws);
        let roles = Roles::new(transport.clone(), clock.clone(), settings, aws.clone());
        let http = Http::new(transport, clock.clone(), settings);
        Self { http, clock, style: settings.header_style, aws, roles }
    }
}

impl Aws {
    /// A message with what it carries besides, signed over `text`.
    fn outgoing<'a>(&self, webhook: Webhook<'a>, text: &str) -> Result<Outgoing<'a>> {
        let Webhook { id, endpoint, payload, at, event_type, .. } = webhook;
        let timestamp = at.seconds();
        let signature = signing::signatures(endpoint.valid_keys(at), id, timestamp, text.as_bytes())?;
        let content_type = payload.content_type.as_deref();
        let mut attributes =
            webhook::attributes(self.style, id, timestamp, Some(&signature), content_type, event_type);
        // Of a list, each message says its own.
        attributes.retain(|(_, value)| !value.is_empty());
        Ok(Outgoing { webhook, attributes })
    }

    /// Takes on the role, makes the request, and says what its answer means.
    async fn exchange(&self, place: &AwsPlace, app: AppId, call: Call) -> AttemptResult {
        let credentials = match self.roles.credentials(place, app).await {
            Ok(credentials) => credentials,
            Err(refused) => return refused,
        };
        // Taking on a role can have taken a while, and signatures are good for five minutes.
        let request = match call.signed(&credentials, self.clock.now()) {
            Ok(request) => request,
            Err(reason) => return AttemptResult::failed(reason),
        };
        let mut result = self.http.exchange(request).await;
        if answer::interpret(place, &mut result).credentials_refused {
            self.roles.forget(place, app);
        }
        result
    }
}

impl Sender for Aws {
    type Address = AwsPlace;

    async fn send(&self, place: &AwsPlace, webhook: Webhook<'_>) -> Result<AttemptResult> {
        let outgoing = self.outgoing(webhook, webhook.payload.sent())?;
        match call::to(place, &outgoing, &self.aws) {
            Ok(call) => Ok(self.exchange(place, webhook.endpoint.app, call).await),
            Err(reason) => Ok(AttemptResult::failed(reason)),
        }
    }
}

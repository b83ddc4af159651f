//! Compares a source with a server, and makes the server like it. Each step may be repeated, so a run that
//! was interrupted is finished by the next one.

use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::super::interruption;
use super::code::Transformation;
use super::record::{App, Connector, Endpoint, Fields, Kind, is_of_listen, uid_for, waits};
use super::source::{CONNECTOR_LIST, Cursor, Endpoints, Source, Work, complete, headers};
use super::tally::Tally;
use super::workers::Workers;
use crate::client::{Api, encoded};
use crate::error::{CliError, Result};
use crate::output::{Colour, Output, plain, text};
use crate::retry::Answer;

/// Lines of a difference that are printed; the counts are of everything.
const LINES_MAX: u64 = 200;
/// Refusals after which it is not tried any longer.
const REFUSALS_MAX: u64 = 100;

/// How a run is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// Change the server, instead of showing what would be changed.
    pub(super) apply: bool,
    /// Print all lines of the difference.
    pub(super) full: bool,
    /// Applications at a time.
    pub(super) concurrency: usize,
}

#[derive(Debug)]
pub(super) struct Engine {
    target: Api,
    out: Output,
    mode: Mode,
    tally: Mutex<Tally>,
}

impl Engine {
    fn count(&self, change: impl FnOnce(&mut Tally)) -> Tally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tally);
        *tally
    }

    /// A line of the difference.
    fn show(&self, colour: Colour, line: &str) -> Result<()> {
        if self.mode.apply {
            return Ok(());
        }
        let shown = self.count(|tally| tally.lines += 1).lines;
        if !self.mode.full && shown > LINES_MAX {
            if shown == LINES_MAX + 1 {
                self.out.progress_done();
                self.out.line("… (--full shows all lines)")?;
            }
            return Ok(());
        }
        self.out.progress_done();
        self.out.line(&self.out.paint(colour, &plain(line)))
    }

    /// Notes what is to be created. What is created counts once the server says so ([`Engine::made`]).
    fn to_create(&self, kind: Kind, label: &str, note: &str) -> Result<()> {
        if !self.mode.apply {
            self.made(kind);
        }
        self.show(Colour::Green, &format!("+ {} {label}{note}", kind.name()))
    }

    /// Counts what is created, or would be.
    fn made(&self, kind: Kind) {
        self.count(|tally| tally.new[kind as usize] += 1);
    }

    /// Notes what is to be changed, or is the same. What is changed counts once the server says so
    /// ([`Engine::changed`]).
    fn compared(&self, kind: Kind, label: &str, differences: &[&str]) -> Result<()> {
        if differences.is_empty() {
            self.count(|tally| tally.same[kind as usize] += 1);
            return Ok(());
        }
        if !self.mode.apply {
            self.changed(kind);
        }
        self.show(Colour::Bold, &format!("~ {} {label}: {}", kind.name(), differences.join(", ")))
    }

    /// Counts what is changed, or would be.
    fn changed(&self, kind: Kind) {
        self.count(|tally| tally.changed[kind as usize] += 1);
    }

    /// One thing that the server refuses does not keep the others from being done.
    fn refused(&self, kind: Kind, label: &str, error: &CliError) -> Result<()> {
        let refused = self.count(|tally| tally.refused += 1).refused;
        self.out.progress_done();
        self.out.complain(&format!("{} {label}: {error}", kind.name()));
        if refused >= REFUSALS_MAX {
            return Err(CliError::Refused(format!("{refused} refusals: stopped here")));
        }
        Ok(())
    }

    /// A change; none if it was refused, which is then noted. A token that is refused ends the run.
    async fn change(
        &self,
        label: (Kind, &str),
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Option<Value>> {
        match self.target.patiently(method, path, Some(body)).await? {
            Answer::Done(value) => Ok(Some(value)),
            Answer::Refused(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, error) => Err(error),
            Answer::Refused(_, error) => self.refused(label.0, label.1, &error).map(|()| None),
        }
    }

    /// What of a list has one of these names.
    async fn find(&self, list: &str, names: &[&str]) -> Result<Option<Value>> {
        for name in names.iter().filter(|name| !name.is_empty()) {
            let path = format!("{list}/{}", encoded(name));
            if let Some(found) = self.target.patiently(Method::GET, &path, None).await?.found()? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn event_type(&self, wanted: Fields) -> Result<()> {
        const KIND: Kind = Kind::EventType;
        let name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
        let mut there = self.find("/event-type", &[name]).await?;
        if there.is_none() {
            self.to_create(KIND, name, "")?;
            if !self.mode.apply {
                return Ok(());
            }
            let body = json!(wanted);
            match self.target.patiently(Method::POST, "/event-type", Some(&body)).await? {
                Answer::Done(_) => {
                    self.made(KIND);
                    return Ok(());
                }
                // Somebody made it meanwhile, or the response to this was lost.
                Answer::Refused(StatusCode::CONFLICT, _) => there = self.find("/event-type", &[name]).await?,
                Answer::Refused(_, error) => return self.refused(KIND, name, &error),
            }
        }
        let differences = KIND.differences(&wanted, &KIND.pick(&there.unwrap_or_default()));
        self.compared(KIND, name, &differences)?;
        if self.mode.apply && !differences.is_empty() {
            let (body, path) = (json!(wanted), format!("/event-type/{}", encoded(name)));
            if self.change((KIND, name), Method::PUT, &path, &body).await?.is_some() {
                self.changed(KIND);
            }
        }
        Ok(())
    }

    async fn connector(&self, connector: Connector) -> Result<()> {
        const KIND: Kind = Kind::Connector;
        let (label, made) = (connector.label(), uid_for(&connector.id));
        let uid = connector.fields.get("uid").and_then(Value::as_str);
        let named = uid.unwrap_or(&made);
        let there = self.find(CONNECTOR_LIST, &[named, &connector.id]).await?;
        // The path has the uid.
        let mut body = json!(connector.fields);
        body.as_object_mut().map(|body| body.remove("uid"));
        let path = |name: &str| format!("{CONNECTOR_LIST}/{}", encoded(name));
        let Some(there) = there else {
            let note = if uid.is_none() { format!(" (gets the uid {made})") } else { String::new() };
            self.to_create(KIND, &label, &note)?;
            if self.mode.apply
                && self.change((KIND, &label), Method::PUT, &path(named), &body).await?.is_some()
            {
                self.made(KIND);
            }
            return Ok(());
        };
        let differences = KIND.differences(&connector.fields, &KIND.pick(&there));
        self.compared(KIND, &label, &differences)?;
        if self.mode.apply && !differences.is_empty() {
            let path = path(&text(&there, "id"));
            if self.change((KIND, &label), Method::PUT, &path, &body).await?.is_some() {
                self.changed(KIND);
            }
        }
        Ok(())
    }

    /// The application at the target; none if it is new and nothing is changed, or was refused.
    async fn app(&self, app: &App, counted: bool) -> Result<Option<Value>> {
        const KIND: Kind = Kind::Application;
        let (label, made) = (app.label(), uid_for(&app.id));
        let uid = app.fields.get("uid").and_then(Value::as_str);
        let there = self
            .find("/app", &[uid.unwrap_or_default(), &app.id, if uid.is_none() { &made } else { "" }])
            .await?;
        let Some(there) = there else {
            if counted {
                let note = if uid.is_none() { format!(" (gets the uid {made})") } else { String::new() };
                self.to_create(KIND, &label, &note)?;
            }
            if !self.mode.apply {
                return Ok(None);
            }
            let mut body = json!(app.fields);
            body["uid"] = json!(uid.unwrap_or(&made));
            let path = "/app?get_if_exists=true";
            let created = self.change((KIND, &label), Method::POST, path, &body).await?;
            if counted && created.is_some() {
                self.made(KIND);
            }
            return Ok(created);
        };
        let differences = KIND.differences(&app.fields, &KIND.pick(&there));
        if counted {
            self.compared(KIND, &label, &differences)?;
        }
        if !self.mode.apply || differences.is_empty() {
            return Ok(Some(there));
        }
        let mut body = json!(app.fields);
        if uid.is_none() {
            body["uid"] = there["uid"].clone();
        }
        let path = format!("/app/{}", text(&there, "id"));
        let changed = self.change((KIND, &label), Method::PUT, &path, &body).await?;
        if counted && changed.is_some() {
            self.changed(KIND);
        }
        Ok(changed)
    }

    async fn endpoint(&self, app: &str, there: Option<&str>, endpoint: &Endpoint) -> Result<()> {
        const KIND: Kind = Kind::Endpoint;
        let label = format!("{app}/{}", endpoint.label());
        let uid = endpoint.fields.get("uid").and_then(Value::as_str);
        let made = uid_for(&endpoint.id);
        let list = there.map(|app| format!("/app/{app}/endpoint"));
        let names = [uid.unwrap_or_default(), &endpoint.id, if uid.is_none() { &made } else { "" }];
        let mut found = match &list {
            Some(list) => self.find(list, &names).await?,
            None => None,
        };
        self.count(|tally| tally.hidden_codes += u64::from(endpoint.code_is_hidden));
        if found.is_none() {
            self.missing(&label, &endpoint.hidden, endpoint.secret_is_hidden())?;
            let note = if uid.is_none() { format!(" (gets the uid {made})") } else { String::new() };
            let polled = endpoint.is_polled();
            self.count(|tally| tally.new_keys += u64::from(polled));
            let new_secret = !polled && (endpoint.secret.is_none() || endpoint.secret_is_hidden());
            let note = if new_secret { format!("{note} (a new secret)") } else { note };
            self.count(|tally| tally.new_secrets += u64::from(new_secret));
            let code = endpoint.transformation.as_ref().filter(|code| !code.is_empty());
            let note = if code.is_some() { format!("{note} (with its transformation)") } else { note };
            self.count(|tally| tally.hidden_logins += u64::from(endpoint.login_is_hidden));
            let note = if endpoint.login_is_hidden {
                format!("{note} (without the user and password of its URL)")
            } else {
                note
            };
            self.to_create(KIND, &format!("{label} {}", endpoint.address()), &note)?;
            let Some(list) = list.as_ref().filter(|_| self.mode.apply) else { return Ok(()) };
            let mut body = json!(endpoint.fields);
            body["uid"] = json!(uid.unwrap_or(&made));
            if let Some(secret) = endpoint.secret.as_ref().filter(|_| !new_secret) {
                body["secret"] = json!(secret);
            }
            if let Some(headers) = endpoint.headers.as_ref().filter(|headers| !headers.is_empty()) {
                body["headers"] = json!(headers);
            }
            // Nothing is sent to it before its webhooks pass the code.
            let starts_later = code.is_some_and(Transformation::is_run) && body["disabled"] != true;
            if starts_later {
                body["disabled"] = json!(true);
            }
            match self.target.patiently(Method::POST, list, Some(&body)).await? {
                Answer::Done(made) => {
                    self.made(KIND);
                    let path = format!("{list}/{}", text(&made, "id"));
                    if let Some(code) = code
                        && self.transform(&path, &label, code).await?
                        && starts_later
                    {
                        let start = json!({ "disabled": false });
                        self.change((KIND, &label), Method::PATCH, &path, &start).await?;
                    }
                    return Ok(());
                }
                Answer::Refused(StatusCode::CONFLICT, error) => {
                    found = self.find(list, &names).await?;
                    if found.is_none() {
                        return self.refused(KIND, &label, &error);
                    }
                }
                Answer::Refused(_, error) => return self.refused(KIND, &label, &error),
            }
        }
        let (Some(found), Some(list)) = (found, list) else { return Ok(()) };
        self.existing(&format!("{list}/{}", text(&found, "id")), &label, &found, endpoint).await
    }

    /// Sets an endpoint's transformation; whether the server took it.
    async fn transform(&self, path: &str, label: &str, code: &Transformation) -> Result<bool> {
        let path = format!("{path}/transformation");
        let changed = self.change((Kind::Endpoint, label), Method::PATCH, &path, &code.body()).await?;
        Ok(changed.is_some())
    }

    /// Makes an endpoint that exists like the source's.
    async fn existing(&self, path: &str, label: &str, found: &Value, endpoint: &Endpoint) -> Result<()> {
        const KIND: Kind = Kind::Endpoint;
        let mut endpoint = endpoint.clone();
        endpoint.log_in_as(found);
        let endpoint = &endpoint;
        let mut differences = KIND.differences(&endpoint.fields, &KIND.pick(found));
        let fields_differ = !differences.is_empty();
        let mut secret_differs = false;
        if let Some(secret) = &endpoint.secret {
            let there = text(&self.target.read(&format!("{path}/secret")).await?, "key");
            secret_differs = there != *secret;
        }
        let secret_missing = secret_differs && endpoint.secret_is_hidden();
        if secret_differs && !secret_missing {
            differences.push("secret");
        }
        let mut patch = json!({ "headers": {}, "deleteHeaders": [] });
        let mut hidden = endpoint.hidden.clone();
        if endpoint.headers.is_some() || !hidden.is_empty() {
            let (shown, names) = headers(&self.target.read(&format!("{path}/headers")).await?);
            let same = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
            // Somebody put it there by hand.
            hidden.retain(|name| !names.iter().chain(shown.keys()).any(|there| same(there, name)));
            if let Some(wanted) = &endpoint.headers {
                let keeps = |there: &str| wanted.keys().chain(&endpoint.hidden).any(|name| same(name, there));
                let gone: Vec<&String> = shown.keys().chain(&names).filter(|there| !keeps(there)).collect();
                let set: Fields = wanted
                    .iter()
                    .filter(|(name, value)| shown.get(*name) != Some(value))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                if !gone.is_empty() || !set.is_empty() {
                    differences.push("headers");
                }
                patch = json!({ "headers": set, "deleteHeaders": gone });
            }
        }
        let has_url = found["destination"]["kind"].as_str().is_none_or(|kind| kind == "http");
        let mut code = None;
        if let Some(wanted) = &endpoint.transformation {
            let there = if has_url { Transformation::read(&self.target, path).await? } else { None };
            code = wanted.differs(&there.unwrap_or_default()).then_some(wanted);
            differences.extend(code.map(|_| "transformation"));
        }
        self.missing(label, &hidden, secret_missing)?;
        self.compared(KIND, label, &differences)?;
        if !self.mode.apply {
            return Ok(());
        }
        let mut body = json!(endpoint.fields);
        if body["uid"].is_null() {
            body["uid"] = found["uid"].clone();
        }
        // The code comes before anything that starts the endpoint, and after the URL that it is for.
        if let Some(code) = code {
            let mut stopped = body.clone();
            stopped["disabled"] = json!(true);
            if !has_url && self.change((KIND, label), Method::PUT, path, &stopped).await?.is_none()
                || !self.transform(path, label, code).await?
            {
                return Ok(());
            }
        }
        let mut done = true;
        if fields_differ {
            done &= self.change((KIND, label), Method::PUT, path, &body).await?.is_some();
        }
        if differences.contains(&"headers") {
            let path = format!("{path}/headers");
            done &= self.change((KIND, label), Method::PATCH, &path, &patch).await?.is_some();
        }
        if differences.contains(&"secret") {
            let (path, body) = (format!("{path}/secret/rotate"), json!({ "key": endpoint.secret }));
            done &= self.change((KIND, label), Method::POST, &path, &body).await?.is_some();
        }
        if done && !differences.is_empty() {
            self.changed(KIND);
        }
        Ok(())
    }

    /// Notes what the source does not show.
    fn missing(&self, label: &str, hidden: &[String], secret: bool) -> Result<()> {
        let mut what: Vec<String> = hidden.iter().map(|name| format!("header {name}")).collect();
        if secret {
            what.push("the private half of its ed25519 key".into());
        }
        if what.is_empty() {
            return Ok(());
        }
        self.count(|tally| tally.missing += 1);
        self.show(Colour::Red, &format!("! endpoint {label}: the source does not show {}", what.join(", ")))
    }

    async fn work(&self, work: Work) -> Result<()> {
        let first = !matches!(work.endpoints, Endpoints::These { first: false, .. });
        let there = self.app(&work.app, first).await?;
        if there.is_none() && self.mode.apply {
            // It was refused, and its endpoints have no place.
            return Ok(());
        }
        let there = there.map(|app| text(&app, "id"));
        let label = work.app.label();
        match work.endpoints {
            Endpoints::These { endpoints, .. } => {
                for endpoint in &endpoints {
                    self.endpoint(&label, there.as_deref(), endpoint).await?;
                }
            }
            Endpoints::Of(source) => {
                let path = format!("/app/{}/endpoint", encoded(&work.app.id));
                let mut cursor = Cursor::default();
                while let Some(page) = cursor.next(&source, &path).await? {
                    let waiting = page.iter().filter(|listed| waits(listed)).count() as u64;
                    self.count(|tally| tally.waiting += waiting);
                    for listed in page.iter().filter(|listed| !waits(listed) && !is_of_listen(listed)) {
                        let endpoint = complete(&source, &work.app.id, listed).await?;
                        self.endpoint(&label, there.as_deref(), &endpoint).await?;
                        self.progress();
                    }
                }
            }
        }
        self.progress();
        Ok(())
    }

    fn progress(&self) {
        let tally = self.count(|_| ());
        let of =
            |kind: Kind| tally.new[kind as usize] + tally.changed[kind as usize] + tally.same[kind as usize];
        let what = if self.mode.apply { "Copying" } else { "Comparing" };
        let (apps, endpoints) = (of(Kind::Application), of(Kind::Endpoint));
        self.out.progress(&format!("{what}: {apps} applications, {endpoints} endpoints …"));
    }
}

/// Goes through the source once.
pub(super) async fn run(mut source: Source, target: &Api, out: &Output, mode: Mode) -> Result<Tally> {
    let engine = Engine { target: target.clone(), out: *out, mode, tally: Mutex::default() };
    let engine = Arc::new(engine);
    let interrupted = interruption()?;
    let mut workers = Workers::new(mode.concurrency);
    let all = async {
        while let Some(some) = source.event_types().await? {
            for fields in some {
                let engine = Arc::clone(&engine);
                workers.give(async move { engine.event_type(fields).await }).await?;
            }
        }
        // Endpoints name event types, which have to exist.
        workers.all().await?;
        while let Some(some) = source.connectors().await? {
            for connector in some {
                let engine = Arc::clone(&engine);
                workers.give(async move { engine.connector(connector).await }).await?;
            }
        }
        while let Some(some) = source.apps().await? {
            for work in some {
                let engine = Arc::clone(&engine);
                workers.give(async move { engine.work(work).await }).await?;
            }
        }
        workers.all().await
    };
    let ended = tokio::select! {
        ended = all => ended,
        () = interrupted => Err(CliError::Interrupted("interrupted".into())),
    };
    out.progress_done();
    let tally = engine.count(|_| ());
    match ended {
        Ok(()) => Ok(tally),
        Err(error) if mode.apply => {
            let done = match tally.is_empty() {
                true => "nothing".to_owned(),
                false => tally.sentence("created", "changed"),
            };
            Err(error
                .and(&format!(" (until then: {done}). Run the same command again: it continues from here")))
        }
        Err(error) => Err(error.and(". Nothing was changed")),
    }
}

//! Where the copied things come from: a server, page by page, or a file, line by line.

use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::code::Transformation;
use super::file::{Input, Line, Reader};
use super::record::{App, Connector, Endpoint, Fields, Kind};
use crate::client::{Api, encoded};
use crate::error::{CliError, Result};
use crate::output::text;
use crate::retry::Answer;

/// The most that the API gives in one page, and endpoints that are held at a time.
pub(super) const PAGE: usize = 250;
/// Connectors of one page: each has up to 50 KB of code and as much of instructions.
const CONNECTORS: usize = 20;
/// The most pages of one list: ten million entries.
const PAGES_MAX: usize = 40_000;

/// Where connectors are listed.
pub(super) const CONNECTOR_LIST: &str = "/connector";

/// Where something is in a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Cursor {
    iterator: Option<String>,
    pages: usize,
    done: bool,
    /// A list that the server need not have: it is empty then.
    optional: bool,
}

impl Cursor {
    /// Of connectors, which other servers do not have.
    pub(super) fn optional() -> Self {
        Self { optional: true, ..Self::default() }
    }

    /// The next page of a list; none at its end.
    pub(super) async fn next(&mut self, api: &Api, path: &str) -> Result<Option<Vec<Value>>> {
        if self.done {
            return Ok(None);
        }
        let join = if path.contains('?') { '&' } else { '?' };
        let at = self.iterator.as_deref().map_or_else(String::new, |at| format!("&iterator={}", encoded(at)));
        let limit = if self.optional { CONNECTORS } else { PAGE };
        let path_of_page = format!("{path}{join}limit={limit}{at}");
        let mut page = match api.patiently(Method::GET, &path_of_page, None).await? {
            Answer::Done(page) => page,
            Answer::Refused(
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED,
                _,
            ) if self.optional => {
                self.done = true;
                return Ok(None);
            }
            Answer::Refused(_, error) => return Err(error),
        };
        let Value::Array(data) = page["data"].take() else { return Err(api.stranger()) };
        let iterator = page["iterator"].as_str().map(str::to_owned);
        self.pages += 1;
        self.done = page["done"] != false || iterator.is_none();
        if !self.done && (iterator == self.iterator || self.pages == PAGES_MAX) {
            return Err(CliError::Refused(format!("{}: the list {path} does not end", api.url())));
        }
        self.iterator = iterator;
        Ok(Some(data))
    }
}

/// An endpoint with its secret, its headers and its transformation.
pub(super) async fn complete(api: &Api, app: &str, listed: &Value) -> Result<Endpoint> {
    let mut endpoint = Endpoint::of(listed);
    let has_url = !endpoint.fields.contains_key("destination");
    // Code is for webhooks to a URL.
    endpoint.transformation = (!has_url).then(Transformation::none);
    if endpoint.is_polled() {
        return Ok(endpoint);
    }
    let path = format!("/app/{}/endpoint/{}", encoded(app), encoded(&endpoint.id));
    endpoint.secret = Some(text(&api.read(&format!("{path}/secret")).await?, "key"));
    let (headers, hidden) = headers(&api.read(&format!("{path}/headers")).await?);
    (endpoint.headers, endpoint.hidden) = (Some(headers), hidden);
    if has_url {
        endpoint.transformation = Transformation::read(api, &path).await?;
        endpoint.code_is_hidden = endpoint.transformation.is_none();
    }
    Ok(endpoint)
}

/// The headers that are shown, and the names of the others.
pub(super) fn headers(value: &Value) -> (Fields, Vec<String>) {
    let shown = value["headers"].as_object().cloned().unwrap_or_default();
    let hidden = value["sensitive"].as_array().into_iter().flatten().filter_map(Value::as_str);
    (shown, hidden.map(str::to_owned).collect())
}

/// An application with endpoints of it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) app: App,
    pub(super) endpoints: Endpoints,
}

/// Which endpoints: those of a server are read by whoever does the work.
#[derive(Debug)]
pub(super) enum Endpoints {
    Of(Box<Api>),
    These {
        endpoints: Vec<Endpoint>,
        /// The first ones of the application; others follow as work of their own.
        first: bool,
    },
}

/// A source, read once from its begin to its end.
#[derive(Debug)]
pub(super) enum Source {
    Server { api: Box<Api>, event_types: Cursor, connectors: Cursor, apps: Cursor },
    File { reader: Reader, next: Option<Line> },
}

impl Source {
    pub(super) fn server(api: &Api) -> Self {
        Self::Server {
            api: Box::new(api.clone()),
            event_types: Cursor::default(),
            connectors: Cursor::optional(),
            apps: Cursor::default(),
        }
    }

    pub(super) fn file(input: &Input) -> Result<Self> {
        let mut reader = input.open()?;
        let next = reader.next()?;
        Ok(Self::File { reader, next })
    }

    /// Some event types; none once all were returned.
    pub(super) async fn event_types(&mut self) -> Result<Option<Vec<Fields>>> {
        match self {
            Self::Server { api, event_types, .. } => {
                let path = "/event-type?include_archived=true&with_content=true";
                let page = event_types.next(api, path).await?;
                Ok(page.map(|page| page.iter().map(|one| Kind::EventType.pick(one)).collect()))
            }
            Self::File { reader, next } => match next.take() {
                Some(Line::EventType(fields)) => {
                    *next = reader.next()?;
                    Ok(Some(vec![fields]))
                }
                line => {
                    *next = line;
                    Ok(None)
                }
            },
        }
    }

    /// Some connectors; none once all were returned.
    pub(super) async fn connectors(&mut self) -> Result<Option<Vec<Connector>>> {
        match self {
            Self::Server { api, connectors, .. } => {
                let page = connectors.next(api, CONNECTOR_LIST).await?;
                Ok(page.map(|page| page.iter().map(Connector::of).collect()))
            }
            Self::File { reader, next } => match next.take() {
                Some(Line::Connector(connector)) => {
                    *next = reader.next()?;
                    Ok(Some(vec![connector]))
                }
                line => {
                    *next = line;
                    Ok(None)
                }
            },
        }
    }

    /// Some applications; none once all were returned.
    pub(super) async fn apps(&mut self) -> Result<Option<Vec<Work>>> {
        match self {
            Self::Server { api, apps, .. } => {
                let page = apps.next(api, "/app").await?;
                let work = |one: &Value| Work { app: App::of(one), endpoints: Endpoints::Of(api.clone()) };
                Ok(page.map(|page| page.iter().map(work).collect()))
            }
            Self::File { reader, next } => {
                let (app, first) = match next.take() {
                    None => return Ok(None),
                    Some(Line::App(app)) => (app, true),
                    Some(Line::Endpoint(app, endpoint)) => {
                        *next = Some(Line::Endpoint(app.clone(), endpoint));
                        (app, false)
                    }
                    Some(Line::EventType(_) | Line::Connector(_)) => {
                        return Err(
                            reader.wrong("event types come first, then connectors, then applications")
                        );
                    }
                };
                let mut endpoints = Vec::new();
                if first {
                    *next = reader.next()?;
                }
                while endpoints.len() < PAGE {
                    match next.take() {
                        Some(Line::Endpoint(_, endpoint)) => endpoints.push(*endpoint),
                        line => {
                            *next = line;
                            break;
                        }
                    }
                    *next = reader.next()?;
                }
                Ok(Some(vec![Work { app, endpoints: Endpoints::These { endpoints, first } }]))
            }
        }
    }
}

/// Object fields of a line, taken apart from those that are not copied.
pub(super) fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

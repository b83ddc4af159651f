//! The HTTP API: what API Gateway does with the template's routes.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use sam_template::Route;
use serde_json::json;
use tower::ServiceExt as _;

use crate::functions::{Invoker, Unanswered};

/// A function that answers requests.
pub(crate) struct HttpFunction {
    pub(crate) name: String,
    pub(crate) router: Router,
    pub(crate) invoker: Invoker,
}

/// A part of a route's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    /// This text.
    Text(String),
    /// `{name}`: any text.
    Variable,
    /// `{name+}`: all the rest of the path, and of `/x/` the nothing behind its last slash.
    Rest,
}

/// A route, ready to be compared.
struct Compiled {
    /// None for `ANY`.
    method: Option<Method>,
    path: Vec<Segment>,
    function: usize,
}

impl Compiled {
    fn new(route: &Route, function: usize) -> Option<Self> {
        let method = match route.method.as_str() {
            "ANY" => None,
            method => Some(method.parse().ok()?),
        };
        let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) if name.ends_with('+') => Segment::Rest,
            Some(_) => Segment::Variable,
            None => Segment::Text(text.to_owned()),
        };
        Some(Self { method, path: route.path.split('/').skip(1).map(segment).collect(), function })
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        if self.method.as_ref().is_some_and(|own| own != method) {
            return false;
        }
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut parts = path.split('/');
        for segment in &self.path {
            match (segment, parts.next()) {
                (Segment::Text(text), Some(part)) if text == part => {}
                (Segment::Variable, Some(part)) if !part.is_empty() => {}
                (Segment::Rest, Some(_)) => return true,
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

/// All routes, and the functions behind them.
pub(crate) struct Api {
    routes: Vec<Compiled>,
    functions: Vec<HttpFunction>,
}

impl Api {
    /// The routes that the template names for each function. A route whose method makes no sense is
    /// given back.
    pub(crate) fn new(functions: Vec<(HttpFunction, Vec<Route>)>) -> Result<Self, Route> {
        let mut api = Self { routes: Vec::new(), functions: Vec::new() };
        for (function, routes) in functions {
            for route in routes {
                let compiled = Compiled::new(&route, api.functions.len()).ok_or(route)?;
                api.routes.push(compiled);
            }
            api.functions.push(function);
        }
        // The most specific route wins: a whole match before the rest of a path, text before variables
        // from the left, one method before `ANY`.
        api.routes.sort_by_key(|route| {
            let greedy = route.path.last() == Some(&Segment::Rest);
            (greedy, route.path.clone(), Reverse(route.method.is_some()))
        });
        Ok(api)
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.routes.len()
    }

    fn function(&self, method: &Method, path: &str) -> Option<&HttpFunction> {
        let route = self.routes.iter().find(|route| route.matches(method, path))?;
        self.functions.get(route.function)
    }

    /// Whether this function answers a request.
    pub(crate) fn leads_to(&self, request: &Request<Body>, function: &str) -> bool {
        self.function(request.method(), request.uri().path()).is_some_and(|found| found.name == function)
    }

    /// Answers a request, as the function does that the template routes it to. What the template does
    /// not name is not found, even if a function knew it: in the cloud it would not get there either.
    pub(crate) async fn answer(self: Arc<Self>, request: Request<Body>) -> Response {
        let Some(function) = self.function(request.method(), request.uri().path()) else {
            return shared::http::no_such_path(request.method(), request.uri());
        };
        let _begun = function.invoker.progress.begin(1);
        let unanswered = match function.invoker.invoke(function.router.clone().oneshot(request)).await {
            Ok(Ok(response)) => return response,
            Ok(Err(never)) => match never {},
            Err(unanswered) => unanswered,
        };
        tracing::error!(function = function.name, error = %unanswered, "a request was not answered");
        let (status, code) = match unanswered {
            Unanswered::TimedOut(_) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable"),
            Unanswered::Panicked(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        shared::http::json(status, &json!({ "code": code, "detail": "The function did not respond." }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;

    use super::*;
    use sam_template::Template;

    fn function(name: &'static str) -> HttpFunction {
        let answer = move |uri: http::Uri| async move { format!("{name} {uri}") };
        let hang = || std::future::pending::<()>();
        let panic = async || -> () { panic!("on purpose") };
        let router = Router::new()
            .route("/a/{id}", get(answer))
            .route("/a/fixed", get(answer))
            .route("/hang", get(hang))
            .route("/panic", get(panic))
            .route("/forgotten", get(answer));
        HttpFunction { name: name.into(), router, invoker: Invoker::new(Duration::from_millis(50)) }
    }

    fn route(method: &str, path: &str) -> Route {
        Route { method: method.into(), path: path.into() }
    }

    async fn ask(api: &Arc<Api>, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let response = api.clone().answer(request).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_reach_the_function_that_the_template_names() {
        let first = vec![route("GET", "/a/{id}"), route("GET", "/hang"), route("GET", "/panic")];
        let second = vec![route("GET", "/a/fixed")];
        let api = Api::new(vec![(function("first"), first), (function("second"), second)]);
        let api = Arc::new(api.unwrap_or_else(|_| panic!()));
        assert_eq!(ask(&api, Method::GET, "/a/7?x=1").await, (StatusCode::OK, "first /a/7?x=1".into()));
        assert_eq!(ask(&api, Method::GET, "/a/fixed").await, (StatusCode::OK, "second /a/fixed".into()));
        for (method, path) in [
            (Method::GET, "/forgotten"),
            (Method::HEAD, "/a/7"),
            (Method::POST, "/a/7"),
            (Method::GET, "/a"),
            (Method::GET, "/"),
            (Method::GET, "/a/7/b"),
            // As at API Gateway; what catches it is a route with the rest of the path.
            (Method::GET, "/a/7/"),
        ] {
            let (status, body) = ask(&api, method, path).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
            assert!(body.contains(r#""code":"not_found""#), "{body}");
        }
        assert_eq!(ask(&api, Method::GET, "/hang").await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask(&api, Method::GET, "/panic").await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[test]
    fn the_rest_of_a_path_and_any_method() {
        let compiled = |method, path| Compiled::new(&route(method, path), 0).unwrap();
        let any = compiled("ANY", "/files/{path+}");
        assert!(any.matches(&Method::PUT, "/files/a/b"));
        assert!(any.matches(&Method::PUT, "/files/"));
        assert!(!any.matches(&Method::PUT, "/files"));
        assert!(Compiled::new(&route("G ET", "/"), 0).is_none());
    }

    #[test]
    fn each_operation_leads_to_its_function() {
        const A: &str = "/api/v1/app/acme";
        let template = Template::parse(crate::TEMPLATE).unwrap();
        let functions = template.functions.iter().filter(|function| !function.routes.is_empty());
        let functions = functions.map(|function| {
            let (name, invoker) = (function.name.clone(), Invoker::new(Duration::from_secs(1)));
            (HttpFunction { name, router: Router::new(), invoker }, function.routes.clone())
        });
        let api = Api::new(functions.collect()).unwrap_or_else(|route| panic!("{route:?}"));
        for (function, methods, paths) in [
            ("applications", "GET POST", vec!["/api/v1/app".to_owned()]),
            ("applications", "GET PUT PATCH DELETE", vec![A.to_owned()]),
            ("endpoints", "GET POST", vec![format!("{A}/endpoint")]),
            ("endpoints", "GET PUT PATCH DELETE", vec![format!("{A}/endpoint/e")]),
            ("endpoints", "GET PUT PATCH", vec![format!("{A}/endpoint/e/headers")]),
            ("endpoints", "GET", ["secret", "stats"].map(|last| format!("{A}/endpoint/e/{last}")).into()),
            (
                "endpoints",
                "POST",
                ["secret/rotate", "recover", "send-example", "replay-missing", "bulk-replay"]
                    .map(|last| format!("{A}/endpoint/e/{last}"))
                    .into(),
            ),
            (
                "endpoints",
                "GET",
                ["", "/qtask_1"].map(|last| format!("/api/v1/background-task{last}")).into(),
            ),
            ("event-types", "GET POST", vec!["/api/v1/event-type".to_owned()]),
            ("event-types", "GET PUT PATCH DELETE", vec!["/api/v1/event-type/a.b".to_owned()]),
            ("messages", "GET POST", vec![format!("{A}/msg")]),
            ("messages", "GET", vec![format!("{A}/msg/m")]),
            ("messages", "DELETE", vec![format!("{A}/msg/m/content")]),
            (
                "messages",
                "GET",
                ["poller/e", "poller/e/consumer/c", "polling-endpoint/e/consumer/c"]
                    .map(|last| format!("{A}/{last}"))
                    .into(),
            ),
            (
                "attempts",
                "GET",
                ["attempt/endpoint/e", "attempt/msg/m", "endpoint/e/msg", "msg/m/endpoint", "msg/m/attempt"]
                    .map(|last| format!("{A}/{last}"))
                    .into(),
            ),
            (
                "attempts",
                "GET",
                ["attempt/t", "endpoint/e/attempt"].map(|last| format!("{A}/msg/m/{last}")).into(),
            ),
            ("attempts", "DELETE", vec![format!("{A}/msg/m/attempt/t/content")]),
            ("attempts", "POST", vec![format!("{A}/msg/m/endpoint/e/resend")]),
            (
                "auth",
                "POST",
                ["app-portal-access/acme", "dashboard-access/acme", "logout", "app/acme/expire-all"]
                    .map(|last| format!("/api/v1/auth/{last}"))
                    .into(),
            ),
            ("auth", "GET", vec!["/api/v1/audit-event".to_owned()]),
            ("auth", "GET HEAD", ["", "/ping"].map(|last| format!("/api/v1/health{last}")).into()),
            ("auth", "GET", ["/api/v1/openapi.json", "/docs"].map(str::to_owned).into()),
            ("portal", "GET HEAD", ["/login", "/portal", "/portal/endpoints/ep_1"].map(str::to_owned).into()),
        ] {
            for (method, path) in methods.split(' ').flat_map(|method| paths.iter().map(move |p| (method, p)))
            {
                for path in [path.clone(), format!("{path}/")] {
                    let found =
                        api.function(&method.parse().unwrap(), &path).map(|found| found.name.as_str());
                    assert_eq!(found, Some(function), "{method} {path}");
                }
            }
        }
    }

    #[test]
    fn every_route_of_the_template_compiles() {
        let template = Template::parse(crate::TEMPLATE).unwrap();
        for route in template.functions.iter().flat_map(|function| &function.routes) {
            assert!(Compiled::new(route, 0).is_some(), "{route:?}");
        }
    }
}

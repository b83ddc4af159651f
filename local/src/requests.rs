//! The API's requests by route, as API Gateway's access log has them in the cloud.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::response::Response;
use http::Method;

use crate::metrics::{Histogram, Text};

/// What the route of a request is called that no operation has.
const NO_ROUTE: &str = "none";

/// A route and a method, and what came of their requests.
#[derive(Debug, Default)]
pub(crate) struct Requests(Mutex<BTreeMap<(String, Method), Counts>>);

#[derive(Debug, Default)]
struct Counts {
    by_status: BTreeMap<u16, u64>,
    took: Histogram,
}

impl Requests {
    /// Counts a request and its response. Its route is that of the operation, such as `/api/v1/app/{app_id}`: paths
    /// of customers would be without number.
    pub(crate) fn add(&self, method: Method, response: &Response, took: Duration) {
        let matched = response.extensions().get::<MatchedPath>();
        let route = matched.map_or(NO_ROUTE, MatchedPath::as_str);
        // A method that no route has can be any text.
        let method = if matched.is_some() { method } else { Method::GET };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry((route.to_owned(), method)).or_default();
        *counts.by_status.entry(response.status().as_u16()).or_default() += 1;
        counts.took.add(took.as_secs_f64());
    }

    /// Everything so far.
    pub(crate) fn write(&self, text: &mut Text) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        const REQUESTS: &str = "postrider_http_requests_total";
        text.head(REQUESTS, "counter", "Requests to the API, by route and status of the response.");
        for ((route, method), counts) in &*all {
            for (status, count) in &counts.by_status {
                let labels =
                    [("route", route.as_str()), ("method", method.as_str()), ("status", &status.to_string())];
                text.value(REQUESTS, &labels, *count as f64);
            }
        }
        const TOOK: &str = "postrider_http_request_seconds";
        text.head(TOOK, "histogram", "From the whole request to the response of a function, by route.");
        for ((route, method), counts) in &*all {
            text.histogram(TOOK, &[("route", route), ("method", method.as_str())], &counts.took);
        }
    }
}

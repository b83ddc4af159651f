//! The way of a request from API Gateway into a router, and of its answer back.
//!
//! In place of `lambda_http::run`, which converts answers between character encodings: their tables are 150 KB
//! of a function, and all of our answers are UTF-8.

use aws_lambda_events::encodings::Body;
use axum::Router;
use http::{HeaderMap, HeaderValue, Request};
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::request::LambdaRequest;
use lambda_http::{Context, Error, service_fn};
use tower::ServiceExt as _;

/// Answers API Gateway's requests with `routes` for as long as Lambda has any.
///
/// # Errors
/// Lambda's Runtime API is out of reach.
pub async fn serve(routes: Router) -> Result<(), Error> {
    let routes = &routes;
    lambda_runtime::run(service_fn(async |event| answer(routes.clone(), event).await)).await
}

async fn answer(
    routes: Router,
    event: LambdaEvent<LambdaRequest>,
) -> Result<ApiGatewayV2httpResponse, Error> {
    let LambdaEvent { payload, context } = event;
    let mut request: Request<Body> = payload.into();
    trace(request.headers_mut(), &context);
    let (head, body) = routes.oneshot(request).await?.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await?;
    let mut response = ApiGatewayV2httpResponse::default();
    response.status_code = head.status.as_u16().into();
    response.headers = head.headers;
    // Text as it is; what is no UTF-8, such as an image or whatever is gzipped, as base64.
    response.body = match String::from_utf8(bytes.into()) {
        Ok(text) if text.is_empty() => None,
        Ok(text) => Some(Body::Text(text)),
        Err(error) => Some(Body::Binary(error.into_bytes())),
    };
    response.is_base64_encoded = matches!(response.body, Some(Body::Binary(_)));
    Ok(response)
}

/// Lambda's trace of the invocation, in which it has noted itself, takes the place of API Gateway's.
fn trace(headers: &mut HeaderMap, context: &Context) {
    let trace = context.xray_trace_id.as_deref().and_then(|trace| HeaderValue::from_str(trace).ok());
    if let Some(trace) = trace {
        headers.insert(runtime::trace::HEADER, trace);
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use serde_json::{Value, json};

    use super::*;

    async fn answered(routes: Router, path: &str, trace: Option<&str>) -> Value {
        let event = json!({
            "rawPath": path,
            "rawQueryString": "a=%20b",
            "headers": {"host": "api.example.com", "x-amzn-trace-id": "Root=1"},
            "requestContext": {"stage": "$default", "http": {"method": "POST"}, "requestId": "r"},
            "body": "dGV4dA==",
            "isBase64Encoded": true,
        });
        let payload = serde_json::from_str(&event.to_string()).unwrap();
        let mut context = Context::default();
        context.xray_trace_id = trace.map(str::to_owned);
        let answer = answer(routes, LambdaEvent { payload, context }).await.unwrap();
        serde_json::to_value(answer).unwrap()
    }

    /// The head of every gzip stream: `0x8b` begins no character of UTF-8.
    const GZIPPED: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff];

    fn routes() -> Router {
        let told = async |request: Request<axum::body::Body>| {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 10).await.unwrap();
            let trace = head.headers["x-amzn-trace-id"].to_str().unwrap().to_owned();
            let id = crate::request_id(&head.extensions).unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            (http::StatusCode::CREATED, format!("{} {} {trace} {id} {body} é", head.method, head.uri))
        };
        Router::new()
            .route("/told", post(told))
            .route("/bytes", post(async || vec![0xff, 0]))
            .route(
                "/gzipped",
                post(async || ([("content-encoding", "gzip"), ("vary", "accept-encoding")], GZIPPED)),
            )
            .route("/nothing", post(async || http::StatusCode::NO_CONTENT))
    }

    #[tokio::test]
    async fn requests_arrive_whole_and_answers_leave_as_text() {
        let answer = answered(routes(), "/told", None).await;
        assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(201), &json!(false)));
        assert_eq!(answer["headers"]["content-type"], "text/plain; charset=utf-8");
        assert_eq!(answer["body"], "POST https://api.example.com/told?a=%20b Root=1 r text é");
        let answer = answered(routes(), "/told", Some("Root=2")).await;
        assert_eq!(answer["body"], "POST https://api.example.com/told?a=%20b Root=2 r text é");
    }

    /// "Invoking Lambda function URLs": the form of an HTTP API's events, without a route and its parameters.
    #[tokio::test]
    async fn a_request_to_the_functions_own_address_is_one_like_the_apis() {
        let host = "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6.lambda-url.eu-central-1.on.aws";
        let event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/told",
            "rawQueryString": "a=%20b",
            "headers": {"host": host, "x-amzn-trace-id": "Root=3", "x-forwarded-proto": "https"},
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
                "domainName": host,
                "domainPrefix": "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
                "http": {"method": "POST", "path": "/told", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "svix"},
                "requestId": "r",
                "routeKey": "$default",
                "stage": "$default",
                "time": "30/Nov/2026:14:00:00 +0000",
                "timeEpoch": 1_796_047_200_000_u64,
            },
            "body": "text",
            "isBase64Encoded": false,
        });
        let payload = serde_json::from_str(&event.to_string()).unwrap();
        let answer = answer(routes(), LambdaEvent { payload, context: Context::default() }).await.unwrap();
        let answer = serde_json::to_value(answer).unwrap();
        assert_eq!(answer["statusCode"], 201);
        assert_eq!(answer["body"], format!("POST https://{host}/told?a=%20b Root=3 r text é"));
    }

    #[tokio::test]
    async fn bytes_and_nothing_are_answers_too() {
        let answer = answered(routes(), "/bytes", None).await;
        assert_eq!((&answer["body"], &answer["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
        let answer = answered(routes(), "/gzipped", None).await;
        assert_eq!((&answer["body"], &answer["isBase64Encoded"]), (&json!("H4sIAAAAAAAC/w=="), &json!(true)));
        assert_eq!(answer["headers"]["content-encoding"], "gzip");
        assert_eq!(answer["headers"]["vary"], "accept-encoding");
        let answer = answered(routes(), "/nothing", None).await;
        assert_eq!((&answer["statusCode"], answer.get("body")), (&json!(204), None));
    }
}

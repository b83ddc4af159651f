//! What API Gateway calls a request: in its logs, and in the header `apigw-requestid` of the answer.

use http::Extensions;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequestContext;
use lambda_http::request::RequestContext;

/// The id of the request with these extensions, if it came from API Gateway.
pub fn request_id(extensions: &Extensions) -> Option<String> {
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    }
}

/// Says what the id is, as API Gateway does; for whoever plays its part.
pub fn set_request_id(extensions: &mut Extensions, id: String) {
    let mut context = ApiGatewayV2httpRequestContext::default();
    context.request_id = Some(id);
    extensions.insert(RequestContext::ApiGatewayV2(context));
}

/// The API's own address, for whoever plays API Gateway's part: in the extensions of a request.
#[derive(Clone, Debug)]
pub struct OwnUrl(pub String);

/// The address at which the API itself was called, without a slash at its end; never what a header says,
/// which is the caller's. API Gateway answers only at names that are its own or the stack's domain.
pub fn own_url(extensions: &Extensions) -> Option<String> {
    if let Some(OwnUrl(url)) = extensions.get() {
        return Some(url.clone());
    }
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV2(context) => Some(format!("https://{}", context.domain_name.as_ref()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_address_is_the_gateways_or_the_runners() {
        let mut extensions = Extensions::new();
        assert_eq!(own_url(&extensions), None);
        let mut context = ApiGatewayV2httpRequestContext::default();
        context.domain_name = Some("abc.execute-api.eu-west-1.amazonaws.com".into());
        extensions.insert(RequestContext::ApiGatewayV2(context));
        assert_eq!(own_url(&extensions).unwrap(), "https://abc.execute-api.eu-west-1.amazonaws.com");
        extensions.insert(OwnUrl("http://127.0.0.1:8071".into()));
        assert_eq!(own_url(&extensions).unwrap(), "http://127.0.0.1:8071");
    }
}

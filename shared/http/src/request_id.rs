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

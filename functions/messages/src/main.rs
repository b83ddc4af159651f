//! Lambda entry point of `messages`: wiring only.

use lambda_http::Error;
use shared::config::Env;
use shared::{Platform, http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    let platform = Platform::system();
    let routes = messages::router(&env, &platform)?;
    platform.expect_the_end(&env).await;
    http::serve(routes).await
}

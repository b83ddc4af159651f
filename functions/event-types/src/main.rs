//! Lambda entry point of `event-types`: wiring only.

use lambda_http::Error;
use shared::config::Env;
use shared::{Platform, http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    http::serve(event_types::router(&env, &Platform::system())?).await
}

//! Lambda entry point of `portal`: wiring only.

use lambda_http::Error;
use shared::config::Env;
use shared::{http, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    http::serve(portal::router(&env)?).await
}

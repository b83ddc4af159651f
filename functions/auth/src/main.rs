//! Lambda entry point of `auth`: wiring only.

use lambda_http::{Error, run};
use shared::config::Env;
use shared::{Platform, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env, telemetry::Format::Json)?;
    run(auth::router(&env, &Platform::system())?).await
}

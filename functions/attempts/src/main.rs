//! Lambda entry point of `attempts`: wiring only.

use lambda_http::{Error, run};
use shared::config::Env;
use shared::{Platform, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env, telemetry::Format::Json)?;
    run(attempts::router(&env, &Platform::system())?).await
}

//! Lambda entry point of `ingest`: wiring only.

use ingest::Ingest;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::batch::Event;
use shared::config::Env;
use shared::{Platform, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    let platform = Platform::system();
    let function = &Ingest::connect(&env, &platform)?;
    platform.expect_the_end(&env).await;
    run(service_fn(async |event: LambdaEvent<Event>| Ok::<_, Error>(function.handle(event.payload.0).await)))
        .await
}

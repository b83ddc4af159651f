//! Lambda entry point of `deliver`: wiring only.

use deliver::Deliver;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::batch::Event;
use shared::config::Env;
use shared::{Platform, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    let platform = Platform::system();
    let function = &Deliver::connect(&env, &platform)?;
    platform.expect_the_end(&env).await;
    run(service_fn(async |event: LambdaEvent<Event>| Ok::<_, Error>(function.handle(event.payload.0).await)))
        .await
}

//! Lambda entry point of `background`: wiring only.

use background::Background;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::batch::Event;
use shared::config::Env;
use shared::{Platform, telemetry};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    let function = &Background::connect(&env, &Platform::system())?;
    run(service_fn(async |event: LambdaEvent<Event>| Ok::<_, Error>(function.handle(event.payload.0).await)))
        .await
}

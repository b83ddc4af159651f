//! Lambda entry point of `timers`: wiring only.

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use shared::clock::Timestamp;
use shared::config::Env;
use shared::{Platform, telemetry};
use timers::Timers;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let env = Env::process();
    telemetry::init(&env)?;
    let function = &Timers::connect(&env, &Platform::system())?;
    run(service_fn(async |event: LambdaEvent<serde_json::Value>| {
        function.handle(Timestamp::from_ms(event.context.deadline)).await.map_err(Error::from)
    }))
    .await
}

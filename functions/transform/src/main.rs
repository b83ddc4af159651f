//! Lambda entry point of `transform`: wiring only.

use std::sync::Arc;

use domain::transformation::Batch;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use runtime::clock::{SharedClock, SystemClock};
use runtime::config::Env;
use runtime::telemetry;
use transform::{Program, Transform, is_child};

fn main() -> Result<(), Error> {
    let clock: SharedClock = Arc::new(SystemClock);
    if is_child() {
        return Ok(transformer::serve(&clock)?);
    }
    telemetry::init(&Env::process())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let function = &Transform::new(Program::own()?, clock);
    runtime.block_on(run(service_fn(async |event: LambdaEvent<Batch>| {
        Ok::<_, Error>(function.handle(event.payload).await?)
    })))
}

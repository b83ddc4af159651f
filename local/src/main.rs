//! The local runner's program: see the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    local::runner::main().await
}

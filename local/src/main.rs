//! The local runner's program: see the library.

use std::process::ExitCode;

// The SDK allocates some hundreds of times a request: a seventh of the runner's CPU with the system's
// heap, a third of that with this one. Lambdas keep the system's: it starts faster.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    local::runner::main().await
}

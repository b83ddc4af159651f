//! The load generator's program: see the library.

use std::process::ExitCode;

// As the local runner has it.
#[global_allocator]
static HEAP: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bench::main()
}

//! The `rolecall` binary.

use std::process::ExitCode;

/// Gives back what a pass over thousands of requests took; glibc's allocator keeps most of it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    rolecall::cli::main()
}

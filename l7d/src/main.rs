//! Program entry: arguments and exit code live in [`l7d::cli`].

/// A connection that waits is two blocks aligned to 128 bytes, between which glibc leaves gaps of a fifth of their size.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    l7d::cli::run()
}

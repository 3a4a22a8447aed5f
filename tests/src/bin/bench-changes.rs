//! How long l4d takes to load and change large sites; see `tests::bench::changes`. `cargo xtask bench changes` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::changes::main()
}

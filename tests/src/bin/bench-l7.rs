//! What l7d costs beside haproxy and nginx; see `tests::bench::l7`. `cargo xtask bench l7` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::l7::main()
}

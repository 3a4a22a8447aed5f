//! What conditions cost in l7d beside haproxy, and how long large files take to load; see `tests::bench::l7::rules`. `cargo xtask bench rules` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::l7::rules::main()
}

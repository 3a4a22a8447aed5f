//! What checking thousands of servers costs in l7d beside haproxy; see `tests::bench::l7::checks`. `cargo xtask bench checks` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::l7::checks::main()
}

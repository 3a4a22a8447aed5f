//! What tracking costs in l7d beside haproxy, and what its entries take; see `tests::bench::l7::tables`. `cargo xtask bench tables` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::l7::tables::main()
}

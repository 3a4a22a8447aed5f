//! What the XDP program costs per packet; see `tests::bench`. `cargo xtask bench l4` builds and runs it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tests::bench::main()
}

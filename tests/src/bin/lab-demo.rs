//! The demo as a program; see `tests::demo`.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    tests::demo::main(env::args().skip(1))
}

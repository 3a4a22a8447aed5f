//! The server behind the balancers in the lab; see `tests::serve`.

use std::env;

fn main() -> anyhow::Result<()> {
    tests::serve::main(env::args().skip(1))
}

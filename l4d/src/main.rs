//! The l4d program; see `l4d --help`.

use clap::Parser;

fn main() -> std::process::ExitCode {
    match l4d::cli::Cli::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

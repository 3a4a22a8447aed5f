//! Program entry: arguments and exit code live in [`l7d::cli`].

fn main() -> std::process::ExitCode {
    l7d::cli::run()
}

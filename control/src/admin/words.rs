//! Commands that every daemon has.

use super::command::Call;
use super::reply::Reply;

/// Answers `show env [<name>]`.
pub fn environment(call: &Call) -> Reply {
    let line = |name: &std::ffi::OsStr, value: &std::ffi::OsStr| format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy());
    match call.word(0) {
        "" => Reply::Output(std::env::vars_os().map(|(name, value)| line(&name, &value)).collect()),
        name => match std::env::var_os(name) {
            Some(value) => Reply::Output(line(name.as_ref(), &value)),
            None => Reply::error("Variable not found"),
        },
    }
}

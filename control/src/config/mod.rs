//! Configuration: one file, read by both daemons, into one typed model.
//!
//! ```text
//! text ─► toml, haproxy ─► written ─► resolve ─► model
//! ```
//! `toml` and `haproxy` read text into as-written structs in which every value keeps its position: which of them, the name of the file
//! tells (`.toml`, `.cfg`), else the first word, which in HAProxy's language is that of a section. `resolve` turns those into the model,
//! and is the only one who can: names become ids, defaults are filled in, what contradicts itself is refused. Nothing stops at the
//! first mistake: a [`Report`] holds all of them. Whether files, interfaces and addresses named here exist is not looked at;
//! who uses them finds out, and points at them by their [`Location`].

mod error;
mod haproxy;
mod location;
mod model;
mod resolve;
pub mod suggest;
mod toml;
mod value;
mod written;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::{Diagnostic, Report, Severity};
pub use location::{Language, Located, Location};
pub use model::{
    Account, Acl, AttachMode, Backend, BackendId, Balance, Bind, BindAddress, Check, CheckKind, CipherSuite, ClientAuth, Coding,
    Compression, Config, Cookie, CookieMode, Curve, ErrorReply, Exposed, Forward, ForwardFor, Frontend, FrontendId, Global, HashFunction,
    HashMethod, HashType, HeaderHash, HttpCheck, HttpErrors, HttpVersion, Inet, Mode, OnStop, PortRange, Protocol, ProxyOption, SendProxy,
    Server, ServerAddress, ServerAuth, ServerId, ServerSource, ServerTls, SniRoute, SocketFile, SocketLevel, StatsSocket, StatusSet,
    Stored, StoredKind, Table, TableKey, Target, Timeout, Timeouts, Tls, TlsProtocol, TlsVersion, Transport, Trust, UnixAddress, UriHash,
    Xdp, XdpBalance, XdpFrontend,
};

use crate::file;
use location::Source;

/// Reads a time such as `30s`; a number without a unit counts milliseconds.
///
/// # Errors
///
/// Says what a time looks like.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    value::units::duration(text).map_err(|mistake| mistake.message().to_owned())
}

impl Config {
    /// Reads and checks one file.
    ///
    /// # Errors
    ///
    /// Everything wrong with the file, in the order of its lines; warnings are among it.
    pub fn load(path: &Path) -> Result<Self, Report> {
        let name = path.display().to_string();
        let bytes = file::read(path, file::LARGEST).map_err(|error| Diagnostic::file_error(&name, error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let source = Source::new(&name, &String::from_utf8_lossy(error.as_bytes()));
            Diagnostic::error(&Location::new(&source, good..good), "the file is not UTF-8")
        })?;
        Self::parse(&name, &text)
    }

    /// Checks a text, known by `name` in messages.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, Report> {
        let outcome = match language(name, text) {
            Language::Toml => toml::read(&Source::new(name, text)),
            Language::Haproxy => haproxy::read(&Source::of(Language::Haproxy, name, text)),
        };
        if !outcome.well_formed {
            // Whatever was lost with the broken lines would be reported as missing.
            return Err(outcome.diagnostics.into());
        }
        resolve::resolve(outcome.written, outcome.diagnostics)
    }
}

/// Tells what a file is written in.
fn language(name: &str, text: &str) -> Language {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    match ending {
        Some("toml") => Language::Toml,
        Some("cfg") => Language::Haproxy,
        Some(_) | None if haproxy::begins(text) => Language::Haproxy,
        Some(_) | None => Language::Toml,
    }
}

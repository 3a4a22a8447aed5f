//! Who we are, and whose language we speak.

/// The level of HAProxy's language that is spoken here.
pub(crate) const LEVEL: &str = "3.2.0";

/// Returns the level and our own version, in the form of a version of HAProxy.
pub(crate) fn full() -> String {
    format!("{LEVEL}-l7d{}", env!("CARGO_PKG_VERSION"))
}

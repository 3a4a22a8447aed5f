//! Persistence by a cookie that names the server.

use std::time::Duration;

/// A cookie that keeps a client with its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub(in crate::config) name: String,
    pub(in crate::config) mode: CookieMode,
    pub(in crate::config) indirect: bool,
    pub(in crate::config) nocache: bool,
    pub(in crate::config) postonly: bool,
    pub(in crate::config) preserve: bool,
    pub(in crate::config) httponly: bool,
    pub(in crate::config) secure: bool,
    pub(in crate::config) domains: Vec<String>,
    pub(in crate::config) maxidle: Option<Duration>,
    pub(in crate::config) maxlife: Option<Duration>,
    pub(in crate::config) attributes: Vec<String>,
    pub(in crate::config) dynamic_key: Option<String>,
    /// A key that waits until a command turns dynamic values on.
    pub(in crate::config) idle_key: Option<String>,
}

impl Cookie {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns who sets it.
    pub fn mode(&self) -> CookieMode {
        self.mode
    }

    /// Tells whether the server never sees it, and the client gets it only when it has none that fits.
    pub fn indirect(&self) -> bool {
        self.indirect
    }

    /// Tells whether a response that sets it is marked as not to be cached.
    pub fn nocache(&self) -> bool {
        self.nocache
    }

    /// Tells whether only answers to POST set it.
    pub fn postonly(&self) -> bool {
        self.postonly
    }

    /// Tells whether one set by the server is left as it is.
    pub fn preserve(&self) -> bool {
        self.preserve
    }

    /// Tells whether it is hidden from scripts.
    pub fn httponly(&self) -> bool {
        self.httponly
    }

    /// Tells whether it is sent over TLS only.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Returns the domains it is set for.
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Returns how long it is honoured without being used.
    pub fn maxidle(&self) -> Option<Duration> {
        self.maxidle
    }

    /// Returns how long it is honoured at all.
    pub fn maxlife(&self) -> Option<Duration> {
        self.maxlife
    }

    /// Returns further attributes, as written.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// Returns what is hashed with a server's address into its value, for servers that have none of their own; none where they get none.
    pub fn dynamic_key(&self) -> Option<&str> {
        self.dynamic_key.as_deref()
    }
}

/// Who sets a persistence cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieMode {
    /// The server sets it, its value is replaced.
    Rewrite,
    /// It is added to responses.
    Insert,
    /// The server sets it, its value is prefixed.
    Prefix,
    /// The server sets it, and its value is that of the server.
    Passive,
}

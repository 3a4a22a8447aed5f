//! What besides its own checks decides on the state of a server: traffic, another server, and how it begins.

/// How traffic tells of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observe {
    pub(in crate::config) layer: Layer,
    pub(in crate::config) limit: u32,
    pub(in crate::config) on_error: OnError,
}

impl Observe {
    /// Returns what of the traffic is looked at.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// Returns how many errors in a row are too many, at least 1.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Returns what follows then.
    pub fn on_error(&self) -> OnError {
        self.on_error
    }
}

/// What of the traffic tells of a server's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Whether it can be connected to.
    Layer4,
    /// What it answers.
    Layer7,
}

/// What follows when there were too many errors in a row; the next check comes after the short interval at the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Nothing more.
    FastInter,
    /// It counts as a failed check.
    #[default]
    FailCheck,
    /// It counts as so many failed checks that one more takes the server down.
    SuddenDeath,
    /// The server is down.
    MarkDown,
}

/// How a server's health is at the start and after maintenance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitState {
    /// Up, and down once enough checks have failed.
    FullyUp,
    /// Up, and down with the first check that fails.
    #[default]
    Up,
    /// Down, and up with the first check that passes.
    Down,
    /// Down, and up once enough checks have passed.
    FullyDown,
}

/// A server whose state is another's, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    pub(in crate::config) backend: String,
    pub(in crate::config) server: String,
}

impl Tracked {
    /// Returns the name of its backend.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Returns its name.
    pub fn server(&self) -> &str {
        &self.server
    }
}

impl std::fmt::Display for Tracked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.backend, self.server)
    }
}

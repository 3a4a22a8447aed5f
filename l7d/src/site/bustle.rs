//! How busy each frontend is, for the rules of all the others.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use crate::stats::Meter;

/// How busy a frontend is.
#[derive(Debug)]
pub(crate) struct Bustle {
    pub(super) name: String,
    pub(super) connections: Arc<AtomicU32>,
    pub(crate) meter: Arc<Meter>,
}

impl Bustle {
    /// Returns how many connections the frontend serves.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }
}

/// All frontends of a site, known once the last of them is built.
#[derive(Debug, Default)]
pub(super) struct Neighbours(OnceLock<Vec<Bustle>>);

impl Neighbours {
    /// Makes all frontends known.
    pub(super) fn settle(&self, all: Vec<Bustle>) {
        self.0.get_or_init(|| all);
    }

    /// Returns how busy the frontend of that name is.
    pub(super) fn of(&self, name: &str) -> Option<&Bustle> {
        self.0.get()?.iter().find(|bustle| bustle.name == name)
    }
}

//! What traffic with a server says of its health: counts errors in a row, and tells the fleet when there are too many.
//!
//! An exchange that goes well costs one read of a number that is zero; the fleet's lock is taken only when a row of errors is complete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use control::config::{Layer, Observe, Server, ServerId};
use control::fleet::{Errors, Fleet, View};

/// Looks at the traffic with one server.
#[derive(Debug)]
pub(super) struct Watch {
    observe: Observe,
    /// Errors since something went well.
    errors: AtomicU32,
    fleet: Fleet,
    view: Arc<View>,
    server: ServerId,
}

/// What was seen of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It was connected to.
    Connected,
    /// It could not be connected to.
    Unreachable,
    /// It answered with this status.
    Answered(u16),
    /// It did not answer as it should; in HAProxy's words.
    Failed(&'static str),
}

impl Watch {
    /// Returns what looks at the traffic with a server, where that is wanted.
    pub(super) fn new(fleet: &Fleet, view: &Arc<View>, model: &Server) -> Option<Self> {
        let observe = model.check()?.observe()?;
        Some(Self { observe, errors: AtomicU32::new(0), fleet: fleet.clone(), view: Arc::clone(view), server: model.id() })
    }

    /// Takes in a sign.
    pub(super) fn note(&self, sign: Sign) {
        match judge(self.observe.layer(), sign) {
            None => {}
            Some(Ok(())) if self.errors.load(Relaxed) == 0 => {}
            Some(Ok(())) => self.errors.store(0, Relaxed),
            Some(Err(last)) => {
                let count = self.errors.fetch_add(1, Relaxed) + 1;
                if count == self.observe.limit() {
                    self.errors.store(0, Relaxed);
                    self.fleet.report_errors(&self.view, self.server, Errors { count, last, action: self.observe.on_error() });
                }
            }
        }
    }
}

/// Tells whether a sign is a good one, or what is wrong with it; nothing where it says nothing.
fn judge(layer: Layer, sign: Sign) -> Option<Result<(), &'static str>> {
    match (layer, sign) {
        (_, Sign::Unreachable) => Some(Err("L4 unsuccessful connection")),
        (Layer::Layer4, Sign::Connected) | (Layer::Layer7, Sign::Answered(100..=499 | 501 | 505)) => Some(Ok(())),
        (Layer::Layer7, Sign::Answered(_)) => Some(Err("Wrong http response")),
        (Layer::Layer7, Sign::Failed(what)) => Some(Err(what)),
        (Layer::Layer4, Sign::Answered(_) | Sign::Failed(_)) | (Layer::Layer7, Sign::Connected) => None,
    }
}

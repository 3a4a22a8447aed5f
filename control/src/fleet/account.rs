//! How a server is seen, in the words a check tells it with.

use std::fmt::Write;

use super::{Fleet, View, now};
use crate::config::ServerId;
use crate::server_state::{Status, WEIGHT_SCALE};

impl Fleet {
    /// Returns how a server of `view` is seen, as HAProxy's `http-check send-state` tells it; connections are not counted here.
    pub(crate) fn account(&self, view: &View, server: ServerId) -> String {
        let now = now();
        let core = self.shared.core();
        let Some((server, record)) = core.translate(view, server).and_then(|id| core.view.server(id).zip(core.records.get(id.index())))
        else {
            return String::new();
        };
        let backend = core.view.config().backend(server.backend());
        let state = &record.state;
        let name = match state.status() {
            _ if state.is_stopping() => "NOLB",
            Status::Down => "DOWN",
            Status::Up | Status::Drain | Status::Maint => "UP",
        };
        let mut text = name.to_owned();
        if let Some((done, all)) = state.progress() {
            let _ = write!(text, " {done}/{all}");
        }
        let address = server.ip().map_or_else(|| "unix".to_owned(), |ip| ip.to_string());
        let port = server.port().map_or_else(|| "unix".to_owned(), |port| port.to_string());
        let weights = backend.servers().filter_map(|id| core.records.get(id.index()).map(|record| record.state.effective_weight(now)));
        let whole = |weight: u32| weight.div_ceil(WEIGHT_SCALE);
        let (own, all) = (whole(state.effective_weight(now)), weights.map(whole).sum::<u32>());
        let (backend, node) = (backend.name(), crate::health::hostname());
        let _ = write!(text, "; address={address}; port={port}; name={backend}/{}; node={node}; weight={own}/{all}", server.name());
        text
    }
}

//! What commands set of a server, noted beside it in the maps: a restart finds it there, and so does an upgrade.
//!
//! Two bits of state, then the weight with the configured one it was set against: a file that says another weight has the last word.

use control::{
    config::{Server, ServerId},
    fleet::{Fleet, View},
    server_state::{Admin, MAX_WEIGHT},
};

/// A note of [`xdp_common::server::Server`]; 0 says that nothing was set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Note(pub u32);

const READY: u32 = 1;
const DRAIN: u32 = 2;
const MAINT: u32 = 3;
const STATE: u32 = 3;
/// Set where the weight is.
const WEIGHED: u32 = 1 << 2;
const WEIGHT_SHIFT: u32 = 3;
const CONFIGURED_SHIFT: u32 = 12;
/// Bits of a weight, which is at most 256.
const WEIGHT: u32 = 0x1ff;

impl Note {
    /// Notes how a server differs from what its file says.
    pub(crate) fn of(server: &Server, admin: Admin, weight: u16) -> Self {
        let written = if server.disabled() { Admin::Maint } else { Admin::Ready };
        let admin = match admin {
            same if same == written => 0,
            Admin::Ready => READY,
            Admin::Drain => DRAIN,
            Admin::Maint => MAINT,
        };
        if weight == server.weight() {
            return Self(admin);
        }
        Self(admin | WEIGHED | u32::from(weight) << WEIGHT_SHIFT | u32::from(server.weight()) << CONFIGURED_SHIFT)
    }

    /// Sets what is noted.
    pub(crate) fn recall(self, fleet: &Fleet, view: &View, server: ServerId) {
        let admin = match self.0 & STATE {
            READY => Some(Admin::Ready),
            DRAIN => Some(Admin::Drain),
            MAINT => Some(Admin::Maint),
            _ => None,
        };
        if let Some(admin) = admin {
            fleet.set_admin(view, server, admin);
        }
        let (weight, configured) = (self.0 >> WEIGHT_SHIFT & WEIGHT, self.0 >> CONFIGURED_SHIFT & WEIGHT);
        let weight = u16::try_from(weight).ok().filter(|weight| *weight <= MAX_WEIGHT);
        if self.0 & WEIGHED != 0 && configured == u32::from(view.config().server(server).weight()) {
            fleet.set_weight(view, server, weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::config::Config;

    use super::*;

    fn fleet(weight: u16, disabled: bool) -> Fleet {
        let text = format!(
            "[backend.b]\nmode = \"tcp\"\n[backend.b.server]\ns = {{ address = \"10.0.0.1:80\", weight = {weight}, disabled = {disabled} }}\n"
        );
        Fleet::new(Arc::new(Config::parse("l4d.toml", &text).unwrap()))
    }

    fn state(fleet: &Fleet) -> (Admin, u16) {
        let snapshot = fleet.snapshot();
        (snapshot.servers[0].admin, snapshot.servers[0].weight)
    }

    fn note(fleet: &Fleet) -> Note {
        let view = fleet.view();
        let server = &view.config().servers()[0];
        let (admin, weight) = fleet.settings(&view, server.id()).unwrap();
        Note::of(server, admin, weight)
    }

    #[test]
    fn what_was_set_is_recalled_and_nothing_else() {
        for disabled in [false, true] {
            for admin in [Admin::Ready, Admin::Drain, Admin::Maint] {
                for weight in [0, 1, 256] {
                    let (one, other) = (fleet(1, disabled), fleet(1, disabled));
                    assert_eq!(note(&one), Note::default());
                    let view = one.view();
                    let id = view.config().servers()[0].id();
                    one.set_admin(&view, id, admin);
                    one.set_weight(&view, id, Some(weight));
                    note(&one).recall(&other, &other.view(), id);
                    assert_eq!(state(&other), (admin, weight), "disabled: {disabled}");
                }
            }
        }
    }

    #[test]
    fn a_new_weight_in_the_file_has_the_last_word() {
        let (one, other) = (fleet(1, false), fleet(5, false));
        let view = one.view();
        let id = view.config().servers()[0].id();
        one.set_weight(&view, id, Some(7));
        note(&one).recall(&other, &other.view(), id);
        assert_eq!(state(&other), (Admin::Ready, 5));
    }
}

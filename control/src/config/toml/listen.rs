//! Sections `[listen.NAME]`: a frontend and the backend of its clients in one.

use std::sync::Arc;

use super::proxy::{self, Presets, Side};
use super::reader::Reader;
use super::section::Section;
use super::{backend, frontend};
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::value::rule;
use crate::config::written::{Backend, Frontend, Written};

/// Reads a section: what may stand on both sides holds on both, and each rule where it can be decided.
pub(super) fn listen(reader: &mut Reader, name: Located<String>, presets: &Presets, mut section: Section<'_>) -> (Frontend, Backend) {
    let defaults = presets.of(reader, &mut section, Side::Listen);
    let proxy = proxy::proxy(reader, &mut section, Side::Listen);
    let (acls, rules) = (proxy::acls(reader, &mut section), proxy::rules(reader, &mut section));
    let plain = frontend::plain(name.clone(), Arc::clone(&defaults), proxy.clone());
    let frontend = frontend::own(reader, &mut section, plain);
    let backend = backend::own(reader, &mut section, (name.clone(), defaults, proxy));
    section.finish(reader, &[&frontend::LATER[..], &backend::LATER, &proxy::LATER].concat());
    let own = frontend.defaults.default_backend.is_none().then_some(name);
    let default_backend = frontend.default_backend.clone().or(own);
    let of = |left_out: fn((bool, bool)) -> bool| rules.iter().filter(|text| !left_out(rule::half(text))).cloned().collect();
    let (early, late) = (of(|(_, is_late)| is_late), of(|(is_early, _)| is_early));
    let frontend = Frontend { default_backend, acls: acls.clone(), rules: early, ..frontend };
    (frontend, Backend { is_twin: true, acls, rules: late, ..backend })
}

/// Refuses a section `listen` of the name of a frontend or a backend.
pub(super) fn apart(reader: &mut Reader, written: &Written) {
    for twin in written.backends.iter().filter(|backend| backend.is_twin) {
        let name = twin.name.value();
        let frontends = written.frontends.iter().filter(|frontend| frontend.name.value() == name).map(|frontend| &frontend.name);
        let backends = written.backends.iter().filter(|backend| !backend.is_twin && backend.name.value() == name);
        let other =
            frontends.chain(backends.map(|backend| &backend.name)).find(|other| other.location().line() != twin.name.location().line());
        if let Some(other) = other {
            let error = Diagnostic::error(twin.name.location(), format!("`{name}` is the name of a frontend or backend already"));
            reader.push(error.hint(format!("in line {}", other.location().line())));
        }
    }
}

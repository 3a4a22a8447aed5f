//! Mode, timeouts and options: a proxy's own over the defaults.

use super::Resolver;
use crate::config::location::{Located, Location};
use crate::config::model::{Compression, ErrorReply, Mode, ProxyOption, StatsPage, Timeout, Timeouts, UniqueId};
use crate::config::written::Proxy;

/// Tells whether a proxy serves nobody.
pub(super) fn is_disabled(defaults: &Proxy, own: &Proxy) -> bool {
    own.disabled.or(defaults.disabled).unwrap_or(false)
}

/// Returns the mode of a proxy.
pub(super) fn mode(defaults: &Proxy, own: &Proxy) -> Mode {
    let written = own.mode.as_ref().or(defaults.mode.as_ref());
    written.map_or(Mode::Http, |mode| *mode.value())
}

/// Returns the name of a mode.
pub(super) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Tcp => "tcp",
        Mode::Http => "http",
    }
}

/// Returns the timeouts of a proxy; zero switches one off.
pub(super) fn timeouts(defaults: &Proxy, own: &Proxy) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for written in defaults.timeouts.iter().chain(&own.timeouts) {
        let (timeout, duration) = *written.value();
        timeouts.set(timeout, Some(duration).filter(|duration| !duration.is_zero()));
    }
    timeouts
}

/// Returns what a proxy compresses; none where that is nothing of its own.
pub(super) fn compression(resolver: &mut Resolver, defaults: &Proxy, own: &Proxy, mode: Mode) -> Option<Compression> {
    if let Some(written) = own.compression.as_ref().filter(|_| mode == Mode::Tcp) {
        resolver.warning(&written.location, "`compression` means nothing in mode tcp", "leave it out, or write mode = \"http\"");
    }
    let layers: Vec<_> = [&own.compression, &defaults.compression].into_iter().flatten().collect();
    if mode == Mode::Tcp || layers.is_empty() {
        return None;
    }
    let codings = layers.iter().map(|written| &written.codings).find(|codings| !codings.is_empty());
    let types = layers.iter().map(|written| &written.types).find(|types| !types.is_empty());
    Some(Compression {
        codings: codings.cloned().unwrap_or_default(),
        types: types.cloned().unwrap_or_default(),
        offload: layers.iter().find_map(|written| written.offload).unwrap_or(false),
        least: layers.iter().find_map(|written| written.least).unwrap_or(0),
    })
}

/// Checks that the sections exist whose files a proxy answers with.
pub(super) fn sections(resolver: &mut Resolver, proxy: &Proxy) {
    for reply in &proxy.errors {
        if let ErrorReply::Files { section, .. } = reply {
            resolver.http_errors(section);
        }
    }
}

/// Returns the answers of a proxy in place of its own pages, those of the defaults first.
pub(super) fn errors(resolver: &mut Resolver, defaults: &Proxy, own: &Proxy) -> Vec<ErrorReply> {
    sections(resolver, own);
    defaults.errors.iter().chain(&own.errors).cloned().collect()
}

/// Returns the options of a proxy that are on and mean something in its mode.
pub(super) fn options(resolver: &mut Resolver, defaults: &Proxy, own: &Proxy, mode: Mode) -> Vec<Located<ProxyOption>> {
    let mut options: Vec<Located<ProxyOption>> = Vec::new();
    for switch in defaults.options.iter().chain(&own.options) {
        options.retain(|other| !switch.option.replaces(other));
        if switch.on {
            options.push(switch.clone().map(|switch| switch.option));
        }
    }
    for switch in own.options.iter().filter(|switch| mode == Mode::Tcp && switch.on && switch.option.is_http()) {
        let message = format!("option `{}` means nothing in mode tcp", switch.option.name());
        resolver.warning(switch.location(), message, "leave it out, or write mode = \"http\"");
    }
    options.retain(|option| mode == Mode::Http || !option.is_http());
    options
}

/// Returns how the exchanges of a proxy get a name of their own.
pub(super) fn unique_id(defaults: &Proxy, own: &Proxy) -> UniqueId {
    UniqueId {
        format: own.unique_id.format.as_ref().or(defaults.unique_id.format.as_ref()).cloned(),
        header: own.unique_id.header.as_ref().or(defaults.unique_id.header.as_ref()).cloned(),
    }
}

/// Returns where clients of a proxy see the statistics; those of mode tcp see none.
pub(super) fn stats(defaults: &Proxy, own: &Proxy, mode: Mode) -> Option<StatsPage> {
    own.stats.as_ref().or(defaults.stats.as_ref()).filter(|_| mode == Mode::Http).cloned()
}

/// Warns where a timeout without which connections hang for ever was never mentioned.
pub(super) fn missing_timeouts(resolver: &mut Resolver, location: &Location, title: &str, proxies: [&Proxy; 2], wanted: &[Timeout]) {
    let written = |timeout: &Timeout| proxies.iter().flat_map(|proxy| &proxy.timeouts).any(|written| written.0 == *timeout);
    let missing: Vec<&str> = wanted.iter().filter(|timeout| !written(timeout)).map(|timeout| timeout.name()).collect();
    if let [first, ..] = missing.as_slice() {
        let message = format!("{title} has no timeout for {}", missing.join(", "));
        let hint =
            format!("a silent peer holds its connection for ever: for example timeout = {{ {first} = \"30s\" }} here or in [defaults]");
        resolver.absent(location, message, hint);
    }
}

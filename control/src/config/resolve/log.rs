//! What a frontend writes about its traffic: its own settings over the defaults and those of the process.

use super::Resolver;
use crate::config::location::Located;
use crate::config::model::{Frontend, LineFormat, LogForward, LogProfile, Logging, Mode, ProxyOption};
use crate::config::value::option::Switch;
use crate::config::written::Proxy;

/// Returns what a proxy writes, and where.
pub(super) fn logging(resolver: &mut Resolver, [defaults, own]: [&Proxy; 2], mode: Mode) -> Logging {
    let chosen = match line(resolver, own) {
        Some(line) => line,
        None => line(resolver, defaults).flatten(),
    };
    let line = chosen.map(|line| suited(line, mode));
    let written = own.log.targets.as_ref().or(defaults.log.targets.as_ref());
    let targets = match written {
        Some(targets) => targets.iter().flat_map(|target| expand(&resolver.log, target)).collect(),
        // What is nowhere said goes where everything goes, if there is anything to be said.
        None if line.is_some() => resolver.log.clone(),
        None => Vec::new(),
    };
    let either = |of: fn(&Proxy) -> &Option<Located<String>>| of(own).as_ref().or(of(defaults).as_ref()).cloned();
    Logging {
        targets,
        line,
        error_line: either(|proxy| &proxy.log.error_format),
        structured: either(|proxy| &proxy.log.structured),
        tag: either(|proxy| &proxy.log.tag).or_else(|| resolver.log_tag.clone()),
        steps: own.log.steps.as_ref().or(defaults.log.steps.as_ref()).cloned(),
    }
}

/// Warns of profiles whose formats nobody reads.
pub(super) fn profiles(resolver: &mut Resolver, profiles: &[LogProfile], frontends: &[Frontend]) {
    for profile in profiles {
        if !frontends.iter().any(|frontend| frontend.logging().profiles().any(|name| name == profile.name())) {
            let message = format!("log-profile `{}` is that of no target of a frontend", profile.name());
            resolver.absent(profile.location(), message, format!("log 127.0.0.1:514 profile {} local0", profile.name()));
        }
    }
}

/// Returns where lines about peers go.
pub(super) fn of_peers(resolver: &Resolver, written: &[Located<String>]) -> Logging {
    let targets = written.iter().flat_map(|target| expand(&resolver.log, target)).collect();
    Logging { targets, tag: resolver.log_tag.clone(), ..Logging::default() }
}

/// Completes a section of log lines of others.
pub(super) fn forward(resolver: &mut Resolver, mut section: LogForward) -> LogForward {
    section.logging.targets = section.logging.targets.iter().flat_map(|target| expand(&resolver.log, target)).collect();
    let sockets: Vec<_> = section.binds.iter().chain(&section.datagrams).collect();
    if sockets.is_empty() {
        resolver.absent(section.location(), format!("log-forward `{}` listens nowhere", section.name()), "dgram-bind 127.0.0.1:514");
    }
    if section.logging.targets.is_empty() {
        resolver.absent(
            section.location(),
            format!("log-forward `{}` has no `log`, and drops what it gets", section.name()),
            "log 192.0.2.9:514 local0",
        );
    }
    section
}

/// Puts the targets of the process in the place of the word `global`.
fn expand(global: &[Located<String>], target: &Located<String>) -> Vec<Located<String>> {
    if target.as_str() == "global" { global.to_vec() } else { vec![target.clone()] }
}

/// Returns the format one place sets: nothing if it is silent about it, no format where it switches it off.
fn line(resolver: &mut Resolver, proxy: &Proxy) -> Option<Option<LineFormat>> {
    let option = proxy.options.iter().rfind(|switch| of_option(&switch.option).is_some());
    match (&proxy.log.format, option) {
        (Some(format), option) => {
            if let Some(option) = option.filter(|option| option.on) {
                let message = format!("option `{}` has no effect beside `log-format`", option.option.name());
                resolver.warning(option.location(), message, "leave out one of them");
            }
            Some(Some(LineFormat::Text(format.clone())))
        }
        (None, Some(option)) => Some(named(option)),
        (None, None) => None,
    }
}

/// Falls back where a format is one of requests and there are none.
fn suited(line: LineFormat, mode: Mode) -> LineFormat {
    match (mode, &line) {
        (Mode::Tcp, LineFormat::Http | LineFormat::HttpClf | LineFormat::Https) => LineFormat::Tcp,
        (Mode::Tcp, LineFormat::Tcp | LineFormat::Text(_)) | (Mode::Http, _) => line,
    }
}

fn named(switch: &Switch) -> Option<LineFormat> {
    of_option(&switch.option).filter(|_| switch.on)
}

fn of_option(option: &ProxyOption) -> Option<LineFormat> {
    let formats = [
        (ProxyOption::HttpLog, LineFormat::Http),
        (ProxyOption::HttpLogClf, LineFormat::HttpClf),
        (ProxyOption::HttpsLog, LineFormat::Https),
        (ProxyOption::TcpLog, LineFormat::Tcp),
    ];
    formats.into_iter().find(|(known, _)| known == option).map(|(_, format)| format)
}

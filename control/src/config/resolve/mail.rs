//! Mails about servers: who takes those of a backend.

use super::{Resolver, dangling};
use crate::config::location::Located;
use crate::config::model::{EmailAlert, Mailers};
use crate::config::written::{Alert, Backend};

/// The level of a server that fails, which is told where nothing is said.
const ALERT: u8 = 1;

/// Warns of sections that nobody takes mails in.
pub(super) fn sections(resolver: &mut Resolver, sections: &[Mailers]) {
    for mailers in sections.iter().filter(|mailers| mailers.list().is_empty()) {
        let message = format!("mailers `{}` has no mailer", mailers.name());
        resolver.absent(mailers.location(), message, "for example mailer = { smtp1 = \"192.0.2.1:25\" }");
    }
}

/// Returns what a backend has told by mail: its own settings over those of its defaults.
pub(super) fn alert(resolver: &mut Resolver, backend: &Backend) -> Option<EmailAlert> {
    let (own, defaults) = (&backend.proxy.alert, &backend.defaults.proxy.alert);
    let either = |of: fn(&Alert) -> &Option<Located<String>>| of(own).as_ref().or(of(defaults).as_ref());
    let parts = [either(|alert| &alert.mailers), either(|alert| &alert.from), either(|alert| &alert.to)];
    let (host, level) = (either(|alert| &alert.host), own.level.as_ref().or(defaults.level.as_ref()));
    let [Some(mailers), Some(from), Some(to)] = parts else {
        let first = parts.into_iter().flatten().chain(host).map(Located::location).next();
        if let Some(location) = first.or(level.map(Located::location)).cloned() {
            let message = format!("backend `{}` sends no mail: `email-alert` lacks `mailers`, `from` or `to`", backend.name);
            resolver.absent(&location, message, "it needs all three");
        }
        return None;
    };
    let Some(section) = resolver.mailers.iter().find(|section| section.name() == mailers.as_str()).cloned() else {
        let known: Vec<_> = resolver.mailers.iter().map(|section| section.name.clone()).collect();
        resolver.found.push(dangling("section mailers", mailers, &known));
        return None;
    };
    let text = |text: &Located<String>| text.value().clone();
    Some(EmailAlert { mailers: section, from: text(from), to: text(to), host: host.map(text), level: level.map_or(ALERT, |level| **level) })
}

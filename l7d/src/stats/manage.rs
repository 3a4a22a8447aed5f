//! What administrators have changed by the page: forms with HAProxy's fields, answered as HAProxy answers them.

use std::sync::Arc;

use control::admin::servers;
use control::admin::{Call, Reply as Answer, Rights};
use control::config::{Config, ServerId};
use control::fleet::View;
use control::server_state::{Admin, Checking};

use super::entrance::Shown;
use crate::message::head::RequestHead;

/// What came of a form, in the letters that HAProxy puts behind the address of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of it was done.
    Done,
    /// There was nothing to do.
    Nothing,
    /// Some of it was done.
    Part,
    /// It makes no sense.
    Senseless,
    /// The sender may not.
    Denied,
    /// It is longer than is looked at.
    TooLong,
}

impl Outcome {
    const ALL: [Self; 6] = [Self::Done, Self::Nothing, Self::Part, Self::Senseless, Self::Denied, Self::TooLong];

    /// Returns HAProxy's letters for it.
    pub(super) fn letters(self) -> &'static str {
        match self {
            Self::Done => "DONE",
            Self::Nothing => "NONE",
            Self::Part => "PART",
            Self::Senseless => "ERRP",
            Self::Denied => "DENY",
            Self::TooLong => "EXCD",
        }
    }

    /// Returns the outcome of these letters.
    pub(super) fn of(letters: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.letters() == letters)
    }

    /// Returns it in words, for the page.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Done => "Done.",
            Self::Nothing => "Nothing has changed.",
            Self::Part => "Only a part was done: some of these servers are not there any more.",
            Self::Senseless => "Nothing was done: no such backend, server or action.",
            Self::Denied => "Nothing was done: you may only look, or another site sent this.",
            Self::TooLong => "Nothing was done: too many servers at a time.",
        }
    }
}

/// Tells whether a page of another site may have sent a form: browsers say so (Fetch Metadata), older ones by the field `Origin`.
pub(crate) fn is_foreign(head: &RequestHead) -> bool {
    let one = |name: &str| head.headers.all(name).next().map(|value| String::from_utf8_lossy(value).into_owned());
    if let Some(site) = one("sec-fetch-site") {
        return !matches!(site.as_str(), "same-origin" | "none");
    }
    let Some(origin) = one("origin") else { return false };
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    one("host").is_none_or(|host| !authority.eq_ignore_ascii_case(&host))
}

/// Does what a form says: to servers of one backend, as HAProxy's forms, or to any, each with its backend's name, as the page's own.
pub(super) fn carry_out(shown: &Shown, form: &[u8]) -> Outcome {
    let fields: Vec<(String, String)> = url_fields(form);
    let last = |name: &str| fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let names = fields.iter().filter(|(name, _)| name == "s").map(|(_, value)| value.as_str());
    let Some(action) = last("action") else { return Outcome::Nothing };
    let view = shown.stats.fleet.view();
    let (mut servers, mut unknown): (Vec<ServerId>, u32) = (Vec::new(), 0);
    match last("b").map(|backend| backend_named(view.config(), backend)) {
        Some(None) => return Outcome::Senseless,
        Some(Some(backend)) => names.for_each(|name| match view.config().server_named(&backend, name) {
            Some(server) => servers.push(server.id()),
            None => unknown += 1,
        }),
        None => names.filter_map(|name| name.split_once('/')).for_each(|(backend, name)| match members(view.config(), backend, name) {
            found if found.is_empty() => unknown += 1,
            found => servers.extend(found),
        }),
    }
    let Some(action) = Action::of(action, last("weight")) else { return Outcome::Senseless };
    let done = servers.iter().filter(|server| action.run(shown, &view, **server)).count();
    match (done, unknown) {
        (0, 0) => Outcome::Nothing,
        (0, _) => Outcome::Senseless,
        (_, 0) => Outcome::Done,
        _ => Outcome::Part,
    }
}

/// Finds a server of a backend, or all of them by `*`.
fn members(config: &Config, backend: &str, name: &str) -> Vec<ServerId> {
    if name != "*" {
        return config.server_named(backend, name).map(control::config::Server::id).into_iter().collect();
    }
    config.backend_named(backend).map(|backend| backend.servers().collect()).unwrap_or_default()
}

/// Finds the backend of a name, or of a number behind `#`.
fn backend_named(config: &Arc<Config>, name: &str) -> Option<String> {
    if let Some(number) = name.strip_prefix('#') {
        let place = number.parse::<usize>().ok()?.checked_sub(config.frontends().len() + 2)?;
        return config.backends().get(place).map(|backend| backend.name().to_owned());
    }
    config.backend_named(name).map(|backend| backend.name().to_owned())
}

/// What is done to each server.
enum Action {
    /// The words behind `set server <b>/<s>`.
    Set(&'static [&'static str]),
    Weight(String),
    Maint(Admin),
    Checks(Checking),
    Agent(Checking),
    End,
}

impl Action {
    fn of(word: &str, weight: Option<&str>) -> Option<Self> {
        Some(match word {
            "ready" => Self::Set(&["state", "ready"]),
            "drain" => Self::Set(&["state", "drain"]),
            "maint" => Self::Set(&["state", "maint"]),
            "enable" => Self::Maint(Admin::Ready),
            "disable" => Self::Maint(Admin::Maint),
            "dhlth" => Self::Checks(Checking::Resting),
            "ehlth" => Self::Checks(Checking::On),
            "hrunn" => Self::Set(&["health", "up"]),
            "hnolb" => Self::Set(&["health", "stopping"]),
            "hdown" => Self::Set(&["health", "down"]),
            "dagent" => Self::Agent(Checking::Resting),
            "eagent" => Self::Agent(Checking::On),
            "arunn" => Self::Set(&["agent", "up"]),
            "adown" => Self::Set(&["agent", "down"]),
            "weight" => Self::Weight(weight?.to_owned()),
            "shutdown" => Self::End,
            _ => return None,
        })
    }

    /// Does it to a server, and tells whether that was something.
    fn run(&self, shown: &Shown, view: &View, server: ServerId) -> bool {
        let (fleet, model) = (&shown.stats.fleet, view.config().server(server));
        let answer = match self {
            Self::Set(words) => {
                // A check that is not made has no outcome to set.
                if words[0] == "health" && model.check().is_none() || words[0] == "agent" && model.agent().is_none() {
                    return false;
                }
                let arguments = [""].iter().chain(*words).map(|word| (*word).to_owned()).collect();
                let call = Call { arguments, payload: None, rights: Rights::ALL };
                servers::set(fleet, view, server, &call)
            }
            Self::Weight(weight) => Some(servers::set_weight(fleet, view, server, weight)),
            Self::Maint(admin) => {
                let now = fleet.snapshot().servers.get(server.index()).map(|state| state.admin);
                if (now == Some(Admin::Maint)) == (*admin == Admin::Maint) {
                    return false;
                }
                Some(servers::set_admin(fleet, view, server, *admin))
            }
            Self::Checks(checking) if model.check().is_some() => Some(servers::set_checking(fleet, view, server, *checking)),
            Self::Agent(asking) if model.agent().is_some() => Some(servers::set_asking(fleet, view, server, *asking)),
            Self::Checks(_) | Self::Agent(_) => return false,
            Self::End => return shown.end_sessions(server),
        };
        answer == Some(Answer::Done)
    }
}

/// Reads the fields of a form (`application/x-www-form-urlencoded`).
fn url_fields(form: &[u8]) -> Vec<(String, String)> {
    let pairs = form.split(|byte| *byte == b'&').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        Some((decoded(&pair[..equals]), decoded(&pair[equals + 1..])))
    });
    pairs.collect()
}

fn decoded(text: &[u8]) -> String {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        out.push(match (byte, digits) {
            (b'%', Some(value)) => {
                rest = &after[2..];
                value
            }
            (b'+', _) => b' ',
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_taken_apart() {
        let fields = url_fields(b"s=a%31&s=b+c&lonely&action=&b=%zz%4");
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("s", "a1"), ("s", "b c"), ("action", ""), ("b", "%zz%4")]);
    }

    proptest! {
        #[test]
        fn no_form_is_too_strange(form in prop::collection::vec(any::<u8>(), 0..200)) {
            let most = form.iter().filter(|byte| **byte == b'&').count() + 1;
            prop_assert!(url_fields(&form).len() <= most);
        }
    }
}

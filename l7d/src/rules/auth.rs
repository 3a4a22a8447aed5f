//! Who a client proves to be: the names and passwords of requests, and lists of users to compare them with.
//!
//! Hashes of passwords are slow on purpose, and a worker has other clients to serve. So they are computed on threads made for that,
//! at most one for each processor at a time, before the rules ask; the exchange waits, the worker does not. A password that was right once
//! is known from then on by a fast digest with a random key.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{constant_time, digest, hmac};
use control::config::{self, Diagnostic, Location};
use tokio::sync::Semaphore;

use super::crypt::Hash;
use super::view::View;
use crate::base64;
use crate::message::head::RequestHead;

/// Users who may prove that they are who they say.
#[derive(Debug)]
pub(crate) struct Userlist {
    /// Its place among all of the configuration.
    number: usize,
    users: HashMap<Box<[u8]>, User>,
}

#[derive(Debug)]
struct User {
    password: Password,
    groups: Box<[String]>,
}

#[derive(Debug)]
enum Password {
    /// Nobody knows one.
    None,
    Plain(Box<[u8]>),
    Hashed {
        hash: Hash,
        /// The digest of the password, once somebody has said it.
        accepted: OnceLock<[u8; DIGEST]>,
    },
}

const DIGEST: usize = digest::SHA256_OUTPUT_LEN;

impl Userlist {
    /// Makes the list of a section.
    pub(super) fn new(number: usize, model: &config::Userlist, found: &mut Vec<Diagnostic>) -> Self {
        let mut users = HashMap::new();
        for model in model.users() {
            let password = match model.password() {
                None => Password::None,
                Some(config::Password::Plain(password)) => Password::Plain(password.as_bytes().into()),
                Some(config::Password::Hashed(text)) => hashed(text, text.location(), found),
            };
            users.insert(model.name().as_bytes().into(), User { password, groups: model.groups().into() });
        }
        Self { number, users }
    }

    /// Tells whether any password of it is hashed.
    pub(super) fn is_slow(&self) -> bool {
        self.users.values().any(|user| matches!(user.password, Password::Hashed { .. }))
    }

    /// Tells whether a user belongs to one of these groups.
    pub(super) fn is_member(&self, user: &[u8], groups: &[String]) -> bool {
        self.users.get(user).is_some_and(|user| user.groups.iter().any(|group| groups.contains(group)))
    }

    /// Returns the name a request proves to be of, if it does.
    pub(super) fn admitted(&self, view: &View<'_>) -> Option<Vec<u8>> {
        let (name, password) = credentials(view.request?)?;
        let user = self.users.get(name.as_slice())?;
        let verified = || view.memory.verified(self.number).unwrap_or(false);
        user.password.quick(&password).unwrap_or_else(verified).then_some(name)
    }
}

fn hashed(text: &str, location: &Location, found: &mut Vec<Diagnostic>) -> Password {
    match Hash::parse(text) {
        Ok(Some(hash)) => Password::Hashed { hash, accepted: OnceLock::new() },
        Ok(None) => {
            let warning = Diagnostic::warning(location, "no password has this hash, so nobody gets in by it");
            found.push(warning.hint("make one: openssl passwd -6"));
            Password::None
        }
        Err(reason) => {
            found.push(Diagnostic::error(location, reason).hint("make one that is known here: openssl passwd -6"));
            Password::None
        }
    }
}

impl Password {
    /// Compares as far as that is quick.
    fn quick(&self, said: &[u8]) -> Option<bool> {
        match self {
            Self::None => Some(false),
            Self::Plain(password) => Some(constant_time::verify_slices_are_equal(password, said).is_ok()),
            Self::Hashed { accepted, .. } => accepted.get().filter(|known| Some(**known) == keyed(said)).map(|_| true),
        }
    }

    /// Compares however long that takes.
    fn slow(&self, said: &[u8]) -> bool {
        let Self::Hashed { hash, accepted } = self else { return self.quick(said) == Some(true) };
        let is_right = hash.is_of(said);
        if let Some(digest) = keyed(said).filter(|_| is_right) {
            // Whoever was first said the same.
            let _ = accepted.set(digest);
        }
        is_right
    }
}

/// Returns a digest that nobody outside this process can compute; none if the system gave no random numbers.
fn keyed(password: &[u8]) -> Option<[u8; DIGEST]> {
    static KEY: OnceLock<Option<hmac::Key>> = OnceLock::new();
    let key = KEY.get_or_init(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok());
    hmac::sign(key.as_ref()?, password).as_ref().try_into().ok()
}

/// A password to be compared with hashes.
#[derive(Debug)]
pub(crate) struct Verification {
    lists: Vec<Arc<Userlist>>,
    name: Vec<u8>,
    password: Vec<u8>,
}

impl Verification {
    /// Returns what must be computed before rules can ask who sent a request; none if that is nothing.
    pub(super) fn of(lists: &[Arc<Userlist>], head: &RequestHead) -> Option<Self> {
        if lists.is_empty() {
            return None;
        }
        let (name, password) = credentials(head)?;
        let is_open = |list: &&Arc<Userlist>| list.users.get(name.as_slice()).is_some_and(|user| user.password.quick(&password).is_none());
        let lists: Vec<_> = lists.iter().filter(is_open).map(Arc::clone).collect();
        (!lists.is_empty()).then_some(Self { lists, name, password })
    }

    /// Computes it on another thread; returns for each list by its number whether the user is admitted.
    pub(crate) async fn run(self) -> Vec<(usize, bool)> {
        static PERMITS: OnceLock<Semaphore> = OnceLock::new();
        let permits = PERMITS.get_or_init(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));
        let Ok(_permit) = permits.acquire().await else { return Vec::new() };
        let compare = move || {
            let admits = |list: &Userlist| list.users.get(self.name.as_slice()).is_some_and(|user| user.password.slow(&self.password));
            self.lists.iter().map(|list| (list.number, admits(list))).collect()
        };
        tokio::task::spawn_blocking(compare).await.unwrap_or_default()
    }
}

/// What a request says about its sender.
#[derive(Debug)]
pub(super) struct Authorization<'h> {
    /// `Basic` or `Bearer`.
    pub(super) scheme: &'static str,
    pub(super) token: &'h [u8],
}

/// Reads the field `Authorization`, or the one of this name.
pub(super) fn authorization<'h>(head: &'h RequestHead, field: &str) -> Option<Authorization<'h>> {
    let value = head.headers.all(field).next()?;
    let space = value.iter().position(|byte| *byte == b' ')?;
    let scheme = ["Basic", "Bearer"].into_iter().find(|known| known.as_bytes().eq_ignore_ascii_case(&value[..space]))?;
    Some(Authorization { scheme, token: value[space..].trim_ascii_start() })
}

/// Returns the name and the password of a request.
pub(super) fn credentials(head: &RequestHead) -> Option<(Vec<u8>, Vec<u8>)> {
    let token = authorization(head, "authorization").filter(|authorization| authorization.scheme == "Basic")?.token;
    let mut name = base64::decode(token)?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((name, password))
}

/// Returns the challenge for a name and a password.
pub(super) fn challenge(realm: &str) -> Box<[u8]> {
    format!("Basic realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\"")).into_bytes().into()
}

//! Caches: answers of servers that are kept in memory and given once more.
//!
//! A rule `cache-use` looks for an answer to a request, or leaves a [`Visit`] behind; a rule `cache-store` makes a [`Keep`] of it if the
//! server's answer may be kept ([`terms`]). [`crate::forward`] then takes down the body on its way to the client, in a [`Recording`],
//! and only what has come whole is kept. A cache is split into shelves by the hash of what is asked, each with a lock of its own that is
//! held for one look or one change, and never across anything that waits.

mod shelf;
mod terms;

use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use control::config;

use crate::message::head::{RequestHead, ResponseHead};
use crate::message::headers::Known;
use shelf::{Entry, Shelf};
use terms::{Asked, Freshness, Variant};

/// A cache.
#[derive(Debug)]
pub(crate) struct Cache {
    name: Box<str>,
    size: u64,
    largest: u64,
    max_age: Duration,
    varies: bool,
    variants: usize,
    hasher: RandomState,
    /// Each takes an equal part of the size.
    shelves: Box<[RwLock<Shelf>]>,
    /// Bytes of answers that are on their way into it.
    coming: AtomicU64,
}

/// An answer that was found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    cache: Arc<Cache>,
    entry: Arc<Entry>,
}

/// A request that a cache could not answer.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    key: Arc<[u8]>,
    referer: Box<[u8]>,
    aim: Aim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The answer may be kept.
    Keep,
    /// It may, if it is for everybody.
    KeepPublic,
    /// What is known of the target is forgotten, if the server carries the request out.
    Forget,
}

/// What a cache makes of a request.
#[derive(Debug)]
pub(crate) enum Found {
    /// It has the answer.
    Hit(Hit),
    /// It was asked in vain, and may keep the answer.
    Miss(Option<Visit>),
    /// It was not asked, and may have to do with the answer.
    Unasked(Option<Visit>),
}

/// An answer that is to be kept once its body has come.
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    cache: Arc<Cache>,
    key: Arc<[u8]>,
    head: ResponseHead,
    variant: Variant,
    freshness: Freshness,
}

/// The body of an answer that is to be kept, as far as it has come.
#[derive(Debug)]
pub(crate) struct Recording {
    keep: Keep,
    body: Vec<u8>,
    reserved: u64,
    is_spoilt: bool,
}

impl Cache {
    /// Returns an empty one.
    pub(crate) fn new(model: &config::Cache) -> Self {
        let shelves = (model.size() / (4 * model.largest()).max(1)).clamp(1, MOST_SHELVES);
        // The largest power of two, so that a shelf is found by some bits.
        let shelves = 1 << shelves.ilog2();
        // What is on its way is held beside what is kept.
        let room = (model.size() - model.size() / COMING) / shelves;
        Self {
            name: model.name().into(),
            size: model.size(),
            largest: model.largest(),
            max_age: model.max_age(),
            varies: model.varies(),
            variants: usize::try_from(model.variants()).unwrap_or(usize::MAX),
            hasher: RandomState::new(),
            shelves: (0..shelves).map(|_| RwLock::new(Shelf::new(room))).collect(),
            coming: AtomicU64::new(0),
        }
    }

    /// Tells whether one made of a model would be the same.
    pub(crate) fn is_like(&self, model: &config::Cache) -> bool {
        let wanted = (model.name(), model.size(), model.largest(), model.max_age(), model.varies());
        wanted == (&*self.name, self.size, self.largest, self.max_age, self.varies)
            && usize::try_from(model.variants()).unwrap_or(usize::MAX) == self.variants
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Looks for the answer to a request; `text` is memory to work in.
    pub(crate) fn visit(self: &Arc<Self>, request: &RequestHead, text: &mut Vec<u8>) -> Found {
        let asked = Asked::of(request);
        if asked == Asked::Nothing {
            return Found::Unasked(None);
        }
        text.clear();
        write_key(request, text);
        if matches!(asked, Asked::Answer | Asked::AnswerOrKeep) {
            let shelf = self.shelf(text).read().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = shelf.find(text, request, Instant::now()) {
                return Found::Hit(Hit { cache: Arc::clone(self), entry: Arc::clone(entry) });
            }
        }
        let visit = |aim| Visit { key: text.as_slice().into(), referer: terms::referer(request).into(), aim };
        match asked {
            Asked::Nothing => Found::Unasked(None),
            Asked::Answer => Found::Miss(None),
            Asked::AnswerOrKeep => Found::Miss(Some(visit(Aim::Keep))),
            Asked::Keep => Found::Unasked(Some(visit(Aim::Keep))),
            Asked::KeepPublic => Found::Unasked(Some(visit(Aim::KeepPublic))),
            Asked::Forget => Found::Unasked(Some(visit(Aim::Forget))),
        }
    }

    /// Looks at the server's answer to a request, and returns it if it is to be kept.
    pub(crate) fn consider(self: &Arc<Self>, visit: Visit, response: &ResponseHead) -> Option<Keep> {
        let Visit { key, referer, aim } = visit;
        if aim == Aim::Forget {
            if (200..400).contains(&response.status()) {
                self.shelf(&key).write().unwrap_or_else(PoisonError::into_inner).forget(&key);
            }
            return None;
        }
        if aim == Aim::KeepPublic && !terms::is_public(response) {
            return None;
        }
        let freshness = Freshness::of(response, self.max_age, SystemTime::now())?;
        if !self.varies && response.headers.all("vary").next().is_some() {
            return None;
        }
        let variant = Variant::of(response, &referer)?;
        let mut head = response.clone();
        head.headers.remove("age");
        Some(Keep { cache: Arc::clone(self), key, head, variant, freshness })
    }

    fn shelf(&self, key: &[u8]) -> &RwLock<Shelf> {
        let hash = usize::try_from(self.hasher.hash_one(key) & u64::from(u32::MAX)).unwrap_or(0);
        &self.shelves[hash & (self.shelves.len() - 1)]
    }

    /// Tells what it holds, as HAProxy's runtime interface does.
    pub(crate) fn show(&self, out: &mut String) {
        let free = (self.size - self.coming.load(Ordering::Relaxed).min(self.size)) / BLOCK;
        let _ = writeln!(out, "{self:p}: {} (shctx:{:p}, available blocks:{free})", self.name, self.shelves.as_ptr());
        let now = Instant::now();
        for shelf in &self.shelves {
            let shelf = shelf.read().unwrap_or_else(PoisonError::into_inner);
            for entry in shelf.all() {
                let hash = self.hasher.hash_one(&entry.key) & u64::from(u32::MAX);
                let (variant, size) = (entry.variant.number(), entry.size());
                let (blocks, givings) = (size.div_ceil(BLOCK), Arc::strong_count(entry) - 2);
                let passed = now.saturating_duration_since(entry.stored).as_secs();
                let left = i128::from(entry.left.as_secs()) - i128::from(passed);
                let _ = writeln!(
                    out,
                    "{:p} hash:{hash} vary:0x{variant:016x} size:{size} ({blocks} blocks), refcount:{givings}, expire:{left}",
                    Arc::as_ptr(entry)
                );
            }
        }
    }
}

/// Writes what tells targets apart: the host and the path with its query, whatever version of HTTP asks.
fn write_key(request: &RequestHead, out: &mut Vec<u8>) {
    let parts = request.target_parts();
    let host = parts.authority().or_else(|| request.headers.known(Known::Host).next()).unwrap_or_default();
    out.extend(host.iter().map(u8::to_ascii_lowercase));
    out.push(b' ');
    out.extend_from_slice(parts.path_and_query(request.target()));
}

impl Hit {
    /// Returns the cache it was found in.
    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Returns the answer for a request; without a body if the client has it already.
    pub(crate) fn answer(&self, request: &RequestHead) -> (ResponseHead, Bytes) {
        let Entry { head, body, tag, modified, age, stored, .. } = &*self.entry;
        let mut head = head.clone();
        let age = age.saturating_add(stored.elapsed().as_secs());
        head.headers.append(b"age", age.to_string().as_bytes()).expect("digits");
        if terms::has_already(request, tag.as_deref(), *modified) {
            head.set_status(304, b"Not Modified").expect("plain text");
            head.headers.remove_if(|field| field.known == Known::TransferEncoding);
            return (head, Bytes::new());
        }
        (head, body.clone())
    }
}

impl Keep {
    /// Begins to take down the body, if one of this length may be kept.
    pub(crate) fn record(self, length: Option<u64>) -> Option<Recording> {
        let head = self.head.headers.size() as u64;
        if head.saturating_add(length.unwrap_or(0)) > self.cache.largest {
            return None;
        }
        let mut recording = Recording { keep: self, body: Vec::new(), reserved: 0, is_spoilt: false };
        recording.reserve(head + length.unwrap_or(0));
        if recording.is_spoilt {
            return None;
        }
        recording.body.reserve_exact(length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0));
        Some(recording)
    }
}

impl Recording {
    /// Takes down what has come.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let whole = (self.keep.head.headers.size() + self.body.len() + bytes.len()) as u64;
        if whole > self.keep.cache.largest {
            self.spoil();
        }
        self.reserve(whole.saturating_sub(self.reserved));
        if !self.is_spoilt {
            self.body.extend_from_slice(bytes);
        }
    }

    /// Gives up.
    pub(crate) fn spoil(&mut self) {
        self.is_spoilt = true;
        self.body = Vec::new();
    }

    fn reserve(&mut self, bytes: u64) {
        let cache = &self.keep.cache;
        let coming = cache.coming.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.reserved += bytes;
        // One answer may always be on its way.
        if coming > cache.size / COMING && coming > self.reserved {
            self.spoil();
        }
    }

    /// Keeps the answer, which has come whole.
    pub(crate) fn finish(mut self) {
        if self.is_spoilt {
            return;
        }
        let body = std::mem::take(&mut self.body);
        let Keep { cache, key, head, variant, freshness } = &self.keep;
        let (now, headers) = (SystemTime::now(), &head.headers);
        let date = |name| headers.all(name).next().and_then(terms::date);
        let entry = Entry {
            key: Arc::clone(key),
            body: body.into_boxed_slice().into(),
            tag: headers.all("etag").next().map(Into::into),
            modified: date("last-modified").or_else(|| date("date")).unwrap_or(now),
            age: freshness.age,
            variant: variant.clone(),
            stored: Instant::now(),
            left: freshness.left,
            turn: AtomicU64::new(0),
            used: AtomicBool::new(false),
            head: head.clone(),
        };
        let mut shelf = cache.shelf(key).write().unwrap_or_else(PoisonError::into_inner);
        shelf.put(entry, if cache.varies { cache.variants } else { 1 }, Instant::now());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.keep.cache.coming.fetch_sub(self.reserved, Ordering::Relaxed);
    }
}

/// How many shelves a cache has at most.
const MOST_SHELVES: u64 = 16;
/// Which part of a cache is for answers on their way into it.
const COMING: u64 = 4;
/// HAProxy counts in blocks of this size.
const BLOCK: u64 = 1024;

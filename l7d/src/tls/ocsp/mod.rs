//! Responses about the revocation of our certificates, fetched from their issuers again and again and shown with them.
//!
//! One task asks for all certificates whose bind or line of a list has `ocsp-update`, one after the other, as HAProxy does it: anew one
//! minute before a response is out of date, within the bounds of `tune.ssl.ocsp-update`, and ever more seldom where it fails. What is
//! fetched is kept through reloads; what is out of date is shown no longer.

mod der;
mod fetch;
mod message;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use control::config::OcspDelays;
use control::tls::{Identity, Pem};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use self::fetch::Responder;
use self::message::{ANOTHER, BROKEN, CertId, LATE, Said, UNKNOWN, UNSIGNED, judge};
use super::Certificates;
use crate::site::Site;

/// What is known of each certificate, in the order of their files.
static BOOK: Mutex<Vec<Entry>> = Mutex::new(Vec::new());
/// Wakes the task.
static NUDGE: Notify = Notify::const_new();
/// In seconds.
static LEAST: AtomicU64 = AtomicU64::new(300);
static MOST: AtomicU64 = AtomicU64::new(3600);

/// A certificate, and what has come of asking for it.
#[derive(Debug, Clone)]
struct Entry {
    path: PathBuf,
    leaf: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
    id: CertId,
    responder: Responder,
    /// What is shown, until when.
    response: Option<(Vec<u8>, Option<i64>)>,
    due: Instant,
    /// In seconds since 1970.
    last: Option<i64>,
    successes: u32,
    failures: u32,
    failures_in_a_row: u32,
    outcome: Outcome,
}

/// How the last question ended, in HAProxy's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unknown,
    Updated,
    Http,
    Check,
}

impl Outcome {
    fn shown(self) -> (u8, &'static str) {
        match self {
            Self::Unknown => (0, "Unknown"),
            Self::Updated => (1, "Update successful"),
            Self::Http => (2, "HTTP error"),
            Self::Check => (4, "OCSP response check failure"),
        }
    }
}

/// Heeds what the configuration says of how often is asked.
pub(crate) fn follow_delays(delays: OcspDelays) {
    LEAST.store(delays.least().as_secs(), Relaxed);
    MOST.store(delays.most().as_secs(), Relaxed);
}

/// Looks soon whether there are other certificates.
pub(crate) fn nudge() {
    NUDGE.notify_one();
}

/// Asks about the certificate of a file at once; tells whether there is one that is asked about.
pub(crate) fn hasten(path: &Path) -> bool {
    let now = Instant::now();
    let is_known = book().iter_mut().filter(|entry| entry.path == path).map(|entry| entry.due = now).count() > 0;
    nudge();
    is_known
}

/// Tells of all certificates that are asked about, as HAProxy does.
pub(crate) fn show() -> String {
    let mut text =
        "OCSP Certid | Path | Next Update | Last Update | Successes | Failures | Last Update Status | Last Update Status (str)\n"
            .to_owned();
    for entry in &*book() {
        let next = seconds() + i64::try_from(entry.due.saturating_duration_since(Instant::now()).as_secs()).unwrap_or(0);
        let (number, words) = entry.outcome.shown();
        let (id, path, last) = (entry.id.shown(), entry.path.display(), entry.last.map_or_else(|| "-".to_owned(), date));
        let _ = writeln!(text, "{id} | {path} | {} | {last} | {} | {} | {number} | {words}", date(next), entry.successes, entry.failures);
    }
    text
}

/// Asks about the certificates of the site in force, until there is none any more.
pub(crate) async fn follow(mut site: watch::Receiver<Arc<Site>>) {
    let mut complaints = Vec::new();
    loop {
        let present = Arc::clone(&site.borrow_and_update());
        adopt(&present, &mut complaints);
        while let Some(entry) = next_due() {
            update(&present, entry).await;
        }
        let due = book().iter().map(|entry| entry.due).min().unwrap_or_else(|| Instant::now() + IDLE);
        drop(present);
        tokio::select! {
            changed = site.changed() => if changed.is_err() { return },
            () = NUDGE.notified() => {}
            () = sleep_until(due) => {}
        }
    }
}

/// Takes in which certificates there are, and shows again what is known of those that were there before.
fn adopt(site: &Site, complaints: &mut Vec<CertificateDer<'static>>) {
    let certificates = site.tls().certificates();
    let mut all: Vec<Entry> = Vec::new();
    let mut old = std::mem::take(&mut *book());
    for (path, identity) in certificates.fetching() {
        let Some(leaf) = identity.key.cert.first() else { continue };
        if let Some(place) = old.iter().position(|entry| entry.path == path && entry.leaf == *leaf) {
            all.push(old.swap_remove(place));
            continue;
        }
        match Entry::new(&path, &identity) {
            Ok(entry) => all.push(entry),
            Err(_) if complaints.contains(leaf) => {}
            Err(reason) => {
                warn!("{}: nobody is asked about its revocation: {reason}", path.display());
                complaints.push(leaf.clone());
            }
        }
    }
    for entry in &all {
        if let Some((response, _)) = &entry.response {
            certificates.staple(&entry.path, &entry.leaf, Some(response));
        }
    }
    *book() = all;
}

fn next_due() -> Option<Entry> {
    let now = Instant::now();
    book().iter().find(|entry| entry.due <= now).cloned()
}

/// Shows a response that a command brings with every certificate that it is about.
///
/// # Errors
/// What HAProxy says of it.
pub(crate) fn put(certificates: &Certificates, response: &[u8]) -> Result<(), &'static str> {
    let now = seconds();
    let mut outcome = Err("OCSP single response: Certificate ID does not match any certificate or issuer.");
    for (path, identity) in certificates.in_use() {
        let Ok((leaf, issuer, id)) = named(&path, &identity) else { continue };
        let judged = X509Certificate::from_der(&issuer).map_err(|_| ANOTHER).and_then(|(_, issuer)| judge(response, &id, &issuer, now));
        match judged {
            Ok(said) => {
                certificates.staple(&path, &leaf, Some(response));
                if let Some(known) = book().iter_mut().find(|known| known.path == path && known.leaf == leaf) {
                    known.response = Some((response.to_vec(), said.next));
                }
                outcome = Ok(());
            }
            Err(ANOTHER | UNSIGNED) => {}
            Err(reason) if outcome.is_err() => {
                outcome = Err(match reason {
                    BROKEN => "Unable to parse OCSP response.",
                    UNKNOWN => "OCSP single response: certificate status is unknown.",
                    LATE => "OCSP single response: no longer valid.",
                    other => other,
                });
            }
            Err(_) => {}
        }
    }
    outcome
}

/// Lists what names the certificates that are shown with a response.
pub(crate) fn list(certificates: &Certificates) -> String {
    let shown = certificates.in_use().into_iter().filter(|(_, identity)| identity.key.ocsp.is_some());
    let mut ids: Vec<CertId> = shown.filter_map(|(path, identity)| named(&path, &identity).ok()).map(|(.., id)| id).collect();
    ids.sort();
    ids.dedup();
    let lines = ids.iter().map(|id| format!("Certificate ID key : {}\n Certificate ID:\n{}", id.shown(), id.parts()));
    format!("# Certificate IDs\n{}", lines.collect::<String>())
}

/// Returns a certificate, that of its issuer, and what names it in responses.
fn named(path: &Path, identity: &Identity) -> Result<(CertificateDer<'static>, CertificateDer<'static>, CertId), String> {
    let leaf = identity.key.cert.first().ok_or("there is no certificate")?.clone();
    let beside = || {
        let mut file = path.as_os_str().to_owned();
        file.push(".issuer");
        Pem::read(Path::new(&file)).ok()?.certificates.into_iter().next()
    };
    let issuer = identity.key.cert.get(1).cloned().or_else(beside).ok_or("its issuer is neither in the file nor beside it")?;
    let id = {
        let (_, certificate) = X509Certificate::from_der(&leaf).map_err(broken)?;
        let (_, above) = X509Certificate::from_der(&issuer).map_err(broken)?;
        CertId::new(&certificate, &above)
    };
    Ok((leaf, issuer, id))
}

fn broken<E>(_: E) -> String {
    "a certificate is broken".to_owned()
}

/// Asks about a certificate and shows what is said of it.
async fn update(site: &Site, mut entry: Entry) {
    let answer = entry.responder.ask(&entry.id.question()).await;
    let now = seconds();
    let judged = answer.and_then(|answer| match entry.judge(&answer, now) {
        Ok(said) => Ok((answer, said)),
        Err(reason) => Err((Outcome::Check, reason.to_owned())),
    });
    let (least, most) = (LEAST.load(Relaxed), MOST.load(Relaxed));
    let name = entry.path.display();
    let wait = match judged {
        Ok((answer, Said { is_revoked, next })) => {
            info!("{name}: Update successful{}", if is_revoked { ", and the certificate is revoked" } else { "" });
            (entry.outcome, entry.last, entry.failures_in_a_row) = (Outcome::Updated, Some(now), 0);
            entry.successes += 1;
            entry.response = Some((answer, next));
            wait_until(next, now)
        }
        Err((outcome, reason)) => {
            warn!("{name}: {}: {reason}", outcome.shown().1);
            entry.outcome = outcome;
            entry.failures += 1;
            let wait = least.saturating_mul(1 << entry.failures_in_a_row.min(16)).min(most);
            entry.failures_in_a_row += 1;
            entry.response = entry.response.take_if(|(_, until)| until.is_none_or(|until| until >= now));
            wait
        }
    };
    entry.due = Instant::now() + Duration::from_secs(wait.max(1));
    let response = entry.response.as_ref().map(|(response, _)| response.as_slice());
    site.tls().certificates().staple(&entry.path, &entry.leaf, response);
    if let Some(known) = book().iter_mut().find(|known| known.path == entry.path && known.leaf == entry.leaf) {
        *known = entry;
    }
}

/// Returns after how many seconds is asked again where a response is good until then.
fn wait_until(next: Option<i64>, now: i64) -> u64 {
    let (least, most) = (LEAST.load(Relaxed), MOST.load(Relaxed));
    let left = next.map_or(most, |next| u64::try_from(next.saturating_sub(now).saturating_sub(MARGIN)).unwrap_or(0));
    left.clamp(least.min(most), most)
}

impl Entry {
    fn new(path: &Path, identity: &Identity) -> Result<Self, String> {
        let (leaf, issuer, id) = named(path, identity)?;
        let address = X509Certificate::from_der(&leaf).map_err(broken).map(|(_, certificate)| responder(&certificate))?;
        let address = address.ok_or("it names no responder")?;
        let responder = Responder::read(&address).ok_or_else(|| format!("its responder `{address}` is not asked by HTTP"))?;
        let (outcome, due) = (Outcome::Unknown, Instant::now());
        let (last, successes, failures, failures_in_a_row, response) = (None, 0, 0, 0, None);
        let mut entry = Self {
            path: path.to_owned(),
            leaf,
            issuer,
            id,
            responder,
            response,
            due,
            last,
            successes,
            failures,
            failures_in_a_row,
            outcome,
        };
        let now = seconds();
        if let Some(own) = &identity.key.ocsp
            && let Ok(said) = entry.judge(own, now)
        {
            entry.response = Some((own.clone(), said.next));
            entry.due = Instant::now() + Duration::from_secs(wait_until(said.next, now));
        }
        Ok(entry)
    }

    fn judge(&self, answer: &[u8], now: i64) -> Result<Said, &'static str> {
        let (_, issuer) = X509Certificate::from_der(&self.issuer).map_err(|_| "the issuer's certificate is broken")?;
        judge(answer, &self.id, &issuer, now)
    }
}

/// Returns the address of whom to ask about a certificate.
fn responder(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { return None };
        access.accessdescs.iter().find_map(|described| {
            let GeneralName::URI(address) = &described.access_location else { return None };
            (described.access_method.as_bytes() == OCSP).then(|| (*address).to_owned())
        })
    })
}

fn book() -> MutexGuard<'static, Vec<Entry>> {
    BOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Writes a time as HAProxy's logs do.
fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "-".to_owned(), |time| time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string())
}

const IDLE: Duration = Duration::from_secs(24 * 3600);
/// How long before its end a response is replaced, in seconds.
const MARGIN: i64 = 60;
const OCSP: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 0x30, 1];

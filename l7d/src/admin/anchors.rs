//! Commands about authorities, and what they have revoked: both kinds of files by the same words.

use std::fmt::Write as _;
use std::path::Path;

use control::admin::{Answering, Call, Command, Reply, Urgency};
use control::config::{Config, SocketLevel};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificates::{date, describe_leaf, hexadecimal, reply, shown_name};
use super::{Engine, later, now, pool};
use crate::tls::{Kind, Listed};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    let read = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Operator, run);
    let change = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Admin, run);
    vec![
        read("show ssl ca-file", "[<cafile>[:<index>]]", "list the files of authorities, or tell what is in one", |engine, call| {
            show(engine, call, Kind::Ca)
        }),
        read("show ssl crl-file", "[<crlfile>[:<index>]]", "list the files of what was revoked, or tell what is in one", |engine, call| {
            show(engine, call, Kind::Crl)
        }),
        change("new ssl ca-file", "<cafile>", "make room for a new file of authorities", |engine, call| create(engine, call, Kind::Ca)),
        change("new ssl crl-file", "<crlfile>", "make room for a new file of what was revoked", |engine, call| {
            create(engine, call, Kind::Crl)
        }),
        change("set ssl ca-file", "<cafile> <payload>", "make ready what takes the place of authorities", |engine, call| {
            set(engine, call, Kind::Ca)
        }),
        change("set ssl crl-file", "<crlfile> <payload>", "make ready what takes the place of what was revoked", |engine, call| {
            set(engine, call, Kind::Crl)
        }),
        later("commit ssl ca-file", "<cafile>", "trust from now on what was made ready", |engine, call| commit(engine, call, Kind::Ca)),
        later("commit ssl crl-file", "<crlfile>", "revoke from now on what was made ready", |engine, call| commit(engine, call, Kind::Crl)),
        change("abort ssl ca-file", "<cafile>", "forget the authorities that were made ready", |engine, call| {
            abort(engine, call, Kind::Ca)
        }),
        change("abort ssl crl-file", "<crlfile>", "forget what was made ready to be revoked", |engine, call| {
            abort(engine, call, Kind::Crl)
        }),
        later("del ssl ca-file", "<cafile>", "forget a file of authorities that nobody names", |engine, call| {
            delete(engine, call, Kind::Ca)
        }),
        later("del ssl crl-file", "<crlfile>", "forget a file of what was revoked that nobody names", |engine, call| {
            delete(engine, call, Kind::Crl)
        }),
    ]
}

/// Returns the word that stands for a kind in commands.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Ca => "ca-file",
        Kind::Crl => "crl-file",
    }
}

fn create(engine: &Engine, call: &Call, kind: Kind) -> Reply {
    if call.word(0).is_empty() {
        return Reply::error(format!("'new ssl {}' expects a filename", word(kind)));
    }
    reply(engine.site().tls().anchors().create(kind, call.word(0)))
}

fn set(engine: &Engine, call: &Call, kind: Kind) -> Reply {
    match &call.payload {
        Some(payload) if !call.word(0).is_empty() => reply(engine.site().tls().anchors().set(kind, call.word(0), payload)),
        _ => Reply::error(format!("'set ssl {} expects a filename and {}s as a payload", word(kind), kind.letters())),
    }
}

fn abort(engine: &Engine, call: &Call, kind: Kind) -> Reply {
    if call.word(0).is_empty() {
        return Reply::error(format!("'abort ssl {}' expects a filename", word(kind)));
    }
    reply(engine.site().tls().anchors().abort(kind, call.word(0)))
}

fn commit(engine: Engine, call: Call, kind: Kind) -> Answering {
    Box::pin(async move {
        if call.word(0).is_empty() {
            // HAProxy says so of both.
            return Reply::error("'commit ssl ca-file expects a filename");
        }
        let site = engine.site();
        let answer = engine.amend(call, if kind == Kind::Ca { put_authorities } else { put_revocations }).await;
        // What was refused stays ready.
        if matches!(&answer, Reply::Output(text) if text.ends_with(SUCCESS)) {
            site.tls().anchors().done(kind);
        }
        answer
    })
}

fn put_authorities(engine: &Engine, config: &Config, call: &Call) -> pool::Outcome {
    put(engine, config, (call.word(0), Kind::Ca))
}

fn put_revocations(engine: &Engine, config: &Config, call: &Call) -> pool::Outcome {
    put(engine, config, (call.word(0), Kind::Crl))
}

/// Puts what was made ready in the place of a file.
fn put(engine: &Engine, config: &Config, (name, kind): (&str, Kind)) -> pool::Outcome {
    let (site, file) = (engine.site(), Path::new(name));
    let text = site.tls().anchors().ready(kind, name).map_err(Reply::Output)?;
    if let Some(peers) = site.tls().peers_of(config, file) {
        return Err(Reply::Output(format!("Peers of section '{peers}' are trusted by it, which takes a reload!\nCan't commit {name}!\n")));
    }
    let uses = site.tls().uses(config, file);
    Ok((config.with_held(file, &text), Reply::Output(format!("Committing {name}{}{SUCCESS}", ".".repeat(uses)))))
}

fn delete(engine: Engine, call: Call, kind: Kind) -> Answering {
    if call.word(0).is_empty() {
        let letters = kind.letters();
        return Box::pin(async move { Reply::error(format!("'del ssl {}' expects a {letters} file name", word(kind))) });
    }
    engine.amend(call, if kind == Kind::Ca { forget_authorities } else { forget_revocations })
}

fn forget_authorities(engine: &Engine, config: &Config, call: &Call) -> pool::Outcome {
    forget(engine, config, (call.word(0), Kind::Ca))
}

fn forget_revocations(engine: &Engine, config: &Config, call: &Call) -> pool::Outcome {
    forget(engine, config, (call.word(0), Kind::Crl))
}

fn forget(engine: &Engine, config: &Config, (name, kind): (&str, Kind)) -> pool::Outcome {
    let site = engine.site();
    let uses = usize::from(is_used(engine, config, name));
    let text = site.tls().anchors().delete(kind, name, uses).map_err(Reply::Output)?;
    Ok((config.without_held(Path::new(name)), Reply::Output(text)))
}

fn is_used(engine: &Engine, config: &Config, name: &str) -> bool {
    let (site, file) = (engine.site(), Path::new(name));
    site.tls().uses(config, file) > 0 || config.trusts_of_servers().any(|trust| trust.names(file))
}

fn show(engine: &Engine, call: &Call, kind: Kind) -> Reply {
    let site = engine.site();
    let anchors = site.tls().anchors();
    let letters = kind.letters();
    if call.word(0).is_empty() {
        let (change, files) = anchors.list(kind);
        let line = |listed: &Listed| match kind {
            Kind::Ca => format!("{} - {} certificate(s)\n", listed.path.display(), listed.count),
            Kind::Crl => format!("{}\n", listed.path.display()),
        };
        let change = change.map_or_else(String::new, |change| format!("# transaction\n*{}", line(&change)));
        return Reply::Output(format!("{change}# filename\n{}", files.iter().map(line).collect::<String>()));
    }
    let (name, index) = match call.word(0).split_once(':') {
        None => (call.word(0), None),
        Some((name, index)) => match index.parse::<usize>().ok().filter(|index| *index > 0) {
            Some(index) => (name, Some(index)),
            None => return Reply::Message(Urgency::Error, format!("wrong {letters} index after colons in '{}'!", call.word(0))),
        },
    };
    let Some(parts) = anchors.show(kind, name) else { return Reply::error(format!("Can't display the {letters} file : Not found!")) };
    let config = engine.fleet.config();
    let meant: Vec<_> = (1..).zip(&parts).filter(|(number, _)| index.is_none_or(|index| index == *number)).collect();
    if kind == Kind::Ca && meant.is_empty() {
        return Reply::Output(String::new());
    }
    let status = match () {
        () if parts.is_empty() => "Empty",
        () if !name.starts_with('*') && is_used(engine, &config, name) => "Used",
        () => "Unused",
    };
    let mut text = format!("Filename: {name}\nStatus: {status}\n");
    for (number, der) in meant {
        match kind {
            Kind::Ca => describe_authority(&mut text, number, der),
            Kind::Crl => describe_list(&mut text, number, der),
        }
    }
    Reply::Output(text)
}

fn describe_authority(text: &mut String, number: usize, der: &[u8]) {
    if let Ok((_, certificate)) = X509Certificate::from_der(der) {
        let _ = writeln!(text, " \nCertificate #{number}:");
        describe_leaf(text, der, &certificate);
    }
}

fn describe_list(text: &mut String, number: usize, der: &[u8]) {
    let Ok((_, list)) = CertificateRevocationList::from_der(der) else { return };
    let version = list.version().map_or(1, |version| version.0 + 1);
    let _ = writeln!(text, " \nCertificate Revocation List #{number}:\nVersion {version}");
    let registry = x509_parser::objects::oid_registry();
    let algorithm = &list.signature_algorithm.algorithm;
    let algorithm = x509_parser::objects::oid2sn(algorithm, registry).map_or_else(|_| algorithm.to_id_string(), str::to_owned);
    let _ = writeln!(text, "Signature Algorithm: {algorithm}\nIssuer: {}", shown_name(list.issuer()));
    let next = list.next_update().map_or_else(|| "NONE".to_owned(), date);
    let _ = writeln!(text, "Last Update: {}\nNext Update: {next}", date(list.last_update()));
    let mut revoked = list.iter_revoked_certificates().peekable();
    text.push_str(if revoked.peek().is_some() { "Revoked Certificates:\n" } else { "No Revoked Certificates.\n" });
    for certificate in revoked {
        let number = hexadecimal(certificate.raw_serial());
        let number = number.strip_prefix("00").unwrap_or(&number);
        let _ = writeln!(text, "    Serial Number: {number}\n        Revocation Date: {}", date(certificate.revocation_date));
    }
}

/// Ends the answer where what was made ready has been put in force.
const SUCCESS: &str = "\nSuccess!\n";

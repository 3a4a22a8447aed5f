//! Commands about certificates.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use control::admin::{Call, Command, Reply, Urgency};
use control::config::SocketLevel;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Name;

use super::{Engine, now};
use crate::base64;
use crate::tls::{Certificates, Shown, ocsp};

/// Returns the commands.
pub(super) fn commands() -> Vec<Command<Engine>> {
    let read = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Operator, run);
    let change = |words, arguments, help, run| now(words, arguments, help, SocketLevel::Admin, run);
    vec![
        read("show ssl cert", "[<certfile>]", "list the certificates, or tell what is in one", show),
        read("show ssl ocsp-updates", "", "tell when issuers are asked about the revocation of certificates", |_, _| {
            Reply::Output(ocsp::show())
        }),
        read(
            "show ssl ocsp-response",
            "",
            "list what names the certificates that are shown with a response about revocation",
            |engine, call| {
                if call.word(0).is_empty() {
                    return Reply::Output(ocsp::list(engine.site().tls().certificates()));
                }
                Reply::error("Responses are not taken apart here; `openssl s_client -status` shows what clients are shown.")
            },
        ),
        change("set ssl ocsp-response", "<response>|<payload>", "show a response about revocation, in base64", staple),
        change("update ssl ocsp-response", "<certfile>", "ask the issuer of a certificate about its revocation now", update_response),
        read("show ssl crt-list", "[-n] [<list>]", "list the lists of certificates, or the lines of one", show_list),
        change("set ssl cert", "<certfile> <payload>", "make ready what takes the place of a certificate", set),
        change("commit ssl cert", "<certfile>", "show from now on what was made ready", |engine, call| {
            named(engine, call, "'commit ssl cert expects a filename", Certificates::commit)
        }),
        change("abort ssl cert", "<certfile>", "forget what was made ready", |engine, call| {
            named(engine, call, "'abort ssl cert' expects a filename", Certificates::abort)
        }),
        change("new ssl cert", "<certfile>", "make room for a new certificate", |engine, call| {
            named(engine, call, "'new ssl cert' expects a filename", Certificates::create)
        }),
        change("del ssl cert", "<certfile>", "forget a certificate that nobody shows", |engine, call| {
            named(engine, call, "'del ssl cert' expects a certificate name", Certificates::delete)
        }),
        change("add ssl crt-list", "<list> <cert> [payload]", "add a line to a list of certificates", add_line),
        change("del ssl crt-list", "<list> <cert[:line]>", "take a line out of a list of certificates", remove_line),
    ]
}

fn named(engine: &Engine, call: &Call, usage: &str, act: fn(&Certificates, &str) -> Result<String, String>) -> Reply {
    if call.word(0).is_empty() {
        return Reply::error(usage);
    }
    reply(act(engine.site().tls().certificates(), call.word(0)))
}

pub(super) fn reply(outcome: Result<String, String>) -> Reply {
    Reply::Output(outcome.unwrap_or_else(|refusal| refusal))
}

fn set(engine: &Engine, call: &Call) -> Reply {
    match &call.payload {
        Some(payload) if !call.word(0).is_empty() => reply(engine.site().tls().certificates().set(call.word(0), payload)),
        _ => Reply::error("'set ssl cert expects a filename and a certificate as a payload"),
    }
}

fn update_response(_: &Engine, call: &Call) -> Reply {
    match call.word(0) {
        "" => Reply::error("'update ssl ocsp-response' expects a filename"),
        name if ocsp::hasten(Path::new(name)) => Reply::Output(String::new()),
        _ => Reply::error(
            "'update ssl ocsp-response' only works on certificates that have `ocsp-update on` and whose issuer names a responder",
        ),
    }
}

fn staple(engine: &Engine, call: &Call) -> Reply {
    let refuse = |text: &str| Reply::Message(Urgency::Error, format!("{text}\n"));
    let text = call.payload.as_deref().unwrap_or(call.word(0)).bytes();
    let text: Vec<u8> = text.filter(|byte| !byte.is_ascii_whitespace()).collect();
    if text.is_empty() {
        return refuse("'set ssl ocsp-response' expects response in base64 encoding.");
    }
    let Some(der) = base64::decode(&text) else { return refuse("'set ssl ocsp-response' received invalid base64 encoded response.") };
    match ocsp::put(engine.site().tls().certificates(), &der) {
        Ok(()) => Reply::Message(Urgency::Info, "OCSP Response updated!\n".to_owned()),
        Err(reason) => refuse(reason),
    }
}

fn add_line(engine: &Engine, call: &Call) -> Reply {
    let text = call.payload.as_deref().unwrap_or(call.word(1));
    if call.word(0).is_empty() || text.is_empty() {
        return Reply::error("'add ssl crtlist' expects a filename and a certificate name");
    }
    reply(engine.site().tls().certificates().add_line(call.word(0), text))
}

fn remove_line(engine: &Engine, call: &Call) -> Reply {
    if call.word(1).is_empty() {
        return Reply::error("'del ssl crtlist' expects a filename and a certificate name");
    }
    reply(engine.site().tls().certificates().remove_line(call.word(0), call.word(1)))
}

fn show_list(engine: &Engine, call: &Call) -> Reply {
    let site = engine.site();
    let certificates = site.tls().certificates();
    let (with_numbers, name) = if call.word(0) == "-n" { (true, call.word(1)) } else { (false, call.word(0)) };
    if name.is_empty() {
        return Reply::Output(certificates.lists().iter().map(|path| format!("{}\n", path.display())).collect());
    }
    let lines = certificates.list_lines(name);
    if lines.is_empty() {
        return Reply::error("didn't find the specified filename");
    }
    let mut text = format!("# {name}\n");
    for line in lines {
        let _ = write!(text, "{}", line.path.display());
        if with_numbers {
            let _ = write!(text, ":{}", line.number);
        }
        if !line.settings.is_empty() {
            let _ = write!(text, " [{} ]", line.settings);
        }
        line.filters.iter().for_each(|filter| {
            let _ = write!(text, " {filter}");
        });
        text.push('\n');
    }
    Reply::Output(text)
}

fn show(engine: &Engine, call: &Call) -> Reply {
    let site = engine.site();
    let certificates = site.tls().certificates();
    let name = call.word(0);
    if name.is_empty() {
        let (change, files) = certificates.list();
        let mut text = change.map_or_else(String::new, |path| format!("# transaction\n*{}\n", path.display()));
        text.push_str("# filename\n");
        files.iter().for_each(|path| {
            let _ = writeln!(text, "{}", path.display());
        });
        return Reply::Output(text);
    }
    match certificates.show(name) {
        Some(shown) => Reply::Output(describe(name, &shown)),
        None => Reply::error("Can't display the certificate: Not found or the certificate is a bundle!"),
    }
}

fn describe(name: &str, shown: &Shown) -> String {
    let status = match (&shown.identity, shown.is_used) {
        (None, _) => "Empty",
        (Some(_), true) => "Used",
        (Some(_), false) => "Unused",
    };
    let mut text = format!("Filename: {name}\nStatus: {status}\n");
    let mut chain = shown.identity.iter().flat_map(|identity| &identity.key.cert);
    if let Some(leaf) = chain.next() {
        if let Ok((_, certificate)) = X509Certificate::from_der(leaf) {
            describe_leaf(&mut text, leaf, &certificate);
        }
        for certificate in chain {
            if let Ok((_, certificate)) = X509Certificate::from_der(certificate) {
                let (subject, issuer) = (shown_name(certificate.subject()), shown_name(certificate.issuer()));
                let _ = write!(text, "Chain Subject: {subject}\nChain Issuer: {issuer}\n");
            }
        }
    }
    text.push_str("OCSP Response Key: \n");
    text
}

pub(super) fn describe_leaf(text: &mut String, der: &[u8], certificate: &X509Certificate<'_>) {
    let validity = certificate.validity();
    let _ = writeln!(text, "Serial: {}", hexadecimal(certificate.raw_serial()).trim_start_matches("00"));
    let _ = writeln!(text, "notBefore: {}\nnotAfter: {}", date(validity.not_before), date(validity.not_after));
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|alternative| &alternative.value.general_names).filter_map(|name| {
        let GeneralName::DNSName(name) = name else { return None };
        Some(format!("DNS:{name}"))
    });
    let _ = writeln!(text, "Subject Alternative Name: {}", names.collect::<Vec<_>>().join(", "));
    let _ = writeln!(text, "Algorithm: {}", algorithm(certificate));
    let _ = writeln!(text, "SHA1 FingerPrint: {}", hexadecimal(digest(&SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()));
    let _ = writeln!(text, "Subject: {}\nIssuer: {}", shown_name(certificate.subject()), shown_name(certificate.issuer()));
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn algorithm(certificate: &X509Certificate<'_>) -> String {
    match certificate.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("EC{}", point.key_size()),
        Ok(PublicKey::RSA(key)) => format!("RSA{}", key.key_size()),
        Ok(_) | Err(_) => "UNKNOWN0".to_owned(),
    }
}

/// Writes a name as OpenSSL does in one line.
pub(super) fn shown_name(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for attribute in name.iter_attributes() {
        let kind = x509_parser::objects::oid2abbrev(attribute.attr_type(), x509_parser::objects::oid_registry());
        let kind = kind.map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
        let _ = write!(text, "/{kind}={}", attribute.as_str().unwrap_or_default());
    }
    text
}

/// Writes a date as OpenSSL does.
pub(super) fn date(time: ASN1Time) -> String {
    let date = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(date.month())) - 1];
    format!("{month} {:2} {:02}:{:02}:{:02} {} GMT", date.day(), date.hour(), date.minute(), date.second(), date.year())
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

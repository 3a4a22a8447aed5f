//! Keywords of where servers are, but for the servers themselves.

use super::draft::Draft;
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use super::server;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{Cookie, CookieMode};
use crate::config::value::{self, hash, text, word};
use crate::config::written::{PersistenceCookie, Unnamed};

pub(super) fn balance(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let text = line.joined().ok_or_else(|| line.error("`balance` lacks its algorithm"))?;
    draft.settings.pool.balance = Some(parse_word(&text, value::balance::balance)?);
    Ok(())
}

pub(super) fn fullconn(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.pool.fullconn = Some(*line.integer(1..=u32::MAX)?);
    Ok(())
}

pub(super) fn state_source(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.pool.state_source = Some(*line.parse("global, local or none", |text| word::STATE_SOURCE.read(text))?);
    Ok(())
}

pub(super) fn state_name(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    if !line.accept("use-backend-name") {
        draft.settings.pool.state_name = line.next().map(|name| name.value().clone());
    }
    Ok(())
}

pub(super) fn hash_balance_factor(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let factor = line.integer(0..=LARGEST_FACTOR)?;
    if (1..=100).contains(factor.value()) {
        let error = Diagnostic::error(factor.location(), "`hash-balance-factor` must be above 100");
        return Err(error.hint("the percentage of the average load a server may carry: for example 150"));
    }
    draft.settings.pool.hash_balance_factor = Some(factor);
    Ok(())
}

const LARGEST_FACTOR: u32 = 65_535;

pub(super) fn hash_type(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let text = line.joined().ok_or_else(|| line.error("`hash-type` lacks its method"))?;
    draft.settings.pool.hash_type = Some(parse_word(&text, hash::hash_type)?);
    Ok(())
}

pub(super) fn http_reuse(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.pool.http_reuse = Some(*line.parse("never, safe, aggressive or always", |text| word::HTTP_REUSE.read(text))?);
    Ok(())
}

pub(super) fn name_header(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.pool.name_header = Some(line.parse("the name of a header", value::option::header)?);
    Ok(())
}

pub(super) fn persist(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.pool.persist = Some(line.parse("rdp-cookie", value::balance::persist)?);
    Ok(())
}

pub(super) fn retries(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.settings.retries = Some(*line.integer(0..=MOST_RETRIES)?);
    Ok(())
}

pub(super) fn retry_on(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let text = line.joined().ok_or_else(|| line.error("`retry-on` says nothing").hint("for example conn-failure, or none"))?;
    draft.settings.retry_on = Some(parse_word(&text, value::retry::retry_on)?);
    Ok(())
}

const MOST_RETRIES: u32 = 1000;

pub(super) fn source(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.backend.source = Some(server::source_words(line)?.value().clone());
    Ok(())
}

pub(super) fn cookie(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    let name = line.parse("its name", text::cookie)?;
    let mut dynamic = false;
    let mut cookie = Cookie {
        name: name.value().clone(),
        mode: CookieMode::Passive,
        indirect: false,
        nocache: false,
        postonly: false,
        preserve: false,
        httponly: false,
        secure: false,
        domains: Vec::new(),
        maxidle: None,
        maxlife: None,
        attributes: Vec::new(),
        dynamic_key: None,
        idle_key: None,
    };
    while let Some(word) = line.next() {
        match word.as_str() {
            "insert" => cookie.mode = CookieMode::Insert,
            "rewrite" => cookie.mode = CookieMode::Rewrite,
            "prefix" => cookie.mode = CookieMode::Prefix,
            "indirect" => cookie.indirect = true,
            "nocache" => cookie.nocache = true,
            "postonly" => cookie.postonly = true,
            "preserve" => cookie.preserve = true,
            "httponly" => cookie.httponly = true,
            "secure" => cookie.secure = true,
            "domain" => cookie.domains.push(line.parse("a domain", text::cookie_attribute)?.value().clone()),
            "attr" => cookie.attributes.push(line.parse("an attribute", text::cookie_attribute)?.value().clone()),
            "maxidle" => cookie.maxidle = Some(*line.period()?),
            "maxlife" => cookie.maxlife = Some(*line.period()?),
            "dynamic" => dynamic = true,
            _ => return Err(unknown(&word, "`cookie`", &COOKIE, &[])),
        }
    }
    draft.backend.cookie = Some(Located::new(PersistenceCookie { cookie, dynamic, unnamed: Unnamed::Nothing }, line.location()));
    Ok(())
}

pub(super) fn dynamic_cookie_key(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    draft.backend.dynamic_cookie_key = Some(line.parse("the key", text::not_empty)?);
    Ok(())
}

pub(super) const COOKIE: [&str; 14] = [
    "attr", "domain", "dynamic", "httponly", "indirect", "insert", "maxidle", "maxlife", "nocache", "postonly", "prefix", "preserve",
    "rewrite", "secure",
];

//! Balancing algorithms.

use super::{Mistake, later};
use crate::config::model::{Balance, HeaderHash, UriHash};
use crate::config::suggest;

/// Reads an algorithm with its argument, such as `leastconn`, `uri depth 2`, `hdr(host)` or `random(2)`.
pub(in crate::config) fn balance(text: &str) -> Result<Balance, Mistake> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let (name, argument) = match first.split_once('(') {
        Some((name, argument)) => {
            let unclosed = || Mistake::new(format!("`{first}` lacks its closing parenthesis")).at(text, first);
            (name, Some(argument.strip_suffix(')').ok_or_else(unclosed)?).filter(|argument| !argument.is_empty()))
        }
        None => (first, None),
    };
    let balance = match name {
        "roundrobin" => Balance::RoundRobin,
        "static-rr" => Balance::StaticRoundRobin,
        "leastconn" => Balance::LeastConn,
        "first" => Balance::First,
        "source" => Balance::Source,
        "uri" => return Ok(Balance::Uri(uri(text, &rest)?)).and_then(|balance| no_argument(text, name, argument).map(|()| balance)),
        "url_param" => return url_param(text, argument, &rest),
        "hdr" => return header(text, argument, &rest),
        "random" => Balance::Random(draws(text, argument)?),
        "rdp-cookie" => Balance::RdpCookie(argument.unwrap_or("mstshash").to_owned()),
        "hash" => return hash(text, argument, &rest),
        _ => {
            return Err(Mistake::new(format!("balance `{name}` is not an algorithm")).at(text, name).hint(suggest::hint(name, &NAMES)));
        }
    };
    if !matches!(name, "random" | "rdp-cookie") {
        no_argument(text, name, argument)?;
    }
    no_more(text, name, &rest)?;
    Ok(balance)
}

/// Reads what keeps clients with their servers besides cookies of HTTP; returns the name of the cookie.
pub(in crate::config) fn persist(text: &str) -> Result<String, Mistake> {
    let name = match text.strip_prefix("rdp-cookie") {
        Some("") => Some("msts"),
        Some(rest) => rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).filter(|name| !name.is_empty()),
        None => None,
    };
    name.map(str::to_owned)
        .ok_or_else(|| Mistake::new(format!("`{text}` keeps no client with its server")).hint("rdp-cookie, or rdp-cookie(NAME)"))
}

const NAMES: [&str; 11] =
    ["roundrobin", "static-rr", "leastconn", "first", "source", "uri", "url_param", "hdr", "random", "rdp-cookie", "hash"];
const DEFAULT_DRAWS: u32 = 2;

fn needs(text: &str, example: &str) -> Mistake {
    Mistake::new(format!("balance `{text}` lacks its argument")).hint(format!("for example {example}"))
}

fn no_argument(text: &str, name: &str, argument: Option<&str>) -> Result<(), Mistake> {
    argument.map_or(Ok(()), |argument| Err(Mistake::new(format!("balance `{name}` takes no argument")).at(text, argument)))
}

fn no_more(text: &str, name: &str, rest: &[&str]) -> Result<(), Mistake> {
    match rest.first() {
        None => Ok(()),
        Some(word) => Err(Mistake::new(format!("balance `{name}` does not know `{word}`")).at(text, word)),
    }
}

fn uri(text: &str, rest: &[&str]) -> Result<UriHash, Mistake> {
    let mut hash = UriHash::default();
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "whole" => hash.whole = true,
            "path-only" => hash.path_only = true,
            "len" => hash.length = Some(number(text, word, words.next())?),
            "depth" => hash.depth = Some(number(text, word, words.next())?),
            other => {
                let known = ["whole", "path-only", "len", "depth"];
                return Err(Mistake::new(format!("balance `uri` does not know `{other}`"))
                    .at(text, other)
                    .hint(suggest::hint(other, &known)));
            }
        }
    }
    Ok(hash)
}

fn number(text: &str, word: &str, value: Option<&&str>) -> Result<u32, Mistake> {
    let number = value.and_then(|value| value.parse().ok()).filter(|number| *number > 0);
    number.ok_or_else(|| Mistake::new(format!("`{word}` needs a number from 1")).at(text, value.copied().unwrap_or(word)))
}

fn url_param(text: &str, argument: Option<&str>, rest: &[&str]) -> Result<Balance, Mistake> {
    no_argument(text, "url_param", argument)?;
    let (name, more) = rest.split_first().ok_or_else(|| needs(text, "url_param userid"))?;
    if let Some(word) = more.iter().find(|word| **word == "check_post") {
        return Err(later("balance `url_param` with", word)
            .at(text, word)
            .hint("parameters are looked for in the query, whatever the method"));
    }
    no_more(text, "url_param", more)?;
    Ok(Balance::UrlParam((*name).to_owned()))
}

fn header(text: &str, argument: Option<&str>, rest: &[&str]) -> Result<Balance, Mistake> {
    let name = argument.ok_or_else(|| needs(text, "hdr(host)"))?;
    if let Some(byte) = name.bytes().find(|byte| !is_token(*byte)) {
        return Err(Mistake::new(format!("a header name cannot contain `{}`", char::from(byte))).at(text, name));
    }
    let domain_only = match *rest {
        [] => false,
        ["use_domain_only"] => true,
        ["use_domain_only", other, ..] | [other, ..] => {
            let mistake = Mistake::new(format!("balance `hdr` does not know `{other}`")).at(text, other);
            return Err(mistake.hint(suggest::hint(other, &["use_domain_only"])));
        }
    };
    Ok(Balance::Header(HeaderHash { name: name.to_owned(), domain_only }))
}

/// Tells whether a byte may stand in a header name (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn draws(text: &str, argument: Option<&str>) -> Result<u32, Mistake> {
    let Some(argument) = argument else { return Ok(DEFAULT_DRAWS) };
    let wrong = || Mistake::new(format!("`{argument}` is not a number of draws")).at(text, argument).hint("for example random(2)");
    argument.parse().ok().filter(|draws| *draws > 0).ok_or_else(wrong)
}

/// Keeps the expression as written: what it means is the rule language's business.
fn hash(text: &str, argument: Option<&str>, rest: &[&str]) -> Result<Balance, Mistake> {
    no_argument(text, "hash", argument)?;
    if rest.is_empty() {
        return Err(needs(text, "hash src"));
    }
    Ok(Balance::Hash(rest.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_are_read_with_their_arguments() {
        let header = |name: &str, domain_only| Balance::Header(HeaderHash { name: name.to_owned(), domain_only });
        let uri = |whole, path_only, length, depth| Balance::Uri(UriHash { whole, path_only, length, depth });
        for (text, meant) in [
            ("roundrobin", Balance::RoundRobin),
            ("static-rr", Balance::StaticRoundRobin),
            ("leastconn", Balance::LeastConn),
            ("first", Balance::First),
            ("source", Balance::Source),
            ("uri", uri(false, false, None, None)),
            ("uri whole len 32 depth 4", uri(true, false, Some(32), Some(4))),
            ("uri path-only", uri(false, true, None, None)),
            ("url_param userid", Balance::UrlParam("userid".into())),
            ("hdr(host)", header("host", false)),
            ("hdr(Host) use_domain_only", header("Host", true)),
            ("random", Balance::Random(2)),
            ("random(3)", Balance::Random(3)),
            ("rdp-cookie", Balance::RdpCookie("mstshash".into())),
            ("rdp-cookie(x)", Balance::RdpCookie("x".into())),
            ("hash src,ipmask(24)", Balance::Hash("src,ipmask(24)".into())),
        ] {
            assert_eq!(balance(text).as_ref(), Ok(&meant), "{text}");
            assert!(text.starts_with(meant.name()), "{text}");
        }
    }

    #[test]
    fn what_is_no_algorithm_is_refused() {
        for text in [
            "",
            "leastcon",
            "hdr",
            "hdr()",
            "hdr(",
            "hdr(a b)",
            "hdr(a:)",
            "hdr(host) domain",
            "hdr(host) use_domain_only twice",
            "url_param a check_post",
            "random(0)",
            "random(x)",
            "source fast",
            "source(1)",
            "uri len",
            "uri len x",
            "uri deep 2",
            "uri(3)",
            "url_param",
            "url_param a b",
            "hash",
        ] {
            assert!(balance(text).is_err(), "{text}");
        }
    }
}

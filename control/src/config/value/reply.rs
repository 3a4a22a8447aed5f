//! Answers in place of a proxy's own pages.

use super::{Mistake, text};

/// The statuses that a proxy answers with on its own account, for which it can be given other answers.
const STATUSES: [u16; 19] = [200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429, 500, 501, 502, 503, 504];

/// Reads a status that a proxy answers with on its own account.
pub(in crate::config) fn status(text: &str) -> Result<u16, Mistake> {
    let known = || STATUSES.map(|status| status.to_string()).join(", ");
    let wrong = || Mistake::new(format!("`{text}` is not a status that can have another answer")).hint(format!("known: {}", known()));
    text.parse().ok().filter(|status| STATUSES.contains(status)).ok_or_else(wrong)
}

/// The name of a section `http-errors`, and the statuses that are wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Files {
    pub(in crate::config) section: String,
    pub(in crate::config) statuses: Vec<u16>,
}

/// Reads `NAME [STATUS...]`.
pub(in crate::config) fn files(written: &str) -> Result<Files, Mistake> {
    let mut words = written.split_ascii_whitespace();
    let section = text::not_empty(words.next().unwrap_or_default())?;
    let statuses = words.map(|word| status(word).map_err(|mistake| mistake.at(written, word))).collect::<Result<_, _>>()?;
    Ok(Files { section, statuses })
}

/// Reads where a client is sent.
pub(in crate::config) fn location(written: &str) -> Result<String, Mistake> {
    let location = text::not_empty(written)?;
    match location.bytes().all(|byte| byte >= b' ' && byte != 0x7f) {
        true => Ok(location),
        false => Err(Mistake::new("control characters cannot stand in a location")),
    }
}

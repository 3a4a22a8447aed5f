//! What mails are said in.

use super::{Mistake, address};
use crate::config::location::Located;
use crate::config::model::Mailer;

/// Reads where a server of mail is, whose name is known: `192.0.2.1:25`, `mail.example.com:587`.
pub(in crate::config) fn mailer(name: &Located<String>, text: &str) -> Result<Mailer, Mistake> {
    let bare = ["tcp@", "ipv4@", "ipv6@", "tcp4@", "tcp6@"].into_iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let address = address::server(bare).map_err(|mistake| mistake.within(text, bare))?;
    Mailer::new(name.clone(), &address).ok_or_else(|| Mistake::new(format!("`{text}` is no host with a port")).hint(MAILER_FORM))
}

/// Reads an address of mail, or the name of a host: what stands in a line of SMTP by itself.
pub(in crate::config) fn word(text: &str) -> Result<String, Mistake> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '<' | '>');
    if text.is_empty() || text.len() > LONGEST || !text.chars().all(fits) {
        return Err(Mistake::new(format!("`{text}` cannot stand in a line of SMTP")).hint("for example ops@example.com"));
    }
    Ok(text.to_owned())
}

const MAILER_FORM: &str = "for example 192.0.2.1:25 or mail.example.com:587";
/// The longest path of RFC 5321, which has its brackets.
const LONGEST: usize = 254;

//! HAProxy's lists of certificates: one file per line, with the names it is for. Pure.

use std::path::PathBuf;

/// One line of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The certificate file.
    pub(super) file: PathBuf,
    /// Names in lower case, those it is not for with an exclamation mark; none means those in the certificate.
    pub(super) filters: Vec<String>,
}

/// Reads a list; every entry comes with the number of its line.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (usize, Result<Entry, String>)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| (number, entry(line)))
}

fn entry(line: &str) -> Result<Entry, String> {
    if let Some((_, options)) = line.split_once('[') {
        let options = options.split(']').next().unwrap_or_default();
        return Err(format!("settings for one certificate are not supported yet: [{options}]"));
    }
    let mut words = line.split_whitespace();
    let file = words.next().unwrap_or_default().into();
    let filters: Vec<String> = words.map(str::to_ascii_lowercase).collect();
    match filters.iter().find(|filter| !is_filter(filter)) {
        Some(filter) => Err(format!("`{filter}` is not a host name")),
        None => Ok(Entry { file, filters }),
    }
}

/// Tells whether this is a host name, perhaps with a wildcard as first label, perhaps negated.
fn is_filter(filter: &str) -> bool {
    let name = filter.strip_prefix('!').unwrap_or(filter);
    let name = name.strip_prefix("*.").unwrap_or(name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_files_and_names() {
        let text = "# all sites\n\n/etc/a.pem\n/etc/b.pem *.Example.org !www.example.org\n";
        let read: Vec<_> = parse(text).map(|(number, entry)| (number, entry.unwrap())).collect();
        let entry =
            |file: &str, filters: &[&str]| Entry { file: file.into(), filters: filters.iter().map(|&name| name.to_owned()).collect() };
        assert_eq!(read, [(3, entry("/etc/a.pem", &[])), (4, entry("/etc/b.pem", &["*.example.org", "!www.example.org"]))]);
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        let reasons: Vec<_> = parse("a.pem [alpn h2] x.org\nb.pem *\n").map(|(_, entry)| entry.unwrap_err()).collect();
        assert_eq!(reasons, ["settings for one certificate are not supported yet: [alpn h2]", "`*` is not a host name"]);
    }
}

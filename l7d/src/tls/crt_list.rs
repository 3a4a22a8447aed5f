//! HAProxy's lists of certificates: one file per line, with the names it is for. Pure.

use std::path::PathBuf;

/// One line of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The certificate file.
    pub(super) file: PathBuf,
    /// What it says of the TLS with those who ask for it, in the words of a bind line.
    pub(super) settings: String,
    /// Names in lower case, those it is not for with an exclamation mark; none means those in the certificate.
    pub(super) filters: Vec<String>,
}

/// Reads a list; every entry comes with the number of its line.
pub(super) fn parse(text: &str) -> impl Iterator<Item = (usize, Result<Entry, String>)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| (number, entry(line)))
}

fn entry(line: &str) -> Result<Entry, String> {
    let (file, rest) = line.split_at(line.find(|c: char| c.is_whitespace() || c == '[').unwrap_or(line.len()));
    let (settings, names) = match rest.trim_start().strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or("this `[` is not closed in its line")?,
        None => ("", rest),
    };
    let (file, settings) = (file.into(), settings.trim().to_owned());
    let filters: Vec<String> = names.split_whitespace().map(str::to_ascii_lowercase).collect();
    match filters.iter().find(|filter| !is_filter(filter)) {
        Some(filter) => Err(format!("`{filter}` is not a host name")),
        None => Ok(Entry { file, settings, filters }),
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
    fn lines_are_files_settings_and_names() {
        let text = "# all sites\n\n/etc/a.pem\n/etc/b.pem *.Example.org !www.example.org\nc.pem [ alpn h2 verify none ] c.org\nd.pem[]\n";
        let read: Vec<_> = parse(text).map(|(number, entry)| (number, entry.unwrap())).collect();
        let entry = |file: &str, settings: &str, filters: &[&str]| Entry {
            file: file.into(),
            settings: settings.to_owned(),
            filters: filters.iter().map(|&name| name.to_owned()).collect(),
        };
        let expected = [
            (3, entry("/etc/a.pem", "", &[])),
            (4, entry("/etc/b.pem", "", &["*.example.org", "!www.example.org"])),
            (5, entry("c.pem", "alpn h2 verify none", &["c.org"])),
            (6, entry("d.pem", "", &[])),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let reasons: Vec<_> = parse("a.pem [alpn h2 x.org\nb.pem *\n").map(|(_, entry)| entry.unwrap_err()).collect();
        assert_eq!(reasons, ["this `[` is not closed in its line", "`*` is not a host name"]);
    }
}

//! Answers in place of a proxy's own pages.

use super::value::Table;
use crate::config::location::Located;
use crate::config::model::{ErrorReply, HttpErrors};

/// Writes the answers of a proxy. HAProxy takes the last of those for a status, and TOML the one that names fewest: what never counts
/// is left out.
pub(super) fn errors(table: &mut Table, replies: &[ErrorReply], sections: &[HttpErrors]) {
    let mut taken = Vec::new();
    let mut left = Vec::new();
    for reply in replies.iter().rev() {
        let statuses = statuses(reply, sections);
        let is_file_of_many = matches!(reply, ErrorReply::Files { .. });
        if is_file_of_many || statuses.is_empty() || statuses.iter().any(|status| !taken.contains(status)) {
            left.push(reply);
        }
        taken.extend(statuses);
    }
    left.reverse();
    table.some("errorfiles", left.iter().filter_map(|reply| files(reply)));
    for (key, code) in [("errorloc302", 302), ("errorloc303", 303)] {
        let mut pages = Table::default();
        for reply in &left {
            if let ErrorReply::Redirect { status, location, code: own } = reply
                && *own == code
            {
                pages.put(status.to_string(), location.value().clone());
            }
        }
        table.table(key, pages);
    }
    let named = left.iter().filter_map(|reply| match reply {
        ErrorReply::File { status, path } => Some((*status, path)),
        ErrorReply::Files { .. } | ErrorReply::Redirect { .. } | ErrorReply::Written(_) => None,
    });
    table.table("errorfile", pages(named));
    table.some("http-error", left.iter().filter_map(|reply| written(reply)).map(|text| text.value().clone()));
}

/// Writes the files of statuses, of which the last one counts.
pub(super) fn pages<'w>(files: impl IntoIterator<Item = (u16, &'w Located<std::path::PathBuf>)>) -> Table {
    let mut files: Vec<_> = files.into_iter().collect();
    let mut index = 0;
    while index < files.len() {
        let is_last = files[index + 1..].iter().all(|(later, _)| *later != files[index].0);
        if is_last {
            index += 1;
        } else {
            files.remove(index);
        }
    }
    let mut table = Table::default();
    for (status, path) in files {
        table.put(status.to_string(), path.display().to_string());
    }
    table
}

fn files(reply: &ErrorReply) -> Option<String> {
    let ErrorReply::Files { section, statuses } = reply else { return None };
    let statuses: String = statuses.iter().map(|status| format!(" {status}")).collect();
    Some(format!("{}{statuses}", section.value()))
}

fn written(reply: &ErrorReply) -> Option<&Located<String>> {
    match reply {
        ErrorReply::Written(text) => Some(text),
        ErrorReply::File { .. } | ErrorReply::Files { .. } | ErrorReply::Redirect { .. } => None,
    }
}

/// Returns the statuses an answer is for.
fn statuses(reply: &ErrorReply, sections: &[HttpErrors]) -> Vec<u16> {
    match reply {
        ErrorReply::File { status, .. } | ErrorReply::Redirect { status, .. } => vec![*status],
        ErrorReply::Files { section, statuses } if statuses.is_empty() => {
            let of_section = sections.iter().find(|known| known.name.value() == section.value());
            of_section.iter().flat_map(|section| &section.files).map(|(status, _)| *status).collect()
        }
        ErrorReply::Files { statuses, .. } => statuses.clone(),
        ErrorReply::Written(text) => {
            let mut words = text.split_ascii_whitespace().skip_while(|word| *word != "status");
            words.nth(1).and_then(|status| status.parse().ok()).into_iter().collect()
        }
    }
}

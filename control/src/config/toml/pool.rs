//! How a backend chooses among its servers, which `[defaults]` may say too.

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::StateSource;
use crate::config::value::{balance, hash, option, text, word};
use crate::config::written::Pool;

pub(super) fn pool(reader: &mut Reader, section: &mut Section<'_>) -> Pool {
    Pool {
        balance: section.take("balance").and_then(|item| reader.text(&item, "leastconn", balance::balance)),
        hash_type: section.take("hash-type").and_then(|item| reader.text(&item, "consistent", hash::hash_type)),
        hash_balance_factor: section.take("hash-balance-factor").and_then(|item| factor(reader, &item)),
        fullconn: section.take("fullconn").and_then(|item| reader.integer(&item, 1..=u32::MAX, 1000)),
        http_reuse: section
            .take("http-reuse")
            .and_then(|item| reader.text(&item, "safe", |text| word::HTTP_REUSE.read(text)))
            .map(|reuse| *reuse.value()),
        name_header: section.take("http-send-name-header").and_then(|item| reader.text(&item, "X-Server", option::header)),
        persist: section.take("persist").and_then(|item| reader.text(&item, "rdp-cookie", balance::persist)),
        state_source: state_source(reader, section),
        state_name: section
            .take("server-state-file-name")
            .and_then(|item| reader.text(&item, "app.state", text::not_empty))
            .map(|name| name.value().clone()),
    }
}

fn state_source(reader: &mut Reader, section: &mut Section<'_>) -> Option<StateSource> {
    let item = section.take("load-server-state-from-file")?;
    reader.text(&item, "global", |text| word::STATE_SOURCE.read(text)).map(|source| *source.value())
}

/// Reads a percentage above 100, or 0 to switch it off where the defaults have it on.
fn factor(reader: &mut Reader, item: &Item<'_>) -> Option<Located<u32>> {
    let factor = reader.integer(item, 0..=LARGEST_FACTOR, 150)?;
    if (1..=100).contains(&factor) {
        let message = format!("`{}` must be above 100", *item.key);
        reader.push(
            Diagnostic::error(&item.location, message).hint("the percentage of the average load a server may carry: for example 150"),
        );
        return None;
    }
    Some(Located::new(factor, item.location.clone()))
}

const LARGEST_FACTOR: u32 = 65_535;

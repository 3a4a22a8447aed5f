//! The key `stats` of frontends, backends and defaults.

use super::log;
use super::reader::Reader;
use super::section::Section;
use crate::config::model::StatsPage;
use crate::config::value::text;

pub(super) fn stats(reader: &mut Reader, section: &mut Section<'_>) -> Option<StatsPage> {
    let title = format!("`stats` of {}", section.title());
    let item = section.take("stats")?;
    let mut inner = reader.section(&item, title, "{ uri = \"/stats\" }")?;
    let usual = StatsPage::default();
    let plain = |reader: &mut Reader, inner: &mut Section<'_>, key, example| {
        let item = inner.take(key)?;
        reader.text(&item, example, text::header_text).map(|text| text.value().clone())
    };
    let page = StatsPage {
        uri: inner
            .take("uri")
            .and_then(|item| reader.text(&item, "/stats", text::request_target))
            .map_or(usual.uri, |uri| uri.value().clone()),
        realm: plain(reader, &mut inner, "realm", "Statistics").unwrap_or(usual.realm),
        accounts: inner
            .take("auth")
            .map(|item| reader.texts(&item, "admin:secret", text::account))
            .unwrap_or_default()
            .iter()
            .map(|account| account.value().clone())
            .collect(),
        refresh: inner.take("refresh").and_then(|item| reader.period(&item)),
        hides_version: inner.take("hide-version").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        node: inner.take("show-node").and_then(|item| log::host(reader, &item)),
        scope: inner.take("scope").map(|item| reader.texts(&item, "web", text::header_text)).map(|names| {
            let names = names.iter().map(|name| name.value().clone());
            names.collect()
        }),
        shows_legends: inner.take("show-legends").and_then(|item| reader.boolean(&item)).unwrap_or(false),
        description: plain(reader, &mut inner, "show-desc", "edge of the shop"),
    };
    inner.misplaced(reader, &["admin", "http-request"], |key| match key {
        "admin" => "write rules = [\"stats admin if ...\"]".to_owned(),
        _ => "write rules = [\"stats http-request auth unless ...\"]".to_owned(),
    });
    inner.finish(reader, &[]);
    Some(page)
}

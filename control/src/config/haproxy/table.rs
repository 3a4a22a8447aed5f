//! `stick-table`: a table that bears the name of its proxy.

use std::ops::Range;

use super::draft::Draft;
use super::line::{Line, parse_word, unknown};
use super::reader::Reader;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::TableKey;
use crate::config::value::{table as value, units};
use crate::config::written::Table;

pub(super) fn stick_table(line: &mut Line, draft: &mut Draft, _: &mut Reader) -> Result<(), Diagnostic> {
    if draft.table.is_some() {
        return Err(line.error(format!("{} `{}` has a stick-table already", draft.kind.name(), draft.name)));
    }
    let mut table = Table { name: draft.name.clone(), key: None, size: None, expire: None, nopurge: false, store: Vec::new() };
    while let Some(word) = line.next() {
        match word.as_str() {
            "type" => table.key = Some(key(line)?),
            "size" => table.size = Some(*line.parse("a number of entries", units::size)?).filter(|size| *size > 0),
            "expire" => table.expire = Some(*line.period()?),
            "nopurge" => table.nopurge = true,
            "store" => {
                let list = line.expect("what to store")?;
                for range in elements(&list) {
                    let text = Located::new(list[range.clone()].to_owned(), list.location().part(&list, range));
                    table.store.push(parse_word(&text, value::stored)?);
                }
            }
            _ => return Err(unknown(&word, "`stick-table`", &["type", "size", "expire", "nopurge", "store"], &LATER)),
        }
    }
    if table.key.is_none() || table.size.is_none() {
        return Err(line.error("`stick-table` wants `type` and `size`").hint("for example stick-table type ip size 100k"));
    }
    draft.table = Some(table);
    Ok(())
}

const LATER: [&str; 5] = ["brates-factor", "peers", "recv-only", "srvkey", "write-to"];

/// Reads the key: `ip`, `string len 32`.
fn key(line: &mut Line) -> Result<TableKey, Diagnostic> {
    let key = line.parse("a type", value::key)?;
    if !line.accept("len") {
        return Ok(*key);
    }
    let length = *line.integer(1..=LONGEST_KEY)?;
    match *key {
        TableKey::String(_) => Ok(TableKey::String(length)),
        TableKey::Binary(_) => Ok(TableKey::Binary(length)),
        TableKey::Ip | TableKey::Ipv6 | TableKey::Integer => Err(Diagnostic::error(key.location(), "this type has no `len`")),
    }
}

/// A key is compared on every lookup; longer ones are surely a mistake.
const LONGEST_KEY: u32 = 16_384;

/// Cuts a list at its commas, but for those in parentheses.
fn elements(list: &str) -> Vec<Range<usize>> {
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                found.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(start..list.len());
    found
}

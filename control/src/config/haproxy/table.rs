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
    draft.table = Some(table(line, Table::new(draft.name.clone()), Home::Proxy)?);
    Ok(())
}

/// Where a table is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// In a proxy, whose name it bears.
    Proxy,
    /// In a section of peers, who all share it.
    Peers,
}

/// Reads the words of a table.
pub(super) fn table(line: &mut Line, mut table: Table, home: Home) -> Result<Table, Diagnostic> {
    while let Some(word) = line.next() {
        match word.as_str() {
            "type" => table.key = Some(key(line)?),
            "size" => table.size = Some(*line.parse("a number of entries", units::size)?).filter(|size| *size > 0),
            "expire" => table.expire = Some(*line.period()?),
            "nopurge" => table.nopurge = true,
            "recv-only" => table.recv_only = true,
            "sum-conn-cur" => table.sum_conn_cur = true,
            "srvkey" => table.srvkey = *line.parse("name or addr", value::srvkey)?,
            "write-to" => table.write_to = Some(line.expect("the name of a table")?),
            "peers" if home == Home::Proxy => table.peers = Some(line.expect("the name of a section of peers")?),
            "store" => {
                let list = line.expect("what to store")?;
                for range in elements(&list) {
                    let text = Located::new(list[range.clone()].to_owned(), list.location().part(&list, range));
                    table.store.push(parse_word(&text, value::stored)?);
                }
            }
            _ => {
                return Err(unknown(
                    &word,
                    &format!("`{}`", line.keyword().value()),
                    &["type", "size", "expire", "nopurge", "peers", "recv-only", "srvkey", "store", "sum-conn-cur", "write-to"],
                    &[("brates-factor", "bytes are counted one by one")],
                ));
            }
        }
    }
    if table.key.is_none() || table.size.is_none() {
        let error = line.error(format!("`{}` wants `type` and `size`", line.keyword().value()));
        return Err(error.hint("for example type ip size 100k"));
    }
    Ok(table)
}

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

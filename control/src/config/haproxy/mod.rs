//! Reads HAProxy's configuration language into [`Written`](super::written::Written), the same that the native format becomes.
//!
//! ```text
//! lexer ─► line ─► section ─► global, proxy (frontend, backend, bind, server, check, table, rules) ─► draft ─► written
//! ```
//! The [`lexer`] cuts the text into lines of words, each word knowing where it was written; [`section`] decides which section a line
//! belongs to, and hands it to the function that its keyword names;
//! [`mod@condition`] leaves out the blocks whose condition does not hold. What is not known is refused with a suggestion, what HAProxy knows
//! and this model has no place for is refused by its name; nothing is dropped.
//!
//! # How to add a keyword
//!
//! 1. Of a proxy (`defaults`, `frontend`, `backend`, `listen`): add a row to [`proxy::KEYWORDS`], in the order of the alphabet, with the
//!    sections it may stand in, its name, and a function `fn(&mut Line, &mut Draft, &mut Reader) -> Result<(), Diagnostic>` that reads
//!    its words; take its name out of `refused`. Words that nothing has read when the function returns are refused.
//!    What may stand in `defaults` too is written into `draft.settings`, whatever the section is; what may not, into `draft.frontend` or
//!    `draft.backend`. [`Draft::finish`](draft::Draft) moves the settings to where they belong: a new field of
//!    [`Defaults`](super::written::Defaults) needs its line there.
//! 2. Of a server or `default-server` line: a row in [`server::WORDS`]; of a bind line: in [`bind::WORDS`]; of `global`: in
//!    [`global::KEYWORDS`]. All work alike.
//! 3. A rule: the lines in [`rules`] are handed to the rule engine as they are written, so nothing is to be done here unless the
//!    directive itself is new: then add a row with [`rules::rule`].
//! 4. A section: add a variant to [`section::Section`] and a row to its table.
//!
//! [`Line`](line::Line) reads words: `expect`, `parse` (with the parsers of [`value`](super::value)), `integer`, `duration`, `joined` and
//! `rest`. Every value keeps its [`Located`](super::Located) place.

mod backend;
mod bind;
mod cache;
mod check;
mod condition;
mod draft;
mod frontend;
mod global;
mod lexer;
mod line;
mod log;
mod log_forward;
mod log_profile;
mod mail;
mod peers;
pub(super) mod protocol;
mod proxy;
mod reader;
mod refused;
mod reply;
mod resolvers;
mod ring;
mod rules;
mod section;
pub(super) mod sequence;
mod server;
mod stats;
mod steps;
mod table;
mod tls;
mod userlist;
#[cfg(test)]
mod vocabulary;

pub(super) use bind::overrule;
pub(super) use condition::{FEATURES, ask as condition};
pub(super) use global::master_socket;
pub(super) use lexer::Cuts;
pub(super) use section::{begins, is_section, read};
pub(super) use server::alone as server;

//! What is made of samples on their way from the fetch to whoever asked: text changed, numbers computed, addresses masked.

mod digest;
mod fix;
mod json;
mod map;
mod mqtt;
mod packet;
mod protobuf;
mod secret;
mod structure;
mod table;
mod text;

use std::net::IpAddr;

use regex::bytes::Regex;

use digest::Digest;
use map::Map;
use packet::Packet;
use secret::Secret;
use structure::Structure;
pub(super) use table::build;
#[cfg(test)]
pub(super) use table::names;
pub(super) use text::hex;

use super::capture;
use super::fetch::{ServerName, Side, State};
use super::pattern::masked;
use super::replace::{self, Replacement};
use super::sample::{Kind, Sample};
use super::stick::Lookup;
use super::view::{VariableId, View};
use crate::base64;

/// One step from one sample to another.
#[derive(Debug)]
pub(super) enum Converter {
    Lower,
    Upper,
    Length,
    Bytes {
        offset: usize,
        length: usize,
    },
    Field(Selection),
    Word(Selection),
    TrimStart(Box<[u8]>),
    TrimEnd(Box<[u8]>),
    Substitute(Box<Substitution>),
    Concat {
        before: Box<[u8]>,
        variable: Option<VariableId>,
        after: Box<[u8]>,
    },
    Hex,
    ToBase64,
    FromBase64,
    DecodeUrl {
        form: bool,
    },
    EncodeUrl,
    HttpDate {
        offset: i64,
        per_second: i64,
    },
    Choose {
        yes: Box<[u8]>,
        no: Box<[u8]>,
    },
    Mask {
        v4: u32,
        v6: u32,
    },
    Arithmetic {
        operation: Operation,
        operand: Operand,
    },
    Complement,
    Negate,
    Not,
    Truth,
    Even,
    Odd,
    Map(Box<Map>),
    Digest(Box<Digest>),
    Structure(Box<Structure>),
    Packet(Box<Packet>),
    /// The sample with another item behind it.
    AddItem {
        delimiter: Box<[u8]>,
        variable: Option<VariableId>,
        suffix: Box<[u8]>,
    },
    /// The language that a client likes best of those that are known.
    Language {
        known: Box<[Box<[u8]>]>,
        usual: Option<Box<[u8]>>,
    },
    /// How many servers of the backend of that name take traffic.
    UsableServers,
    /// How many wait for the server of that name.
    ServerQueue,
    Secret(Box<Secret>),
    ReversedDomain,
    Reversed,
    /// Sets a variable to the sample.
    SetVariable(VariableId),
    /// Forgets a variable.
    UnsetVariable(VariableId),
    /// Puts the sample into a slot for log lines.
    Capture(Side, usize),
    /// Something in a stick table.
    Lookup(Lookup),
}

/// Which parts of a text are wanted.
#[derive(Debug)]
pub(super) struct Selection {
    /// Counted from 1, or from -1 backwards; never 0.
    pub(super) index: i64,
    pub(super) delimiters: Box<[u8]>,
    /// How many; none for all that follow.
    pub(super) count: Option<usize>,
}

/// What to look for and what to put in its place.
#[derive(Debug)]
pub(super) struct Substitution {
    pub(super) regex: Regex,
    pub(super) replacement: Replacement,
    pub(super) everywhere: bool,
}

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
}

/// What it is computed with.
#[derive(Debug)]
pub(super) enum Operand {
    Number(i64),
    Variable(VariableId),
}

impl Operation {
    fn of(self, a: i64, b: i64) -> i64 {
        match self {
            Self::Add => a.saturating_add(b),
            Self::Subtract => a.saturating_sub(b),
            Self::Multiply => a.saturating_mul(b),
            Self::Divide => a.checked_div(b).unwrap_or(i64::MAX),
            Self::Remainder => a.checked_rem(b).unwrap_or(0),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
        }
    }
}

impl Converter {
    /// Returns the type it reads.
    pub(super) fn takes(&self) -> Kind {
        match self {
            Self::Capture(..)
            | Self::Lower
            | Self::Upper
            | Self::Length
            | Self::Bytes { .. }
            | Self::Field(_)
            | Self::Word(_)
            | Self::TrimStart(_)
            | Self::TrimEnd(_)
            | Self::Substitute(_)
            | Self::Concat { .. }
            | Self::FromBase64
            | Self::DecodeUrl { .. }
            | Self::EncodeUrl => Kind::Text,
            Self::Hex | Self::ToBase64 => Kind::Binary,
            Self::Choose { .. } => Kind::Bool,
            Self::SetVariable(_) | Self::UnsetVariable(_) => Kind::Any,
            Self::Map(map) => map.takes(),
            Self::Digest(digest) => digest.takes(),
            Self::Structure(structure) => structure.takes(),
            Self::ReversedDomain | Self::Reversed | Self::AddItem { .. } | Self::Language { .. } => Kind::Text,
            Self::UsableServers | Self::ServerQueue => Kind::Text,
            Self::Secret(_) | Self::Packet(_) => Kind::Binary,
            Self::Lookup(lookup) => lookup.takes(),
            Self::Mask { .. } => Kind::Address,
            Self::HttpDate { .. }
            | Self::Arithmetic { .. }
            | Self::Complement
            | Self::Negate
            | Self::Not
            | Self::Truth
            | Self::Even
            | Self::Odd => Kind::Int,
        }
    }

    /// Returns the type it makes of one type.
    pub(super) fn makes(&self, before: Kind) -> Kind {
        match self {
            Self::Bytes { .. } | Self::SetVariable(_) | Self::UnsetVariable(_) => before,
            Self::Map(map) => map.makes(),
            Self::Digest(digest) => digest.makes(),
            Self::Structure(structure) => structure.makes(),
            Self::ReversedDomain | Self::Reversed | Self::AddItem { .. } | Self::Language { .. } => Kind::Text,
            Self::UsableServers | Self::ServerQueue => Kind::Int,
            Self::Secret(secret) => secret.makes(),
            Self::Packet(packet) => packet.makes(),
            Self::Lookup(lookup) => lookup.makes(),
            Self::Capture(..)
            | Self::Lower
            | Self::Upper
            | Self::Field(_)
            | Self::Word(_)
            | Self::TrimStart(_)
            | Self::TrimEnd(_)
            | Self::Substitute(_)
            | Self::Concat { .. }
            | Self::Hex
            | Self::ToBase64
            | Self::DecodeUrl { .. }
            | Self::EncodeUrl
            | Self::HttpDate { .. }
            | Self::Choose { .. } => Kind::Text,
            Self::FromBase64 => Kind::Binary,
            Self::Length | Self::Arithmetic { .. } | Self::Complement | Self::Negate => Kind::Int,
            Self::Mask { .. } => Kind::Address,
            Self::Not | Self::Truth | Self::Even | Self::Odd => Kind::Bool,
        }
    }

    /// Tells whether the outcome depends on nothing but the sample.
    pub(super) fn is_pure(&self) -> bool {
        if let Self::Digest(digest) = self {
            return digest.is_pure();
        }
        !matches!(
            self,
            Self::Concat { variable: Some(_), .. }
                | Self::Arithmetic { operand: Operand::Variable(_), .. }
                | Self::Capture(..)
                | Self::SetVariable(_)
                | Self::UnsetVariable(_)
                | Self::AddItem { variable: Some(_), .. }
                | Self::UsableServers
                | Self::ServerQueue
                | Self::Secret(_)
                | Self::Map(_)
                | Self::Lookup(_)
        )
    }

    /// Takes the step; there is no outcome where the sample cannot be read as what the converter takes.
    pub(super) fn apply<'v>(&'v self, sample: Sample<'v>, view: &View<'v>) -> Option<Sample<'v>> {
        Some(match self {
            Self::Capture(side, number) => {
                capture::put(view, *side, *number, &sample);
                sample
            }
            Self::SetVariable(id) => {
                view.memory.change(view.scene.shared, *id, Some(sample.clone().into_owned()));
                sample
            }
            Self::UnsetVariable(id) => {
                view.memory.change(view.scene.shared, *id, None);
                sample
            }
            Self::Lookup(lookup) => lookup.apply(&sample, view)?,
            Self::Lower => text::changed(sample, u8::is_ascii_uppercase, <[u8]>::make_ascii_lowercase),
            Self::Upper => text::changed(sample, u8::is_ascii_lowercase, <[u8]>::make_ascii_uppercase),
            Self::Length => Sample::Int(i64::try_from(sample.to_bytes().len()).ok()?),
            Self::Bytes { offset, length } => text::cut(sample, |bytes| {
                let start = (*offset).min(bytes.len());
                start..start.saturating_add(*length).min(bytes.len())
            }),
            Self::Field(selection) => text::cut(sample, |bytes| text::field(bytes, selection)),
            Self::Word(selection) => text::cut(sample, |bytes| text::word(bytes, selection)),
            Self::TrimStart(trimmed) => {
                text::cut(sample, |bytes| bytes.iter().position(|byte| !trimmed.contains(byte)).unwrap_or(bytes.len())..bytes.len())
            }
            Self::TrimEnd(trimmed) => {
                text::cut(sample, |bytes| 0..bytes.iter().rposition(|byte| !trimmed.contains(byte)).map_or(0, |last| last + 1))
            }
            Self::Substitute(substitution) => substitution.apply(sample),
            Self::Concat { before, variable, after } => {
                let mut out = sample.to_bytes().into_owned();
                out.extend_from_slice(before);
                if let Some(value) = variable.and_then(|id| view.variable(id)) {
                    value.write(&mut out);
                }
                out.extend_from_slice(after);
                Sample::own(out)
            }
            Self::Hex => Sample::own(hex(&sample.to_binary())),
            Self::ToBase64 => Sample::own(base64::encode(&sample.to_binary()).into_bytes()),
            Self::FromBase64 => Sample::Binary(base64::decode(&sample.to_bytes())?.into()),
            Self::DecodeUrl { form } => text::decode_url(sample, *form)?,
            Self::EncodeUrl => Sample::own(text::encode_url(&sample.to_bytes())),
            Self::HttpDate { offset, per_second } => {
                Sample::own(text::http_date((sample.to_int()? / per_second).saturating_add(*offset))?.into_bytes())
            }
            Self::Choose { yes, no } => Sample::text(if sample.to_bool()? { yes } else { no }),
            Self::Mask { v4, v6 } => match sample.to_address()? {
                address @ IpAddr::V4(_) => Sample::Address(masked(address, *v4)),
                address @ IpAddr::V6(_) => Sample::Address(masked(address, *v6)),
            },
            Self::Arithmetic { operation, operand } => {
                let operand = match operand {
                    Operand::Number(number) => *number,
                    Operand::Variable(id) => view.variable(*id)?.to_int()?,
                };
                Sample::Int(operation.of(sample.to_int()?, operand))
            }
            Self::Map(map) => map.find(&sample)?,
            Self::Digest(digest) if digest.takes() == Kind::Binary => digest.of(&sample.to_binary(), view)?,
            Self::Digest(digest) => digest.of(&sample.to_bytes(), view)?,
            Self::Structure(structure) => structure.of(sample)?,
            Self::AddItem { delimiter, variable, suffix } => {
                let mut item = Vec::new();
                if let Some(value) = variable.and_then(|id| view.variable(id)) {
                    value.write(&mut item);
                }
                item.extend_from_slice(suffix);
                let mut out = sample.to_bytes().into_owned();
                if !out.is_empty() && !item.is_empty() {
                    out.extend_from_slice(delimiter);
                }
                out.extend_from_slice(&item);
                Sample::own(out)
            }
            Self::Language { known, usual } => {
                let found = text::preferred(&sample.to_bytes(), known).map(|place| &*known[place]);
                Sample::text(found.or(usual.as_deref())?)
            }
            Self::UsableServers => Sample::Int(State::UsableServers(Some(str::from_utf8(&sample.to_bytes()).ok()?.into())).find(view)?),
            Self::ServerQueue => {
                let name = String::from_utf8(sample.to_bytes().into_owned()).ok()?;
                let (backend, server) =
                    name.split_once('/').map_or((None, name.as_str()), |(backend, server)| (Some(backend.into()), server));
                Sample::Int(State::ServerQueue(ServerName { backend, server: server.into() }).find(view)?)
            }
            Self::Secret(secret) => secret.of(&sample, view)?,
            Self::Packet(packet) => packet.of(&sample.to_binary())?,
            Self::ReversedDomain => {
                let bytes = sample.to_bytes();
                let mut labels: Vec<&[u8]> = bytes.split(|byte| *byte == b'.').collect();
                labels.reverse();
                Sample::own(labels.join(&b'.'))
            }
            Self::Reversed => {
                let mut bytes = sample.into_bytes().into_owned();
                bytes.reverse();
                Sample::own(bytes)
            }
            Self::Complement => Sample::Int(!sample.to_int()?),
            Self::Negate => Sample::Int(sample.to_int()?.wrapping_neg()),
            Self::Not => Sample::Bool(!sample.to_bool()?),
            Self::Truth => Sample::Bool(sample.to_bool()?),
            Self::Even => Sample::Bool(sample.to_int()? & 1 == 0),
            Self::Odd => Sample::Bool(sample.to_int()? & 1 == 1),
        })
    }
}

impl Substitution {
    fn apply<'v>(&self, sample: Sample<'v>) -> Sample<'v> {
        let bytes = sample.to_bytes();
        let mut out = Vec::new();
        let mut from = 0;
        let most = if self.everywhere { usize::MAX } else { 1 };
        for groups in self.regex.captures_iter(&bytes).take(most) {
            let Some(found) = groups.get(0) else { break };
            out.extend_from_slice(&bytes[from..found.start()]);
            self.replacement.write(&groups, &mut out);
            from = found.end();
            if out.len() > replace::LONGEST {
                break;
            }
        }
        if from == 0 && out.is_empty() {
            drop(bytes);
            return sample;
        }
        out.extend_from_slice(&bytes[from..]);
        Sample::own(out)
    }
}

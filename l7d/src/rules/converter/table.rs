//! Every name of a converter, and how it is made from its arguments.

use control::config::Diagnostic;

use super::digest::{self, Digest};
use super::map::{self, Map};
use super::packet::{self, Packet};
use super::secret::{self, Secret};
use super::structure::{self, Structure};
use super::{Converter, Operand, Operation, Selection, Substitution};
use crate::rules::argument::Call;
use crate::rules::fetch::Side;
use crate::rules::names::Names;
use crate::rules::pattern::{Case, Network, regex};
use crate::rules::refused;
use crate::rules::replace::Replacement;
use crate::rules::stick::Lookup;
use crate::rules::view::VariableId;
use crate::rules::word::unknown;

type Build = fn(&Call<'_, '_>, &mut Names) -> Result<Converter, Diagnostic>;

const TABLE: [(&str, Build); 42] = [
    ("add", |call, names| arithmetic(call, names, Operation::Add)),
    ("add_item", |call, names| add_item(call, names)),
    ("and", |call, names| arithmetic(call, names, Operation::And)),
    ("b64dec", |call, _| plain(call, Converter::FromBase64)),
    ("base64", |call, _| plain(call, Converter::ToBase64)),
    ("bool", |call, _| plain(call, Converter::Truth)),
    ("bytes", |call, _| bytes(call)),
    ("capture-req", |call, _| slot(call, Side::Request)),
    ("capture-res", |call, _| slot(call, Side::Response)),
    ("concat", |call, names| concat(call, names)),
    ("cpl", |call, _| plain(call, Converter::Complement)),
    ("div", |call, names| arithmetic(call, names, Operation::Divide)),
    ("even", |call, _| plain(call, Converter::Even)),
    ("field", |call, _| selection(call).map(Converter::Field)),
    ("hex", |call, _| plain(call, Converter::Hex)),
    ("http_date", |call, _| http_date(call)),
    ("iif", |call, _| choose(call)),
    ("ipmask", |call, _| mask(call)),
    ("language", |call, _| language(call)),
    ("length", |call, _| plain(call, Converter::Length)),
    ("lower", |call, _| plain(call, Converter::Lower)),
    ("ltrim", |call, _| trimmed(call).map(Converter::TrimStart)),
    ("mod", |call, names| arithmetic(call, names, Operation::Remainder)),
    ("mul", |call, names| arithmetic(call, names, Operation::Multiply)),
    ("nbsrv", |call, _| plain(call, Converter::UsableServers)),
    ("neg", |call, _| plain(call, Converter::Negate)),
    ("not", |call, _| plain(call, Converter::Not)),
    ("odd", |call, _| plain(call, Converter::Odd)),
    ("or", |call, names| arithmetic(call, names, Operation::Or)),
    ("regsub", |call, _| substitute(call)),
    ("reverse", |call, _| plain(call, Converter::Reversed)),
    ("reverse_dom", |call, _| plain(call, Converter::ReversedDomain)),
    ("rtrim", |call, _| trimmed(call).map(Converter::TrimEnd)),
    ("set-var", |call, names| variable(call, names).map(Converter::SetVariable)),
    ("srv_queue", |call, _| plain(call, Converter::ServerQueue)),
    ("sub", |call, names| arithmetic(call, names, Operation::Subtract)),
    ("unset-var", |call, names| variable(call, names).map(Converter::UnsetVariable)),
    ("upper", |call, _| plain(call, Converter::Upper)),
    ("url_dec", |call, _| decode_url(call)),
    ("url_enc", |call, _| encode_url(call)),
    ("word", |call, _| selection(call).map(Converter::Word)),
    ("xor", |call, names| arithmetic(call, names, Operation::Xor)),
];

/// Returns every known name.
pub(in crate::rules) fn names() -> Vec<&'static str> {
    let maps = map::NAMES.iter().map(|(name, _, _)| *name);
    let mut names: Vec<_> = TABLE
        .iter()
        .map(|(name, _)| *name)
        .chain(maps)
        .chain(digest::NAMES)
        .chain(structure::NAMES)
        .chain(secret::NAMES)
        .chain(packet::NAMES)
        .collect();
    names.sort_unstable();
    names
}

/// Makes the converter of that name.
///
/// # Errors
/// Names what is not known, and arguments that do not fit.
pub(in crate::rules) fn build(call: &Call<'_, '_>, variables: &mut Names) -> Result<Converter, Diagnostic> {
    if let Some(map) = Map::build(call, variables) {
        return map.map(|map| Converter::Map(Box::new(map)));
    }
    if let Some(digest) = Digest::build(call, variables) {
        return digest.map(|digest| Converter::Digest(Box::new(digest)));
    }
    if let Some(structure) = Structure::build(call) {
        return structure.map(|structure| Converter::Structure(Box::new(structure)));
    }
    if let Some(packet) = Packet::build(call) {
        return packet.map(|packet| Converter::Packet(Box::new(packet)));
    }
    if let Some(secret) = Secret::build(call, variables) {
        return secret.map(|secret| Converter::Secret(Box::new(secret)));
    }
    if let Some(lookup) = Lookup::build(call, variables) {
        return lookup.map(Converter::Lookup);
    }
    match TABLE.iter().find(|(name, _)| *name == call.name) {
        Some((_, build)) => build(call, variables),
        None => {
            let (message, hint) = unknown("converter", call.name, &names(), refused::CONVERTERS);
            Err(call.error(message).hint(hint))
        }
    }
}

fn add_item(call: &Call<'_, '_>, names: &mut Names) -> Result<Converter, Diagnostic> {
    call.at_most(3)?;
    let delimiter = call.required(0, "a delimiter, a variable and a suffix")?.text.as_bytes().into();
    let variable = match call.optional(1) {
        Some(name) => Some(names.variable(&name.text).map_err(|message| call.error_in(name, message))?),
        None => None,
    };
    let suffix: Box<[u8]> = call.optional(2).map_or(&b""[..], |suffix| suffix.text.as_bytes()).into();
    if variable.is_none() && suffix.is_empty() {
        return Err(call.error("`add_item` wants a variable or a suffix behind its delimiter"));
    }
    Ok(Converter::AddItem { delimiter, variable, suffix })
}

fn language(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(2)?;
    let known = call.required(0, "languages with semicolons between them")?.text.split(';').map(|known| known.as_bytes().into()).collect();
    Ok(Converter::Language { known, usual: call.optional(1).map(|usual| usual.text.as_bytes().into()) })
}

fn variable(call: &Call<'_, '_>, names: &mut Names) -> Result<VariableId, Diagnostic> {
    call.at_most(1)?;
    let name = call.required(0, "the name of a variable")?;
    names.variable(&name.text).map_err(|message| call.error_in(name, message))
}

fn slot(call: &Call<'_, '_>, side: Side) -> Result<Converter, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "the number of a capture")?;
    let number = argument.text.parse().map_err(|_| call.error_in(argument, format!("`{}` is not a number", argument.text)))?;
    Ok(Converter::Capture(side, number))
}

fn plain(call: &Call<'_, '_>, converter: Converter) -> Result<Converter, Diagnostic> {
    call.at_most(0).map(|()| converter)
}

fn arithmetic(call: &Call<'_, '_>, names: &mut Names, operation: Operation) -> Result<Converter, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "a number or a variable")?;
    let operand = match argument.text.parse() {
        Ok(number) => Operand::Number(number),
        Err(_) => Operand::Variable(names.variable(&argument.text).map_err(|message| {
            call.error_in(argument, format!("`{}` is neither a whole number nor a variable: {message}", argument.text))
        })?),
    };
    Ok(Converter::Arithmetic { operation, operand })
}

fn size(call: &Call<'_, '_>, index: usize, default: usize) -> Result<usize, Diagnostic> {
    let Some(argument) = call.optional(index) else { return Ok(default) };
    argument.text.parse().map_err(|_| call.error_in(argument, format!("`{}` is not a number of bytes", argument.text)))
}

fn bytes(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(2)?;
    call.required(0, "an offset")?;
    Ok(Converter::Bytes { offset: size(call, 0, 0)?, length: size(call, 1, usize::MAX)? })
}

fn concat(call: &Call<'_, '_>, names: &mut Names) -> Result<Converter, Diagnostic> {
    call.at_most(3)?;
    let text = |index| call.optional(index).map_or(&b""[..], |argument| argument.text.as_bytes()).into();
    let variable = match call.optional(1) {
        Some(name) => Some(names.variable(&name.text).map_err(|message| call.error_in(name, message))?),
        None => None,
    };
    Ok(Converter::Concat { before: text(0), variable, after: text(2) })
}

fn selection(call: &Call<'_, '_>) -> Result<Selection, Diagnostic> {
    call.at_most(3)?;
    let position = call.required(0, "an index and delimiters")?;
    let index = call.number(0, 0)?;
    if index == 0 {
        return Err(call.error_in(position, "parts are counted from 1, or backwards from -1"));
    }
    let delimiters = call.required(1, "an index and delimiters")?.text.as_bytes().into();
    let count = match size(call, 2, 1)? {
        0 => None,
        count => Some(count),
    };
    Ok(Selection { index, delimiters, count })
}

fn http_date(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(2)?;
    let per_second = match call.optional(1).map(|unit| (unit.text.as_str(), unit)) {
        None | Some(("s", _)) => 1,
        Some(("ms", _)) => 1000,
        Some(("us", _)) => 1_000_000,
        Some((other, argument)) => return Err(call.error_in(argument, format!("`{other}` is not s, ms or us"))),
    };
    // An offset is given in the unit of the sample.
    Ok(Converter::HttpDate { offset: call.number(0, 0)? / per_second, per_second })
}

fn choose(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(2)?;
    let text = |index| call.required(index, "a text for true and one for false").map(|argument| argument.text.as_bytes().into());
    Ok(Converter::Choose { yes: text(0)?, no: text(1)? })
}

fn mask(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(2)?;
    let length = |index: usize, any: &str, most: u32| match call.optional(index) {
        None => Ok(most),
        Some(argument) => {
            let network = Network::parse(&format!("{any}/{}", argument.text));
            network.map(Network::length).ok_or_else(|| call.error_in(argument, format!("`{}` is not a mask", argument.text)))
        }
    };
    call.required(0, "a mask")?;
    Ok(Converter::Mask { v4: length(0, "0.0.0.0", 32)?, v6: length(1, "::", 128)? })
}

fn substitute(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(3)?;
    let pattern = call.required(0, "a regular expression and what replaces it")?;
    let replacement = call.required(1, "a regular expression and what replaces it")?;
    let (mut everywhere, mut case) = (false, Case::Kept);
    if let Some(flags) = call.optional(2) {
        for flag in flags.text.chars() {
            match flag {
                'g' => everywhere = true,
                'i' => case = Case::Ignored,
                other => return Err(call.error_in(flags, format!("`{other}` is not a flag: g for everywhere, i for any letter case"))),
            }
        }
    }
    let regex = regex(&pattern.text, case).map_err(|reason| call.error_in(pattern, reason))?;
    let replacement = Replacement::parse(replacement.text.as_bytes());
    Ok(Converter::Substitute(Box::new(Substitution { regex, replacement, everywhere })))
}

fn trimmed(call: &Call<'_, '_>) -> Result<Box<[u8]>, Diagnostic> {
    call.at_most(1)?;
    Ok(call.required(0, "the characters to take away")?.text.as_bytes().into())
}

fn decode_url(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(1)?;
    Ok(Converter::DecodeUrl { form: call.number(0, 0)? != 0 })
}

fn encode_url(call: &Call<'_, '_>) -> Result<Converter, Diagnostic> {
    call.at_most(1)?;
    match call.optional(0) {
        Some(argument) if argument.text != "query" => {
            Err(call.error_in(argument, format!("`{}` is not an encoding: query", argument.text)))
        }
        Some(_) | None => Ok(Converter::EncodeUrl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_both_known_and_missing() {
        let known = names();
        let both: Vec<_> = refused::CONVERTERS.iter().filter(|(name, _)| known.contains(name)).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(known.is_sorted(), "so that a name is found by eye");
    }
}

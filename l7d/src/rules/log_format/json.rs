//! Texts that are objects of JSON: each piece with a name is a member, and nothing else counts.

use super::facts::Facts;
use super::variable::{Flags, Variable};
use super::{Content, Piece};
use crate::rules::sample::Sample;
use crate::rules::view::View;

/// What a member is called, and what its value is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    text: Box<str>,
    form: Form,
}

/// What a value is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// What it is.
    Own,
    Text,
    Number,
    Truth,
}

impl Name {
    /// Reads a name, behind which a type may stand.
    ///
    /// # Errors
    /// Says what cannot be a name or a type.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, form) = match text.split_once(':') {
            None => (text, Form::Own),
            Some((name, "str")) => (name, Form::Text),
            Some((name, "sint")) => (name, Form::Number),
            Some((name, "bool")) => (name, Form::Truth),
            Some((_, other)) => return Err(format!("`{other}` is not a type: str, sint or bool")),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() && form != Form::Own || !name.bytes().all(is_plain) {
            return Err(format!("`{name}` cannot be a name: letters, digits, `_` and `-` can"));
        }
        Ok(Self { text: name.into(), form })
    }
}

/// Appends an object with the pieces that have names; `facts` is what is known of an exchange that has ended.
pub(super) fn write(pieces: &[Piece], view: &View<'_>, facts: Option<&Facts<'_>>, out: &mut Vec<u8>) {
    out.push(b'{');
    let (mut separator, mut value) = ("", Vec::new());
    for piece in pieces {
        let Some(name) = piece.name.as_ref().filter(|name| !name.text.is_empty()) else { continue };
        out.extend_from_slice(separator.as_bytes());
        separator = ", ";
        string(name.text.as_bytes(), out);
        out.extend_from_slice(b": ");
        value.clear();
        let kind = match &piece.content {
            Content::Text(_) => continue,
            Content::Sample(expression) => of_sample(expression.value(view), &mut value),
            Content::Variable(variable) => of_variable(*variable, view, facts, &mut value),
        };
        member(&value, if name.form == Form::Own { kind } else { name.form }, out);
    }
    out.push(b'}');
}

fn of_sample(sample: Option<Sample<'_>>, value: &mut Vec<u8>) -> Form {
    let Some(sample) = sample else { return Form::Number };
    let form = match &sample {
        Sample::Int(_) => Form::Number,
        Sample::Bool(_) => Form::Truth,
        Sample::Text(_) | Sample::Binary(_) | Sample::Address(_) => Form::Text,
    };
    value.extend_from_slice(&sample.to_bytes());
    form
}

fn of_variable(variable: Variable, view: &View<'_>, facts: Option<&Facts<'_>>, value: &mut Vec<u8>) -> Form {
    match facts {
        Some(facts) => variable.write_end(view, facts, Flags::default(), value),
        None => variable.write_now(view, Flags::default(), value),
    }
    // What is not there is shown so in lines.
    if value == b"-" {
        value.clear();
    }
    if variable.is_number() { Form::Number } else { Form::Text }
}

fn member(value: &[u8], form: Form, out: &mut Vec<u8>) {
    match form {
        _ if value.is_empty() => out.extend_from_slice(b"null"),
        Form::Own | Form::Text => string(value, out),
        Form::Number => {
            let digits = value.strip_prefix(b"+").unwrap_or(value);
            let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse::<i64>().ok());
            out.extend_from_slice(number.map_or_else(|| "null".to_owned(), |number| number.to_string()).as_bytes());
        }
        Form::Truth => out.extend_from_slice(if matches!(value, b"0" | b"false") { b"false" } else { b"true" }),
    }
}

/// Appends a text in quotes (RFC 8259 section 7); what is no UTF-8 is replaced.
fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for character in String::from_utf8_lossy(text).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            control if control.is_ascii_control() => out.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes()),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// What `log-format = "json"` stands for in the native file; the names stay as they are.
pub(super) const HTTP: &str = "%{+json}o %(time)tr %(epoch)Ts %(epoch_ms)ms %(client_ip)ci %(client_port)cp %(frontend)f %(backend)b %(server)s \
    %(method)HM %(target)HU %(version)HV %(status)ST %(bytes_sent)B %(bytes_received)U %(time_request)TR %(time_queue)Tw \
    %(time_connect)Tc %(time_response)Tr %(time_active)Ta %(termination)tsc %(retries)rc %(connections)ac \
    %(connections_frontend)fc %(connections_backend)bc %(connections_server)sc %(queue_server)sq %(queue_backend)bq \
    %(tls_version)sslv %(tls_cipher)sslc %(request_headers)hr %(response_headers)hs %(rule_file)[last_rule_file] \
    %(rule_line)[last_rule_line]";
/// The same where requests are not looked into.
pub(super) const TCP: &str = "%{+json}o %(time)t %(epoch)Ts %(epoch_ms)ms %(client_ip)ci %(client_port)cp %(frontend)f %(backend)b %(server)s \
    %(bytes_sent)B %(bytes_received)U %(time_queue)Tw %(time_connect)Tc %(time_total)Tt %(termination)ts %(retries)rc %(connections)ac \
    %(connections_frontend)fc %(connections_backend)bc %(connections_server)sc %(queue_server)sq %(queue_backend)bq \
    %(tls_version)sslv %(tls_cipher)sslc %(rule_file)[last_rule_file] %(rule_line)[last_rule_line]";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_may_say_what_values_are() {
        for (text, form) in [
            ("a", Some(Form::Own)),
            ("a-b_1:str", Some(Form::Text)),
            ("n:sint", Some(Form::Number)),
            ("x:bool", Some(Form::Truth)),
            ("", Some(Form::Own)),
        ] {
            assert_eq!(Name::parse(text).ok().map(|name| name.form), form, "{text}");
        }
        for text in ["a.b", "a b", "a:float", ":str"] {
            assert!(Name::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_string(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            string(&text, &mut out);
            let read: String = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
        }
    }
}

//! What is inside packets of protocols: MQTT, FIX, protocol buffers and gRPC.

use control::config::Diagnostic;

use super::{fix, mqtt, protobuf};
use crate::rules::argument::Call;
use crate::rules::sample::{Kind, Sample};

/// A part of a packet, or whether it is one.
#[derive(Debug)]
pub(in crate::rules) enum Packet {
    IsFix,
    /// The value of a tag.
    Fix(u32),
    IsMqtt,
    Mqtt(mqtt::Packet, mqtt::Field),
    /// A field of a message in protocol buffers.
    Message(protobuf::Field),
    /// A field of a message that gRPC has framed.
    Framed(protobuf::Field),
}

/// Every name.
pub(super) const NAMES: [&str; 6] = ["fix_is_valid", "fix_tag_value", "mqtt_field_value", "mqtt_is_valid", "protobuf", "ungrpc"];

impl Packet {
    /// Makes the converter of that name; none if it is no name of one.
    ///
    /// # Errors
    /// Names arguments that do not fit.
    pub(super) fn build(call: &Call<'_, '_>) -> Option<Result<Self, Diagnostic>> {
        Some(match call.name {
            "fix_is_valid" => call.at_most(0).map(|()| Self::IsFix),
            "fix_tag_value" => tag(call),
            "mqtt_is_valid" => call.at_most(0).map(|()| Self::IsMqtt),
            "mqtt_field_value" => field_of_mqtt(call),
            "protobuf" => field(call).map(Self::Message),
            "ungrpc" => field(call).map(Self::Framed),
            _ => return None,
        })
    }

    pub(super) fn makes(&self) -> Kind {
        match self {
            Self::IsFix | Self::IsMqtt => Kind::Bool,
            Self::Fix(_) => Kind::Binary,
            Self::Mqtt(..) => Kind::Text,
            Self::Message(field) | Self::Framed(field) => field.makes(),
        }
    }

    pub(super) fn of(&self, bytes: &[u8]) -> Option<Sample<'static>> {
        Some(match self {
            Self::IsFix => Sample::Bool(fix::is_valid(bytes)?),
            Self::Fix(tag) => Sample::Binary(fix::value(bytes, *tag)?.to_vec().into()),
            Self::IsMqtt => Sample::Bool(mqtt::is_valid(bytes)?),
            Self::Mqtt(packet, field) => Sample::own(mqtt::value(bytes, *packet, *field)?.into_owned()),
            Self::Message(field) => field.find(bytes)?,
            Self::Framed(field) => field.find_framed(bytes)?,
        })
    }
}

fn tag(call: &Call<'_, '_>) -> Result<Packet, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "a tag")?;
    let wrong = || call.error_in(argument, format!("`{}` is neither a number nor the name of a tag", argument.text));
    fix::tag(&argument.text).map(Packet::Fix).ok_or_else(wrong)
}

fn field_of_mqtt(call: &Call<'_, '_>) -> Result<Packet, Diagnostic> {
    call.at_most(2)?;
    let kind = call.required(0, "a kind of packet and a field")?;
    let wrong = || call.error_in(kind, format!("`{}` is not a kind of packet", kind.text)).hint("connect or connack");
    let packet = mqtt::Packet::parse(&kind.text).ok_or_else(wrong)?;
    let name = call.required(1, "a kind of packet and a field")?;
    let field = packet.field(&name.text);
    field.map(|field| Packet::Mqtt(packet, field)).ok_or_else(|| call.error_in(name, format!("`{}` is not a field of it", name.text)))
}

fn field(call: &Call<'_, '_>) -> Result<protobuf::Field, Diagnostic> {
    call.at_most(2)?;
    let path = call.required(0, "the number of a field")?;
    let kind = call.optional(1);
    protobuf::Field::parse(&path.text, kind.map(|kind| kind.text.as_str())).map_err(|message| call.error_in(path, message))
}

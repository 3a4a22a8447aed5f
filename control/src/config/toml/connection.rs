//! The keys `source` and `send-proxy` of servers and backends: how connections to servers are made.

use ::toml::de::DeValue;

use super::reader::{Item, Reader};
use super::section::Section;
use crate::config::error::Diagnostic;
use crate::config::location::Located;
use crate::config::model::{SendProxy, ServerSource};
use crate::config::value::{address, text, word};
use crate::config::written::ProxySwitch;

/// Extensions of the PROXY header HAProxy can send and this model has no place for.
const LATER_OPTIONS: [&str; 7] = ["authority", "cert-cn", "cert-key", "cert-sig", "ssl", "ssl-cipher", "unique-id"];

pub(super) fn source(reader: &mut Reader, section: &mut Section<'_>) -> Option<Located<ServerSource>> {
    let item = section.take("source")?;
    let DeValue::Table(_) = item.value else {
        return reader.text(&item, "10.0.0.5", address::any_source);
    };
    let mut inner = reader.section(&item, "`source`", "{ address = \"10.0.0.5\", interface = \"eth1\" }")?;
    let address = inner.take("address").map(|item| reader.text(&item, "10.0.0.5", address::any_source));
    let interface = inner.take("interface").map(|item| reader.text(&item, "eth1", text::interface));
    let guise = inner.take("usesrc").map(|item| reader.text(&item, "clientip", address::guise));
    inner.finish(reader, &[]);
    if address.is_none() && interface.is_none() && guise.is_none() {
        reader.missing(&item.location, "`source` says nothing", "for example source = { address = \"10.0.0.5\" }");
        return None;
    }
    let (address, interface) = (address.flatten(), interface.flatten());
    let mut source = address.map_or(ServerSource::ANY, |address| address.value().clone());
    source.guise = guise.flatten().map(|guise| *guise.value());
    source.interface = interface.map(|interface| interface.value().clone());
    Some(Located::new(source, item.key.location().clone()))
}

pub(super) fn send_proxy(reader: &mut Reader, section: &mut Section<'_>) -> Option<ProxySwitch> {
    let item = section.take("send-proxy")?;
    match item.value {
        DeValue::Boolean(false) => Some(ProxySwitch::Off),
        DeValue::Boolean(true) => Some(ProxySwitch::On(SendProxy::V1)),
        DeValue::Table(_) => with_options(reader, &item).map(ProxySwitch::On),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
            version(reader, &item).map(ProxySwitch::On)
        }
    }
}

fn version(reader: &mut Reader, item: &Item<'_>) -> Option<SendProxy> {
    reader.text(item, "v2", |text| word::PROXY_VERSION.read(text)).map(|version| *version)
}

fn with_options(reader: &mut Reader, item: &Item<'_>) -> Option<SendProxy> {
    let mut inner = reader.section(item, "`send-proxy`", "{ version = \"v2\", options = [\"crc32c\"] }")?;
    let version = inner.require(reader, "version", "\"v2\"").and_then(|item| version(reader, &item));
    let options = inner.take("options");
    let mut checksum = false;
    let elements = options.as_ref().map(|item| reader.list(item)).unwrap_or_default();
    for element in elements {
        let Some(option) = reader.string(&element, "crc32c") else { continue };
        match option.as_str() {
            "crc32c" => checksum = true,
            known if LATER_OPTIONS.contains(&known) => {
                reader.push(Diagnostic::error(option.location(), format!("option `{known}` of PROXY headers is not supported yet")));
            }
            other => {
                reader.push(Diagnostic::error(option.location(), format!("PROXY headers have no option `{other}`")).hint("known: crc32c"))
            }
        }
    }
    inner.finish(reader, &[]);
    match version? {
        SendProxy::V2 { .. } => Some(SendProxy::V2 { checksum }),
        SendProxy::V1 => {
            if let Some(options) = options {
                reader.push(Diagnostic::error(&options.location, "PROXY v1 has no options").hint("write version = \"v2\""));
            }
            Some(SendProxy::V1)
        }
    }
}

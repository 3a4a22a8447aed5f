//! Where spans of requests go.

use super::super::value::Mistake;

/// A collector of spans that is spoken to by OTLP over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Otlp {
    pub(in crate::config) endpoint: Option<OtlpEndpoint>,
    pub(in crate::config) service: Option<String>,
    pub(in crate::config) sample: Option<OtlpSample>,
}

impl Otlp {
    /// Returns where spans are sent; without one there are none.
    pub fn endpoint(&self) -> Option<&OtlpEndpoint> {
        self.endpoint.as_ref()
    }

    /// Returns what this process is called in spans.
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or("l7d")
    }

    /// Returns how many requests of a million get a span, of those that do not belong to a trace already.
    pub fn sample(&self) -> OtlpSample {
        self.sample.unwrap_or(OtlpSample(OtlpSample::ALL))
    }
}

/// Where spans have their place at a collector.
const SPANS: &str = "/v1/traces";

/// The address of a collector: `http://host:port`, perhaps with a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint {
    authority: String,
    path: String,
}

impl OtlpEndpoint {
    /// Returns the host and the port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the path that spans are sent to.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads the address that a collector takes everything at; spans have their place below it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(in crate::config) fn parse_base(text: &str) -> Result<Self, Mistake> {
        let Self { authority, path } = Self::parse(text)?;
        let base = if text.trim_start_matches("http://").contains('/') { path.trim_end_matches('/') } else { "" };
        let path = if base == SPANS { base.to_owned() } else { format!("{base}{SPANS}") };
        Ok(Self { authority, path })
    }

    /// Reads the address that a collector takes spans at.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, Mistake> {
        let example = "for example http://127.0.0.1:4318";
        if text.starts_with("https://") {
            return Err(Mistake::new("spans go over http:// only").hint("to a collector beside this process, which sends them on"));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(Mistake::new(format!("`{text}` is not the address of a collector")).hint(example));
        };
        let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@');
        let port =
            authority.rsplit_once(':').and_then(|(host, port)| port.parse::<u16>().ok().filter(|port| *port > 0 && !host.is_empty()));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
        if authority.is_empty() || !is_plain(rest) || (has_port && port.is_none()) {
            return Err(Mistake::new(format!("`{text}` is not the address of a collector")).hint(example));
        }
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:4318") };
        let path = if path.is_empty() { SPANS.to_owned() } else { format!("/{path}") };
        Ok(Self { authority, path })
    }
}

impl std::fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// A part of all requests, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtlpSample(u32);

impl OtlpSample {
    /// All of them.
    pub const ALL: u32 = 1_000_000;

    /// Returns it in millionths.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Reads a part: a number from 0 to 1, or a percentage.
    ///
    /// # Errors
    /// Says that it is none.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, Mistake> {
        let (number, whole) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let part = number.trim().parse::<f64>().ok().map(|number| number / whole).filter(|part| (0.0..=1.0).contains(part));
        let wrong = || Mistake::new(format!("`{text}` is not a part of all requests")).hint("for example 0.1, or 10%");
        let millionths = format!("{:.0}", part.ok_or_else(wrong)? * f64::from(Self::ALL));
        millionths.parse().map(Self).map_err(|_| wrong())
    }
}

impl std::fmt::Display for OtlpSample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(Self::ALL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_collectors_are_read() {
        let cases = [
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://otel", Some("http://otel:4318/v1/traces")),
            ("http://[::1]:9/x/y", Some("http://[::1]:9/x/y")),
            ("http://[::1]", Some("http://[::1]:4318/v1/traces")),
            ("https://otel", None),
            ("otel:4318", None),
            ("http://", None),
            ("http://a:b", None),
            ("http://a:0", None),
            ("http://a b", None),
        ];
        for (text, shown) in cases {
            assert_eq!(OtlpEndpoint::parse(text).ok().map(|endpoint| endpoint.to_string()).as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn spans_have_a_place_below_an_address() {
        let cases = [
            ("http://otel", "http://otel:4318/v1/traces"),
            ("http://otel/", "http://otel:4318/v1/traces"),
            ("http://otel:9/x/", "http://otel:9/x/v1/traces"),
        ];
        for (text, shown) in cases {
            assert_eq!(OtlpEndpoint::parse_base(text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn parts_are_read() {
        for (text, millionths) in
            [("1", Some(1_000_000)), ("0.25", Some(250_000)), ("10%", Some(100_000)), ("2", None), ("-1", None), ("x", None)]
        {
            assert_eq!(OtlpSample::parse(text).ok().map(OtlpSample::millionths), millionths, "{text}");
        }
    }
}

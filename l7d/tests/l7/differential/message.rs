//! A second, simple reader of HTTP/1, independent of ours: for what comes out of a proxy, which is well-formed.

/// A request head as a server got it.
#[derive(Debug, Clone)]
pub(super) struct Request {
    first: String,
    fields: Vec<(String, String)>,
}

impl Request {
    pub(super) fn parse(head: &[u8]) -> Self {
        let (first, fields) = split_head(head);
        Self { first, fields }
    }

    /// Returns how long the body at the beginning of `bytes` is, once it is there.
    pub(super) fn body_length(&self, bytes: &[u8]) -> Option<usize> {
        match framing(&self.fields) {
            Framing::Chunked => unchunk(bytes).map(|chunked| chunked.length),
            Framing::Length(length) => (bytes.len() >= length).then_some(length),
            Framing::Undeclared => Some(0),
        }
    }
}

/// How a head frames its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    Undeclared,
}

/// What a side heard, taken apart.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// Each response, rendered.
    pub(super) rendered: Vec<String>,
    /// How many final responses the requests still lack.
    pub(super) missing: usize,
    /// How many were final.
    pub(super) complete: usize,
}

/// Returns the methods of the requests in what a client says.
pub(super) fn methods(said: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(said);
    let lines = text.split("\r\n").filter(|line| line.contains(" HTTP/1."));
    lines.map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
}

/// Takes apart what a client heard in answer to requests with these methods.
pub(super) fn responses(heard: &[u8], methods: &[String]) -> Responses {
    let mut found = Responses { missing: methods.len().max(1), ..Responses::default() };
    let mut rest = heard;
    while !rest.is_empty() {
        let method = methods.get(found.complete).map_or("", String::as_str);
        let Some(end) = find(rest, b"\r\n\r\n") else {
            found.rendered.push(format!("cut head: {:?}", String::from_utf8_lossy(rest)));
            return found;
        };
        let (first, fields) = split_head(&rest[..end + 4]);
        rest = &rest[end + 4..];
        let status: u16 = first.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_default();
        if status == 101 || (method == "CONNECT" && status / 100 == 2) {
            found.rendered.push(render(&first, &fields, Body::Tunnel(rest)));
            found.complete += 1;
            // A tunnel lasts until it is closed; whoever wants to know more says so in the script.
            found.missing = 0;
            return found;
        }
        if status / 100 == 1 {
            found.rendered.push(render(&first, &fields, Body::None));
            continue;
        }
        let (body, length, whole) = response_body(rest, &fields, method == "HEAD" || matches!(status, 204 | 304));
        found.rendered.push(render(&first, &fields, body));
        rest = &rest[length..];
        if whole {
            found.complete += 1;
            found.missing = found.missing.saturating_sub(1);
        }
    }
    found
}

fn response_body<'a>(rest: &'a [u8], fields: &[(String, String)], bodiless: bool) -> (Body<'a>, usize, bool) {
    if bodiless {
        return (Body::None, 0, true);
    }
    match framing(fields) {
        Framing::Length(length) if length <= rest.len() => (Body::Whole(&rest[..length]), length, true),
        Framing::Chunked => match unchunk(rest) {
            Some(chunked) => (Body::Chunks(chunked.content, chunked.trailers), chunked.length, true),
            None => (Body::CutChunks(content_so_far(rest)), rest.len(), false),
        },
        Framing::Length(_) => (Body::Cut(rest), rest.len(), false),
        Framing::Undeclared => (Body::UntilClose(rest), rest.len(), false),
    }
}

/// Renders what a server saw of one request.
pub(super) fn request(head: &[u8], body: &[u8], rest: &[u8]) -> String {
    let request = Request::parse(head);
    let body = match framing(&request.fields) {
        Framing::Undeclared if rest.is_empty() => Body::None,
        Framing::Undeclared => Body::Tunnel(rest),
        Framing::Length(length) if body.len() == length => Body::Whole(body),
        Framing::Length(_) => Body::Cut(body),
        Framing::Chunked => match unchunk(body) {
            Some(chunked) => Body::Chunks(chunked.content, chunked.trailers),
            None => Body::CutChunks(content_so_far(body)),
        },
    };
    render(&request.first, &request.fields, body)
}

enum Body<'a> {
    None,
    Whole(&'a [u8]),
    Cut(&'a [u8]),
    Chunks(Vec<u8>, Vec<String>),
    CutChunks(Vec<u8>),
    UntilClose(&'a [u8]),
    Tunnel(&'a [u8]),
}

/// Prints a message so that what may differ between two proxies looks alike; the module's parent says what that is.
fn render(first: &str, fields: &[(String, String)], body: Body<'_>) -> String {
    let is_our_own = fields.iter().any(|field| *field == ("cache-control".into(), "no-cache".into()))
        && fields.iter().any(|(name, value)| name == "content-type" && value == "text/html");
    if is_our_own {
        return format!("{} from the proxy", first.get(..12).unwrap_or(first));
    }
    let is_persistent = match (first.contains("HTTP/1.0"), connection(fields)) {
        (_, value) if value.contains("close") => "closes",
        (true, value) if !value.contains("keep-alive") => "closes",
        (_, value) if value.contains("upgrade") => "upgrades",
        _ => "stays",
    };
    let mut text = format!("{first} ({is_persistent})");
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection")) {
        text += &format!("\n  {name}: {value}");
    }
    text + &match body {
        Body::None => String::new(),
        Body::Whole(bytes) => format!("\n  body {}", brief(bytes)),
        Body::Cut(bytes) => format!("\n  cut after {}", brief(bytes)),
        Body::Chunks(bytes, trailers) => format!("\n  chunks {} trailers {trailers:?}", brief(&bytes)),
        Body::CutChunks(bytes) => format!("\n  chunks cut after {}", brief(&bytes)),
        Body::UntilClose(bytes) => format!("\n  until close {}", brief(bytes)),
        Body::Tunnel(bytes) => format!("\n  tunnel {}", brief(bytes)),
    }
}

fn brief(bytes: &[u8]) -> String {
    if bytes.len() <= 100 {
        return format!("{:?}", String::from_utf8_lossy(bytes));
    }
    let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("of {} bytes with sum {sum:x}", bytes.len())
}

fn connection(fields: &[(String, String)]) -> String {
    fields.iter().filter(|(name, _)| name == "connection").map(|(_, value)| value.to_ascii_lowercase() + ",").collect()
}

fn framing(fields: &[(String, String)]) -> Framing {
    let value = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    match (value("transfer-encoding"), value("content-length")) {
        (Some(_), _) => Framing::Chunked,
        (None, Some(length)) => length.parse().map_or(Framing::Undeclared, Framing::Length),
        (None, None) => Framing::Undeclared,
    }
}

/// Splits a head into its first line and its fields, with names in lower case and values without padding.
fn split_head(head: &[u8]) -> (String, Vec<(String, String)>) {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.trim_end_matches("\r\n").split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let field = |line: &str| {
        let (name, value) = line.split_once(':').unwrap_or((line, "<no colon>"));
        (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned())
    };
    (first, lines.map(field).collect())
}

struct Chunked {
    content: Vec<u8>,
    trailers: Vec<String>,
    /// With its framing.
    length: usize,
}

/// Takes a whole chunked body apart; `None` while its end has not come.
fn unchunk(bytes: &[u8]) -> Option<Chunked> {
    let (content, at, last) = chunks(bytes);
    if !last {
        return None;
    }
    let rest = &bytes[at..];
    if rest.starts_with(b"\r\n") {
        return Some(Chunked { content, trailers: Vec::new(), length: at + 2 });
    }
    let end = find(rest, b"\r\n\r\n")?;
    let (_, fields) = split_head(&[b"first\r\n", &rest[..end]].concat());
    let trailers = fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    Some(Chunked { content, trailers, length: at + end + 4 })
}

fn content_so_far(bytes: &[u8]) -> Vec<u8> {
    let (mut content, at, last) = chunks(bytes);
    if !last && let Some(end) = find(&bytes[at..], b"\r\n") {
        let start = at + end + 2;
        content.extend_from_slice(bytes[start..].strip_suffix(b"\r\n").unwrap_or(&bytes[start..]));
    }
    content
}

/// Returns the content of all whole chunks, where they end, and whether the last one was there.
fn chunks(bytes: &[u8]) -> (Vec<u8>, usize, bool) {
    let (mut content, mut at) = (Vec::new(), 0);
    while let Some(end) = find(&bytes[at..], b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[at..at + end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(usize::MAX >> 2);
        let start = at + end + 2;
        if size == 0 {
            return (content, start, true);
        }
        let Some(chunk) = bytes.get(start..start + size).filter(|_| bytes.len() >= start + size + 2) else { break };
        content.extend_from_slice(chunk);
        at = start + size + 2;
    }
    (content, at, false)
}

/// Returns where `needle` begins first.
pub(super) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, needle)
}

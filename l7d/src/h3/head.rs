//! Heads and trailers ↔ the types of `http` (RFC 9114 section 4).

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, Uri, request};

use super::frame::{HEADERS, put_number};
use super::qpack::{self, Field};
use super::{DECOMPRESSION_FAILED, Fault, MAX_HEAD, MESSAGE_ERROR};

/// Reads the head of a request.
pub(super) fn request(block: &[u8]) -> Result<request::Parts, Fault> {
    let mut pseudo = Pseudo::default();
    let mut headers = HeaderMap::new();
    for field in decode(block)? {
        if field.name.starts_with(b":") {
            if !headers.is_empty() {
                return Err(malformed("pseudo field behind a header field"));
            }
            pseudo.set(&field)?;
        } else {
            add(&mut headers, &field)?;
        }
    }
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    pseudo.apply(&mut request)?;
    Ok(request.into_parts().0)
}

/// Reads trailers.
pub(super) fn trailers(block: &[u8]) -> Result<HeaderMap, Fault> {
    let mut fields = HeaderMap::new();
    for field in decode(block)? {
        add(&mut fields, &field)?;
    }
    Ok(fields)
}

fn decode(block: &[u8]) -> Result<Vec<Field>, Fault> {
    qpack::decode(block, MAX_HEAD).map_err(|fault| match fault {
        qpack::Fault::Broken => Fault::Connection(DECOMPRESSION_FAILED, "head that cannot be decompressed"),
        qpack::Fault::TooLarge => Fault::TooLarge,
    })
}

fn malformed(what: &'static str) -> Fault {
    Fault::Message(MESSAGE_ERROR, what)
}

fn add(headers: &mut HeaderMap, field: &Field) -> Result<(), Fault> {
    let name = HeaderName::from_lowercase(&field.name).map_err(|_| malformed("header field with an invalid name"))?;
    // They speak of one connection of HTTP/1.
    if ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].contains(&name.as_str()) {
        return Err(malformed("header field of a connection"));
    }
    if name == http::header::TE && &*field.value != b"trailers" {
        return Err(malformed("te with more than trailers"));
    }
    let value = HeaderValue::from_maybe_shared(Bytes::clone(&field.value)).map_err(|_| malformed("header field with an invalid value"))?;
    headers.append(name, value);
    Ok(())
}

/// The fields that HTTP/1 has in its first line.
#[derive(Default)]
struct Pseudo {
    method: Option<Method>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<String>,
}

impl Pseudo {
    fn set(&mut self, field: &Field) -> Result<(), Fault> {
        let value = Bytes::clone(&field.value);
        let is_new = match &*field.name {
            b":method" => self.method.replace(Method::from_bytes(&value).map_err(|_| malformed("method that is none"))?).is_none(),
            b":scheme" => self.scheme.replace(value).is_none(),
            b":authority" => self.authority.replace(value).is_none(),
            b":path" => self.path.replace(value).is_none(),
            b":protocol" => self.protocol.replace(String::from_utf8_lossy(&value).into_owned()).is_none(),
            _ => return Err(malformed("pseudo field that requests do not have")),
        };
        if is_new { Ok(()) } else { Err(malformed("pseudo field that stands twice")) }
    }

    fn apply(self, request: &mut Request<()>) -> Result<(), Fault> {
        let Self { method, scheme, authority, path, protocol } = self;
        let method = method.ok_or_else(|| malformed("no method"))?;
        let mut uri = http::uri::Parts::default();
        if let Some(authority) = authority {
            uri.authority = Some(Authority::from_maybe_shared(authority).map_err(|_| malformed("authority that is none"))?);
        }
        match (method == Method::CONNECT && protocol.is_none(), scheme, path) {
            (true, None, None) if uri.authority.is_some() => {}
            (true, _, _) => return Err(malformed("CONNECT with a scheme or path, or without authority")),
            (false, Some(scheme), Some(path)) => {
                uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).map_err(|_| malformed("path that is none"))?);
                let scheme = http::uri::Scheme::try_from(&*scheme).map_err(|_| malformed("scheme that is none"))?;
                if uri.authority.is_none() && !request.headers().contains_key(http::header::HOST) {
                    return Err(malformed("request for no host"));
                }
                // A path alone names no scheme.
                uri.scheme = uri.authority.is_some().then_some(scheme);
            }
            (false, _, _) => return Err(malformed("no scheme or no path")),
        }
        if let Some(protocol) = protocol {
            if method != Method::CONNECT {
                return Err(malformed("protocol without CONNECT"));
            }
            request.extensions_mut().insert(h2::ext::Protocol::from(protocol.as_str()));
        }
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from_parts(uri).map_err(|_| malformed("target that is none"))?;
        Ok(())
    }
}

/// Prints the head of a response.
pub(super) fn response(response: &Response<()>) -> Vec<u8> {
    framed(Some(response.status().as_str()), response.headers())
}

/// Prints trailers.
pub(super) fn trailer_section(fields: &HeaderMap) -> Vec<u8> {
    framed(None, fields)
}

fn framed(status: Option<&str>, fields: &HeaderMap) -> Vec<u8> {
    let mut block = Vec::with_capacity(256);
    qpack::begin(&mut block);
    if let Some(status) = status {
        qpack::encode(b":status", status.as_bytes(), &mut block);
    }
    for (name, value) in fields {
        qpack::encode(name.as_str().as_bytes(), value.as_bytes(), &mut block);
    }
    let mut frame = Vec::with_capacity(block.len() + 4);
    put_number(HEADERS, &mut frame);
    put_number(block.len() as u64, &mut frame);
    frame.append(&mut block);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        qpack::begin(&mut block);
        fields.iter().for_each(|(name, value)| qpack::encode(name.as_bytes(), value.as_bytes(), &mut block));
        block
    }

    const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/x?y")];

    #[test]
    fn request_is_read() {
        let parts = request(&block(&[&GET[..], &[("b", "1"), ("b", "2")]].concat())).unwrap();
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::GET, "https://a/x?y"));
        assert_eq!(parts.headers.get_all("b").iter().count(), 2);
        let parts = request(&block(&[(":method", "CONNECT"), (":authority", "a:443")])).unwrap();
        assert_eq!((parts.method, parts.uri.to_string().as_str()), (Method::CONNECT, "a:443"));
        let parts = request(&block(&[(":method", "GET"), (":scheme", "https"), (":path", "/x"), ("host", "a")])).unwrap();
        assert_eq!(parts.uri.path(), "/x");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
        for (what, fields) in [
            ("twice", with(&[(":path", "/")])),
            ("behind", with(&[("a", "b"), (":path", "/")])),
            ("unknown", with(&[(":status", "200")])),
            ("upper case", with(&[("Ab", "c")])),
            ("connection", with(&[("connection", "close")])),
            ("coding", with(&[("transfer-encoding", "chunked")])),
            ("te", with(&[("te", "gzip")])),
            ("value", with(&[("a", "b\nc")])),
            ("no method", GET[1..].to_vec()),
            ("no path", GET[..3].to_vec()),
            ("no host", vec![GET[0], GET[1], GET[3]]),
            ("empty path", vec![GET[0], GET[1], GET[2], (":path", "")]),
            ("connect with a path", vec![(":method", "CONNECT"), GET[1], GET[2], GET[3]]),
            ("protocol", with(&[(":protocol", "websocket")])),
        ] {
            let refused = request(&block(&fields));
            assert!(matches!(refused, Err(Fault::Message(MESSAGE_ERROR, _))), "{what}: {refused:?}");
        }
        assert!(trailers(&block(&[(":path", "/")])).is_err());
        assert!(matches!(request(&[0, 0, 0x80]), Err(Fault::Connection(DECOMPRESSION_FAILED, _))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = request(&[&[0, 0], &bytes[..]].concat());
            let _ = trailers(&bytes);
        }
    }
}

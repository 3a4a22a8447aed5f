//! The heads of HTTP/2 and HTTP/3 ↔ [`crate::message`] (RFC 9113 section 8, RFC 9114 section 4).
//!
//! The engine has refused what no such message may hold (connection fields, upper case, misplaced pseudo fields). What HTTP/1 could
//! not carry without changing its meaning is refused here, so a request cannot become two on its way to an older server.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method as HttpMethod, Request, Response, StatusCode, Uri, request};

use crate::message::head::{RequestHead, ResponseHead, Scheme, Version};
use crate::message::headers::{Headers, Known, lists};

/// A head that has no equal in the other version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// The path is missing or of a form that its method does not allow.
    #[error("path has none of the forms its method allows")]
    Path,
    /// The authority or the host field holds what no host may hold.
    #[error("authority is not a host")]
    Authority,
    /// The host field differs from the authority.
    #[error("host field differs from the authority")]
    HostMismatch,
    /// A field holds a byte that HTTP/1 cannot carry.
    #[error("header field holds a byte that may not be sent")]
    Field,
    /// A request for a tunnel declares the length of a body that it cannot have.
    #[error("tunnel with a content length")]
    TunnelLength,
    /// It is none that a stream may carry.
    #[error("{0}")]
    Stream(&'static str),
    /// A response switches protocols, which streams cannot.
    #[error("response switches protocols")]
    Switch,
    /// The protocol of an extended CONNECT is not one that HTTP/1 knows as an upgrade.
    #[error("extended CONNECT to a protocol other than websocket")]
    Protocol,
}

/// Reads a request head.
///
/// # Errors
/// Says what keeps it from being one that any version of HTTP may carry.
pub(crate) fn request_head(parts: &request::Parts, version: Version) -> Result<RequestHead, Malformed> {
    let upgrade = websocket(parts)?;
    let scheme = match parts.uri.scheme_str() {
        Some("https") => Some(Scheme::Https),
        _ => Some(Scheme::Http),
    };
    let authority = authority(parts)?;
    let method = if upgrade { "GET" } else { parts.method.as_str() };
    let target = if parts.method == HttpMethod::CONNECT && !upgrade { authority.ok_or(Malformed::Authority)? } else { path(parts)? };
    let mut head = RequestHead::of(version, method.as_bytes(), scheme, target);
    if let Some(authority) = authority {
        head.headers.append(b"host", authority).map_err(|_| Malformed::Authority)?;
    }
    fields(&parts.headers, &mut head.headers)?;
    // A server of HTTP/1 would take the first bytes behind the head, another's request perhaps, for that body.
    if (upgrade || parts.method == HttpMethod::CONNECT) && head.headers.known(Known::ContentLength).next().is_some() {
        return Err(Malformed::TunnelLength);
    }
    if upgrade {
        head.headers.append(b"upgrade", b"websocket").map_err(|_| Malformed::Field)?;
        head.headers.append(b"connection", b"upgrade").map_err(|_| Malformed::Field)?;
    }
    Ok(head)
}

/// Tells whether a request asks for a WebSocket (RFC 8441).
fn websocket(parts: &request::Parts) -> Result<bool, Malformed> {
    match parts.extensions.get::<h2::ext::Protocol>() {
        Some(protocol) if protocol.as_str() == "websocket" => Ok(true),
        Some(_) => Err(Malformed::Protocol),
        None => Ok(false),
    }
}

fn path(parts: &request::Parts) -> Result<&[u8], Malformed> {
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let fits = path.starts_with('/') || (path == "*" && parts.method == HttpMethod::OPTIONS);
    let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if fits && plain { Ok(path.as_bytes()) } else { Err(Malformed::Path) }
}

/// Returns the one host a request is for, wherever it names it.
fn authority(parts: &request::Parts) -> Result<Option<&[u8]>, Malformed> {
    let mut hosts = parts.headers.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = match (named, hosts.next(), hosts.next()) {
        (_, _, Some(_)) => return Err(Malformed::HostMismatch),
        (Some(authority), Some(host), None) if !authority.eq_ignore_ascii_case(host) => return Err(Malformed::HostMismatch),
        (authority, host, None) => authority.or(host),
    };
    let is_host = |host: &[u8]| host.iter().all(|byte| byte.is_ascii_graphic() && !b"/?#@,\\\"<>".contains(byte));
    if authority.is_none_or(is_host) { Ok(authority) } else { Err(Malformed::Authority) }
}

/// Copies fields; the crumbs of a cookie become one field again (RFC 9113 section 8.2.3).
fn fields(map: &HeaderMap, headers: &mut Headers) -> Result<(), Malformed> {
    let mut cookie = Vec::new();
    for (name, value) in map {
        if name == http::header::COOKIE {
            if !cookie.is_empty() {
                cookie.extend_from_slice(b"; ");
            }
            cookie.extend_from_slice(value.as_bytes());
        } else if name != http::header::HOST {
            headers.append(name.as_str().as_bytes(), value.as_bytes()).map_err(|_| Malformed::Field)?;
        }
    }
    if !cookie.is_empty() {
        headers.append(b"cookie", &cookie).map_err(|_| Malformed::Field)?;
    }
    Ok(())
}

/// Reads a response head.
///
/// # Errors
/// Fails if a field holds what HTTP/1 cannot carry.
pub(crate) fn response_head(status: StatusCode, map: &HeaderMap) -> Result<ResponseHead, Malformed> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut head = ResponseHead::of(Version::Http2, status.as_u16(), reason.as_bytes());
    for (name, value) in map {
        head.headers.append(name.as_str().as_bytes(), value.as_bytes()).map_err(|_| Malformed::Field)?;
    }
    Ok(head)
}

/// Makes the request that a server gets.
///
/// # Errors
/// Fails if the head has no equal in HTTP/2.
pub(crate) fn request(head: &RequestHead, scheme: Scheme) -> Result<Request<()>, Malformed> {
    let method = HttpMethod::from_bytes(head.method_text()).map_err(|_| Malformed::Path)?;
    let host = head.headers.known(Known::Host).next();
    let is_websocket = asks_for_websocket(head);
    let mut uri = Uri::builder();
    if method == HttpMethod::CONNECT {
        uri = uri.authority(head.target());
    } else {
        let (authority, path) = split_target(head.target());
        uri = uri.path_and_query(path);
        // Requests of HTTP/1.0 may be for no host in particular.
        if let Some(authority) = host.or(authority).filter(|authority| !authority.is_empty()) {
            uri = uri.scheme(head.scheme().unwrap_or(scheme).as_str()).authority(authority);
        }
    }
    let mut request = Request::new(());
    *request.uri_mut() = uri.build().map_err(|_| Malformed::Path)?;
    *request.method_mut() = if is_websocket { HttpMethod::CONNECT } else { method };
    if is_websocket {
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    }
    end_to_end(&head.headers, request.headers_mut())?;
    Ok(request)
}

/// Tells whether a request of HTTP/1 asks for a WebSocket.
pub(crate) fn asks_for_websocket(head: &RequestHead) -> bool {
    head.upgrades() && head.method_text() == b"GET" && head.headers.lists(Known::Upgrade, "websocket")
}

/// Takes an absolute target apart into authority and path.
fn split_target(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(at) = target.windows(3).position(|window| window == b"://").filter(|_| !target.starts_with(b"/")) else {
        return (None, target);
    };
    let rest = &target[at + 3..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    (Some(&rest[..end]), if end == rest.len() { b"/" } else { &rest[end..] })
}

/// Makes the response that a client gets.
///
/// # Errors
/// Fails if the head has no equal in HTTP/2.
pub(crate) fn response(head: &ResponseHead) -> Result<Response<()>, Malformed> {
    if head.status() == 101 {
        return Err(Malformed::Switch);
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).map_err(|_| Malformed::Field)?;
    end_to_end(&head.headers, response.headers_mut())?;
    Ok(response)
}

/// Makes the response that tells a client that its stream has become a tunnel.
///
/// # Errors
/// Fails if the head has no equal in HTTP/2.
pub(crate) fn accepted(head: &ResponseHead) -> Result<Response<()>, Malformed> {
    let mut accepted = Response::new(());
    end_to_end(&head.headers, accepted.headers_mut())?;
    Ok(accepted)
}

/// Copies the fields that do not concern one connection alone (RFC 9113 section 8.2.2).
fn end_to_end(headers: &Headers, map: &mut HeaderMap) -> Result<(), Malformed> {
    for field in headers.iter() {
        let value = match field.known {
            Known::Connection | Known::KeepAlive | Known::ProxyConnection | Known::Upgrade | Known::TransferEncoding | Known::Host => {
                continue;
            }
            Known::Te if lists(field.value, "trailers") => b"trailers",
            Known::Te => continue,
            Known::Other if is_of_handshake(field.name) || headers.lists_name(field.name) => continue,
            Known::ContentLength | Known::Expect | Known::Other => field.value,
        };
        let name = HeaderName::from_bytes(field.name).map_err(|_| Malformed::Field)?;
        map.append(name, HeaderValue::from_bytes(value).map_err(|_| Malformed::Field)?);
    }
    Ok(())
}

/// Tells whether a field belongs to a handshake over HTTP/1, which HTTP/2 does without.
fn is_of_handshake(name: &[u8]) -> bool {
    ["http2-settings", "sec-websocket-key", "sec-websocket-accept"].iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::parse::{self, Parsed};

    fn read(request: Request<()>) -> Result<String, Malformed> {
        let head = request_head(&request.into_parts().0, Version::Http2)?;
        let fields: String = head.headers.iter().map(|field| format!("{}={};", text(field.name), text(field.value))).collect();
        Ok(format!("{} {} {fields}", text(head.method_text()), text(head.target())))
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn printed(wire: &str) -> Request<()> {
        let Parsed::Complete { head, .. } = parse::request(wire.as_bytes()).unwrap() else { panic!("incomplete") };
        request(&head, Scheme::Http).unwrap()
    }

    #[test]
    fn authority_becomes_the_first_field_and_crumbs_one_cookie() {
        let request = Request::get("https://a.example:8443/x?y").header("b", "1").header("cookie", "c=1").header("cookie", "d=2");
        assert_eq!(read(request.body(()).unwrap()).unwrap(), "GET /x?y host=a.example:8443;b=1;cookie=c=1; d=2;");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        let differs = Request::get("https://a/").header("host", "b").body(()).unwrap();
        assert_eq!(read(differs), Err(Malformed::HostMismatch));
        let twice = Request::get("/").header("host", "a").header("host", "a").body(()).unwrap();
        assert_eq!(read(twice), Err(Malformed::HostMismatch));
        let user = Request::get("https://user@a/").body(()).unwrap();
        assert_eq!(read(user), Err(Malformed::Authority));
    }

    #[test]
    fn websocket_is_an_upgrade_of_http_1_and_back() {
        let mut request = Request::new(());
        *request.method_mut() = HttpMethod::CONNECT;
        *request.uri_mut() = "https://a/chat".parse().unwrap();
        request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        assert_eq!(read(request).unwrap(), "GET /chat host=a;upgrade=websocket;connection=upgrade;");
        let back = printed("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n");
        assert_eq!((back.method(), back.uri().to_string().as_str()), (&HttpMethod::CONNECT, "http://a/chat"));
        assert!(back.headers().is_empty(), "{:?}", back.headers());
    }

    #[test]
    fn fields_of_one_connection_stay_behind() {
        let wire =
            "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nTE: gzip\r\nKeep-Alive: 1\r\nB: 2\r\nB: 3\r\n\r\n";
        let request = printed(wire);
        assert_eq!(request.headers().get_all("b").iter().count(), 2);
        assert_eq!(request.headers().len(), 2, "{:?}", request.headers());
        assert_eq!(request.uri(), "http://a/x");
    }

    #[test]
    fn absolute_target_is_taken_apart() {
        assert_eq!(printed("GET http://a/x?y=//z HTTP/1.1\r\nHost: a\r\n\r\n").uri(), "http://a/x?y=//z");
        assert_eq!(printed("GET /x?u=http://b HTTP/1.1\r\nHost: a\r\n\r\n").uri(), "http://a/x?u=http://b");
    }
}

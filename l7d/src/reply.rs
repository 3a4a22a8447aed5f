//! The answers we give ourselves when no server can, or none is asked.

use crate::forward::Fate;

/// Returns a whole response with this status, after which the connection closes; `HEAD` requests get it without its body.
pub(crate) fn error(status: u16, body: BodyOf) -> Vec<u8> {
    let (reason, explanation) = text(status);
    let page =
        format!("<html><head><title>{status} {reason}</title></head><body><h1>{status} {reason}</h1><p>{explanation}</p></body></html>\n");
    let mut response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Length: {}\r\nCache-Control: no-cache\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n",
        page.len()
    );
    if body == BodyOf::Any {
        response.push_str(&page);
    }
    response.into_bytes()
}

/// Returns the whole answer to who asks whether we are there.
pub(crate) fn ready(body: BodyOf, fate: Fate) -> Vec<u8> {
    let page = "<html><body><h1>200 OK</h1><p>Ready.</p></body></html>\n";
    let close = if fate == Fate::Close { "Connection: close\r\n" } else { "" };
    let page_length = page.len();
    let page = if body == BodyOf::Any { page } else { "" };
    format!("HTTP/1.1 200 OK\r\nContent-Length: {page_length}\r\nCache-Control: no-cache\r\n{close}Content-Type: text/html\r\n\r\n{page}")
        .into_bytes()
}

/// Which request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyOf {
    /// One with `HEAD`, whose response has no body.
    Head,
    /// Any other.
    Any,
}

fn text(status: u16) -> (&'static str, &'static str) {
    match status {
        400 => ("Bad Request", "The request could not be understood."),
        408 => ("Request Timeout", "The request took too long to arrive."),
        502 => ("Bad Gateway", "The server's answer was invalid or incomplete."),
        503 => ("Service Unavailable", "No server is ready to answer this request."),
        504 => ("Gateway Timeout", "The server took too long to answer."),
        _ => ("Error", "The request could not be answered."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::framing;
    use crate::h1::parse::{self, Parsed};
    use crate::message::body::Framing;
    use crate::message::head::Method;

    #[test]
    fn every_error_is_a_valid_response_of_the_declared_length() {
        for status in [400, 408, 502, 503, 504] {
            let wire = error(status, BodyOf::Any);
            let Ok(Parsed::Complete { head, length }) = parse::response(&wire) else { panic!("{status}") };
            assert_eq!(head.status(), status);
            assert_eq!(framing::response(&head, Method::Other), Ok(Framing::Length((wire.len() - length) as u64)));
            assert_eq!(error(status, BodyOf::Head), wire[..length]);
        }
    }
}

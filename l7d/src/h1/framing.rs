//! Message heads → where their bodies end (RFC 9112 section 6).
//!
//! This is where requests are smuggled: two readers that disagree about the end of one message disagree about the beginning of the
//! next. So there is one answer or an error, never a choice.

use super::{Fault, SyntaxError};
use crate::message::body::Framing;
use crate::message::head::{Method, RequestHead, ResponseHead, Version};
use crate::message::headers::{Headers, Known, Span};

/// Returns how the body of a request is framed.
///
/// # Errors
/// Names the value of the field that contradicts another, or itself.
pub fn request(head: &RequestHead) -> Result<Framing, SyntaxError> {
    declared(&head.headers, head.version()).map(|framing| framing.unwrap_or(Framing::None))
}

/// Returns how the body of the response to a request of this method is framed.
///
/// # Errors
/// Names the value of the field that contradicts another, or itself.
pub fn response(head: &ResponseHead, method: Method) -> Result<Framing, SyntaxError> {
    let declared = declared(&head.headers, head.version())?;
    let bodiless = method == Method::Head || matches!(head.status(), 100..200 | 204 | 304);
    Ok(if bodiless { Framing::None } else { declared.unwrap_or(Framing::UntilClose) })
}

fn declared(headers: &Headers, version: Version) -> Result<Option<Framing>, SyntaxError> {
    let mut lengths = headers.known_spans(Known::ContentLength);
    let mut codings = headers.known_spans(Known::TransferEncoding);
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(coding)) => Err(error(coding, Fault::LengthWithCoding)),
        (Some(length), None) => match lengths.next() {
            Some(second) => Err(error(second, Fault::DuplicateLength)),
            None => content_length(length).map(|length| Some(Framing::Length(length))),
        },
        (None, Some(coding)) => match codings.next() {
            Some(second) => Err(error(second, Fault::Coding)),
            None if version == Version::Http10 => Err(error(coding, Fault::CodingInHttp10)),
            None if !coding.1.eq_ignore_ascii_case(b"chunked") => Err(error(coding, Fault::Coding)),
            None => Ok(Some(Framing::Chunked)),
        },
    }
}

fn content_length((span, value): (Span, &[u8])) -> Result<u64, SyntaxError> {
    if let Some(at) = value.iter().position(|byte| !byte.is_ascii_digit()) {
        let fault = if value[at] == b',' { Fault::DuplicateLength } else { Fault::Length };
        return Err(SyntaxError { offset: span.start() + at, found: Some(value[at]), fault });
    }
    str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).ok_or_else(|| error((span, value), Fault::Length))
}

fn error((span, value): (Span, &[u8]), fault: Fault) -> SyntaxError {
    SyntaxError { offset: span.start(), found: value.first().copied(), fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::parse::{self, Parsed};

    fn of_request(fields: &str) -> Result<Framing, Fault> {
        let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n");
        let Parsed::Complete { head, .. } = parse::request(bytes.as_bytes()).unwrap() else { panic!("incomplete {fields:?}") };
        request(&head).map_err(|error| {
            assert!(error.found.is_none_or(|found| found == bytes.as_bytes()[error.offset]), "{fields:?}");
            error.fault
        })
    }

    fn of_response(head: &str, method: Method) -> Result<Framing, Fault> {
        let Parsed::Complete { head, .. } = parse::response(head.as_bytes()).unwrap() else { panic!("incomplete {head:?}") };
        response(&head, method).map_err(|error| error.fault)
    }

    #[test]
    fn plain_requests_have_one_framing() {
        assert_eq!(of_request(""), Ok(Framing::None));
        assert_eq!(of_request("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
        assert_eq!(of_request("content-length:  0042 \r\n"), Ok(Framing::Length(42)));
        assert_eq!(of_request("Content-Length: 18446744073709551615\r\n"), Ok(Framing::Length(u64::MAX)));
        assert_eq!(of_request("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
    }

    #[test]
    fn smuggling_attempts_are_refused() {
        let cases = [
            ("CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", Fault::LengthWithCoding),
            ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Fault::LengthWithCoding),
            ("CL.CL", "Content-Length: 6\r\nContent-Length: 5\r\n", Fault::DuplicateLength),
            ("equal CL.CL", "Content-Length: 6\r\nContent-Length: 6\r\n", Fault::DuplicateLength),
            ("list of lengths", "Content-Length: 6, 6\r\n", Fault::DuplicateLength),
            ("signed length", "Content-Length: +6\r\n", Fault::Length),
            ("negative length", "Content-Length: -1\r\n", Fault::Length),
            ("hexadecimal length", "Content-Length: 0x6\r\n", Fault::Length),
            ("fraction", "Content-Length: 6.0\r\n", Fault::Length),
            ("inner space", "Content-Length: 6 6\r\n", Fault::Length),
            ("no length", "Content-Length:\r\n", Fault::Length),
            ("overflowing length", "Content-Length: 18446744073709551616\r\n", Fault::Length),
            ("unknown coding", "Transfer-Encoding: xchunked\r\n", Fault::Coding),
            ("coding behind a tab", "Transfer-Encoding: \x0cchunked\r\n", Fault::ControlByte),
            ("coding in quotes", "Transfer-Encoding: \"chunked\"\r\n", Fault::Coding),
            ("identity", "Transfer-Encoding: identity\r\n", Fault::Coding),
            ("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", Fault::Coding),
            ("two codings", "Transfer-Encoding: gzip, chunked\r\n", Fault::Coding),
            ("two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Fault::Coding),
            ("no coding", "Transfer-Encoding:\r\n", Fault::Coding),
        ];
        for (description, fields, fault) in cases {
            let bytes = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            let found = match parse::request(bytes.as_bytes()) {
                Ok(_) => of_request(fields).expect_err(description),
                Err(error) => error.fault,
            };
            assert_eq!(found, fault, "{description}");
        }
    }

    #[test]
    fn http_1_0_has_no_codings() {
        let Parsed::Complete { head, .. } = parse::request(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap() else {
            panic!()
        };
        assert_eq!(request(&head).unwrap_err().fault, Fault::CodingInHttp10);
    }

    #[test]
    fn responses_without_a_body_have_none_whatever_they_declare() {
        let long = "Content-Length: 10\r\n\r\n";
        assert_eq!(of_response(&format!("HTTP/1.1 200 OK\r\n{long}"), Method::Head), Ok(Framing::None));
        for status in [100, 103, 204, 304] {
            assert_eq!(of_response(&format!("HTTP/1.1 {status} X\r\n{long}"), Method::Idempotent), Ok(Framing::None), "{status}");
        }
        assert_eq!(of_response(&format!("HTTP/1.1 200 OK\r\n{long}"), Method::Idempotent), Ok(Framing::Length(10)));
    }

    #[test]
    fn response_without_a_length_lasts_until_close() {
        assert_eq!(of_response("HTTP/1.1 200 OK\r\n\r\n", Method::Other), Ok(Framing::UntilClose));
        assert_eq!(of_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Method::Other), Ok(Framing::Chunked));
        assert_eq!(of_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Method::Other), Err(Fault::Coding));
    }
}

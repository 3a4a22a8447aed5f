//! The ordered list of a message's header fields.
//!
//! Names and values are slices of one text that the list owns: the head as it came in, with whatever was added behind it. Order,
//! duplicates and letter case stay as the sender wrote them. The list knows the few names that the proxy itself acts on, so that
//! acting on them costs no string comparison; what those fields mean is left to [`crate::h1::framing`] and the exchange.

use std::cell::RefCell;
use std::mem;

/// A part of the text of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the span of `part` inside `whole`, which must contain it.
    pub(crate) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        debug_assert!(start + part.len() <= whole.len());
        Self::new(start, start + part.len())
    }

    /// Returns the span from `start` up to `end`, both byte offsets into a head.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let offset = |at| u32::try_from(at).expect("a head is bounded by its buffer");
        Self { start: offset(start), end: offset(end) }
    }

    /// Returns the offset of the first byte.
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    fn of(self, text: &[u8]) -> &[u8] {
        &text[self.start as usize..self.end as usize]
    }
}

/// A field name the proxy acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Expect`
    Expect,
    /// `Host`
    Host,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `TE`
    Te,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// Any other name.
    Other,
}

impl Known {
    /// Recognises a name, whatever its letter case.
    pub fn recognise(name: &[u8]) -> Self {
        let (candidate, text): (Self, &[u8]) = match name.len() {
            2 => (Self::Te, b"te"),
            4 => (Self::Host, b"host"),
            6 => (Self::Expect, b"expect"),
            7 => (Self::Upgrade, b"upgrade"),
            10 if name[0] | 0x20 == b'c' => (Self::Connection, b"connection"),
            10 => (Self::KeepAlive, b"keep-alive"),
            14 => (Self::ContentLength, b"content-length"),
            16 => (Self::ProxyConnection, b"proxy-connection"),
            17 => (Self::TransferEncoding, b"transfer-encoding"),
            _ => return Self::Other,
        };
        if name.eq_ignore_ascii_case(text) { candidate } else { Self::Other }
    }
}

/// A name or value that cannot be put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it holds a byte that may not be sent, or makes the head too long")]
pub struct InvalidField;

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written.
    pub name: &'a [u8],
    /// The value without the white space around it.
    pub value: &'a [u8],
    /// The name, if it is one the proxy acts on.
    pub known: Known,
}

/// The header fields of one message, in order.
#[derive(Debug)]
pub struct Headers {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    name: Span,
    value: Span,
    known: Known,
}

impl Headers {
    /// Returns an empty list whose text begins with a copy of `head`.
    pub(crate) fn over(head: &[u8]) -> Self {
        let (mut text, entries) = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten().unwrap_or_default();
        text.extend_from_slice(head);
        Self { text, entries }
    }

    /// Adds the field that lies at these places of the text.
    pub(crate) fn push_span(&mut self, name: Span, value: Span) {
        let known = Known::recognise(self.text(name));
        self.entries.push(Entry { name, value, known });
    }

    /// Adds to the text what is no field, and returns its place.
    pub(crate) fn push_text(&mut self, text: &[u8]) -> Span {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        Span::new(start, self.text.len())
    }

    /// Returns the text of a span of this message.
    pub(crate) fn text(&self, span: Span) -> &[u8] {
        span.of(&self.text)
    }

    /// Returns how many bytes of text the head was read from, and those that were added to it since.
    pub(crate) fn size(&self) -> usize {
        self.text.len()
    }

    /// Returns every field in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| Field { name: self.text(entry.name), value: self.text(entry.value), known: entry.known })
    }

    /// Returns how many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Tells whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the values of a field the proxy knows, in order.
    pub fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(move |entry| entry.known == known).map(|entry| self.text(entry.value))
    }

    /// Returns the values and their offsets in the head as it came in.
    pub(crate) fn known_spans(&self, known: Known) -> impl Iterator<Item = (Span, &[u8])> {
        self.entries.iter().filter(move |entry| entry.known == known).map(|entry| (entry.value, self.text(entry.value)))
    }

    /// Returns the values of every field of that name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.value)
    }

    /// Tells whether a comma-separated field the proxy knows lists `token`, whatever the letter case.
    pub fn lists(&self, known: Known, token: &str) -> bool {
        self.known(known).any(|value| lists(value, token))
    }

    /// Tells whether `Connection` lists this field as one that concerns this connection alone.
    pub(crate) fn lists_name(&self, name: &[u8]) -> bool {
        str::from_utf8(name).is_ok_and(|name| self.lists(Known::Connection, name))
    }

    /// Adds a field behind the others.
    ///
    /// # Errors
    /// Refuses a name that is no token and a value with control bytes, which would let the value end the field.
    pub fn append(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        let is_name = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
        if !is_name || !value.iter().all(|byte| is_field_byte(*byte)) || self.text.len() + name.len() + value.len() > MOST_TEXT {
            return Err(InvalidField);
        }
        let (name, value) = (self.push_text(name), self.push_text(value));
        self.push_span(name, value);
        Ok(())
    }

    /// Puts another value in place of one field's, which is counted from the first.
    ///
    /// # Errors
    /// Refuses a value with control bytes, which would let the value end the field.
    pub fn replace(&mut self, index: usize, value: &[u8]) -> Result<(), InvalidField> {
        if !value.iter().all(|byte| is_field_byte(*byte)) || self.text.len() + value.len() > MOST_TEXT {
            return Err(InvalidField);
        }
        let value = self.push_text(value);
        if let Some(entry) = self.entries.get_mut(index) {
            entry.value = value;
        }
        Ok(())
    }

    /// Removes the field at a place, which is counted from the first.
    pub fn remove_at(&mut self, index: usize) {
        if index < self.entries.len() {
            self.entries.remove(index);
        }
    }

    /// Adds text that belongs to no field.
    pub(super) fn add_text(&mut self, text: &[u8]) -> Result<Span, InvalidField> {
        if self.text.len() + text.len() > MOST_TEXT { Err(InvalidField) } else { Ok(self.push_text(text)) }
    }

    /// Removes every field that `goes`.
    pub fn remove_if(&mut self, mut goes: impl FnMut(Field<'_>) -> bool) {
        let text = &self.text;
        self.entries.retain(|entry| !goes(Field { name: entry.name.of(text), value: entry.value.of(text), known: entry.known }));
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &str) {
        self.remove_if(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
    }
}

impl Clone for Headers {
    fn clone(&self) -> Self {
        let mut copy = Self::over(&self.text);
        copy.entries.extend_from_slice(&self.entries);
        copy
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        let (mut text, mut entries) = (mem::take(&mut self.text), mem::take(&mut self.entries));
        if text.capacity() > KEEP_TEXT {
            return;
        }
        text.clear();
        entries.clear();
        // A thread that ends may drop messages after its spares: their memory is simply freed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEEP_SPARE {
                spare.push((text, entries));
            }
        });
    }
}

type Parts = (Vec<u8>, Vec<Entry>);

thread_local! {
    static SPARE: RefCell<Vec<Parts>> = const { RefCell::new(Vec::new()) };
}

/// Tells whether a comma-separated value lists `token`, whatever the letter case.
pub(crate) fn lists(value: &[u8], token: &str) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Tells whether a byte may stand in a field name or a method (RFC 9110 section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Tells whether a byte may stand in a field value (RFC 9110 section 5.5).
pub(crate) fn is_field_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Lists a thread keeps for reuse, and the largest text worth keeping: 2 MiB at most.
const KEEP_SPARE: usize = 128;
const KEEP_TEXT: usize = 16 * 1024;
/// How far a head may grow by what is added to it.
const MOST_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::over(b"");
        for (name, value) in fields {
            headers.append(name.as_bytes(), value.as_bytes()).unwrap();
        }
        headers
    }

    fn printed(headers: &Headers) -> String {
        headers.iter().map(|field| format!("{}={};", String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value))).collect()
    }

    #[test]
    fn order_duplicates_and_case_are_kept() {
        let headers = list(&[("X-B", "1"), ("x-a", "2"), ("X-B", "3")]);
        assert_eq!(printed(&headers), "X-B=1;x-a=2;X-B=3;");
        assert_eq!(headers.all("x-b").collect::<Vec<_>>(), [b"1", b"3"]);
    }

    #[test]
    fn replacing_a_value_keeps_the_place() {
        let mut headers = list(&[("A", "1"), ("B", "2"), ("C", "3")]);
        headers.replace(1, b"x y").unwrap();
        assert_eq!(printed(&headers), "A=1;B=x y;C=3;");
        assert_eq!(headers.replace(1, b"x\r\nD: 4"), Err(InvalidField));
    }

    #[test]
    fn a_head_cannot_grow_without_end() {
        let mut headers = list(&[]);
        let value = vec![b'x'; 1000];
        let grown = (0..100).take_while(|_| headers.append(b"A", &value).is_ok()).count();
        assert!((50..100).contains(&grown), "{grown}");
    }

    #[test]
    fn removing_a_name_takes_every_spelling() {
        let mut headers = list(&[("Cookie", "a"), ("Host", "h"), ("COOKIE", "b")]);
        headers.remove("cookie");
        assert_eq!(printed(&headers), "Host=h;");
    }

    #[test]
    fn every_known_name_is_recognised_in_any_case() {
        let names = [
            ("Connection", Known::Connection),
            ("content-length", Known::ContentLength),
            ("EXPECT", Known::Expect),
            ("Host", Known::Host),
            ("Keep-Alive", Known::KeepAlive),
            ("proxy-Connection", Known::ProxyConnection),
            ("tE", Known::Te),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("upgrade", Known::Upgrade),
        ];
        for (name, known) in names {
            assert_eq!(Known::recognise(name.as_bytes()), known, "{name}");
        }
        for name in ["", "hos", "hosts", "cannection", "keep_alive", "content_length"] {
            assert_eq!(Known::recognise(name.as_bytes()), Known::Other, "{name}");
        }
    }

    #[test]
    fn tokens_are_found_in_any_line_of_a_list() {
        let headers = list(&[("Connection", "keep-alive , Upgrade"), ("connection", "X")]);
        assert!(headers.lists(Known::Connection, "upgrade"));
        assert!(headers.lists(Known::Connection, "x"));
        assert!(!headers.lists(Known::Connection, "keep"));
    }

    #[test]
    fn a_value_cannot_end_its_field() {
        let mut headers = list(&[]);
        for (name, value) in [("X", "a\r\nEvil: 1"), ("X", "a\0b"), ("X", "\x7f"), ("X Y", "v"), ("X:", "v"), ("", "v")] {
            assert_eq!(headers.append(name.as_bytes(), value.as_bytes()), Err(InvalidField), "{name:?}: {value:?}");
        }
        assert!(headers.is_empty());
    }
}

//! What is kept of messages for log lines and later rules: header fields, a cookie, and whatever rules put into numbered slots.
//!
//! Which slots there are is the frontend's to say; rules of its backends use them by number, and nothing happens where there is none.

use std::borrow::Cow;
use std::cell::RefCell;

use control::config::Diagnostic;

use super::fetch::Side;
use super::program::ProxyRules;
use super::sample::Sample;
use super::view::{Memory, View};
use super::word::Words;
use crate::message::head::{RequestHead, ResponseHead, Version};
use crate::message::headers::{Headers, is_token};

/// What a frontend keeps.
#[derive(Debug, Default)]
pub(super) struct Captures {
    request: Vec<Slot>,
    response: Vec<Slot>,
    cookie: Option<CookieName>,
}

/// A place for a text.
#[derive(Debug)]
struct Slot {
    /// The header field whose value is kept; none for what only rules fill.
    field: Option<Box<str>>,
    /// How many bytes are kept.
    most: usize,
}

/// How the text of a cookie that is kept begins.
#[derive(Debug)]
struct CookieName {
    begins: Box<[u8]>,
    most: usize,
}

/// What has been kept of an exchange.
#[derive(Debug, Default, Clone)]
pub(super) struct Captured {
    request: Vec<Text>,
    response: Vec<Text>,
    /// Of the request and of the response.
    cookies: [Option<Box<[u8]>>; 2],
    line: Option<RequestLine>,
    response_version: Option<Version>,
}

/// What is in a slot, and how long it may be.
#[derive(Debug, Clone)]
struct Text {
    text: Option<Box<[u8]>>,
    most: usize,
}

/// The first line of a request as it came.
#[derive(Debug, Clone)]
struct RequestLine {
    method: Box<[u8]>,
    uri: Box<[u8]>,
    version: Version,
}

/// Something of the first lines of the messages as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Method,
    Uri,
    Version,
    ResponseVersion,
}

/// A memory that holds nothing for exchanges of which nothing is kept.
pub(super) type Store = RefCell<Option<Box<Captured>>>;

impl Captures {
    /// Tells whether there is nothing to be kept.
    pub(super) fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty() && self.cookie.is_none()
    }

    /// Makes another slot and returns its number.
    pub(super) fn add(&mut self, side: Side, field: Option<&str>, most: usize) -> usize {
        let slots = self.slots_mut(side);
        slots.push(Slot { field: field.map(Into::into), most });
        slots.len() - 1
    }

    /// Tells whether there is a slot of this number.
    pub(super) fn has(&self, side: Side, number: usize) -> bool {
        number < self.slots(side).len()
    }

    fn slots(&self, side: Side) -> &[Slot] {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    fn slots_mut(&mut self, side: Side) -> &mut Vec<Slot> {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }

    /// Reads what follows the word `capture`: a header field or a cookie.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    pub(super) fn read(&mut self, words: &mut Words<'_, '_>) -> Result<(), Diagnostic> {
        let what = words.expect("request, response or cookie")?;
        let side = match what.text() {
            "request" => Some(Side::Request),
            "response" => Some(Side::Response),
            "cookie" => None,
            other => return Err(what.error(format!("there is no `capture {other}`")).hint("request header, response header or cookie")),
        };
        if side.is_some() && !words.accept("header") {
            return Err(words.error("only a `header` of a message can be captured").hint("for example capture request header Host len 40"));
        }
        let name = words.expect("a name")?;
        if name.text().is_empty() || side.is_some() && !name.text().bytes().all(is_token) {
            return Err(name.error(format!("`{}` cannot be that name", name.text())));
        }
        let most = length(words)?;
        match side {
            Some(side) => {
                self.add(side, Some(name.text()), most);
            }
            None if self.cookie.is_some() => return Err(name.error("only one cookie can be captured")),
            None => self.cookie = Some(CookieName { begins: name.text().as_bytes().into(), most }),
        }
        Ok(())
    }

    /// Reads what follows the word `declare`: a slot that rules fill.
    ///
    /// # Errors
    /// Names what is not known or does not fit.
    pub(super) fn declare(&mut self, words: &mut Words<'_, '_>) -> Result<(), Diagnostic> {
        if !words.accept("capture") {
            return Err(words.error("only a `capture` can be declared").hint("for example declare capture request len 40"));
        }
        let what = words.expect("request or response")?;
        let side = match what.text() {
            "request" => Side::Request,
            "response" => Side::Response,
            other => return Err(what.error(format!("`{other}` is neither request nor response"))),
        };
        let most = length(words)?;
        self.add(side, None, most);
        Ok(())
    }
}

/// Reads `len NUMBER`.
///
/// # Errors
/// Says what is missing, or that it is no such number.
pub(super) fn length(words: &mut Words<'_, '_>) -> Result<usize, Diagnostic> {
    if !words.accept("len") {
        return Err(words.error("the most bytes to keep are missing").hint("for example len 40"));
    }
    let word = words.expect("a number of bytes")?;
    let most = word.text().parse().ok().filter(|most| (1..=LONGEST).contains(most));
    most.ok_or_else(|| word.error(format!("`{}` is not a number of bytes from 1 to {LONGEST}", word.text())))
}

/// What fits into a log line with everything around it.
const LONGEST: usize = 65_535;

impl Captured {
    fn texts(&self, side: Side) -> &[Text] {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    fn texts_mut(&mut self, side: Side) -> &mut [Text] {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}

impl Text {
    fn put(&mut self, text: &[u8]) {
        self.text = Some(text[..text.len().min(self.most)].into());
    }
}

impl ProxyRules {
    /// Begins to keep what is asked for of an exchange, and of its request as it came.
    pub(crate) fn capture_request(&self, head: Option<&RequestHead>, memory: &mut Memory) {
        if self.captures.is_empty() && !self.keeps_lines {
            return;
        }
        let empty = |slots: &[Slot]| slots.iter().map(|slot| Text { text: None, most: slot.most }).collect();
        let mut captured =
            Captured { request: empty(&self.captures.request), response: empty(&self.captures.response), ..Captured::default() };
        if let Some(head) = head {
            fill(&self.captures.request, &mut captured.request, &head.headers);
            captured.line = self.keeps_lines.then(|| RequestLine {
                method: head.method_text().into(),
                uri: head.target_parts().path_and_query(head.target()).into(),
                version: head.version(),
            });
        }
        *memory.captured.get_mut() = Some(Box::new(captured));
    }

    /// Keeps what is asked for of a response as it came.
    pub(crate) fn capture_response(&self, head: &ResponseHead, memory: &mut Memory) {
        if let Some(captured) = memory.captured.get_mut() {
            fill(&self.captures.response, &mut captured.response, &head.headers);
            captured.response_version = Some(head.version());
        }
    }

    /// Keeps the cookie of a request.
    pub(crate) fn capture_cookie(&self, head: &RequestHead, memory: &mut Memory) {
        let Some((name, captured)) = self.captures.cookie.as_ref().zip(memory.captured.get_mut().as_mut()) else { return };
        let all = head.headers.all("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
        captured.cookies[0] = name.first(all);
    }

    /// Keeps the cookie of a response.
    pub(crate) fn capture_set_cookie(&self, head: &ResponseHead, memory: &mut Memory) {
        let Some((name, captured)) = self.captures.cookie.as_ref().zip(memory.captured.get_mut().as_mut()) else { return };
        let all = head.headers.all("set-cookie").filter_map(|value| value.split(|byte| *byte == b';').next());
        captured.cookies[1] = name.first(all);
    }
}

/// Puts the last value of each field into its slot.
fn fill(slots: &[Slot], texts: &mut [Text], headers: &Headers) {
    for (slot, text) in slots.iter().zip(texts) {
        if let Some(value) = slot.field.as_ref().and_then(|field| headers.all(field).last()) {
            text.put(value);
        }
    }
}

impl CookieName {
    fn first<'h>(&self, all: impl Iterator<Item = &'h [u8]>) -> Option<Box<[u8]>> {
        let found = all.map(tidy).find(|pair| pair.starts_with(&self.begins))?;
        Some(found[..found.len().min(self.most)].into())
    }
}

/// Leaves out the blanks around a cookie, its name and its value.
fn tidy(pair: &[u8]) -> Cow<'_, [u8]> {
    let pair = pair.trim_ascii();
    let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { return pair.into() };
    let (name, value) = (pair[..equals].trim_ascii_end(), pair[equals + 1..].trim_ascii_start());
    if name.len() + 1 + value.len() == pair.len() { pair.into() } else { [name, b"=", value].concat().into() }
}

/// Puts a sample into a slot, if there is such a one.
pub(super) fn put(view: &View<'_>, side: Side, number: usize, sample: &Sample<'_>) {
    if let Some(captured) = view.memory.captured.borrow_mut().as_mut()
        && let Some(text) = captured.texts_mut(side).get_mut(number)
    {
        text.put(&sample.to_bytes());
    }
}

/// Returns what is in a slot.
pub(super) fn of_slot(view: &View<'_>, side: Side, number: usize) -> Option<Sample<'static>> {
    let captured = view.memory.captured.borrow();
    let text = captured.as_ref()?.texts(side).get(number)?.text.as_ref()?;
    Some(Sample::own(text.to_vec()))
}

/// Returns something of the first lines.
pub(super) fn of_line(view: &View<'_>, part: Line) -> Option<Sample<'static>> {
    let captured = view.memory.captured.borrow();
    let captured = captured.as_ref()?;
    let version = |version: Version| if version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let line = captured.line.as_ref();
    Some(match part {
        Line::Method => Sample::own(line?.method.to_vec()),
        Line::Uri => Sample::own(line?.uri.to_vec()),
        Line::Version => Sample::text(version(line?.version).as_bytes()),
        Line::ResponseVersion => Sample::text(version(captured.response_version?).as_bytes()),
    })
}

/// Hands out the texts in the slots of one side in order; tells whether there are any slots.
pub(super) fn each(view: &View<'_>, side: Side, mut takes: impl FnMut(Option<&[u8]>)) -> bool {
    let captured = view.memory.captured.borrow();
    let texts = captured.as_ref().map_or(&[][..], |captured| captured.texts(side));
    texts.iter().for_each(|text| takes(text.text.as_deref()));
    !texts.is_empty()
}

/// Hands out the cookie of one side, if there is one.
pub(super) fn cookie(view: &View<'_>, side: Side, takes: impl FnOnce(&[u8])) {
    let captured = view.memory.captured.borrow();
    let place = usize::from(side == Side::Response);
    if let Some(cookie) = captured.as_ref().and_then(|captured| captured.cookies[place].as_deref()) {
        takes(cookie);
    }
}

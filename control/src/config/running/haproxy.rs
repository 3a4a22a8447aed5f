//! Files in HAProxy's language, of which some lines are written anew.

use std::ops::Range;
use std::sync::Arc;

use super::{Added, Changed, Changes, Fate, Setting};
use crate::config::haproxy::{Cuts, is_section};
use crate::config::location::{Location, Source};

/// Stretches of a text, and what stands there instead.
type Edits = Vec<(Range<usize>, String)>;

/// Writes a file as it would have to be.
pub(super) fn rewrite(source: &Arc<Source>, changes: &Changes<'_>) -> String {
    let lines = lines(source);
    let mut edits = Edits::new();
    servers(source, &lines, &changes.changed, &mut edits);
    for added in &changes.added {
        // A server stands behind the others of its backend; the first, behind what the backend begins with.
        let header = |line: &&Line| ["backend", "listen"].contains(&line.word(0)) && line.word(1) == added.backend;
        let Some(section) = lines.iter().rfind(header) else { continue };
        let own = lines.iter().skip_while(|line| line.start() != section.start()).skip(1).take_while(|line| !is_section(line.word(0)));
        let place = own.filter(|line| is_server(line)).last().unwrap_or(section);
        edits.push((place.after(source)..place.after(source), on_its_own(source, place, &self::added(added))));
    }
    for (frontend, most) in &changes.frontends {
        let header = |line: &&Line| ["frontend", "listen"].contains(&line.word(0)) && line.word(1) == frontend.name();
        let end = end_of(source, &lines, header);
        edits.extend(end.map(|end| (end..end, separate(source, end, &format!("    maxconn {most}\n")))));
    }
    let process: String = changes.process.iter().map(|(word, number)| format!("    {word} {number}\n")).collect();
    if let Some(end) = end_of(source, &lines, |line| line.word(0) == "global").filter(|_| !process.is_empty()) {
        edits.push((end..end, separate(source, end, &process)));
    }
    apply(source.text(), edits)
}

/// Begins a section for what concerns the process, where none of the files has one.
pub(super) fn ensure_global(sources: &[Arc<Source>], changes: &Changes<'_>, text: &mut String) {
    let has_one = sources.iter().any(|source| lines(source).iter().any(|line| line.word(0) == "global"));
    if !has_one && !changes.process.is_empty() {
        let process: String = changes.process.iter().map(|(word, number)| format!("    {word} {number}\n")).collect();
        text.insert_str(0, &format!("global\n{process}\n"));
    }
}

/// Returns the words that a server was added by, but for the first.
pub(super) fn words(name: &Location) -> Vec<String> {
    let source = Source::of(crate::config::Language::Haproxy, name.file(), name.line_text());
    lines(&source).into_iter().next().map(|line| line.words.into_iter().skip(1).map(|(word, _)| word).collect()).unwrap_or_default()
}

/// A line of words, each with its place.
struct Line {
    words: Vec<(String, Range<usize>)>,
}

impl Line {
    fn word(&self, place: usize) -> &str {
        self.words.get(place).map_or("", |(word, _)| word)
    }

    fn start(&self) -> usize {
        self.words.first().map_or(0, |(_, place)| place.start)
    }

    fn end(&self) -> usize {
        self.words.last().map_or(0, |(_, place)| place.end)
    }

    /// Returns where the next line begins.
    fn after(&self, source: &Source) -> usize {
        let rest = &source.text()[self.end()..];
        self.end() + rest.find('\n').map_or(rest.len(), |end| end + 1)
    }

    /// Returns where it begins, with the space before it.
    fn before(&self, source: &Source) -> usize {
        source.text()[..self.start()].rfind('\n').map_or(0, |end| end + 1)
    }
}

fn lines(source: &Arc<Source>) -> Vec<Line> {
    Cuts::new(source).map(|words| Line { words }).collect()
}

fn is_server(line: &Line) -> bool {
    matches!(line.word(0), "server" | "server-template")
}

/// Writes the lines of servers anew.
fn servers(source: &Arc<Source>, lines: &[Line], changed: &[Changed<'_>], edits: &mut Edits) {
    for line in lines.iter().filter(|line| is_server(line)) {
        let mut backend = None;
        let mut of_line = Vec::new();
        for one in changed {
            let place = one.server.address.location().place_in(source);
            if place.is_some_and(|place| (line.start()..line.end()).contains(&place.start)) {
                backend = Some(one.backend);
                of_line.push(one);
            }
        }
        if backend.is_none() {
            continue;
        }
        if line.word(0) == "server-template" {
            edits.push((line.before(source)..line.after(source), expand(source, line, &of_line)));
            continue;
        }
        for one in of_line {
            match &one.fate {
                Fate::Gone => edits.push((line.before(source)..line.after(source), String::new())),
                Fate::Edited(address, settings) => {
                    let place = line.words.get(2).map(|(_, place)| place.clone());
                    edits.extend(place.zip(address.clone()));
                    edits.push((line.end()..line.end(), said(settings)));
                }
            }
        }
    }
}

/// Writes each server of a template on a line of its own.
fn expand(source: &Source, line: &Line, changed: &[&Changed<'_>]) -> String {
    let text = source.text();
    let indent = &text[line.before(source)..line.start()];
    let (prefix, address) = (line.word(1), line.words.get(3).map(|(_, place)| place.clone()).unwrap_or_default());
    let rest = &text[address.end..line.end()];
    let (first, last) = line.word(2).split_once('-').unwrap_or(("1", line.word(2)));
    let numbers = first.parse::<u32>().unwrap_or(1)..=last.parse::<u32>().unwrap_or(0);
    let mut written = String::new();
    for name in numbers.map(|number| format!("{prefix}{number}")) {
        let fate = changed.iter().find(|one| one.server.name() == name).map(|one| &one.fate);
        let (place, settings) = match fate {
            Some(Fate::Gone) => continue,
            Some(Fate::Edited(place, settings)) => (place.as_deref(), said(settings)),
            None => (None, String::new()),
        };
        written.push_str(&format!("{indent}server {name} {}{rest}{settings}\n", place.unwrap_or(&text[address.clone()])));
    }
    written
}

/// Writes the line of a server that was added, as the words were that added it.
fn added(added: &Added<'_>) -> String {
    let name = added.server.name.location();
    let source = Source::of(crate::config::Language::Haproxy, name.file(), name.line_text());
    let (address, settings) = &added.edits;
    let Some(line) = lines(&source).into_iter().next() else { return String::new() };
    let place = line.words.get(2).map(|(_, place)| place.clone());
    let mut edits: Edits = place.zip(address.clone()).into_iter().collect();
    edits.push((line.end()..line.end(), said(settings)));
    apply(source.text(), edits).trim_end().to_owned()
}

/// Writes settings behind the words of a server, the last of which count.
fn said(settings: &[Setting]) -> String {
    let word = |setting: &Setting| match setting {
        Setting::Weight(weight) => format!(" weight {weight}"),
        Setting::Disabled(true) => " disabled".to_owned(),
        Setting::Disabled(false) => " enabled".to_owned(),
        Setting::Maxconn(most) => format!(" maxconn {most}"),
        Setting::Minconn(least) => format!(" minconn {least}"),
        Setting::CheckAddress(ip) => format!(" addr {ip}"),
        Setting::CheckPort(port) => format!(" port {port}"),
    };
    settings.iter().map(word).collect()
}

/// Writes a line below another one.
fn on_its_own(source: &Source, above: &Line, line: &str) -> String {
    let own = &source.text()[above.before(source)..above.start()];
    let indent = if own.is_empty() { "    " } else { own };
    separate(source, above.after(source), &format!("{indent}{line}\n"))
}

/// Puts the end of the line before it where the text lacks one.
fn separate(source: &Source, at: usize, lines: &str) -> String {
    let is_open = at > 0 && !source.text()[..at].ends_with('\n');
    if is_open { format!("\n{lines}") } else { lines.to_owned() }
}

/// Returns where the last section ends that begins so.
fn end_of(source: &Source, lines: &[Line], header: impl Fn(&&Line) -> bool) -> Option<usize> {
    let first = lines.iter().rposition(|line| header(&line))?;
    let own = lines[first + 1..].iter().take_while(|line| !is_section(line.word(0)));
    Some(own.last().unwrap_or(&lines[first]).after(source))
}

/// Makes all changes of a text.
fn apply(text: &str, mut edits: Edits) -> String {
    edits.sort_by_key(|(place, _)| (place.start, place.end));
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for (place, instead) in edits {
        // What lies in a line that is gone is gone, too.
        if place.start >= at {
            out.push_str(&text[at..place.start]);
            out.push_str(&instead);
            at = place.end;
        }
    }
    out.push_str(&text[at..]);
    out
}

//! What a client sent, taken apart: commands end with a line or a semicolon, words with a space, payloads with an empty line.

/// Bytes that came and are no command yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// The command whose payload is coming.
    begun: Option<Vec<String>>,
    payload: String,
}

/// A command with its payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) words: Vec<String>,
    pub(super) payload: Option<String>,
}

/// What can be taken from the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Sentence(Sentence),
    /// A line of a payload, or the one that announces it.
    Part,
    /// More has to come first.
    Nothing,
    /// Too much came for one command.
    TooLong,
}

impl Input {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Tells whether everything that came was taken and nothing is expected to follow.
    pub(super) fn is_settled(&self) -> bool {
        self.bytes.is_empty() && self.begun.is_none()
    }

    /// Takes the next command, if it has come whole.
    pub(super) fn take(&mut self) -> Taken {
        match self.begun.take() {
            Some(words) => self.take_payload(words),
            None => self.take_command(),
        }
    }

    fn take_command(&mut self) -> Taken {
        let Some(end) = command_end(&self.bytes) else {
            return if self.bytes.len() > LONGEST_LINE { Taken::TooLong } else { Taken::Nothing };
        };
        if end > LONGEST_LINE {
            return Taken::TooLong;
        }
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        let ends_line = line.last() == Some(&b'\n');
        let mut words = words(&String::from_utf8_lossy(&line[..end]));
        if ends_line && words.last().is_some_and(|word| word == "<<") {
            words.pop();
            self.begun = Some(words);
            return Taken::Part;
        }
        Taken::Sentence(Sentence { words, payload: None })
    }

    fn take_payload(&mut self, words: Vec<String>) -> Taken {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            self.begun = Some(words);
            return if self.payload.len() + self.bytes.len() > LARGEST_PAYLOAD { Taken::TooLong } else { Taken::Nothing };
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        if line == b"\n" || line == b"\r\n" {
            return Taken::Sentence(Sentence { words, payload: Some(std::mem::take(&mut self.payload)) });
        }
        self.payload.push_str(&String::from_utf8_lossy(&line));
        self.begun = Some(words);
        if self.payload.len() > LARGEST_PAYLOAD { Taken::TooLong } else { Taken::Part }
    }
}

/// Finds the byte that ends the first command: a line's end, or a semicolon without a backslash before it.
fn command_end(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    bytes.iter().position(|byte| {
        let ends = *byte == b'\n' || (*byte == b';' && !escaped);
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// Splits at spaces and tabs; a backslash takes the next character as it is.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.trim_end_matches('\r').chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

/// HAProxy's limit is that of its buffers.
const LONGEST_LINE: usize = 16 << 10;
/// Chains of certificates and lists for maps come as payloads.
const LARGEST_PAYLOAD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> (Vec<Sentence>, bool) {
        let mut input = Input::default();
        input.push(text.as_bytes());
        let mut sentences = Vec::new();
        loop {
            match input.take() {
                Taken::Sentence(sentence) => sentences.push(sentence),
                Taken::Part => {}
                Taken::Nothing | Taken::TooLong => return (sentences, input.is_settled()),
            }
        }
    }

    #[test]
    fn commands_end_with_lines_and_semicolons() {
        let words = |text: &str| text.split('|').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let cases = [
            ("a line", "show info\n", vec![("show|info", None)], true),
            ("spaces around words", "  show \t info \r\n", vec![("show|info", None)], true),
            ("two in a line", "a b;c\n", vec![("a|b", None), ("c", None)], true),
            ("an escaped semicolon", "a b\\;c\\ d\n", vec![("a|b;c d", None)], true),
            ("an empty line", "\n", vec![("", None)], true),
            ("half a line", "a;b", vec![("a", None)], false),
            ("a payload", "set x <<\none\ntwo\n\nb\n", vec![("set|x", Some("one\ntwo\n")), ("b", None)], true),
            ("a payload to come", "set x <<\none\n", vec![], false),
        ];
        for (name, text, expected, settled) in cases {
            let sentence = |(text, payload): (&str, Option<&str>)| Sentence { words: words(text), payload: payload.map(str::to_owned) };
            let expected: Vec<_> = expected.into_iter().map(sentence).collect();
            assert_eq!(all(text), (expected, settled), "{name}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut input = Input::default();
        input.push(&vec![b'a'; LONGEST_LINE + 1]);
        assert_eq!(input.take(), Taken::TooLong);
        let mut input = Input::default();
        input.push(b"set x <<\n");
        assert_eq!(input.take(), Taken::Part);
        input.push(&vec![b'a'; LARGEST_PAYLOAD + 1]);
        assert_eq!(input.take(), Taken::TooLong);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_in_any_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut input = Input::default();
            for piece in pieces {
                input.push(&piece);
                while matches!(input.take(), Taken::Sentence(_) | Taken::Part) {}
            }
        }
    }
}

//! What a command answers.

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done, and there is nothing to say.
    Done,
    /// What was asked for, each line with its end.
    Output(String),
    /// A message, which may be marked with its urgency.
    Message(Urgency, String),
}

/// How urgent a message is, in syslog's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// Something was refused.
    Error,
    /// Something was done that deserves a look.
    Warning,
    /// Something was done.
    Info,
}

/// How messages are marked with their urgency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marking {
    None,
    Number,
    Word,
}

impl Reply {
    /// Returns the refusal of a command.
    pub fn error(text: impl Into<String>) -> Self {
        Self::message(Urgency::Error, text)
    }

    /// Returns a message, its line ended.
    pub fn message(urgency: Urgency, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::Message(urgency, text)
    }

    /// Returns what is sent for it, but for the line that ends it.
    pub(super) fn print(self, marking: Marking) -> String {
        match self {
            Self::Done => String::new(),
            Self::Output(text) => text,
            Self::Message(urgency, text) => match marking {
                Marking::None => text,
                Marking::Number => format!("[{}]: {text}", urgency.number()),
                Marking::Word => format!("[{}]: {text}", urgency.word()),
            },
        }
    }
}

impl Urgency {
    fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Error => "err",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

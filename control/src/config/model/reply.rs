//! What a proxy answers in place of its own pages.

use std::path::PathBuf;

use crate::config::location::Located;

/// An answer for one or several statuses; of two for the same status the later one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorReply {
    /// The response that a file holds.
    File {
        /// The status it stands for.
        status: u16,
        /// The file.
        path: Located<PathBuf>,
    },
    /// The files of a section `http-errors`.
    Files {
        /// The name of the section, which exists.
        section: Located<String>,
        /// The statuses; none for all that the section has.
        statuses: Vec<u16>,
    },
    /// A redirection.
    Redirect {
        /// The status it stands for.
        status: u16,
        /// Where the client is sent.
        location: Located<String>,
        /// The status of the redirection, 302 or 303.
        code: u16,
    },
    /// Whatever the arguments of HAProxy's `http-error` say, in its language.
    Written(Located<String>),
}

/// A section `http-errors`: files for statuses, to be used by name.
#[derive(Clone, Debug)]
pub struct HttpErrors {
    pub(in crate::config) name: Located<String>,
    pub(in crate::config) files: Vec<(u16, Located<PathBuf>)>,
}

impl HttpErrors {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the files, each with its status; the later one counts.
    pub fn files(&self) -> &[(u16, Located<PathBuf>)] {
        &self.files
    }
}

//! What a proxy answers in place of its own pages: files, redirections, and whatever `http-error` says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::config::{Diagnostic, ErrorReply, HttpErrors, Located};

use super::action::{Answer, parse_error};
use super::program::Compiler;
use super::view::View;
use super::word::{self, Words};
use crate::message::head::{ResponseHead, Version};
use crate::reply::{ErrorFile, Reply};

/// The answers of one proxy, each for another status.
#[derive(Debug, Default)]
pub(super) struct Errors(Vec<Answer>);

impl Errors {
    /// Returns the answer for a status; none where the proxy has none of its own, or says that it has none.
    pub(super) fn reply(&self, status: u16, view: View<'_>) -> Option<Reply> {
        let answer = self.0.iter().find(|answer| answer.status() == status)?;
        let head = ResponseHead::of(Version::Http11, status, b"");
        let view = View { response: Some(&head), ..view };
        answer.reply(&view).ok().filter(|reply| !reply.is_usual())
    }

    fn put(&mut self, answer: Answer) {
        self.0.retain(|other| other.status() != answer.status());
        self.0.push(answer);
    }
}

/// The files that hold answers, each read once.
#[derive(Debug, Default)]
pub(super) struct Files {
    read: Vec<(PathBuf, Arc<ErrorFile>)>,
    sections: Vec<(String, Section)>,
}

type Section = Vec<(u16, Arc<ErrorFile>)>;

impl Compiler<'_> {
    /// Reads the files of every section `http-errors`.
    pub(super) fn read_sections(&mut self, models: &[HttpErrors]) {
        for model in models {
            let files = model.files().iter().filter_map(|(status, path)| Some((*status, self.located_file(path)?)));
            let files = files.collect();
            self.files.sections.push((model.name().to_owned(), files));
        }
    }

    /// Returns what a file holds.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn error_file(&mut self, path: &Path) -> Result<Arc<ErrorFile>, String> {
        if let Some((_, file)) = self.files.read.iter().find(|(known, _)| known == path) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(ErrorFile::read(path)?);
        self.files.read.push((path.to_owned(), Arc::clone(&file)));
        Ok(file)
    }

    /// Returns the files of a section, if there is one of that name.
    pub(super) fn error_section(&self, name: &str) -> Option<Section> {
        self.files.sections.iter().find(|(known, _)| known == name).map(|(_, files)| files.clone())
    }

    /// Returns the names of all sections.
    pub(super) fn error_sections(&self) -> Vec<&str> {
        self.files.sections.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Makes the answers of a proxy.
    pub(super) fn errors(&mut self, models: &[ErrorReply]) -> Errors {
        let mut errors = Errors::default();
        for model in models {
            match model {
                ErrorReply::File { status, path } => {
                    let file = self.located_file(path);
                    file.into_iter().for_each(|file| errors.put(Answer::of_file(*status, file)));
                }
                ErrorReply::Files { section, statuses } => self.files_of(section, statuses, &mut errors),
                ErrorReply::Redirect { status, location, code } => errors.put(Answer::of_location(*status, *code, location)),
                ErrorReply::Written(text) => match self.written(text) {
                    Ok(answer) => errors.put(answer),
                    Err(error) => self.push(error),
                },
            }
        }
        errors
    }

    fn files_of(&mut self, section: &Located<String>, statuses: &[u16], errors: &mut Errors) {
        let files = self.error_section(section).unwrap_or_default();
        for status in statuses.iter().filter(|status| !files.iter().any(|(known, _)| known == *status)) {
            self.push(Diagnostic::warning(section.location(), format!("section http-errors `{section}` has no file for status {status}")));
        }
        for (status, file) in files.into_iter().filter(|(status, _)| statuses.is_empty() || statuses.contains(status)) {
            errors.put(Answer::of_file(status, file));
        }
    }

    fn written(&mut self, text: &Located<String>) -> Result<Answer, Diagnostic> {
        let words = word::split(text)?;
        parse_error(&mut Words::new(&words, text), self)
    }

    fn located_file(&mut self, path: &Located<PathBuf>) -> Option<Arc<ErrorFile>> {
        match self.error_file(path) {
            Ok(file) => Some(file),
            Err(error) => {
                self.push(Diagnostic::error(path.location(), format!("{}: {error}", path.display())));
                None
            }
        }
    }
}

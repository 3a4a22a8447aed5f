//! What makes a failed request go to a server again.

use super::Mistake;
use crate::config::model::{RETRIED_STATUSES, RetryCause, RetryOn};
use crate::config::suggest;

/// Reads words of `retry-on`.
pub(in crate::config) fn retry_on(text: &str) -> Result<RetryOn, Mistake> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let Some(first) = words.first() else {
        return Err(Mistake::new("nothing is written here").hint("for example conn-failure, or none"));
    };
    if let Some(none) = words.iter().find(|word| **word == "none").filter(|_| words.len() > 1) {
        return Err(Mistake::new("`none` excludes everything else").at(text, none).hint(format!("leave it out, or `{first}`")));
    }
    words.iter().try_fold(RetryOn::NEVER, |all, word| Ok(all.and(cause(word).map_err(|mistake| mistake.at(text, word))?)))
}

fn cause(word: &str) -> Result<RetryOn, Mistake> {
    if let Some((_, causes)) = WORDS.iter().find(|(known, _)| *known == word) {
        return Ok(causes.iter().fold(RetryOn::NEVER, |all, cause| all.with(*cause)));
    }
    if let Some(status) = word.parse().ok().filter(|status| RETRIED_STATUSES.contains(status)) {
        return Ok(RetryOn::NEVER.with(RetryCause::Status(status)));
    }
    let mut known: Vec<String> = WORDS.iter().map(|(word, _)| (*word).to_owned()).collect();
    known.extend(RETRIED_STATUSES.iter().map(u16::to_string));
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(Mistake::new(format!("`{word}` is nothing a request is sent again on")).hint(suggest::hint(word, &known)))
}

/// Words, and what they stand for.
const WORDS: [(&str, &[RetryCause]); 7] = [
    ("all-retryable-errors", &ALL),
    ("conn-failure", &[RetryCause::ConnFailure]),
    ("empty-response", &[RetryCause::EmptyResponse]),
    ("junk-response", &[RetryCause::JunkResponse]),
    ("response-timeout", &[RetryCause::ResponseTimeout]),
    ("0rtt-rejected", &[RetryCause::EarlyDataRejected]),
    ("none", &[]),
];
const ALL: [RetryCause; 9] = [
    RetryCause::ConnFailure,
    RetryCause::EmptyResponse,
    RetryCause::JunkResponse,
    RetryCause::ResponseTimeout,
    RetryCause::EarlyDataRejected,
    RetryCause::Status(500),
    RetryCause::Status(502),
    RetryCause::Status(503),
    RetryCause::Status(504),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_for_what_happens() {
        let on = |text: &str| retry_on(text).map_err(drop);
        assert_eq!(on("conn-failure"), Ok(RetryOn::default()));
        assert_eq!(on("none"), Ok(RetryOn::NEVER));
        let some = on("404 empty-response").unwrap();
        assert!(some.contains(RetryCause::Status(404)) && some.contains(RetryCause::EmptyResponse) && some.repeats_requests());
        assert!(
            !some.contains(RetryCause::ConnFailure) && !some.contains(RetryCause::Status(503)) && !some.contains(RetryCause::Status(200))
        );
        let all = on("all-retryable-errors").unwrap();
        assert!(all.contains(RetryCause::Status(502)) && all.contains(RetryCause::ConnFailure) && !all.contains(RetryCause::Status(404)));
        for wrong in ["", "none 503", "200", "conn-failures"] {
            assert_eq!(on(wrong), Err(()), "{wrong}");
        }
    }
}

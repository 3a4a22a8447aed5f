//! Which half of a `listen` section a rule belongs to.

/// Tells whether a rule is only for the frontend, and whether it is only for the backend: what is decided before there is a backend is
/// not for a backend to decide, and the other way round.
pub(in crate::config) fn half(rule: &str) -> (bool, bool) {
    let mut words = rule.split_ascii_whitespace();
    let (keyword, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_early =
        matches!(keyword, "use_backend" | "monitor" | "capture" | "declare") || (keyword == "tcp-request" && second != "content");
    let is_late = matches!(keyword, "use-server" | "tcp-response" | "force-persist" | "ignore-persist" | "stick");
    (is_early, is_late)
}

//! What the file asks for and the kernel tier does not do: valid, but the operator should know.

use control::config::{Config, Diagnostic, Frontend, HashType, Location, Report, XdpFrontend};

/// Returns a warning for each limit that only user space enforces, and for each way of hashing that only user space follows.
pub(crate) fn unenforced(config: &Config) -> Report {
    let accelerated: Vec<&Frontend> = config.frontends().iter().filter(|frontend| frontend.xdp().is_some()).collect();
    let mut warnings = Vec::new();
    let mut unenforced = |location: &Location, key: &str, of: String| {
        let warning = Diagnostic::warning(location, format!("`{key}` of {of} is not enforced in the kernel"));
        warnings.push(warning.hint("l7d enforces it where it serves this frontend"));
    };
    for frontend in &accelerated {
        let limits = [("maxconn", frontend.maxconn().is_some()), ("rate-limit", frontend.rate_limit() > 0)];
        for (key, _) in limits.into_iter().filter(|(_, is_set)| *is_set) {
            unenforced(frontend.location(), key, format!("frontend `{}`", frontend.name()));
        }
    }
    let mut backends: Vec<_> = accelerated.iter().filter_map(|frontend| frontend.xdp()).map(XdpFrontend::backend).collect();
    backends.sort_unstable_by_key(|backend| backend.index());
    backends.dedup();
    for server in backends.iter().flat_map(|backend| config.servers_of(*backend)) {
        let settings = [
            ("maxconn", server.maxconn().is_some()),
            ("observe", server.check().is_some_and(|check| check.observe().is_some())),
            ("on-marked-down", server.ends_own()),
            ("on-marked-up", server.ends_spares()),
        ];
        for (key, _) in settings.into_iter().filter(|(_, is_set)| *is_set) {
            unenforced(server.location(), key, format!("server `{}`", server.name()));
        }
    }
    for backend in backends.iter().map(|backend| config.backend(*backend)) {
        let mut named: Vec<&str> = Vec::new();
        for rule in backend.rules() {
            let word = rule.split_ascii_whitespace().next().unwrap_or_default();
            if !named.contains(&word) {
                unenforced(rule.location(), word, format!("backend `{}`", backend.name()));
                named.push(word);
            }
        }
    }
    for backend in backends.iter().map(|backend| config.backend(*backend)) {
        if backend.alert().is_some() {
            let message = format!("l4d sends no mails about servers of backend `{}`", backend.name());
            warnings.push(Diagnostic::warning(backend.location(), message).hint("l7d sends them where it runs on the same file"));
        }
        if backend.hash_type() != HashType::default() || backend.hash_balance_factor().is_some() {
            let message = format!("the way backend `{}` hashes is not followed in the kernel", backend.name());
            let warning = Diagnostic::warning(backend.location(), message);
            warnings.push(warning.hint("there a hash is always consistent, and its function is the kernel tier's own"));
        }
    }
    Report::from(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[xdp]
interfaces = ["eth0"]
[frontend.a]
mode = "tcp"
bind = "10.0.0.1:80"
maxconn = 10
rate-limit = { sessions = 100 }
xdp = { forward = "nat" }
default-backend = "a"
[frontend.user-space]
mode = "tcp"
bind = "10.0.0.1:81"
maxconn = 10
default-backend = "a"
[backend.a]
mode = "tcp"
balance = "source"
hash-type = "consistent"
check = { tcp = {} }
rules = ["tcp-response inspect-delay 1s", "tcp-response content reject if { res.len 0 }"]
default-server = { on-marked-down = "shutdown-sessions" }
[backend.a.server]
one = { address = "10.0.0.2:80", maxconn = 5, on-marked-up = "shutdown-backup-sessions", check = { observe = "layer4" } }
"#;

    #[test]
    fn limits_of_accelerated_frontends_are_named() {
        let config = Config::parse("l4d.toml", FILE).unwrap();
        let report = unenforced(&config);
        let messages: Vec<_> = report.diagnostics().iter().map(Diagnostic::message).collect();
        assert_eq!(
            messages,
            [
                "`maxconn` of frontend `a` is not enforced in the kernel",
                "`rate-limit` of frontend `a` is not enforced in the kernel",
                "the way backend `a` hashes is not followed in the kernel",
                "`tcp-response` of backend `a` is not enforced in the kernel",
                "`maxconn` of server `one` is not enforced in the kernel",
                "`observe` of server `one` is not enforced in the kernel",
                "`on-marked-down` of server `one` is not enforced in the kernel",
                "`on-marked-up` of server `one` is not enforced in the kernel",
            ]
        );
    }
}

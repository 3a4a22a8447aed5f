//! Which metrics a scrape asks for: `?scope=frontend&scope=server&no-maint`, as HAProxy's exporter understands it.

use crate::server_state::Status;

/// Which metrics are wanted.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// `None` for all.
    scopes: Option<Vec<&'static str>>,
    without_maint: bool,
}

impl Selection {
    /// Reads the query of a scrape; what it does not know it leaves alone.
    ///
    /// # Errors
    /// Fails on a scope there is none of.
    pub(super) fn parse(query: &str) -> Result<Self, &'static str> {
        let mut selection = Self::default();
        for word in query.split('&') {
            match word.split_once('=') {
                Some(("scope", "*")) => selection.scopes = None,
                Some(("scope", "")) => selection.scopes = Some(Vec::new()),
                Some(("scope", scope)) => {
                    let known = SCOPES.into_iter().find(|known| *known == scope).ok_or(UNKNOWN)?;
                    selection.scopes.get_or_insert_default().push(known);
                }
                None if word == "no-maint" => selection.without_maint = true,
                _ => {}
            }
        }
        Ok(selection)
    }

    /// Tells whether a family is wanted; what belongs to no proxy is global.
    pub(super) fn wants(&self, name: &str) -> bool {
        let scope = name.strip_prefix("haproxy_").or_else(|| name.strip_prefix("l7d_")).and_then(|rest| rest.split('_').next());
        let scope = scope.filter(|scope| SCOPES.contains(scope)).unwrap_or("global");
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    /// Tells whether servers of this status are left out.
    pub(super) fn hides(&self, status: Status) -> bool {
        self.without_maint && status == Status::Maint
    }
}

/// The scopes of HAProxy's exporter; there is nothing in some of them.
const SCOPES: [&str; 6] = ["global", "frontend", "backend", "server", "listener", "sticktable"];
const UNKNOWN: &str = "scope must be one of global, frontend, backend, server, listener, sticktable, *\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_add_up_and_a_star_is_all() {
        let names = ["haproxy_process_nbthread", "l4d_packets_total", "haproxy_frontend_status", "haproxy_server_weight"];
        let wanted = |query: &str| names.map(|name| Selection::parse(query).unwrap().wants(name));
        assert_eq!(wanted(""), [true; 4]);
        assert_eq!(wanted("no-maint"), [true; 4]);
        assert_eq!(wanted("scope=server"), [false, false, false, true]);
        assert_eq!(wanted("scope=global&scope=frontend&other=1"), [true, true, true, false]);
        assert_eq!(wanted("scope="), [false; 4]);
        assert_eq!(wanted("scope=frontend&scope=*"), [true; 4]);
        assert!(Selection::parse("scope=process").is_err());
    }

    #[test]
    fn only_servers_in_maintenance_can_be_hidden() {
        let selection = Selection::parse("no-maint").unwrap();
        assert_eq!(Status::ALL.map(|status| selection.hides(status)), [false, false, false, true]);
        assert!(!Selection::default().hides(Status::Maint));
    }
}

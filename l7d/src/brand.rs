//! What rules and routers outside see of the packets of a connection: the mark of the firewall, and the type of service.

use std::os::fd::AsFd;

use rustix::net::sockopt;
use tracing::debug;

/// What the packets of a connection are to carry.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Brand {
    /// The mark that the system's own firewall and routes see; nothing else can set it without CAP_NET_ADMIN.
    pub(crate) mark: Option<u32>,
    /// The type of service, which every router sees.
    pub(crate) service: Option<u8>,
}

impl Brand {
    /// Has the packets of a socket carry it from now on.
    pub(crate) fn press(self, socket: impl AsFd) {
        if let Some(service) = self.service {
            // Whichever family the socket is of knows one of them.
            let v4 = sockopt::set_ip_tos(&socket, service);
            let v6 = sockopt::set_ipv6_tclass(&socket, service.into());
            if let (Err(error), Err(_)) = (v4, v6) {
                debug!("the type of service cannot be set: {error}");
            }
        }
        if let Some(mark) = self.mark
            && let Err(error) = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Mark, &mark)
        {
            debug!("the mark cannot be set: {error}");
        }
    }
}

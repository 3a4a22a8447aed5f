//! How the client's address is added to requests.

use std::net::IpAddr;

use control::config::{self, Located, ProxyOption};

/// How the client's address is added to requests.
#[derive(Debug)]
pub(crate) struct ForwardFor {
    /// The name of the field.
    pub(crate) header: String,
    /// Whether a request that has the field is left alone.
    pub(crate) if_none: bool,
    /// The network whose clients are trusted to have added it.
    except: Option<(IpAddr, u32)>,
}

impl ForwardFor {
    fn new(model: &config::ForwardFor) -> Self {
        let except = model.except().and_then(|text| {
            let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
            let address: IpAddr = address.parse().ok()?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            Some((address, length.map_or(Some(whole), |length| length.parse().ok())?))
        });
        Self { header: model.header().to_owned(), if_none: model.if_none(), except }
    }

    /// Tells whether this client is trusted to have added its own address.
    pub(crate) fn trusts(&self, client: IpAddr) -> bool {
        match (self.except, client) {
            (Some((IpAddr::V4(network), length)), IpAddr::V4(client)) => {
                (u32::from(network) ^ u32::from(client)).checked_shr(32 - length.min(32)).unwrap_or(0) == 0
            }
            (Some((IpAddr::V6(network), length)), IpAddr::V6(client)) => {
                (u128::from(network) ^ u128::from(client)).checked_shr(128 - length.min(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Finds the option among those of a proxy.
pub(super) fn forward_for(options: &[Located<ProxyOption>]) -> Option<ForwardFor> {
    options.iter().find_map(|option| {
        let ProxyOption::ForwardFor(model) = option.value() else { return None };
        Some(ForwardFor::new(model))
    })
}

/// Finds the option that adds where clients connected to among those of a proxy.
pub(super) fn original_to(options: &[Located<ProxyOption>]) -> Option<ForwardFor> {
    options.iter().find_map(|option| {
        let ProxyOption::OriginalTo(model) = option.value() else { return None };
        Some(ForwardFor::new(model))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn except(network: &str, length: u32) -> ForwardFor {
        ForwardFor { header: "X".to_owned(), if_none: false, except: Some((network.parse().unwrap(), length)) }
    }

    #[test]
    fn trusted_network_ends_where_its_prefix_does() {
        let cases = [
            ("10.0.0.0", 8, "10.255.255.255", true),
            ("10.0.0.0", 8, "11.0.0.0", false),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.0", false),
            ("0.0.0.0", 0, "255.255.255.255", true),
            ("fd00::", 8, "fdff::1", true),
            ("fd00::", 8, "fe00::1", false),
            ("::", 0, "ffff::", true),
            ("10.0.0.0", 8, "::1", false),
        ];
        for (network, length, client, trusted) in cases {
            assert_eq!(except(network, length).trusts(client.parse().unwrap()), trusted, "{client} in {network}/{length}");
        }
    }
}

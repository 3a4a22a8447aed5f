//! What the decapsulating program, which runs on servers, and the command that attaches it agree on.

use crate::addr::Port;

/// The program's name in its object file.
pub const PROGRAM: &str = "l4d_decap";
/// Settings: one [`Settings`].
pub const SETTINGS: &str = "DECAP_SETTINGS";
/// Addresses at which tunnels end: [`Addr`](crate::addr::Addr) → `u32`.
pub const ENDS: &str = "DECAP_ENDS";
/// Counts by [`Fate`], per CPU: `u64`.
pub const FATES: &str = "DECAP_FATES";
/// How many addresses there can be.
pub const MOST_ENDS: u32 = 256;

/// Settings of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The UDP port at which tunnels end.
    pub port: Port,
    /// Fills the word.
    pub spare: [u16; 3],
}

/// What became of a packet that came by a tunnel.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Taken out of an IP header.
    Ipip,
    /// Taken out of UDP.
    Gue,
    /// Left as it was: what it carries is no IP packet, or not whole.
    Malformed,
}

impl Fate {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 3] = [Self::Ipip, Self::Gue, Self::Malformed];

    /// Returns the name that listings use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Malformed => "malformed",
        }
    }
}

//! The runtime interface: HAProxy's commands over a socket, for scripts and people.
//!
//! ```text
//! bytes ─► line ─► dialog ─► command ─► reply
//! ```
//! A daemon gives [`serve`] a listening socket and a [`Language`]: the commands it knows, each a function of what the daemon lets them
//! reach. [`servers`] has those about servers. What a client may send is bounded in length, its connections in
//! number, and its silence in time. Nothing here runs on a thread that carries traffic.

mod command;
mod dialog;
mod line;
mod reply;
mod saved;
pub mod servers;
mod socket;
mod words;

pub use command::{Answer, Answering, Call, Command, Feed, Gathering, Language, Run};
pub use dialog::Rights;
pub use reply::{Reply, Urgency};
pub(crate) use saved::addresses as saved_addresses;
pub use saved::restore;
pub use socket::{Listener, Terms, serve};
pub use words::environment;

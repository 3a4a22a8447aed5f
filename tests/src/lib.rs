//! The lab kit: namespaces, links, processes and peers as guards that clean up when dropped.
//!
//! A lab test reads from top to bottom: a [`topology::Lab`] of [`netns`] namespaces joined by [`link`]s, real [`server`]s in its
//! backends, the program under test as a [`process::Process`] in its balancer, and a [`client::Client`] that says what a user would
//! see. Tests of single packets build them with [`packet`] and judge what comes back with [`checksum`]. Nothing here knows what the
//! balancers do inside; the kit only sees wires, processes and answers. [`mod@bench`] alone looks inside: it measures the kernel tier by itself.
//!
//! Every test has namespaces of its own, so tests run side by side. The kit needs root and a few programs; where they are missing it
//! fails and names them ([`requirements`]) rather than passing without having looked.

pub mod bench;
pub mod checksum;
pub mod client;
pub mod demo;
pub mod http;
pub mod link;
pub mod load;
pub mod netns;
pub mod packet;
pub mod process;
pub mod protocol;
pub mod requirements;
pub mod scratch;
pub mod serve;
pub mod server;
pub mod session;
pub mod topology;
pub mod wait;

mod pass;

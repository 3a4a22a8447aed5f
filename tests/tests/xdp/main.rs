//! The XDP program, one frame at a time: a frame in; verdict, counted reason and the exact frame out.

mod affinity;
mod bench;
mod cookies;
mod dnat;
mod dsr;
mod guard;
mod icmp;
mod malformed;
mod nat;
mod next_hop;
mod passed;
mod policy;
mod pool;
mod random;
mod ranges;
mod shorten;
mod tunnel;
mod vlan;

//! The kernel tier under real traffic: built l4d, own namespaces, real clients and servers.

mod admin;
mod balancing;
mod capture;
mod checks;
mod counters;
mod crowd;
mod dnat;
mod drain;
mod failover;
mod file;
mod guard;
mod lifecycle;
mod names;
mod neighbor;
mod passing;
mod policy;
mod preview;
mod ranges;
mod reload;
mod restart;
mod rings;
mod shorten;
mod site;
mod sources;
mod transfer;
mod tunnel;

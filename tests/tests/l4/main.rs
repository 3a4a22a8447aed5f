//! The kernel tier under real traffic: built l4d, own namespaces, real clients and servers.

mod balancing;
mod counters;
mod crowd;
mod drain;
mod failover;
mod file;
mod lifecycle;
mod neighbor;
mod passing;
mod reload;
mod restart;
mod site;
mod sources;
mod transfer;
mod tunnel;

//! The built daemon between real clients and real servers.

#[cfg(test)]
mod abort;
#[cfg(test)]
mod abuse;
#[cfg(test)]
mod actions;
#[cfg(test)]
mod agents;
#[cfg(test)]
mod aioquic;
#[cfg(test)]
mod anchors;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod balance;
#[cfg(test)]
mod binds;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod brands;
#[cfg(test)]
mod breadth;
#[cfg(test)]
mod broken;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cache;
#[cfg(test)]
mod captures;
#[cfg(test)]
mod certs;
#[cfg(test)]
mod check;
#[cfg(test)]
mod checks;
#[cfg(test)]
mod checks_grid;
#[cfg(test)]
mod checks_h2;
#[cfg(test)]
mod checks_real;
#[cfg(test)]
mod checks_udp;
#[cfg(test)]
mod chromium;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod compress;
#[cfg(test)]
mod connections;
#[cfg(test)]
mod content;
#[cfg(test)]
mod control;
#[cfg(test)]
mod convert;
#[cfg(test)]
mod converters;
#[cfg(test)]
mod cookies;
#[cfg(test)]
mod corpus;
#[cfg(test)]
mod deaths;
#[cfg(test)]
mod differential;
#[cfg(test)]
mod directed;
#[cfg(test)]
mod disabled;
#[cfg(test)]
mod disguise;
#[cfg(test)]
mod drop_in;
#[cfg(test)]
mod dynamic;
#[cfg(test)]
mod early;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod exporter;
#[cfg(test)]
mod external;
#[cfg(test)]
mod fetches;
#[cfg(test)]
mod frames;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod h2;
#[cfg(test)]
mod h2_life;
#[cfg(test)]
mod h2_pairs;
#[cfg(test)]
mod h3;
#[cfg(test)]
mod h3_client;
#[cfg(test)]
mod h3_features;
#[cfg(test)]
mod h3_life;
#[cfg(test)]
mod habits;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod haproxy_cfg;
#[cfg(test)]
mod hatop;
#[cfg(test)]
mod health;
#[cfg(test)]
mod health_log;
#[cfg(test)]
mod http;
#[cfg(test)]
mod json_log;
#[cfg(test)]
mod judged;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod life;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod live;
#[cfg(test)]
mod log;
#[cfg(test)]
mod log_format;
#[cfg(test)]
mod log_forward;
#[cfg(test)]
mod log_profiles;
#[cfg(test)]
mod mails;
#[cfg(test)]
mod manage;
#[cfg(test)]
mod maps;
#[cfg(test)]
mod marked;
#[cfg(test)]
mod master;
#[cfg(test)]
mod names;
#[cfg(test)]
mod ocsp;
#[cfg(test)]
mod options;
#[cfg(test)]
mod otlp;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod pardons;
#[cfg(test)]
mod peers;
#[cfg(test)]
mod priorities;
#[cfg(test)]
mod proxy_out;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod rdp;
#[cfg(test)]
mod replies;
#[cfg(test)]
mod retry;
#[cfg(test)]
mod reuse;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod running;
#[cfg(test)]
mod runtime;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod sni;
#[cfg(test)]
mod sockets;
#[cfg(test)]
mod stats;
#[cfg(test)]
mod stats_page;
#[cfg(test)]
mod steward;
#[cfg(test)]
mod stick;
#[cfg(test)]
mod strain;
#[cfg(test)]
mod switches;
#[cfg(test)]
mod table_bytes;
#[cfg(test)]
mod table_counts;
#[cfg(test)]
mod table_rules;
#[cfg(test)]
mod tables;
#[cfg(test)]
mod tcp;
#[cfg(test)]
mod terminations;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tls_binds;
#[cfg(test)]
mod tls_fetches;
#[cfg(test)]
mod tls_out;
#[cfg(test)]
mod top;
#[cfg(test)]
mod torture;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod vocabulary;

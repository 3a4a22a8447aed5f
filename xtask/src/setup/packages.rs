//! The programs that builds and lab need, and Debian's packages that bring them: the one table for both.

use crate::workspace;

/// One package, the program (or other file) that proves it is there, and why it is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) proof: &'static str,
    pub(crate) why: &'static str,
}

/// What the lab, the demo and the tests run.
pub(crate) const LAB: [Package; 22] = [
    Package { name: "iproute2", proof: "ip", why: "namespaces, veth pairs, addresses and routes" },
    Package { name: "ethtool", proof: "ethtool", why: "switches checksum offload off on veth" },
    Package { name: "iputils-ping", proof: "ping", why: "reachability and ICMP" },
    Package { name: "curl", proof: "curl", why: "a client that is not ours" },
    Package { name: "haproxy", proof: "haproxy", why: "what behaviour is compared with" },
    Package { name: "nginx", proof: "nginx", why: "a server that is not ours" },
    Package {
        name: "python3-websockets",
        proof: "/usr/lib/python3/dist-packages/websockets/__init__.py",
        why: "a WebSocket client and server that are not ours",
    },
    Package {
        name: "python3-grpcio",
        proof: "/usr/lib/python3/dist-packages/grpc/__init__.py",
        why: "a gRPC client and server that are not ours",
    },
    Package { name: "ngtcp2-client", proof: "gtlsclient", why: "a client of HTTP/3 that is not ours" },
    Package { name: "nghttp2-client", proof: "h2load", why: "many requests while everything changes" },
    Package { name: "dnsmasq-base", proof: "dnsmasq", why: "a server of the DNS that is not ours" },
    Package { name: "rsyslog", proof: "rsyslogd", why: "a server of logs that is not ours" },
    Package { name: "tmux", proof: "tmux", why: "a terminal to look at" },
    Package { name: "tcpdump", proof: "tcpdump", why: "a reader of captured packets that is not ours" },
    Package { name: "hatop", proof: "hatop", why: "a screen for the runtime interface that is not ours" },
    Package { name: "mariadb-server-core", proof: "/usr/sbin/mariadbd", why: "a server of MySQL that is checked" },
    Package { name: "postgresql-15", proof: "/usr/lib/postgresql/15/bin/postgres", why: "a server of PostgreSQL that is checked" },
    Package { name: "redis-tools", proof: "/usr/bin/redis-check-rdb", why: "the server of Redis, under another name, that is checked" },
    Package {
        name: "python3-aiosmtpd",
        proof: "/usr/lib/python3/dist-packages/aiosmtpd/__init__.py",
        why: "a mail server that is checked",
    },
    Package { name: "slapd", proof: "/usr/sbin/slapd", why: "a server of LDAP that is checked" },
    Package { name: "chromium", proof: "chromium", why: "a browser that shows the page of statistics" },
    Package { name: "slowhttptest", proof: "slowhttptest", why: "clients that take their time" },
];

/// Debian's compiler with a ready `core` for BPF.
pub(crate) const COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
/// What bpf-linker is built with; brings llvm-objcopy as well.
pub(crate) const LLVM: [&str; 3] = ["llvm-22-dev", "zlib1g-dev", "libzstd-dev"];

/// Returns the packages of the lab whose programs are not there.
pub(crate) fn missing_for_lab() -> Vec<Package> {
    LAB.into_iter().filter(|package| workspace::find_program(package.proof).is_none()).collect()
}

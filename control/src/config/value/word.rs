//! Words of closed sets.

use super::Mistake;
use crate::config::model::{
    AttachMode, Bad, Capability, CipherSuite, Coding, Congestion, CookieMode, Curve, DeadServer, Forward, Good, HashFunction, HashMethod,
    HttpReuse, HttpVersion, InitState, Late, Layer, LogStep, Mode, NoServer, Occasion, OnError, OnStop, Place, Protocol, SendProxy,
    SocketLevel, StateSource, TlsVersion, XdpBalance,
};
use crate::config::suggest;

/// A closed set of words and what they mean.
pub(in crate::config) struct Words<T: 'static> {
    /// What such a word is called in messages.
    what: &'static str,
    words: &'static [(&'static str, T)],
}

impl<T: PartialEq> Words<T> {
    /// Returns the first word of the set that means a value.
    pub(in crate::config) fn name(&self, value: &T) -> &'static str {
        self.words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
    }
}

impl<T: Copy> Words<T> {
    /// Reads one word of the set.
    pub(in crate::config) fn read(&self, text: &str) -> Result<T, Mistake> {
        let found = self.words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let known: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
            Mistake::new(format!("`{text}` is not {}", self.what)).hint(suggest::hint(text, &known))
        })
    }
}

pub(in crate::config) const SWITCH: Words<bool> = Words { what: "`on` or `off`", words: &[("on", true), ("off", false)] };
pub(in crate::config) const STATE_SOURCE: Words<StateSource> = Words {
    what: "a place of server states",
    words: &[("none", StateSource::None), ("global", StateSource::Global), ("local", StateSource::Local)],
};
pub(in crate::config) const LAYER: Words<Layer> =
    Words { what: "a layer to observe", words: &[("layer4", Layer::Layer4), ("layer7", Layer::Layer7)] };
pub(in crate::config) const LOG_STEP: Words<LogStep> = Words {
    what: "a step of an exchange",
    words: &[
        ("accept", LogStep::Accept),
        ("request", LogStep::Request),
        ("connect", LogStep::Connect),
        ("response", LogStep::Response),
        ("close", LogStep::Close),
    ],
};
pub(in crate::config) const OCCASION: Words<Occasion> = Words {
    what: "an occasion of a line",
    words: &[
        ("accept", Occasion::At(LogStep::Accept)),
        ("request", Occasion::At(LogStep::Request)),
        ("connect", Occasion::At(LogStep::Connect)),
        ("response", Occasion::At(LogStep::Response)),
        ("close", Occasion::At(LogStep::Close)),
        ("error", Occasion::Error),
        ("any", Occasion::Any),
    ],
};
pub(in crate::config) const ON_ERROR: Words<OnError> = Words {
    what: "something to do on errors",
    words: &[
        ("fastinter", OnError::FastInter),
        ("fail-check", OnError::FailCheck),
        ("sudden-death", OnError::SuddenDeath),
        ("mark-down", OnError::MarkDown),
    ],
};
/// What follows when a server is marked down; the value tells whether sessions with it end.
pub(in crate::config) const MARKED_DOWN: Words<bool> =
    Words { what: "something to do with a server that is down", words: &[("shutdown-sessions", true)] };
/// What follows when a server is marked up; the value tells whether sessions with the spares end.
pub(in crate::config) const MARKED_UP: Words<bool> =
    Words { what: "something to do when a server is up", words: &[("shutdown-backup-sessions", true)] };
pub(in crate::config) const INIT_STATE: Words<InitState> = Words {
    what: "a state to begin with",
    words: &[("fully-up", InitState::FullyUp), ("up", InitState::Up), ("down", InitState::Down), ("fully-down", InitState::FullyDown)],
};
/// How much something matters, as syslog counts it.
pub(in crate::config) const SYSLOG_LEVEL: Words<u8> = Words {
    what: "a level",
    words: &[("emerg", 0), ("alert", 1), ("crit", 2), ("err", 3), ("warning", 4), ("notice", 5), ("info", 6), ("debug", 7)],
};
/// How a mail server is greeted.
pub(in crate::config) const HELLO: Words<&str> = Words { what: "a greeting", words: &[("HELO", "HELO"), ("EHLO", "EHLO")] };
/// What a success of a check is.
pub(in crate::config) const GOOD: Words<Good> = Words {
    what: "a status of a success",
    words: &[("L4OK", Good::Layer4), ("L6OK", Good::Layer6), ("L7OK", Good::Layer7), ("L7OKC", Good::Conditional)],
};
/// What a failure of a check is.
pub(in crate::config) const BAD: Words<Bad> = Words {
    what: "a status of a failure",
    words: &[("L4CON", Bad::Layer4), ("L6RSP", Bad::Layer6), ("L7RSP", Bad::Layer7), ("L7STS", Bad::Status), ("L7OKC", Bad::Conditional)],
};
/// What silence is to a check.
pub(in crate::config) const LATE: Words<Late> =
    Words { what: "a status of silence", words: &[("L4TOUT", Late::Layer4), ("L6TOUT", Late::Layer6), ("L7TOUT", Late::Layer7)] };
/// Where in a text another has to be.
pub(in crate::config) const PLACE: Words<Place> = Words {
    what: "a method of matching",
    words: &[("str", Place::Whole), ("beg", Place::Start), ("end", Place::End), ("sub", Place::Anywhere)],
};
pub(in crate::config) const MODE: Words<Mode> = Words { what: "a mode", words: &[("tcp", Mode::Tcp), ("http", Mode::Http)] };
pub(in crate::config) const PROXY_VERSION: Words<SendProxy> =
    Words { what: "a version of the PROXY protocol", words: &[("v1", SendProxy::V1), ("v2", SendProxy::V2 { checksum: false })] };
pub(in crate::config) const SOCKET_LEVEL: Words<SocketLevel> =
    Words { what: "a level", words: &[("user", SocketLevel::User), ("operator", SocketLevel::Operator), ("admin", SocketLevel::Admin)] };
pub(in crate::config) const ATTACH_MODE: Words<AttachMode> = Words {
    what: "a way to attach",
    words: &[("auto", AttachMode::Auto), ("native", AttachMode::Native), ("generic", AttachMode::Generic)],
};
pub(in crate::config) const ON_STOP: Words<OnStop> =
    Words { what: "something to do on stop", words: &[("detach", OnStop::Detach), ("keep", OnStop::Keep)] };
pub(in crate::config) const FORWARD: Words<Forward> = Words {
    what: "a way to forward",
    words: &[("nat", Forward::Nat), ("dsr", Forward::Dsr), ("ipip", Forward::Ipip), ("gue", Forward::Gue), ("dnat", Forward::Dnat)],
};
pub(in crate::config) const FLOW_HASH: Words<XdpBalance> =
    Words { what: "a hash", words: &[("source", XdpBalance::Source), ("tuple", XdpBalance::Tuple)] };
pub(in crate::config) const DEAD_SERVER: Words<DeadServer> =
    Words { what: "a way to treat connections of a dead server", words: &[("move", DeadServer::Move), ("reset", DeadServer::Reset)] };
pub(in crate::config) const NO_SERVER: Words<NoServer> =
    Words { what: "a way to treat packets without a server", words: &[("drop", NoServer::Drop), ("reset", NoServer::Reset)] };
pub(in crate::config) const HASH_METHOD: Words<HashMethod> = Words {
    what: "a way to find a server by a hash",
    words: &[("map-based", HashMethod::MapBased), ("consistent", HashMethod::Consistent)],
};
pub(in crate::config) const HASH_FUNCTION: Words<HashFunction> = Words {
    what: "a hash function",
    words: &[
        ("sdbm", HashFunction::Sdbm),
        ("djb2", HashFunction::Djb2),
        ("wt6", HashFunction::Wt6),
        ("crc32", HashFunction::Crc32),
        ("none", HashFunction::None),
    ],
};
pub(in crate::config) const CODING: Words<Coding> = Words {
    what: "a coding",
    words: &[("gzip", Coding::Gzip), ("deflate", Coding::Deflate), ("raw-deflate", Coding::RawDeflate), ("identity", Coding::Identity)],
};
pub(in crate::config) const COOKIE_MODE: Words<CookieMode> = Words {
    what: "a cookie mode",
    words: &[
        ("insert", CookieMode::Insert),
        ("rewrite", CookieMode::Rewrite),
        ("prefix", CookieMode::Prefix),
        ("passive", CookieMode::Passive),
    ],
};
pub(in crate::config) const TLS_VERSION: Words<TlsVersion> =
    Words { what: "a TLS version spoken here", words: &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)] };
pub(in crate::config) const PROTOCOL: Words<Protocol> =
    Words { what: "a protocol spoken to servers", words: &[("h1", Protocol::H1), ("h2", Protocol::H2)] };
pub(in crate::config) const CAPABILITY: Words<Capability> = Words {
    what: "a capability that can be kept",
    words: &[
        ("cap_net_admin", Capability::NetAdmin),
        ("cap_net_bind_service", Capability::NetBindService),
        ("cap_net_raw", Capability::NetRaw),
        ("cap_sys_admin", Capability::SysAdmin),
    ],
};
pub(in crate::config) const HTTP_VERSION: Words<HttpVersion> =
    Words { what: "an HTTP version for checks", words: &[("1.0", HttpVersion::Http10), ("1.1", HttpVersion::Http11)] };
pub(in crate::config) const HTTP_REUSE: Words<HttpReuse> = Words {
    what: "a way to share connections",
    words: &[("never", HttpReuse::Never), ("safe", HttpReuse::Safe), ("aggressive", HttpReuse::Aggressive), ("always", HttpReuse::Always)],
};
/// Suites of TLS 1.3, by the name all programs use.
pub(in crate::config) const CIPHERSUITE: Words<CipherSuite> = Words {
    what: "a suite of TLS 1.3 spoken here",
    words: &[
        ("TLS_AES_128_GCM_SHA256", CipherSuite::Aes128),
        ("TLS_AES_256_GCM_SHA384", CipherSuite::Aes256),
        ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::ChaCha20),
    ],
};
/// Suites of TLS 1.2, by OpenSSL's name and by that of the standard.
pub(in crate::config) const CIPHER: Words<CipherSuite> = Words {
    what: "a suite of TLS 1.2 spoken here",
    words: &[
        ("ECDHE-ECDSA-AES128-GCM-SHA256", CipherSuite::EcdsaAes128),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", CipherSuite::EcdsaAes256),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", CipherSuite::EcdsaChaCha20),
        ("ECDHE-RSA-AES128-GCM-SHA256", CipherSuite::RsaAes128),
        ("ECDHE-RSA-AES256-GCM-SHA384", CipherSuite::RsaAes256),
        ("ECDHE-RSA-CHACHA20-POLY1305", CipherSuite::RsaChaCha20),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::EcdsaAes128),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::EcdsaAes256),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::EcdsaChaCha20),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::RsaAes128),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::RsaAes256),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::RsaChaCha20),
    ],
};
/// Groups of key exchange, by the names OpenSSL and the standard have for them.
pub(in crate::config) const CURVE: Words<Curve> = Words {
    what: "a curve spoken here",
    words: &[
        ("X25519", Curve::X25519),
        ("P-256", Curve::P256),
        ("P-384", Curve::P384),
        ("X25519MLKEM768", Curve::X25519MlKem768),
        ("SecP256r1MLKEM768", Curve::P256MlKem768),
        ("prime256v1", Curve::P256),
        ("secp256r1", Curve::P256),
        ("secp384r1", Curve::P384),
    ],
};
/// What a bind asks of its clients.
pub(in crate::config) const CLIENT_AUTH: Words<Ask> =
    Words { what: "a way to verify clients", words: &[("none", Ask::Never), ("optional", Ask::Optional), ("required", Ask::Required)] };

/// What decides how fast QUIC sends.
pub(in crate::config) const CONGESTION: Words<Congestion> =
    Words { what: "a congestion controller", words: &[("cubic", Congestion::Cubic), ("newreno", Congestion::NewReno)] };

/// What we ask of a server.
pub(in crate::config) const SERVER_AUTH: Words<Ask> =
    Words { what: "a way to verify servers", words: &[("none", Ask::Never), ("required", Ask::Required)] };

/// Whether a certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Ask {
    Never,
    Optional,
    Required,
}

//! Every name of a sample fetch, and how it is made from its arguments.

use std::sync::Arc;

use control::config::{Diagnostic, Timeout};

use super::content::Start;
use super::tls::{self, Fault, NamePart, Owner};
use super::{
    About, Access, Body, BodyPart, Bytes, Connection, Cookie, End, Fetch, Form, HeaderField, Measure, Origin, Parameter, Part, Scale,
    ServerName, Side, State, Tls, Unit, Whole,
};
use crate::message::headers::is_token;
use crate::rules::argument::Call;
use crate::rules::auth::Userlist;
use crate::rules::capture::Line;
use crate::rules::names::Names;
use crate::rules::refused;
use crate::rules::sample::Sample;
use crate::rules::stick::Question;
use crate::rules::word::unknown;
use crate::stick::Table;

type Build = fn(&Call<'_, '_>, &mut Names) -> Result<Fetch, Diagnostic>;

/// The names behind which `_beg`, `_end` and the other ways to compare may be written.
pub(in crate::rules) const DERIVING: [&str; 17] = [
    "base",
    "cook",
    "hdr",
    "path",
    "payload",
    "req.cook",
    "req.fhdr",
    "req.hdr",
    "req.payload",
    "req.ssl_sni",
    "res.cook",
    "res.fhdr",
    "res.hdr",
    "scook",
    "shdr",
    "url",
    "urlp",
];

const TABLE: [(&str, Build); 257] = [
    ("act_conn", |call, _| plain(call, Fetch::About(About::Connections))),
    ("always_false", |call, _| plain(call, Fetch::Constant(Sample::Bool(false)))),
    ("always_true", |call, _| plain(call, Fetch::Constant(Sample::Bool(true)))),
    ("avg_queue", |call, names| backend(call, names).map(|name| Fetch::State(State::AverageQueue(name)))),
    ("base", |call, _| plain(call, Fetch::Target(Part::Base))),
    ("base32", |call, _| plain(call, Fetch::About(About::Hash(Whole::WithoutQuery)))),
    ("base32+src", |call, _| plain(call, Fetch::About(About::HashAndSource(Whole::WithoutQuery)))),
    ("baseq", |call, _| plain(call, Fetch::Target(Part::BaseAndQuery))),
    ("bc_dst", |call, names| server_line(call, names, Connection::Address(End::Server))),
    ("bc_dst_port", |call, names| server_line(call, names, Connection::Port(End::Server))),
    ("bc_http_major", |call, names| server_line(call, names, Connection::ServerVersion)),
    ("bc_src", |call, names| server_line(call, names, Connection::Address(End::ServerSource))),
    ("bc_src_port", |call, names| server_line(call, names, Connection::Port(End::ServerSource))),
    ("be_conn", |call, names| backend(call, names).map(|name| Fetch::State(State::BackendConnections(name)))),
    ("be_conn_free", |call, names| backend(call, names).map(|name| Fetch::State(State::FreeConnections(name)))),
    ("be_name", |call, _| plain(call, Fetch::BackendName)),
    ("be_server_timeout", |call, _| plain(call, Fetch::About(About::BackendTimeout(Timeout::Server)))),
    ("be_sess_rate", |call, names| backend(call, names).map(|name| Fetch::State(State::BackendSessionRate(name)))),
    ("be_tunnel_timeout", |call, _| plain(call, Fetch::About(About::BackendTimeout(Timeout::Tunnel)))),
    ("bin", |call, _| bin(call)),
    ("bool", |call, _| boolean(call)),
    ("capture.req.hdr", |call, _| slot(call, Side::Request)),
    ("capture.req.method", |call, names| plain(call, names.line(Fetch::CapturedLine(Line::Method)))),
    ("capture.req.uri", |call, names| plain(call, names.line(Fetch::CapturedLine(Line::Uri)))),
    ("capture.req.ver", |call, names| plain(call, names.line(Fetch::CapturedLine(Line::Version)))),
    ("capture.res.hdr", |call, _| slot(call, Side::Response)),
    ("capture.res.ver", |call, names| plain(call, names.line(Fetch::CapturedLine(Line::ResponseVersion)))),
    ("connslots", |call, names| backend(call, names).map(|name| Fetch::State(State::FreeSlots(name)))),
    ("cook", |call, _| cookie(call, Side::Request, Form::Text).map(Fetch::Cookie)),
    ("cook_cnt", |call, _| cookie(call, Side::Request, Form::Text).map(Fetch::CookieCount)),
    ("cook_val", |call, _| cookie(call, Side::Request, Form::Number).map(Fetch::Cookie)),
    ("cookie", |call, _| cookie(call, Side::Request, Form::Text).map(Fetch::Cookie)),
    ("cur_server_timeout", |call, _| plain(call, Fetch::About(About::CurrentTimeout(Timeout::Server)))),
    ("cur_tunnel_timeout", |call, _| plain(call, Fetch::About(About::CurrentTimeout(Timeout::Tunnel)))),
    ("date", |call, _| date(call)),
    ("date_us", |call, _| plain(call, Fetch::About(About::Microseconds))),
    ("dst", |call, names| plain(call, names.destination(Fetch::Destination))),
    ("dst_is_local", |call, names| plain(call, names.destination(Fetch::About(About::DestinationIsLocal)))),
    ("dst_port", |call, names| plain(call, names.destination(Fetch::DestinationPort))),
    ("env", |call, _| env(call)),
    ("fc_dst", |call, names| entered(call, names, Connection::Address(End::Destination))),
    ("fc_dst_is_local", |call, names| entered(call, names, Connection::IsLocal(End::Destination))),
    ("fc_dst_port", |call, names| entered(call, names, Connection::Port(End::Destination))),
    ("fc_err", |call, _| plain(call, Fetch::ConnectionError)),
    ("fc_err_str", |call, _| plain(call, Fetch::Constant(Sample::text(b"Success")))),
    ("fc_fackets", |call, names| measured(call, names, Measure::ForwardAcknowledged)),
    ("fc_http_major", |call, _| plain(call, Fetch::About(About::WireVersion))),
    ("fc_lost", |call, names| measured(call, names, Measure::Lost)),
    ("fc_pp_authority", |call, names| entered(call, names, Connection::Extension(AUTHORITY))),
    ("fc_pp_unique_id", |call, names| entered(call, names, Connection::Extension(UNIQUE_ID))),
    ("fc_rcvd_proxy", |call, names| entered(call, names, Connection::CameByProxy)),
    ("fc_reordering", |call, names| measured(call, names, Measure::Reordering)),
    ("fc_retrans", |call, names| measured(call, names, Measure::Retransmitted)),
    ("fc_rtt", |call, names| timed(call, names, Measure::RoundTrip)),
    ("fc_rttvar", |call, names| timed(call, names, Measure::Variance)),
    ("fc_sacked", |call, names| measured(call, names, Measure::Sacked)),
    ("fc_src", |call, names| entered(call, names, Connection::Address(End::Source))),
    ("fc_src_is_local", |call, names| entered(call, names, Connection::IsLocal(End::Source))),
    ("fc_src_port", |call, names| entered(call, names, Connection::Port(End::Source))),
    ("fc_unacked", |call, names| measured(call, names, Measure::Unacknowledged)),
    ("fe_client_timeout", |call, _| plain(call, Fetch::About(About::ClientTimeout))),
    ("fe_conn", |call, names| frontend(call, names).map(|name| Fetch::State(State::FrontendConnections(name)))),
    ("fe_defbe", |call, _| plain(call, Fetch::About(About::DefaultBackend))),
    ("fe_name", |call, _| plain(call, Fetch::FrontendName)),
    ("fe_req_rate", |call, names| frontend(call, names).map(|name| Fetch::State(State::FrontendRequestRate(name)))),
    ("fe_sess_rate", |call, names| frontend(call, names).map(|name| Fetch::State(State::FrontendSessionRate(name)))),
    ("hdr", |call, _| header(call, Side::Request, Form::Text).map(Fetch::Header)),
    ("hdr_cnt", |call, _| counted(call, Side::Request, false).map(Fetch::HeaderCount)),
    ("hdr_ip", |call, _| header(call, Side::Request, Form::Address).map(Fetch::Header)),
    ("hdr_val", |call, _| header(call, Side::Request, Form::Number).map(Fetch::Header)),
    ("hostname", |call, _| plain(call, Fetch::Constant(Sample::text(super::hostname().as_bytes())))),
    ("http_auth", |call, names| userlist(call, names).map(|list| Fetch::Access(Box::new(Access::Admitted(list))))),
    ("http_auth_bearer", |call, _| token(call)),
    ("http_auth_group", |call, names| userlist(call, names).map(|list| Fetch::Access(Box::new(Access::Member(list))))),
    ("http_auth_pass", |call, _| plain(call, Fetch::Access(Box::new(Access::Password)))),
    ("http_auth_type", |call, _| plain(call, Fetch::Access(Box::new(Access::Scheme)))),
    ("http_auth_user", |call, _| plain(call, Fetch::Access(Box::new(Access::Name)))),
    ("http_first_req", |call, _| plain(call, Fetch::IsFirstRequest)),
    ("int", |call, _| integer(call)),
    ("ipv4", |call, _| address(call)),
    ("ipv6", |call, _| address(call)),
    ("last_rule_file", |call, _| plain(call, Fetch::About(About::LastRuleFile))),
    ("last_rule_line", |call, _| plain(call, Fetch::About(About::LastRuleLine))),
    ("meth", |call, _| method(call)),
    ("method", |call, _| plain(call, Fetch::Method)),
    ("nbproc", |call, _| plain(call, Fetch::About(About::Processes))),
    ("nbsrv", |call, names| backend(call, names).map(|name| Fetch::State(State::UsableServers(name)))),
    ("path", |call, _| plain(call, Fetch::Target(Part::Path))),
    ("pathq", |call, _| plain(call, Fetch::Target(Part::PathAndQuery))),
    ("payload", |call, _| payload(call, Origin::AtHand)),
    ("payload_lv", |call, _| payload_lv(call, Origin::AtHand)),
    ("pid", |call, _| plain(call, Fetch::About(About::Process))),
    ("prio_class", |call, _| plain(call, Fetch::State(State::PriorityClass))),
    ("prio_offset", |call, _| plain(call, Fetch::State(State::PriorityOffset))),
    ("proc", |call, _| plain(call, Fetch::About(About::Processes))),
    ("query", |call, _| plain(call, Fetch::Target(Part::Query))),
    ("queue", |call, names| backend(call, names).map(|name| Fetch::State(State::BackendQueue(name)))),
    ("quic_enabled", |call, _| plain(call, Fetch::About(About::SpeaksQuic))),
    ("rand", |call, _| random(call)),
    ("rdp_cookie", |call, _| rdp_cookie(call, Bytes::RdpCookie)),
    ("rdp_cookie_cnt", |call, _| rdp_cookie(call, Bytes::RdpCookieCount)),
    ("rep_ssl_hello_type", |call, names| answered(call, names, plain(call, Fetch::Bytes(Origin::Server, Bytes::TlsMessage)))),
    ("req.body", |call, names| body(call, names, Side::Request, BodyPart::Content)),
    ("req.body_len", |call, names| body(call, names, Side::Request, BodyPart::Length)),
    ("req.body_param", |call, names| body_parameter(call, names)),
    ("req.body_size", |call, names| body(call, names, Side::Request, BodyPart::Size)),
    ("req.cook", |call, _| cookie(call, Side::Request, Form::Text).map(Fetch::Cookie)),
    ("req.cook_cnt", |call, _| cookie(call, Side::Request, Form::Text).map(Fetch::CookieCount)),
    ("req.cook_val", |call, _| cookie(call, Side::Request, Form::Number).map(Fetch::Cookie)),
    ("req.fhdr", |call, _| whole_header(call, Side::Request).map(Fetch::Header)),
    ("req.fhdr_cnt", |call, _| counted(call, Side::Request, true).map(Fetch::HeaderCount)),
    ("req.hdr", |call, _| header(call, Side::Request, Form::Text).map(Fetch::Header)),
    ("req.hdr_cnt", |call, _| counted(call, Side::Request, false).map(Fetch::HeaderCount)),
    ("req.hdr_ip", |call, _| header(call, Side::Request, Form::Address).map(Fetch::Header)),
    ("req.hdr_names", |call, _| header_names(call, Side::Request)),
    ("req.hdr_val", |call, _| header(call, Side::Request, Form::Number).map(Fetch::Header)),
    ("req.hdrs", |call, _| plain(call, Fetch::About(About::RequestFields))),
    ("req.hdrs_bin", |call, _| plain(call, Fetch::About(About::RequestPacked))),
    ("req.len", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::Length))),
    ("req.payload", |call, _| payload(call, Origin::Client)),
    ("req.payload_lv", |call, _| payload_lv(call, Origin::Client)),
    ("req.proto_http", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::IsHttp))),
    ("req.rdp_cookie", |call, _| rdp_cookie(call, Bytes::RdpCookie)),
    ("req.rdp_cookie_cnt", |call, _| rdp_cookie(call, Bytes::RdpCookieCount)),
    ("req.ssl_alpn", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsProtocols))),
    ("req.ssl_hello_type", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsMessage))),
    ("req.ssl_sni", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsName))),
    ("req.ssl_ver", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsVersion))),
    ("req.ver", |call, _| plain(call, Fetch::RequestVersion)),
    ("req_len", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::Length))),
    ("req_proto_http", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::IsHttp))),
    ("req_ssl_hello_type", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsMessage))),
    ("req_ssl_sni", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsName))),
    ("req_ssl_ver", |call, _| plain(call, Fetch::Bytes(Origin::Client, Bytes::TlsVersion))),
    ("req_ver", |call, _| plain(call, Fetch::RequestVersion)),
    ("res.body", |call, names| body(call, names, Side::Response, BodyPart::Content)),
    ("res.body_len", |call, names| body(call, names, Side::Response, BodyPart::Length)),
    ("res.body_size", |call, names| body(call, names, Side::Response, BodyPart::Size)),
    ("res.cache_hit", |call, _| plain(call, Fetch::About(About::IsFromCache))),
    ("res.cache_name", |call, _| plain(call, Fetch::About(About::CacheName))),
    ("res.comp", |call, _| plain(call, Fetch::About(About::IsCompressed))),
    ("res.comp_algo", |call, _| plain(call, Fetch::About(About::Compression))),
    ("res.cook", |call, _| cookie(call, Side::Response, Form::Text).map(Fetch::Cookie)),
    ("res.cook_cnt", |call, _| cookie(call, Side::Response, Form::Text).map(Fetch::CookieCount)),
    ("res.cook_val", |call, _| cookie(call, Side::Response, Form::Number).map(Fetch::Cookie)),
    ("res.fhdr", |call, _| whole_header(call, Side::Response).map(Fetch::Header)),
    ("res.fhdr_cnt", |call, _| counted(call, Side::Response, true).map(Fetch::HeaderCount)),
    ("res.hdr", |call, _| header(call, Side::Response, Form::Text).map(Fetch::Header)),
    ("res.hdr_cnt", |call, _| counted(call, Side::Response, false).map(Fetch::HeaderCount)),
    ("res.hdr_ip", |call, _| header(call, Side::Response, Form::Address).map(Fetch::Header)),
    ("res.hdr_names", |call, _| header_names(call, Side::Response)),
    ("res.hdr_val", |call, _| header(call, Side::Response, Form::Number).map(Fetch::Header)),
    ("res.hdrs", |call, _| plain(call, Fetch::About(About::ResponseFields))),
    ("res.hdrs_bin", |call, _| plain(call, Fetch::About(About::ResponsePacked))),
    ("res.len", |call, names| answered(call, names, plain(call, Fetch::Bytes(Origin::Server, Bytes::Length)))),
    ("res.payload", |call, names| answered(call, names, payload(call, Origin::Server))),
    ("res.payload_lv", |call, names| answered(call, names, payload_lv(call, Origin::Server))),
    ("res.ssl_hello_type", |call, names| answered(call, names, plain(call, Fetch::Bytes(Origin::Server, Bytes::TlsMessage)))),
    ("res.ver", |call, _| plain(call, Fetch::ResponseVersion)),
    ("resp_ver", |call, _| plain(call, Fetch::ResponseVersion)),
    ("scook", |call, _| cookie(call, Side::Response, Form::Text).map(Fetch::Cookie)),
    ("scook_cnt", |call, _| cookie(call, Side::Response, Form::Text).map(Fetch::CookieCount)),
    ("scook_val", |call, _| cookie(call, Side::Response, Form::Number).map(Fetch::Cookie)),
    ("set-cookie", |call, _| cookie(call, Side::Response, Form::Text).map(Fetch::Cookie)),
    ("shdr", |call, _| header(call, Side::Response, Form::Text).map(Fetch::Header)),
    ("shdr_cnt", |call, _| counted(call, Side::Response, false).map(Fetch::HeaderCount)),
    ("shdr_ip", |call, _| header(call, Side::Response, Form::Address).map(Fetch::Header)),
    ("shdr_val", |call, _| header(call, Side::Response, Form::Number).map(Fetch::Header)),
    ("so_name", |call, names| entered(call, names, Connection::DoorName)),
    ("src", |call, _| plain(call, Fetch::Source)),
    ("src_is_local", |call, _| plain(call, Fetch::About(About::SourceIsLocal))),
    ("src_port", |call, _| plain(call, Fetch::SourcePort)),
    ("srv_conn", |call, names| server(call, names).map(|name| Fetch::State(State::ServerConnections(name)))),
    ("srv_conn_free", |call, names| server(call, names).map(|name| Fetch::State(State::FreeOfServer(name)))),
    ("srv_id", |call, _| plain(call, Fetch::About(About::ServerNumber))),
    ("srv_is_up", |call, names| server(call, names).map(|name| Fetch::State(State::ServerIsUp(name)))),
    ("srv_iweight", |call, names| server(call, names).map(|name| Fetch::State(State::Weight(name)))),
    ("srv_name", |call, _| plain(call, Fetch::About(About::ServerName))),
    ("srv_queue", |call, names| server(call, names).map(|name| Fetch::State(State::ServerQueue(name)))),
    ("srv_sess_rate", |call, names| server(call, names).map(|name| Fetch::State(State::ServerSessionRate(name)))),
    ("srv_uweight", |call, names| server(call, names).map(|name| Fetch::State(State::EffectiveWeight(name)))),
    ("srv_weight", |call, names| server(call, names).map(|name| Fetch::State(State::EffectiveWeight(name)))),
    ("ssl_bc", |call, names| server_tls(call, names, Tls::IsThere)),
    ("ssl_bc_alg_keysize", |call, names| server_tls(call, names, Tls::KeySize)),
    ("ssl_bc_alpn", |call, names| server_tls(call, names, Tls::Alpn)),
    ("ssl_bc_cipher", |call, names| server_tls(call, names, Tls::Cipher)),
    ("ssl_bc_err", |call, names| server_tls(call, names, Tls::Error(Fault::None))),
    ("ssl_bc_is_resumed", |call, names| server_tls(call, names, Tls::IsResumed)),
    ("ssl_bc_protocol", |call, names| server_tls(call, names, Tls::Protocol)),
    ("ssl_bc_use_keysize", |call, names| server_tls(call, names, Tls::KeySize)),
    ("ssl_c_ca_err", |call, names| tls(call, names, Tls::Error(Fault::Above))),
    ("ssl_c_ca_err_depth", |call, names| tls(call, names, Tls::Error(Fault::Depth))),
    ("ssl_c_chain_der", |call, names| tls(call, names, Tls::Chain(Owner::Client))),
    ("ssl_c_der", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::Der))),
    ("ssl_c_err", |call, names| tls(call, names, Tls::Error(Fault::Own))),
    ("ssl_c_i_dn", |call, names| name_of(call, names, Owner::Client, tls::Part::Issuer)),
    ("ssl_c_key_alg", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::KeyAlgorithm))),
    ("ssl_c_notafter", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::NotAfter))),
    ("ssl_c_notbefore", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::NotBefore))),
    ("ssl_c_s_dn", |call, names| name_of(call, names, Owner::Client, tls::Part::Subject)),
    ("ssl_c_serial", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::Serial))),
    ("ssl_c_sha1", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::Sha1))),
    ("ssl_c_sig_alg", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::SignatureAlgorithm))),
    ("ssl_c_used", |call, names| tls(call, names, Tls::UsesCertificate)),
    ("ssl_c_verify", |call, names| tls(call, names, Tls::Error(Fault::Last))),
    ("ssl_c_version", |call, names| tls(call, names, Tls::Certificate(Owner::Client, tls::Part::Version))),
    ("ssl_f_der", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::Der))),
    ("ssl_f_i_dn", |call, names| name_of(call, names, Owner::Ourselves, tls::Part::Issuer)),
    ("ssl_f_key_alg", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::KeyAlgorithm))),
    ("ssl_f_notafter", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::NotAfter))),
    ("ssl_f_notbefore", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::NotBefore))),
    ("ssl_f_s_dn", |call, names| name_of(call, names, Owner::Ourselves, tls::Part::Subject)),
    ("ssl_f_serial", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::Serial))),
    ("ssl_f_sha1", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::Sha1))),
    ("ssl_f_sig_alg", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::SignatureAlgorithm))),
    ("ssl_f_version", |call, names| tls(call, names, Tls::Certificate(Owner::Ourselves, tls::Part::Version))),
    ("ssl_fc", |call, _| plain(call, Fetch::IsTls)),
    ("ssl_fc_alg_keysize", |call, names| tls(call, names, Tls::KeySize)),
    ("ssl_fc_alpn", |call, names| tls(call, names, Tls::Alpn)),
    ("ssl_fc_cipher", |call, names| tls(call, names, Tls::Cipher)),
    ("ssl_fc_err", |call, names| tls(call, names, Tls::Error(Fault::None))),
    ("ssl_fc_has_crt", |call, names| tls(call, names, Tls::HasCertificate)),
    ("ssl_fc_has_early", |call, names| tls(call, names, Tls::HasEarlyData)),
    ("ssl_fc_has_sni", |call, names| tls(call, names, Tls::HasHost)),
    ("ssl_fc_is_resumed", |call, names| tls(call, names, Tls::IsResumed)),
    ("ssl_fc_protocol", |call, names| tls(call, names, Tls::Protocol)),
    ("ssl_fc_sni", |call, names| tls(call, names, Tls::Host)),
    ("ssl_fc_use_keysize", |call, names| tls(call, names, Tls::KeySize)),
    ("ssl_s_chain_der", |call, names| server_tls(call, names, Tls::Chain(Owner::Server))),
    ("ssl_s_der", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::Der))),
    ("ssl_s_i_dn", |call, names| name_of(call, names, Owner::Server, tls::Part::Issuer)),
    ("ssl_s_key_alg", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::KeyAlgorithm))),
    ("ssl_s_notafter", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::NotAfter))),
    ("ssl_s_notbefore", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::NotBefore))),
    ("ssl_s_s_dn", |call, names| name_of(call, names, Owner::Server, tls::Part::Subject)),
    ("ssl_s_serial", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::Serial))),
    ("ssl_s_sha1", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::Sha1))),
    ("ssl_s_sig_alg", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::SignatureAlgorithm))),
    ("ssl_s_version", |call, names| server_tls(call, names, Tls::Certificate(Owner::Server, tls::Part::Version))),
    ("status", |call, _| plain(call, Fetch::Status)),
    ("stopping", |call, _| plain(call, Fetch::About(About::IsStopping))),
    ("str", |call, _| text(call)),
    ("table_avl", |call, names| entries(call, names).map(Fetch::FreeEntries)),
    ("table_cnt", |call, names| entries(call, names).map(Fetch::Entries)),
    ("thread", |call, _| plain(call, Fetch::About(About::Thread))),
    ("unique-id", |call, _| plain(call, Fetch::UniqueId)),
    ("url", |call, _| plain(call, Fetch::Target(Part::Url))),
    ("url32", |call, _| plain(call, Fetch::About(About::Hash(Whole::WithQuery)))),
    ("url32+src", |call, _| plain(call, Fetch::About(About::HashAndSource(Whole::WithQuery)))),
    ("url_ip", |call, _| plain(call, Fetch::About(About::TargetAddress))),
    ("url_param", |call, _| parameter(call, Form::Text)),
    ("url_port", |call, _| plain(call, Fetch::About(About::TargetPort))),
    ("urlp", |call, _| parameter(call, Form::Text)),
    ("urlp_val", |call, _| parameter(call, Form::Number)),
    ("uuid", |call, _| uuid(call)),
    ("var", |call, names| variable(call, names)),
    ("wait_end", |call, _| plain(call, Fetch::Bytes(Origin::AtHand, Bytes::WaitEnd))),
];

/// Returns every known name.
pub(in crate::rules) fn names() -> Vec<&'static str> {
    TABLE.iter().map(|(name, _)| *name).collect()
}

/// Makes the fetch of that name.
///
/// # Errors
/// Names what is not known, and arguments that do not fit.
pub(in crate::rules) fn build(call: &Call<'_, '_>, variables: &mut Names) -> Result<Fetch, Diagnostic> {
    if let Some(question) = Question::build(call, variables) {
        return question.map(Fetch::Question);
    }
    match TABLE.iter().find(|(name, _)| *name == call.name) {
        Some((_, build)) => build(call, variables),
        None => {
            let (message, hint) = unknown("sample fetch", call.name, &names(), refused::FETCHES);
            Err(call.error(message).hint(hint))
        }
    }
}

fn server_line(call: &Call<'_, '_>, names: &mut Names, what: Connection) -> Result<Fetch, Diagnostic> {
    plain(call, names.server_line(Fetch::Connection(what)))
}

fn entered(call: &Call<'_, '_>, names: &mut Names, what: Connection) -> Result<Fetch, Diagnostic> {
    let asking = names.entry(Fetch::Connection(what));
    let (Connection::Address(end) | Connection::Port(end) | Connection::IsLocal(end)) = what else { return plain(call, asking) };
    plain(call, if end == End::Destination { names.destination(asking) } else { asking })
}

fn measured(call: &Call<'_, '_>, names: &mut Names, what: Measure) -> Result<Fetch, Diagnostic> {
    plain(call, names.measuring(Fetch::Connection(Connection::Measured(what))))
}

fn timed(call: &Call<'_, '_>, names: &mut Names, what: fn(Scale) -> Measure) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let scale = match call.optional(0) {
        None => Scale::Milliseconds,
        Some(unit) if unit.text == "ms" => Scale::Milliseconds,
        Some(unit) if unit.text == "us" => Scale::Microseconds,
        Some(unit) => return Err(call.error_in(unit, format!("`{}` is not ms or us", unit.text))),
    };
    Ok(names.measuring(Fetch::Connection(Connection::Measured(what(scale)))))
}

/// Reads a method of HTTP, which is a constant; without one it is that of the request.
fn method(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    Ok(call.optional(0).map_or(Fetch::Method, |name| Fetch::Constant(Sample::own(name.text.clone().into_bytes()))))
}

fn entries(call: &Call<'_, '_>, names: &Names) -> Result<Arc<Table>, Diagnostic> {
    call.at_most(1)?;
    match call.optional(0) {
        Some(name) => names.table(&name.text).map_err(|message| call.error_in(name, message)),
        None => names.own_table().map_err(|message| call.error(message)),
    }
}

fn tls(call: &Call<'_, '_>, names: &mut Names, what: Tls) -> Result<Fetch, Diagnostic> {
    plain(call, names.tls(Fetch::Tls(Box::new(what))))
}

fn server_tls(call: &Call<'_, '_>, names: &mut Names, what: Tls) -> Result<Fetch, Diagnostic> {
    plain(call, names.server_tls(Fetch::ServerTls(Box::new(what))))
}

/// Reads which part of a name is meant: an attribute, which of several, and how the whole is printed.
fn name_of(call: &Call<'_, '_>, names: &mut Names, owner: Owner, part: fn(NamePart) -> tls::Part) -> Result<Fetch, Diagnostic> {
    call.at_most(3)?;
    let occurrence = call.number(1, 1)?;
    let is_rfc2253 = match call.optional(2) {
        None => false,
        Some(format) if format.text == "rfc2253" => true,
        Some(format) => return Err(call.error_in(format, format!("`{}` is not rfc2253", format.text))),
    };
    let name = match call.optional(0) {
        Some(name) => NamePart::Attribute { name: name.text.as_str().into(), occurrence },
        None if is_rfc2253 => NamePart::Rfc2253,
        None => NamePart::Whole,
    };
    let what = Box::new(Tls::Certificate(owner, part(name)));
    Ok(if owner == Owner::Server { names.server_tls(Fetch::ServerTls(what)) } else { names.tls(Fetch::Tls(what)) })
}

fn slot(call: &Call<'_, '_>, side: Side) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    Ok(Fetch::Captured(side, offset(call, 0, "the number of a capture")?))
}

/// Reads the name of a list of users that there is.
fn userlist(call: &Call<'_, '_>, names: &mut Names) -> Result<Arc<Userlist>, Diagnostic> {
    call.at_most(1)?;
    let name = call.required(0, "the name of a userlist")?;
    names.userlist(&name.text).map_err(|message| call.error_in(name, message))
}

fn token(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let field = call.optional(0).map_or("authorization", |name| name.text.as_str());
    Ok(Fetch::Access(Box::new(Access::Token(field.into()))))
}

fn plain(call: &Call<'_, '_>, fetch: Fetch) -> Result<Fetch, Diagnostic> {
    call.at_most(0).map(|()| fetch)
}

fn body(call: &Call<'_, '_>, names: &mut Names, side: Side, part: BodyPart) -> Result<Fetch, Diagnostic> {
    names.looks_at_bodies = true;
    plain(call, Fetch::Body(Body { side, part }))
}

fn body_parameter(call: &Call<'_, '_>, names: &mut Names) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    names.looks_at_bodies = true;
    let name = call.optional(0).map(|name| name.text.as_bytes().into());
    Ok(Fetch::Body(Body { side: Side::Request, part: BodyPart::Parameter(name, Form::Text) }))
}

fn text(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let text = call.required(0, "a string")?.text.clone();
    Ok(Fetch::Constant(Sample::own(text.into_bytes())))
}

fn integer(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    call.required(0, "a whole number")?;
    call.number(0, 0).map(|value| Fetch::Constant(Sample::Int(value)))
}

fn boolean(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "true or false")?;
    match argument.text.as_str() {
        "true" | "1" => Ok(Fetch::Constant(Sample::Bool(true))),
        "false" | "0" => Ok(Fetch::Constant(Sample::Bool(false))),
        other => Err(call.error_in(argument, format!("`{other}` is neither true nor false"))),
    }
}

fn address(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "an address")?;
    let wanted = if call.name == "ipv4" { "IPv4" } else { "IPv6" };
    let address = argument.text.parse::<std::net::IpAddr>().ok().filter(|address| address.is_ipv4() == (wanted == "IPv4"));
    let wrong = || call.error_in(argument, format!("`{}` is not an {wanted} address", argument.text));
    address.map(|address| Fetch::Constant(Sample::Address(address))).ok_or_else(wrong)
}

fn bin(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let argument = call.required(0, "hexadecimal digits")?;
    let wrong = || call.error_in(argument, format!("`{}` is no even number of hexadecimal digits", argument.text));
    let bytes = hexadecimal(&argument.text).ok_or_else(wrong)?;
    Ok(Fetch::Constant(Sample::Binary(bytes.into())))
}

fn offset(call: &Call<'_, '_>, index: usize, what: &str) -> Result<usize, Diagnostic> {
    let argument = call.required(index, what)?;
    argument.text.parse().map_err(|_| call.error_in(argument, format!("`{}` is not a number", argument.text)))
}

/// Refuses to look at the bytes of a server where they are a response of HTTP.
fn answered(call: &Call<'_, '_>, names: &Names, fetch: Result<Fetch, Diagnostic>) -> Result<Fetch, Diagnostic> {
    match names.is_http() {
        true => Err(call.error(format!("`{}` is looked at in mode tcp only", call.name)).hint("res.body, res.hdr, status")),
        false => fetch,
    }
}

fn payload(call: &Call<'_, '_>, origin: Origin) -> Result<Fetch, Diagnostic> {
    call.at_most(2)?;
    let what = "an offset and a length";
    let (start, length) = (offset(call, 0, what)?, offset(call, 1, what)?);
    Ok(Fetch::Bytes(origin, Bytes::Payload { start, length: Some(length).filter(|length| *length > 0) }))
}

fn payload_lv(call: &Call<'_, '_>, origin: Origin) -> Result<Fetch, Diagnostic> {
    call.at_most(3)?;
    let what = "an offset and the size of a length";
    let (at, size) = (offset(call, 0, what)?, offset(call, 1, what)?);
    if !(1..=8).contains(&size) {
        return Err(call.error("a length is written in 1 to 8 bytes"));
    }
    let start = match call.optional(2) {
        None => Start::Behind(0),
        Some(argument) => {
            let distance = || argument.text.parse::<i64>().ok().and_then(|value| usize::try_from(value.unsigned_abs()).ok());
            let distance = distance().ok_or_else(|| call.error_in(argument, format!("`{}` is not a number of bytes", argument.text)))?;
            match argument.text.as_bytes().first() {
                Some(b'+') => Start::Behind(distance),
                Some(b'-') => Start::Before(distance),
                _ => Start::At(distance),
            }
        }
    };
    Ok(Fetch::Bytes(origin, Bytes::Measured { at, size, start }))
}

fn rdp_cookie(call: &Call<'_, '_>, of: fn(Option<Box<[u8]>>) -> Bytes) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    Ok(Fetch::Bytes(Origin::Client, of(call.optional(0).map(|name| name.text.as_bytes().into()))))
}

/// Reads the name of a backend that there is; none for the one at hand.
fn backend(call: &Call<'_, '_>, names: &Names) -> Result<Option<Box<str>>, Diagnostic> {
    call.at_most(1)?;
    let Some(name) = call.optional(0) else { return Ok(None) };
    if names.has_backend(&name.text) {
        return Ok(Some(name.text.as_str().into()));
    }
    Err(call.error_in(name, format!("no backend `{}`", name.text)))
}

/// Reads the name of a frontend, if there is one.
fn frontend(call: &Call<'_, '_>, names: &Names) -> Result<Option<Box<str>>, Diagnostic> {
    call.at_most(1)?;
    let Some(name) = call.optional(0) else { return Ok(None) };
    if names.has_frontend(&name.text) {
        return Ok(Some(name.text.as_str().into()));
    }
    Err(call.error_in(name, format!("no frontend `{}`", name.text)))
}

/// Reads the name of a server, behind that of its backend and a slash unless it is in the one at hand.
fn server(call: &Call<'_, '_>, names: &Names) -> Result<ServerName, Diagnostic> {
    call.at_most(1)?;
    let name = call.required(0, "the name of a server")?;
    let (backend, server) = name.text.split_once('/').map_or((None, name.text.as_str()), |(backend, server)| (Some(backend), server));
    let known = backend.is_none_or(|backend| names.has_server(backend, server));
    let found = ServerName { backend: backend.map(Into::into), server: server.into() };
    Some(found).filter(|_| known).ok_or_else(|| call.error_in(name, format!("no server `{}`", name.text)))
}

/// Reads pairs of hexadecimal digits.
pub(in crate::rules) fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.len().is_multiple_of(2);
    digits.then(|| text.as_bytes().chunks(2).map(pair).collect()).flatten()
}

fn env(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let name = &call.required(0, "the name of an environment variable")?.text;
    Ok(Fetch::Constant(Sample::own(std::env::var(name).unwrap_or_default().into_bytes())))
}

fn date(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(2)?;
    let unit = match call.optional(1).map(|unit| (unit.text.as_str(), unit)) {
        None | Some(("s", _)) => Unit::Seconds,
        Some(("ms", _)) => Unit::Milliseconds,
        Some(("us", _)) => Unit::Microseconds,
        Some((other, argument)) => return Err(call.error_in(argument, format!("`{other}` is not s, ms or us"))),
    };
    Ok(Fetch::Date { offset: call.number(0, 0)?, unit })
}

fn random(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let below = call.number(0, i64::from(u32::MAX))?;
    let below = u32::try_from(below).ok().filter(|below| *below > 0);
    below.map(|below| Fetch::Random { below }).ok_or_else(|| call.error("`rand` wants a number from 1 to 4294967295"))
}

fn uuid(call: &Call<'_, '_>) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    match call.number(0, 4)? {
        4 => Ok(Fetch::Uuid),
        other => Err(call.error(format!("version {other} of `uuid` is not supported")).hint("version 4 is random")),
    }
}

fn header(call: &Call<'_, '_>, side: Side, form: Form) -> Result<HeaderField, Diagnostic> {
    field(call, side, form, false)
}

/// Kinds of extensions of PROXY headers.
const AUTHORITY: u8 = 0x02;
const UNIQUE_ID: u8 = 0x05;

fn whole_header(call: &Call<'_, '_>, side: Side) -> Result<HeaderField, Diagnostic> {
    field(call, side, Form::Text, true)
}

/// Returns the field whose values are counted, or all fields where none is named.
fn counted(call: &Call<'_, '_>, side: Side, whole: bool) -> Result<HeaderField, Diagnostic> {
    match call.optional(0) {
        Some(_) => field(call, side, Form::Text, whole),
        None => Ok(HeaderField::new(side, "", whole, Form::Text, None)),
    }
}

fn field(call: &Call<'_, '_>, side: Side, form: Form, whole: bool) -> Result<HeaderField, Diagnostic> {
    call.at_most(2)?;
    let name = call.required(0, "the name of a header field")?;
    if name.text.is_empty() || !name.text.bytes().all(is_token) {
        return Err(call.error_in(name, format!("`{}` cannot be the name of a header field", name.text)));
    }
    let occurrence = match call.optional(1) {
        None => None,
        Some(argument) => match call.number(1, 0)? {
            0 => None,
            occurrence @ -10..=i64::MAX => Some(occurrence),
            _ => return Err(call.error_in(argument, "occurrences are counted from 1, or backwards from -1 to -10")),
        },
    };
    Ok(HeaderField::new(side, &name.text, whole, form, occurrence))
}

fn header_names(call: &Call<'_, '_>, side: Side) -> Result<Fetch, Diagnostic> {
    call.at_most(1)?;
    let delimiter = call.optional(0).map_or(",", |argument| argument.text.as_str()).to_owned();
    Ok(Fetch::HeaderNames { side, delimiter })
}

fn cookie(call: &Call<'_, '_>, side: Side, form: Form) -> Result<Cookie, Diagnostic> {
    call.at_most(1)?;
    Ok(Cookie { side, name: call.optional(0).map(|name| name.text.as_bytes().into()), form })
}

fn parameter(call: &Call<'_, '_>, form: Form) -> Result<Fetch, Diagnostic> {
    call.at_most(2)?;
    let name = call.optional(0).map(|name| name.text.as_bytes().into());
    let delimiter = match call.optional(1) {
        None => b'?',
        Some(argument) => match argument.text.as_bytes() {
            [byte] => *byte,
            _ => return Err(call.error_in(argument, "the delimiter is a single character")),
        },
    };
    Ok(Fetch::Parameter(Parameter { name, delimiter, form }))
}

fn variable(call: &Call<'_, '_>, names: &mut Names) -> Result<Fetch, Diagnostic> {
    call.at_most(2)?;
    let name = call.required(0, "the name of a variable")?;
    let id = names.variable(&name.text).map_err(|message| call.error_in(name, message))?;
    let default = call.arguments.get(1).map(|default| Sample::own(default.text.clone().into_bytes()));
    Ok(Fetch::Variable { id, default })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_both_known_and_missing() {
        let known = names();
        let both: Vec<_> = refused::FETCHES.iter().filter(|(name, _)| known.contains(name)).collect();
        assert!(both.is_empty(), "{both:?}");
        assert!(known.is_sorted(), "so that a name is found by eye");
        assert!(DERIVING.iter().all(|name| known.contains(name)));
    }

    #[test]
    fn digits_come_in_pairs() {
        assert_eq!(hexadecimal("48656C6c6f"), Some(b"Hello".to_vec()));
        for text in ["4", "4g", "+4"] {
            assert_eq!(hexadecimal(text), None, "{text}");
        }
    }
}

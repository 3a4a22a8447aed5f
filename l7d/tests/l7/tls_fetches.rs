//! What rules know of the TLS of clients: what was agreed on, and the certificates of both sides.

use std::net::SocketAddr;
use std::process::Command;

use crate::certs::Authority;
use crate::kit::refusal;
use crate::twins::Twins;

/// What rules and lines ask, each printed behind the one before.
const ASKED: [&str; 12] = [
    "%[ssl_fc]|%[ssl_fc_protocol]|%[ssl_fc_cipher]|%[ssl_fc_alg_keysize]|%[ssl_fc_use_keysize]|%[ssl_fc_alpn]|%[ssl_fc_sni]",
    "%[ssl_fc_has_sni]|%[ssl_fc_is_resumed]|%[ssl_fc_has_early]|%[ssl_fc_has_crt]|%[ssl_c_used]|%[ssl_c_verify]|%[ssl_c_err]|%[ssl_c_ca_err]|%[ssl_c_ca_err_depth]",
    "%[ssl_fc_err]|%[ssl_fc_err,hex]|%[fc_err]",
    "%[ssl_c_s_dn]|%[ssl_c_s_dn(CN)]|%[ssl_c_s_dn(OU)]|%[ssl_c_s_dn(OU,2)]|%[ssl_c_s_dn(OU,-1)]|%[ssl_c_s_dn(OU,-3)]|%[ssl_c_s_dn(,0,rfc2253)]",
    "%[ssl_c_i_dn]|%[ssl_c_i_dn(CN)]|%[ssl_c_i_dn(O)]",
    "%[ssl_c_serial,hex]|%[ssl_c_sha1,hex]|%[ssl_c_version]|%[ssl_c_notbefore]|%[ssl_c_notafter]|%[ssl_c_sig_alg]|%[ssl_c_key_alg]",
    "%[ssl_c_der,sha1,hex]|%[ssl_c_chain_der,sha1,hex]",
    "%[ssl_f_s_dn]|%[ssl_f_i_dn(CN)]|%[ssl_f_serial,hex]|%[ssl_f_sha1,hex]|%[ssl_f_version]|%[ssl_f_notbefore]|%[ssl_f_notafter]",
    "%[ssl_f_sig_alg]|%[ssl_f_key_alg]|%[ssl_f_der,sha1,hex]",
    "%[src,hex]|%[int(5),hex]|%[bool(true),hex]|%[int(1),base64]|%[src,sha1,hex]|%[int(7),crc32]",
    "%sslv %sslc",
    "%ft",
];

struct Client {
    certificate: Option<std::path::PathBuf>,
    arguments: &'static [&'static str],
}

/// Asks by curl, and returns the field with everything the rules know.
fn ask(door: SocketAddr, host: &str, client: &Client) -> String {
    let mut command = Command::new("curl");
    command.args(["-sk", "-m", "20", "-D", "-", "-o", "/dev/null"]).args(client.arguments);
    command.args(["--resolve", &format!("{host}:{}:{}", door.port(), door.ip())]);
    if let Some(certificate) = &client.certificate {
        command.arg("--cert").arg(certificate);
    }
    let output = command.arg(format!("https://{host}:{}/", door.port())).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().filter(|line| line.to_ascii_lowercase().starts_with("x-")).collect::<Vec<_>>().join("\n").to_ascii_lowercase()
}

#[test]
fn rules_know_what_those_of_haproxy_know() {
    let authority = Authority::new();
    let first = authority.pem(&["a.example"]);
    let issued = authority.issue_with(&["b.example"], "rsa:2048", 20);
    let second = authority.join("b.example.pem", &[&issued.certificate, &issued.key]);
    authority.openssl("req -new -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /C=FR/O=Some,Org/OU=one/OU=two/OU=three/CN=ann/emailAddress=ann@a.example");
    std::fs::write(authority.path("plain"), "basicConstraints = CA:FALSE\n").unwrap();
    authority.openssl("x509 -req -extfile plain -in client.csr -CA ca.crt -CAkey ca.key -set_serial 0x80ABCDEF01 -days 20 -out client.crt");
    let certificate = authority.join("client.pem", &[&authority.path("client.crt"), &authority.path("client.key")]);
    let (server, _) = crate::http::hello();
    // What is asked for in a line has quotes around it, and what is asked for in a rule ends up in the answer.
    let rules: String =
        ASKED[..10].iter().enumerate().map(|(number, asked)| format!(" http-response set-header X-{number} \"{asked}\"\n")).collect();
    let config = format!(
        "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
         frontend f\n bind @DOOR@ ssl crt {} crt {} verify optional ca-file {} alpn h2,http/1.1\n log-format '{}'\n \
         http-after-response set-header X-After \"%[ssl_c_s_dn(cn)]\"\n default_backend b\nbackend b\n{rules} server s {}\n",
        first.display(),
        second.display(),
        authority.root().display(),
        ASKED.join(" "),
        server.address()
    );
    let twins = Twins::start(&config);
    let clients = [
        Client { certificate: None, arguments: &["--tlsv1.3"] },
        Client { certificate: Some(certificate.clone()), arguments: &["--tlsv1.3"] },
        Client { certificate: Some(certificate.clone()), arguments: &["--tls-max", "1.2", "--http1.1"] },
        Client {
            certificate: Some(certificate),
            arguments: &["--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"],
        },
    ];
    for client in &clients {
        for host in ["a.example", "b.example", "c.example"] {
            let [ours, theirs] = [&twins.ours, &twins.theirs].map(|twin| (ask(twin.door, host, client), twin.line()));
            assert!(theirs.0.contains("x-0: "), "{}", theirs.0);
            assert_eq!(ours, theirs, "{host} {:?}", client.arguments);
        }
    }
}

#[test]
fn what_cannot_be_known_is_refused_with_the_reason() {
    for (name, reason) in [
        ("ssl_fc_client_random", "the TLS library keeps it to itself"),
        ("ssl_fc_cipherlist_str", "what a client has offered is not kept"),
        ("ssl_fc_npn", "ALPN took its place"),
        ("ssl_c_s_dn(CN,1,xml)", "is not rfc2253"),
    ] {
        let site = format!(
            "[frontend.f]\nbind = \"127.0.0.1:1\"\ntimeout = {{ client = \"1s\" }}\nrules = ['http-request set-header A %[{name}]']\n"
        );
        let said = refusal(&site);
        assert!(said.contains(reason), "{name}: {said}");
    }
}

/// What rules ask about the TLS with a server.
const ASKED_OF_SERVERS: [&str; 6] = [
    "%[ssl_bc]|%[ssl_bc_protocol]|%[ssl_bc_cipher]|%[ssl_bc_alg_keysize]|%[ssl_bc_use_keysize]|%[ssl_bc_alpn]|%[ssl_bc_err]",
    "%[ssl_s_s_dn]|%[ssl_s_s_dn(CN)]|%[ssl_s_i_dn(CN)]",
    "%[ssl_s_serial,hex]|%[ssl_s_sha1,hex]|%[ssl_s_version]|%[ssl_s_notbefore]|%[ssl_s_notafter]",
    "%[ssl_s_sig_alg]|%[ssl_s_key_alg]|%[ssl_s_der,sha1,hex]",
    "%[ssl_s_chain_der,sha1,hex]",
    "%[ssl_bc_is_resumed]",
];

#[test]
fn rules_know_of_servers_what_those_of_haproxy_know() {
    let authority = Authority::new();
    let certificate = authority.pem(&["a.example"]);
    let (behind, _) = crate::http::hello();
    let inner = crate::kit::unused_address();
    // The server with TLS is one of our own.
    let _server = crate::kit::Daemon::start(&format!(
        "[defaults]\ntimeout = {{ connect = \"2s\", client = \"30s\", server = \"30s\" }}\n[frontend.tls]\n\
         bind = {{ address = \"{inner}\", tls = {{ certificates = [\"{}\"], alpn = [\"h2\", \"http/1.1\"], tickets = false }} }}\ndefault-backend = \"b\"\n\
         [backend.b]\nserver = {{ s = \"{}\" }}\n",
        certificate.display(),
        behind.address()
    ));
    let fields: String =
        ASKED_OF_SERVERS.iter().enumerate().map(|(number, asked)| format!(" http-response set-header X-{number} \"{asked}\"\n")).collect();
    for settings in ["ssl verify none", "ssl verify none alpn h2", "ssl verify none ssl-max-ver TLSv1.2", ""] {
        let server = if settings.is_empty() { behind.address() } else { inner };
        let config = format!(
            "global\n log @LOG@ local0\n nbthread 1\ndefaults\n mode http\n log global\n timeout client 30s\n timeout server 30s\n timeout connect 2s\n\
             frontend f\n bind @DOOR@\n log-format \"%ST %[ssl_bc] %[ssl_bc_protocol]\"\n default_backend b\nbackend b\n{fields} server s {server} {settings}\n"
        );
        let twins = Twins::start(&config);
        let (answer, _) = twins.compare("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let expected = if settings.is_empty() { "x-0:0|" } else { "x-0:1|TLSv1." };
        assert!(answer.iter().any(|field| field.starts_with(expected)), "{settings}: {answer:?}");
    }
}

//! What is wrong with certificates of clients and overlooked, beside Debian's haproxy.

use std::path::Path;
use std::process::Command;

use crate::certs::Authority;
use crate::kit::{Daemon, Haproxy, unused_address};

/// Asks with a certificate, and returns what the answer says of it; nothing if the handshake failed.
fn ask(front: std::net::SocketAddr, certificate: &Path, key: &Path) -> String {
    let output = Command::new("curl")
        .args(["-sk", "--max-time", "20", "--cert"])
        .arg(certificate)
        .arg("--key")
        .arg(key)
        .arg(format!("https://{front}/"))
        .output()
        .expect("curl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn faults_of_certificates_are_overlooked_and_told_as_haproxy_does() {
    let (authority, other) = (Authority::new(), Authority::named("other"));
    let site = authority.pem(&["site.example.org"]);
    let mut shown = vec![("good", authority.issue(&["good.example.org"])), ("unknown", other.issue(&["unknown.example.org"]))];
    shown.push(("expired", authority.outdated("expired.example.org")));
    shown.push(("forged", other.outdated("forged.example.org")));
    other.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout self.key -out self.crt -days 30 -subj /CN=self");
    let mut files: Vec<_> = shown.iter().map(|(name, issued)| (*name, issued.certificate.clone(), issued.key.clone())).collect();
    let whole = other.join("whole.crt", &[&files[1].1, &other.root()]);
    files.push(("whole", whole, files[1].2.clone()));
    files.push(("self", other.path("self.crt"), other.path("self.key")));
    let ignored = [
        "",
        "crt-ignore-err all ca-ignore-err all",
        "crt-ignore-err all",
        "ca-ignore-err all",
        "crt-ignore-err 10,18",
        "crt-ignore-err 10",
        "crt-ignore-err 20",
        "crt-ignore-err 20,21",
    ];
    for ignored in ignored {
        let config = |front: std::net::SocketAddr| {
            format!(
                "defaults\n mode http\n timeout client 30s\nfrontend f\n bind {front} ssl crt {} ca-file {} verify optional {ignored}\n \
                 http-request return status 200 content-type text/plain lf-string \"%[ssl_c_err] %[ssl_c_ca_err] %[ssl_c_ca_err_depth] %[ssl_c_verify] %[ssl_c_used]\"\n",
                site.display(),
                authority.root().display()
            )
        };
        let (ours, theirs) = (unused_address(), unused_address());
        let _daemon = Daemon::start_haproxy(&config(ours));
        let _peer = Haproxy::find().start(&config(theirs), theirs);
        for (name, certificate, key) in &files {
            let said = ask(ours, certificate, key);
            assert_eq!(said, ask(theirs, certificate, key), "{name} {ignored}");
            assert!(*name != "good" || said == "0 0 0 0 1", "{said}");
        }
    }
}

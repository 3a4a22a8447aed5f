//! Certificates made on the spot by the openssl program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::directory;

/// An authority and the files of what it has signed; removed when dropped.
pub(crate) struct Authority {
    directory: PathBuf,
}

/// A certificate and its key, each in a file of its own.
pub(crate) struct Issued {
    /// The certificate's file.
    pub(crate) certificate: PathBuf,
    /// The key's file.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// Makes an authority.
    pub(crate) fn new() -> Self {
        Self::named("authority")
    }

    /// Makes an authority of this name.
    pub(crate) fn named(name: &str) -> Self {
        let authority = Self { directory: directory() };
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN={name}"
        ));
        fs::write(authority.path("index"), "").unwrap();
        fs::write(authority.path("number"), "01").unwrap();
        let config = "[ca]\ndefault_ca = c\n[c]\ndatabase = index\ncrlnumber = number\nserial = serial\nrand_serial = yes\ndefault_md = sha256\n[p]\ncommonName = supplied\n";
        fs::write(authority.path("ca.cnf"), config).unwrap();
        authority
    }

    /// Returns the path of a file beside the others.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the authority's certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.path("ca.crt")
    }

    /// Issues a certificate for host names, the first of which also names the files.
    pub(crate) fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, "ec -pkeyopt ec_paramgen_curve:P-256", 30)
    }

    /// Issues a certificate with a key of this kind that is valid for so many days from now.
    pub(crate) fn issue_with(&self, hosts: &[&str], kind: &str, days: i32) -> Issued {
        let name = hosts[0].trim_start_matches("*.");
        let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        fs::write(self.path("extensions"), format!("subjectAltName = {}\n", names.join(","))).unwrap();
        self.openssl(&format!("req -new -newkey {kind} -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out {name}.crt"
        ));
        Issued { certificate: self.path(&format!("{name}.crt")), key: self.path(&format!("{name}.key")) }
    }

    /// Issues a certificate that was valid in the year 2020.
    pub(crate) fn outdated(&self, name: &str) -> Issued {
        fs::write(self.path("extensions"), format!("subjectAltName = DNS:{name}\n")).unwrap();
        self.openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        let ca = "ca -batch -notext -config ca.cnf -cert ca.crt -keyfile ca.key -policy p -rand_serial -outdir .";
        self.openssl(&format!(
            "{ca} -startdate 20200101000000Z -enddate 20210101000000Z -extfile extensions -in {name}.csr -out {name}.crt"
        ));
        Issued { certificate: self.path(&format!("{name}.crt")), key: self.path(&format!("{name}.key")) }
    }

    /// Revokes a certificate, and returns the list of all that are.
    pub(crate) fn revoke(&self, issued: &Issued) -> PathBuf {
        let ca = "ca -config ca.cnf -cert ca.crt -keyfile ca.key";
        self.openssl(&format!("{ca} -revoke {}", issued.certificate.display()));
        self.openssl(&format!("{ca} -gencrl -crldays 30 -out ca.crl"));
        self.path("ca.crl")
    }

    /// Writes files one behind the other into one, and returns its path.
    pub(crate) fn join(&self, name: &str, files: &[&Path]) -> PathBuf {
        let parts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        fs::write(self.path(name), parts.concat()).unwrap();
        self.path(name)
    }

    /// Issues a certificate and returns a file with it and its key.
    pub(crate) fn pem(&self, hosts: &[&str]) -> PathBuf {
        let issued = self.issue(hosts);
        self.join(&format!("{}.pem", hosts[0].trim_start_matches("*.")), &[&issued.certificate, &issued.key])
    }

    /// Runs openssl in the directory of the files; `command` is split at spaces.
    pub(crate) fn openssl(&self, command: &str) {
        let output = Command::new("openssl").args(command.split_whitespace()).current_dir(&self.directory).output().unwrap();
        assert!(output.status.success(), "openssl {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

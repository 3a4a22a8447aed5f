//! What is asked: a client and its request, as options say them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use crate::h1::parse::{self, Parsed};
use crate::message::head::{RequestHead, ResponseHead};
use crate::site::{Door, Site};
use crate::tls::Session;

/// A client and its request.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// The frontend the client comes in by; not needed where there is one only.
    #[arg(long, value_name = "NAME")]
    frontend: Option<String>,
    /// The method of the request.
    #[arg(long, default_value = "GET")]
    method: String,
    /// The host the request is for.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The target of the request: its path, and whatever follows it.
    #[arg(long, default_value = "/")]
    path: String,
    /// Where the client is: ADDRESS or ADDRESS:PORT.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    src: String,
    /// Where the client connected to: ADDRESS or ADDRESS:PORT; otherwise an address that the frontend listens on.
    #[arg(long, value_name = "ADDRESS")]
    dst: Option<String>,
    /// A field of the request; any number of them.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body of the request.
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// The host that the client of TLS asks for; a client of a frontend with TLS speaks it with or without this.
    #[arg(long, value_name = "HOST")]
    sni: Option<String>,
    /// A file with the certificate that the client of TLS shows, which is taken for verified; to a running process it is sent behind <<.
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// The status of the server's response, which then goes through the rules about responses.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..600))]
    status: Option<u16>,
    /// A field of the server's response, whose status is 200 unless --status says otherwise; any number of them.
    #[arg(long = "response-header", value_name = "NAME: VALUE")]
    response_headers: Vec<String>,
    /// The body of the server's response.
    #[arg(long, value_name = "TEXT")]
    response_body: Option<String>,
    /// Answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is taken through the rules.
pub(super) struct Inquiry {
    /// All of it in one line.
    pub(super) title: String,
    pub(super) head: RequestHead,
    /// What the client sends first where connections are not looked into.
    pub(super) bytes: Vec<u8>,
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) tls: Option<Arc<Session>>,
    pub(super) is_tls: bool,
    /// The host it asks for before anything is decrypted.
    pub(super) host: Option<String>,
    /// What the server answers, if that is asked about.
    pub(super) response: Option<ResponseHead>,
}

impl Question {
    /// Returns where the client comes in.
    pub(super) fn door<'s>(&self, site: &'s Site) -> Result<&'s Door, String> {
        let names: Vec<_> = site.frontends().map(|frontend| frontend.name()).collect();
        let name = match (&self.frontend, &*names) {
            (Some(name), names) if names.contains(&name.as_str()) => name,
            (Some(name), _) => return Err(format!("no frontend `{name}`: there are {}", names.join(", "))),
            (None, [only]) => *only,
            (None, []) => return Err("there is no frontend".to_owned()),
            (None, _) => return Err(format!("--frontend says which is meant: {}", names.join(", "))),
        };
        let mut doors = site.doors().iter().map(|door| &**door).filter(|door| door.frontend().name() == name);
        let first = doors.clone().next().ok_or_else(|| format!("frontend `{name}` listens nowhere"))?;
        Ok(doors.find(|door| door.acceptor().is_some() == self.sni.is_some()).unwrap_or(first))
    }

    /// Returns what is taken through the rules of a door.
    pub(super) fn inquiry(&self, door: &Door, certificate: Option<&[u8]>) -> Result<Inquiry, String> {
        let source = address(&self.src, 40_000).ok_or_else(|| format!("`{}` is no address", self.src))?;
        let destination = match &self.dst {
            Some(text) => address(text, 0).ok_or_else(|| format!("`{text}` is no address"))?,
            None => door.spec().address().parse().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        let request = self.request();
        let mut head = match parse::request(&request) {
            Ok(Parsed::Complete { head, .. }) => head,
            Ok(Parsed::Partial) => return Err("the request is not complete".to_owned()),
            Err(error) => return Err(format!("the request is invalid: {error}")),
        };
        head.seen = Some(self.body.as_deref().unwrap_or_default().as_bytes().into());
        let shown = certificate.map(chain).transpose()?;
        let acceptor = door.acceptor();
        if acceptor.is_none() && shown.is_some() {
            return Err("a certificate is shown where TLS is spoken, and the frontend does not".to_owned());
        }
        let tls = acceptor.map(|acceptor| Arc::new(acceptor.imagine(self.sni.as_deref(), shown.unwrap_or_default())));
        let bytes = match (&self.sni, &acceptor) {
            (Some(host), None) => hello(host)?,
            _ => request,
        };
        let host = self.sni.clone().filter(|_| acceptor.is_none());
        let is_tls = acceptor.is_some();
        let response = self.response()?;
        if response.is_some() && door.frontend().mode() == control::config::Mode::Tcp {
            return Err("in mode tcp there are no responses".to_owned());
        }
        Ok(Inquiry { title: self.title(source, door), head, bytes, source, destination, tls, is_tls, host, response })
    }

    /// Returns what the server answers; none if that is not asked about.
    fn response(&self) -> Result<Option<ResponseHead>, String> {
        if self.status.is_none() && self.response_headers.is_empty() && self.response_body.is_none() {
            return Ok(None);
        }
        let mut text = format!("HTTP/1.1 {} \r\n", self.status.unwrap_or(200));
        for header in &self.response_headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        match parse::response(text.as_bytes()) {
            Ok(Parsed::Complete { mut head, .. }) => {
                head.seen = Some(self.response_body.as_deref().unwrap_or_default().as_bytes().into());
                Ok(Some(head))
            }
            Ok(Parsed::Partial) => Err("the response is not complete".to_owned()),
            Err(error) => Err(format!("the response is invalid: {error}")),
        }
    }

    fn request(&self) -> Vec<u8> {
        let Self { method, path, host, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        for header in &self.headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        if let Some(body) = &self.body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn title(&self, source: SocketAddr, door: &Door) -> String {
        let scheme = if door.acceptor().is_some() { "https" } else { "http" };
        let sni = self.sni.as_ref().map(|sni| format!(", asking for {sni} in TLS")).unwrap_or_default();
        let frontend = door.frontend();
        match frontend.mode() {
            control::config::Mode::Http => {
                format!("{} {scheme}://{}{} from {source} to frontend {}{sni}", self.method, self.host, self.path, frontend.name())
            }
            control::config::Mode::Tcp => format!("a connection from {source} to frontend {}{sni}", frontend.name()),
        }
    }
}

/// Reads an address, which may lack its port.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port)))
}

/// Reads certificates, the client's own first.
fn chain(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|error| format!("certificate: {error}"))?;
    if chain.is_empty() { Err("certificate: there is none in it".to_owned()) } else { Ok(chain) }
}

/// Returns what a client of TLS that asks for a host sends first.
fn hello(host: &str) -> Result<Vec<u8>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("`{host}` is no host that TLS could ask for"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| error.to_string())?.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

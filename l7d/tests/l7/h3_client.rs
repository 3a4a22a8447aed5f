//! A client of HTTP/3 that says what it is told to, byte by byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;

use crate::certs::{Authority, Issued};
use crate::kit::PATIENCE;

pub(crate) const DATA: u64 = 0;
pub(crate) const HEADERS: u64 = 1;
pub(crate) const SETTINGS: u64 = 4;
pub(crate) const GOAWAY: u64 = 7;

/// A client with one connection.
pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    pub(crate) connection: Connection,
    endpoint: Endpoint,
    /// Its end would be that of the connection.
    control: Option<SendStream>,
}

/// A response, or how a stream ended without one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A response that is complete.
    Answer(Answer),
    /// The stream was reset with this code.
    Reset(u64),
    /// The connection ended with this code.
    Closed(u64),
}

/// A response.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The statuses of interim responses, and the last one's.
    pub(crate) statuses: Vec<u16>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// Connects, and says that there are no settings.
    pub(crate) fn connect(front: SocketAddr, authority: &Authority) -> Self {
        let mut client = Self::try_connect(front, authority).expect("QUIC connection");
        client.control = Some(client.open(&[0, 4, 0]));
        client
    }

    /// Connects, and says nothing.
    pub(crate) fn try_connect(front: SocketAddr, authority: &Authority) -> Result<Self, ConnectionError> {
        Self::with(front, &credentials(authority, None))
    }

    /// Connects with credentials, and says nothing.
    pub(crate) fn with(front: SocketAddr, tls: &rustls::ClientConfig) -> Result<Self, ConnectionError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let (endpoint, connection) = runtime.block_on(async {
            let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("UDP socket");
            let connecting = endpoint.connect_with(config(tls), front, "a.test").expect("address");
            let connection = tokio::time::timeout(PATIENCE, connecting).await.expect("handshake in time");
            (endpoint, connection)
        });
        let connection = connection?;
        Ok(Self { runtime, connection, endpoint, control: None })
    }

    /// Opens a stream of one direction that begins with some bytes.
    pub(crate) fn open(&self, bytes: &[u8]) -> SendStream {
        self.runtime.block_on(async {
            let mut stream = self.connection.open_uni().await.expect("stream");
            stream.write_all(bytes).await.expect("bytes taken");
            stream
        })
    }

    /// Opens a stream that begins with some bytes.
    pub(crate) fn begin(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        self.runtime.block_on(async {
            let (mut send, recv) = self.connection.open_bi().await.expect("stream");
            send.write_all(bytes).await.expect("bytes taken");
            (send, recv)
        })
    }

    /// Sends a whole request, and returns what comes back.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Heard {
        self.runtime.block_on(self.exchange(bytes))
    }

    /// The same as a future.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Heard {
        let Ok((mut send, mut recv)) = self.connection.open_bi().await else { return self.closed().await };
        let sending = async {
            if send.write_all(bytes).await.is_ok() {
                let _ = send.finish();
            }
        };
        let hearing = self.hear(&mut recv);
        tokio::join!(sending, hearing).1
    }

    /// Waits for the end of a stream.
    pub(crate) async fn hear(&self, recv: &mut RecvStream) -> Heard {
        let whole = tokio::time::timeout(PATIENCE, recv.read_to_end(64 << 20)).await.expect("answer in time");
        match whole {
            Ok(bytes) => Heard::Answer(Answer::read(&bytes)),
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Heard::Reset(code.into_inner()),
            Err(_) => self.closed().await,
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&self) -> Heard {
        let end = tokio::time::timeout(PATIENCE, self.connection.closed()).await.expect("end in time");
        let ConnectionError::ApplicationClosed(end) = end else { panic!("{end}") };
        Heard::Closed(end.error_code.into_inner())
    }

    /// Lets time pass for the engine.
    pub(crate) fn rest(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Returns a request for a path, and its answer.
    pub(crate) fn get(&self, path: &str) -> Answer {
        let heard = self.ask(&headers(&[(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", path)]));
        let Heard::Answer(answer) = heard else { panic!("{heard:?}") };
        answer
    }
}

/// Returns whom a client trusts, and what it shows; clients of the same one resume each other's sessions.
pub(crate) fn credentials(authority: &Authority, shown: Option<&Issued>) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.root()).expect("certificate")).expect("authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let tls = tls.with_root_certificates(roots);
    let mut tls = match shown {
        Some(issued) => {
            let chain = vec![CertificateDer::from_pem_file(&issued.certificate).expect("certificate")];
            tls.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&issued.key).expect("key")).expect("pair")
        }
        None => tls.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"h3".to_vec()];
    tls
}

fn config(tls: &rustls::ClientConfig) -> ClientConfig {
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.clone()).expect("TLS 1.3")))
}

/// Begins a handshake, and is not heard of again.
pub(crate) fn knock(address: SocketAddr, tls: &rustls::ClientConfig) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("UDP socket");
        let connecting = endpoint.connect_with(config(tls), address, "a.test").expect("address");
        let _ = tokio::time::timeout(Duration::from_millis(50), connecting).await;
    });
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.close(code(0x100), b"");
        let leaving = async { tokio::time::timeout(Duration::from_secs(1), self.endpoint.wait_idle()).await };
        // Who is not heard any more is forgotten sooner or later.
        let _ = self.runtime.block_on(leaving);
    }
}

impl Answer {
    fn read(mut bytes: &[u8]) -> Self {
        let mut answer = Self::default();
        while !bytes.is_empty() {
            let kind = number(&mut bytes);
            let length = usize::try_from(number(&mut bytes)).expect("length");
            let (payload, rest) = bytes.split_at(length);
            bytes = rest;
            match kind {
                DATA => answer.body.extend_from_slice(payload),
                HEADERS => {
                    let fields = fields(payload);
                    match fields.first().filter(|(name, _)| name == ":status") {
                        Some((_, status)) => {
                            answer.statuses.push(status.parse().expect("status"));
                            answer.fields = fields;
                        }
                        None => answer.trailers = fields,
                    }
                }
                _ => {}
            }
        }
        answer
    }

    pub(crate) fn status(&self) -> u16 {
        self.statuses.last().copied().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(crate) fn code(code: u32) -> VarInt {
    VarInt::from_u32(code)
}

/// Prints a number as QUIC does.
pub(crate) fn print(number: usize) -> Vec<u8> {
    let number = u64::try_from(number).expect("small") | 0x8000_0000;
    number.to_be_bytes()[4..].to_vec()
}

/// Prints a frame.
pub(crate) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    [&[u8::try_from(kind).expect("small")][..], &print(payload.len()), payload].concat()
}

/// Prints a head, without compressing it.
pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str, bits: u32, flags: u8| {
        let (most, length) = ((1usize << bits) - 1, text.len());
        let mut bytes = Vec::new();
        if length < most {
            bytes.push(flags | u8::try_from(length).expect("small"));
        } else {
            bytes.push(flags | u8::try_from(most).expect("small"));
            let mut rest = length - most;
            while rest > 127 {
                bytes.push(u8::try_from(rest % 128).expect("small") | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).expect("small"));
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let mut block = vec![0, 0];
    for (name, value) in fields {
        block.extend(text(name, 3, 0x20));
        block.extend(text(value, 7, 0));
    }
    frame(HEADERS, &block)
}

pub(crate) fn number(bytes: &mut &[u8]) -> u64 {
    let length = 1usize << (bytes[0] >> 6);
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    number[1..].iter().fold(u64::from(number[0] & 63), |value, byte| value << 8 | u64::from(*byte))
}

/// Reads a head as the daemon prints it: no Huffman code, no dynamic table.
fn fields(block: &[u8]) -> Vec<(String, String)> {
    let (mut rest, mut fields) = (&block[2..], Vec::new());
    while let Some(first) = rest.first().copied() {
        let (name, value) = match first {
            0xc0.. => known(integer(&mut rest, 6)),
            0x50..=0x5f => (known(integer(&mut rest, 4)).0, text(&mut rest, 7)),
            0x20..=0x27 => (text(&mut rest, 3), text(&mut rest, 7)),
            _ => panic!("{first:#x}"),
        };
        fields.push((name, value));
    }
    fields
}

fn integer(bytes: &mut &[u8], bits: u32) -> usize {
    let mask = (1u8 << bits) - 1;
    let mut value = usize::from(bytes[0] & mask);
    let mut at = 1;
    if value == usize::from(mask) {
        let mut shift = 0;
        loop {
            value += usize::from(bytes[at] & 127) << shift;
            shift += 7;
            at += 1;
            if bytes[at - 1] & 128 == 0 {
                break;
            }
        }
    }
    *bytes = &bytes[at..];
    value
}

fn text(bytes: &mut &[u8], bits: u32) -> String {
    let length = integer(bytes, bits);
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    String::from_utf8_lossy(text).into_owned()
}

/// Returns those entries of the static table that the tests meet (RFC 9204 appendix A).
fn known(index: usize) -> (String, String) {
    let (name, value) = match index {
        4 => ("content-length", "0"),
        6 => ("date", ""),
        24 => (":status", "103"),
        25 => (":status", "200"),
        27 => (":status", "404"),
        28 => (":status", "503"),
        39 => ("cache-control", "no-cache"),
        52 => ("content-type", "text/html; charset=utf-8"),
        44..=54 => ("content-type", "text/plain"),
        63 => (":status", "100"),
        64 => (":status", "204"),
        67 => (":status", "400"),
        68 => (":status", "403"),
        71 => (":status", "500"),
        83 => ("alt-svc", "clear"),
        92 => ("server", ""),
        _ => ("?", "?"),
    };
    (name.to_owned(), value.to_owned())
}

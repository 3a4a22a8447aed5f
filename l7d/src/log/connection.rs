//! A connection to a server of logs, opened anew when it breaks.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection to a server of logs, opened anew when it breaks.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    /// How long the server may take to answer, and to take lines.
    patience: [Duration; 2],
    stream: Option<TcpStream>,
}

impl Connection {
    /// Returns one that is opened when it is first written to.
    pub(super) fn new(address: SocketAddr, patience: [Duration; 2]) -> Self {
        Self { address, patience, stream: None }
    }

    /// Writes lines, to a new connection if the one at hand has ended.
    ///
    /// # Errors
    /// Fails if the server cannot be reached or takes nothing; the next call begins with a new connection.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.stream().and_then(|mut stream| stream.write_all(bytes));
        written.inspect_err(|_| self.stream = None)
    }

    fn stream(&mut self) -> io::Result<&TcpStream> {
        match self.stream {
            Some(ref stream) if is_open(stream) => {}
            _ => {
                let [connect, write] = self.patience;
                let stream = TcpStream::connect_timeout(&self.address, connect)?;
                stream.set_write_timeout(Some(write))?;
                self.stream = Some(stream);
            }
        }
        self.stream.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Tells whether the other end still reads: what is written to one that has left is lost without a word.
fn is_open(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let is_open = match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    is_open && stream.set_nonblocking(false).is_ok()
}

/// How long is waited before a server that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

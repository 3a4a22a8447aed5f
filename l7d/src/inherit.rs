//! Descriptors that the process was started with: sockets that a supervisor opened for it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::net::{AddressFamily, SocketType, sockopt};

/// Returns another descriptor of the stream socket that was handed over under this number.
///
/// # Errors
/// Fails if there is no such socket.
#[expect(unsafe_code, reason = "the number of a descriptor says nothing about its life")]
pub(crate) fn stream_socket(number: u16) -> io::Result<OwnedFd> {
    // SAFETY: the descriptor is used for two calls, neither of which closes it; should nothing be open under this number they fail.
    let given = unsafe { BorrowedFd::borrow_raw(i32::from(number)) };
    let is_inherited = match fcntl_getfd(given) {
        // Whatever this process opens itself is closed at exec, so it cannot be mistaken for something inherited.
        Ok(flags) => !flags.contains(FdFlags::CLOEXEC),
        Err(Errno::BADF) => false,
        Err(error) => return Err(error.into()),
    };
    if !is_inherited {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process was started without it"));
    }
    let socket = fcntl_dupfd_cloexec(given, 0)?;
    let is_stream = sockopt::socket_type(&socket).is_ok_and(|kind| kind == SocketType::STREAM);
    let families = [AddressFamily::INET, AddressFamily::INET6, AddressFamily::UNIX];
    if !is_stream || !sockopt::socket_domain(&socket).is_ok_and(|family| families.contains(&family)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a TCP or Unix stream socket"));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_what_was_handed_over_is_taken() {
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = u16::try_from(own.as_raw_fd()).unwrap();
        assert_eq!(stream_socket(number).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(stream_socket(60_000).unwrap_err().kind(), io::ErrorKind::NotFound);
        rustix::io::fcntl_setfd(&own, FdFlags::empty()).unwrap();
        assert!(stream_socket(number).is_ok());
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        rustix::io::fcntl_setfd(&datagrams, FdFlags::empty()).unwrap();
        assert_eq!(stream_socket(u16::try_from(datagrams.as_raw_fd()).unwrap()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

//! Descriptors that the process was started with: sockets that a supervisor opened for it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
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

/// Keeps a program that is started from what this process was started with: a supervisor's sockets stay open in all that runs otherwise.
#[expect(unsafe_code, reason = "what happens between fork and exec is nowhere else to be said")]
pub(crate) fn keep_from(command: &mut Command) {
    let close = || {
        let flags = libc::c_int::try_from(libc::CLOSE_RANGE_CLOEXEC).unwrap_or(0);
        // SAFETY: the call takes numbers alone, and closes nothing before the program begins.
        let done = unsafe { libc::close_range(3, libc::c_uint::MAX, flags) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: the child does nothing there but one call of the system, and allocates nothing.
    unsafe { command.pre_exec(close) };
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

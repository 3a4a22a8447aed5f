//! Per-thread pool of pipes, through which the kernel moves bytes between two sockets without copying them.
//!
//! A pipe is lent only while bytes are in it, so an idle connection holds none. It returns to the pool empty; one that still holds
//! bytes, because its connection failed, is closed instead, lest they surface in another connection.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe lent by this thread's pool.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// Both ends; `None` only once returned.
    ends: Option<Ends>,
    /// Bytes inside.
    held: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// Takes a pipe from this thread's pool, or makes one.
    ///
    /// # Errors
    /// Fails when the process is short of descriptors.
    pub(crate) fn take() -> io::Result<Self> {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let ends = match spare {
            Some(ends) => ends,
            None => Ends::new()?,
        };
        Ok(Self { ends: Some(ends), held: 0 })
    }

    /// Returns how many bytes are inside.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Moves at most `most` bytes from a socket into the pipe; 0 is the end of the stream.
    ///
    /// # Errors
    /// As reading the socket; `WouldBlock` if it has nothing.
    pub(crate) fn fill(&mut self, socket: impl AsFd, most: u64) -> io::Result<usize> {
        let most = usize::try_from(most).unwrap_or(SIZE).min(SIZE);
        let moved = splice(socket, None, &self.ends().write, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held += moved;
        Ok(moved)
    }

    /// Moves bytes from the pipe into a socket and returns how many.
    ///
    /// # Errors
    /// As writing the socket; `WouldBlock` if it takes nothing now.
    pub(crate) fn drain(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.ends().read, None, socket, None, self.held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?;
        self.held -= moved;
        Ok(moved)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("only dropping takes the ends")
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take().filter(|_| self.held == 0) else { return };
        // A thread that ends may drop pipes after its pool: they are simply closed.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < KEEP {
                spare.push(ends);
            }
        });
    }
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Unprivileged users have a quota of pipe memory; beyond it the default size has to do.
        let _ = fcntl_setpipe_size(&write, SIZE);
        OPEN.fetch_add(1, Relaxed);
        Ok(Self { read, write })
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

/// Returns how many pipes the process has.
pub(crate) fn open() -> u64 {
    OPEN.load(Relaxed)
}

/// How many there are; they are made and closed seldom, as each is used again.
static OPEN: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static SPARE: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// Size of a pipe: the most an unprivileged process may ask for, and far faster than the default 64 KiB.
pub(crate) const SIZE: usize = 1 << 20;
/// Idle pipes a thread keeps; empty ones hold descriptors but no pages.
const KEEP: usize = 64;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        b.set_nonblocking(true).unwrap();
        (a, b)
    }

    fn identity(pipe: &Pipe) -> i32 {
        pipe.ends().read.as_raw_fd()
    }

    #[test]
    fn bytes_go_from_socket_to_socket() {
        let ((mut client, inner), (outer, mut server)) = (pair(), pair());
        client.write_all(b"hello").unwrap();
        let mut pipe = Pipe::take().unwrap();
        assert_eq!(pipe.fill(&inner, 3).unwrap(), 3);
        assert_eq!(pipe.fill(&inner, u64::MAX).unwrap(), 2);
        assert_eq!(pipe.drain(&outer).unwrap(), 5);
        let mut bytes = [0; 9];
        assert_eq!((server.read(&mut bytes).unwrap(), &bytes[..5]), (5, &b"hello"[..]));
        assert_eq!(pipe.fill(&inner, 9).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(client);
        assert_eq!(pipe.fill(&inner, 9).unwrap(), 0);
    }

    #[test]
    fn only_an_empty_pipe_is_lent_again() {
        let (mut client, inner) = pair();
        let empty = Pipe::take().unwrap();
        let lent = identity(&empty);
        drop(empty);
        let mut used = Pipe::take().unwrap();
        assert_eq!(identity(&used), lent);
        client.write_all(b"secret").unwrap();
        used.fill(&inner, 6).unwrap();
        drop(used);
        assert!(SPARE.with(|spare| spare.borrow().is_empty()));
    }
}

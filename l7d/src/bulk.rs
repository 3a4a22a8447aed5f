//! The receiving half of a splice: waits until a sender's bytes are worth a system call, and lets the kernel move them into a pipe.
//!
//! The bytes of a fast sender come in pieces much smaller than the pipe, and a proxy that is woken for each of them pays two splices
//! and a wait for every piece. So once a sender has proved fast, the kernel is asked to wake us for many bytes only (`SO_RCVLOWAT`);
//! as soon as it takes too long to come by that many, we are content with any again. The end of a stream always wakes us.

use std::io;
use std::time::Duration;

use crate::pipe::Pipe;
use crate::socket::Socket;

/// One sender of many bytes.
#[derive(Debug)]
pub(crate) struct Bulk<'a> {
    from: &'a Socket,
    pace: Pace,
    /// How many bytes prove a sender fast.
    proof: u64,
}

/// What is known of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// So many bytes came, and may have been long in coming.
    Unproven(u64),
    /// Many come at a time: the socket wakes us for no fewer.
    Fast,
}

impl<'a> Bulk<'a> {
    /// Returns a sender whose bytes are known to follow each other, because so many are still to come.
    pub(crate) fn announced(from: &'a Socket) -> Self {
        Self { from, pace: Pace::Unproven(0), proof: 1 << 20 }
    }

    /// Returns a sender that may fall silent at any byte, so that waiting for more may be in vain.
    pub(crate) fn unannounced(from: &'a Socket) -> Self {
        Self { from, pace: Pace::Unproven(0), proof: 8 << 20 }
    }

    /// Waits for bytes, the end of the stream or an error included.
    ///
    /// # Errors
    /// Fails when the runtime ends.
    pub(crate) async fn readable(&mut self) -> io::Result<()> {
        if self.pace == Pace::Fast
            && let Ok(ready) = tokio::time::timeout(PATIENCE, self.from.readable()).await
        {
            return ready;
        }
        self.relax();
        self.from.readable().await
    }

    /// Moves at most `most` bytes into the pipe, more of which will not come before that many are there; 0 is the end of the stream.
    ///
    /// # Errors
    /// As reading; `WouldBlock` if nothing came.
    pub(crate) fn fill(&mut self, pipe: &mut Pipe, most: u64) -> io::Result<usize> {
        let enough = if self.pace == Pace::Fast { MANY } else { 0 };
        let moved = self.from.read_by(enough, |from| pipe.fill(from, most))?;
        let left = most.saturating_sub(moved as u64);
        match self.pace {
            Pace::Fast if left <= MANY as u64 => self.relax(),
            Pace::Fast => {}
            Pace::Unproven(before) => {
                let total = before + moved as u64;
                // Sockets of other families wake for every byte, and would not wake for what lies there when we are content again.
                let is_proven = total >= self.proof && left > MANY as u64 && self.from.local_address().is_some();
                let is_fast = is_proven && self.from.set_low_water(MANY).is_ok();
                self.pace = if is_fast { Pace::Fast } else { Pace::Unproven(total) };
            }
        }
        Ok(moved)
    }

    /// Is content with any number of bytes again.
    fn relax(&mut self) {
        if self.pace == Pace::Fast {
            // It wakes us at once if there is anything.
            let _ = self.from.set_low_water(1);
        }
        self.pace = Pace::Unproven(0);
    }
}

impl Drop for Bulk<'_> {
    fn drop(&mut self) {
        self.relax();
    }
}

/// How many bytes are worth being woken for: a quarter of a pipe, so that a sender never waits for us to take them.
const MANY: usize = crate::pipe::SIZE / 4;
/// How long so many may take to come; at the speed of 1 Gbit/s they do.
const PATIENCE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;

    fn connection() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let receiver = listener.accept().unwrap().0;
        receiver.set_nonblocking(true).unwrap();
        (sender, Socket::new(receiver).unwrap())
    }

    /// Empties a pipe into nothing.
    fn pour(pipe: &mut Pipe) {
        let sink = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
        while pipe.held() > 0 {
            pipe.drain(&sink).unwrap();
        }
    }

    async fn next(bulk: &mut Bulk<'_>, pipe: &mut Pipe) -> usize {
        loop {
            bulk.readable().await.unwrap();
            match bulk.fill(pipe, u64::MAX) {
                Ok(count) => {
                    pour(pipe);
                    return count;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[tokio::test]
    async fn fast_sender_wakes_us_seldom_and_its_last_bytes_come_all_the_same() {
        let (mut sender, socket) = connection();
        let mut pipe = Pipe::take().unwrap();
        let mut bulk = Bulk::announced(&socket);
        let thread = std::thread::spawn(move || {
            for _ in 0..4096 {
                sender.write_all(&[7; 4096]).unwrap();
            }
            sender.write_all(b"rest").unwrap();
            sender
        });
        let (mut total, mut calls) = (0, 0);
        while total < (16 << 20) + 4 {
            total += next(&mut bulk, &mut pipe).await;
            calls += 1;
        }
        let mut sender = thread.join().unwrap();
        assert!(calls < 16 * 16, "{calls} calls for pieces of 4 KiB");
        // Whoever has fallen silent is not waited for in vain, and speaks again with a byte.
        let before = Instant::now();
        sender.write_all(b"!").unwrap();
        assert_eq!(next(&mut bulk, &mut pipe).await, 1);
        assert!(before.elapsed() < Duration::from_secs(5));
        drop(sender);
        assert_eq!(next(&mut bulk, &mut pipe).await, 0);
    }

    #[tokio::test]
    async fn socket_is_left_as_it_was() {
        let (mut sender, socket) = connection();
        let mut bulk = Bulk::announced(&socket);
        bulk.pace = Pace::Fast;
        socket.set_low_water(MANY).unwrap();
        drop(bulk);
        sender.write_all(b"x").unwrap();
        tokio::time::timeout(Duration::from_secs(5), socket.readable()).await.unwrap().unwrap();
    }
}

//! Open sockets on their way from one process to another, and HAProxy's dialog for taking over all that a process listens on.
//!
//! Who takes over connects to a Unix socket of the runtime interface and says `_getsocks`. It is told how many sockets there are; then
//! come messages of up to [`AT_ONCE`] of them, each with a description, and each is confirmed. The two numbers are in the order of the host.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// A socket that listens, and what cannot be asked of the socket itself.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: OwnedFd,
    /// The network interface that it is bound to; empty for all.
    pub interface: String,
}

/// Sends some bytes, and sockets with them.
///
/// # Errors
/// As sending; also if there are more than [`AT_ONCE`].
pub fn send(channel: &UnixStream, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let sent = sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    let mut channel = channel;
    // The sockets have gone with the first byte.
    channel.write_all(&bytes[sent..])
}

/// Receives what came in one piece, and the sockets that came with it; returns how many bytes that were, none at the end.
///
/// # Errors
/// As receiving.
pub fn receive(channel: &UnixStream, bytes: &mut [u8], sockets: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(channel, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            sockets.extend(received);
        }
    }
    Ok(received.bytes)
}

/// Gives all that a process listens on to the one at the other end, which has asked for it.
///
/// # Errors
/// As sending; also if the other end confirms nothing in time.
pub fn give(channel: &UnixStream, all: &[Listening]) -> io::Result<()> {
    prepare(channel, PATIENCE)?;
    let mut writer = channel;
    writer.write_all(&i32::try_from(all.len()).unwrap_or(i32::MAX).to_ne_bytes())?;
    let mut parts = all.chunks(AT_ONCE).peekable();
    while let Some(part) = parts.next() {
        let sockets: Vec<BorrowedFd<'_>> = part.iter().map(|one| one.socket.as_fd()).collect();
        let mut description = Vec::new();
        part.iter().for_each(|one| describe(&one.interface, &mut description));
        send(channel, &description, &sockets)?;
        if parts.peek().is_some() && receive(channel, &mut [0; 4], &mut Vec::new())? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

/// Takes over all that the process listens on that serves the runtime interface at `path`.
///
/// # Errors
/// Fails if nobody is there, or gives nothing, in time.
pub fn take(path: &Path) -> io::Result<Vec<Listening>> {
    let channel = UnixStream::connect(path)?;
    prepare(&channel, PATIENCE)?;
    let mut writer = &channel;
    writer.write_all(b"_getsocks\n")?;
    let (mut number, mut sockets, mut descriptions) = ([0; 4], Vec::new(), Vec::new());
    if receive(&channel, &mut number, &mut sockets)? < number.len() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it hands over nothing (without `expose-fd listeners` it must not)"));
    }
    let count = usize::try_from(i32::from_ne_bytes(number)).unwrap_or_default().min(MOST);
    let mut bytes = vec![0; AT_ONCE * LONGEST_DESCRIPTION];
    while sockets.len() < count {
        let length = receive(&channel, &mut bytes, &mut sockets)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        descriptions.extend_from_slice(&bytes[..length]);
        // The last is not waited for.
        let _ = writer.write_all(&number);
    }
    let interfaces = interfaces(&descriptions)?;
    Ok(sockets.into_iter().zip(interfaces).map(|(socket, interface)| Listening { socket, interface }).collect())
}

/// What a process makes its secrets from that its successor has to know.
pub type Seed = [u8; 64];

/// Returns what the process makes its secrets from that serves the runtime interface at `path`; none where it does not tell.
pub fn take_seed(path: &Path) -> Option<Seed> {
    let channel = UnixStream::connect(path).ok()?;
    prepare(&channel, PATIENCE).ok()?;
    (&channel).write_all(format!("{SEED_WORD}\n").as_bytes()).ok()?;
    let mut message = Vec::new();
    (&channel).take(MOST_SAID).read_to_end(&mut message).ok()?;
    // A program that does not know the word says so.
    message.strip_prefix(SEED_WORD.as_bytes())?.try_into().ok()
}

/// Returns what the one at the other end is told.
pub(crate) fn seed_message(seed: &Seed) -> Vec<u8> {
    [SEED_WORD.as_bytes(), seed].concat()
}

fn prepare(channel: &UnixStream, patience: Duration) -> io::Result<()> {
    channel.set_nonblocking(false)?;
    channel.set_read_timeout(Some(patience))?;
    channel.set_write_timeout(Some(patience))
}

/// Writes what HAProxy says of a socket: its name space, its interface, each behind its length, and a number that has no meaning any more.
fn describe(interface: &str, out: &mut Vec<u8>) {
    let interface = &interface.as_bytes()[..interface.len().min(LONGEST_INTERFACE)];
    out.push(0);
    out.push(u8::try_from(interface.len()).unwrap_or_default());
    out.extend_from_slice(interface);
    out.extend_from_slice(&[0; 4]);
}

/// Reads the interfaces from descriptions of sockets.
fn interfaces(mut descriptions: &[u8]) -> io::Result<Vec<String>> {
    let mut interfaces = Vec::new();
    let truncated = || io::Error::new(io::ErrorKind::InvalidData, "the description of a socket is cut short");
    while !descriptions.is_empty() {
        let (_name_space, rest) = counted(descriptions).ok_or_else(truncated)?;
        let (interface, rest) = counted(rest).ok_or_else(truncated)?;
        descriptions = rest.get(4..).ok_or_else(truncated)?;
        interfaces.push(String::from_utf8_lossy(interface).into_owned());
    }
    Ok(interfaces)
}

/// Splits off what stands behind its length.
fn counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// Asks for the seed.
pub(crate) const SEED_WORD: &str = "_getseed";
/// More than is said of a word that is not known.
const MOST_SAID: u64 = 1 << 16;

/// How many sockets go in one message; Linux takes no more.
pub const AT_ONCE: usize = 253;
/// More than anybody listens on.
const MOST: usize = 1 << 16;
const LONGEST_INTERFACE: usize = 15;
/// Two lengths, what they count, and a number.
const LONGEST_DESCRIPTION: usize = 2 + 2 * 255 + 4;
/// How long the other end may take for a message.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn many_sockets_go_over_in_parts() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let one = |number: usize| Listening { socket: listener.try_clone().unwrap().into(), interface: format!("eth{}", number % 7) };
        let all: Vec<_> = (0..AT_ONCE + 3).map(one).collect();
        let giving = thread::spawn(move || give(&theirs, &all));
        let (mut number, mut sockets, mut descriptions) = ([0; 4], Vec::new(), Vec::new());
        assert_eq!(receive(&ours, &mut number, &mut sockets).unwrap(), 4);
        assert_eq!(i32::from_ne_bytes(number), 256);
        let mut bytes = vec![0; AT_ONCE * LONGEST_DESCRIPTION];
        while sockets.len() < 256 {
            let length = receive(&ours, &mut bytes, &mut sockets).unwrap();
            descriptions.extend_from_slice(&bytes[..length]);
            // The last one is not waited for.
            let _ = (&ours).write_all(&number);
        }
        giving.join().unwrap().unwrap();
        let interfaces = interfaces(&descriptions).unwrap();
        assert_eq!((interfaces.len(), interfaces[255].as_str()), (256, "eth3"));
    }

    proptest! {
        #[test]
        fn any_description_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(read) = interfaces(&bytes) {
                prop_assert!(read.len() * 6 <= bytes.len());
            }
        }

        #[test]
        fn what_is_described_is_read(names in proptest::collection::vec("[a-z0-9.]{0,15}", 0..20)) {
            let mut bytes = Vec::new();
            names.iter().for_each(|name| describe(name, &mut bytes));
            prop_assert_eq!(interfaces(&bytes).unwrap(), names);
        }
    }
}

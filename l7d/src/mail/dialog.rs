//! SMTP (RFC 5321), as far as one mail takes it.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

use super::{Mail, Place};
use crate::date;
use crate::rules::hostname;

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The connection failed.
    #[error("{0}")]
    Failed(#[from] io::Error),
    /// The server said no.
    #[error("{0:?} to {1}")]
    Refused(String, &'static str),
    /// What the server said is not SMTP.
    #[error("no reply of SMTP to {0}")]
    Unknown(&'static str),
}

/// Hands a mail over to a server.
pub(super) async fn deliver((host, port): &Place, mail: &Mail) -> Result<(), Refusal> {
    let mut stream = BufStream::new(TcpStream::connect((host.as_str(), *port)).await?);
    let alert = &mail.alert;
    let (from, to) = (alert.from(), alert.to());
    hear(&mut stream, b'2', "the connection").await?;
    for (command, text) in [
        ("HELO", format!("HELO {}\r\n", alert.host().unwrap_or_else(|| hostname()))),
        ("MAIL", format!("MAIL FROM:<{from}>\r\n")),
        ("RCPT", format!("RCPT TO:<{to}>\r\n")),
    ] {
        say(&mut stream, &text).await?;
        hear(&mut stream, b'2', command).await?;
    }
    say(&mut stream, "DATA\r\n").await?;
    hear(&mut stream, b'3', "DATA").await?;
    say(&mut stream, &text(mail)).await?;
    hear(&mut stream, b'2', "the mail").await?;
    // It has the mail; how it takes leave does not matter.
    say(&mut stream, "QUIT\r\n").await.ok();
    hear(&mut stream, b'2', "QUIT").await.ok();
    Ok(())
}

/// Puts a mail together, with the dot at its end.
fn text(mail: &Mail) -> String {
    let (alert, date) = (&mail.alert, date::Mail(mail.date));
    // What servers say in checks comes from outside; a head has no room for more than one short line of plain text.
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '.' };
    let told: String = mail.text.chars().take(LONGEST_TEXT).map(plain).collect();
    let told = told.trim_start_matches('.');
    format!("From: {}\r\nTo: {}\r\nDate: {date}\r\nSubject: [HAProxy Alert] {told}\r\n\r\n{told}\r\n\r\n.\r\n", alert.from(), alert.to())
}

async fn say(stream: &mut BufStream<TcpStream>, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// Reads a reply, which has to be of this kind.
async fn hear(stream: &mut BufStream<TcpStream>, kind: u8, to: &'static str) -> Result<(), Refusal> {
    let mut line = Vec::new();
    for _ in 0..MOST_LINES {
        line.clear();
        stream.take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let [first, _, _, next, ..] = line.as_slice() else { return Err(Refusal::Unknown(to)) };
        if !line[..3].iter().all(u8::is_ascii_digit) || line.last() != Some(&b'\n') {
            return Err(Refusal::Unknown(to));
        }
        match (*next, *first == kind) {
            (b'-', _) => {}
            (_, true) => return Ok(()),
            (_, false) => return Err(Refusal::Refused(String::from_utf8_lossy(line.trim_ascii()).into_owned(), to)),
        }
    }
    Err(Refusal::Unknown(to))
}

/// How long a line of a reply may be; RFC 5321 allows 512 bytes.
const LONGEST_LINE: u64 = 1024;
/// How many lines a reply may have.
const MOST_LINES: usize = 64;
/// How much is told; a line of a mail has 998 characters at most.
const LONGEST_TEXT: usize = 900;

//! Accepts clients of the runtime interface and holds their dialogs.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::command::{Feed, Language};
use super::dialog::{Dialog, Manner, Spoken};
use super::line::{Input, Taken};
use crate::config::SocketLevel;
use crate::handover;

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// On an address of the Internet's families.
    Inet(TcpListener),
    /// On a file or a name.
    Unix(UnixListener),
}

/// What clients of a socket may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Which commands.
    pub level: SocketLevel,
    /// How long they may be silent.
    pub patience: Duration,
    /// How many there may be at a time.
    pub clients: usize,
    /// Whether they may take over what the process listens on.
    pub hands_over: bool,
}

impl Listener {
    /// Watches a socket that listens and does not block.
    ///
    /// # Errors
    /// Fails when the system is short of what watching takes.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_domain(&socket)? == rustix::net::AddressFamily::UNIX {
            UnixListener::from_std(socket.into()).map(Self::Unix)
        } else {
            TcpListener::from_std(socket.into()).map(Self::Inet)
        }
    }
}

/// Serves clients for as long as it is polled.
pub async fn serve<C: Clone + Send + Sync + 'static>(listener: Listener, terms: Terms, language: Arc<Language<C>>) {
    let mut clients = JoinSet::new();
    loop {
        if clients.len() >= terms.clients {
            clients.join_next().await;
            continue;
        }
        let accepted = match &listener {
            Listener::Inet(listener) => {
                listener.accept().await.map(|(client, _)| clients.spawn(inet(client, terms, Arc::clone(&language))))
            }
            Listener::Unix(listener) => {
                listener.accept().await.map(|(client, _)| clients.spawn(unix(client, terms, Arc::clone(&language))))
            }
        };
        if let Err(error) = accepted {
            warn!("runtime interface: accept: {error}");
            // Short of descriptors, accept fails again at once; the pause keeps the loop from spinning.
            sleep(ACCEPT_PAUSE).await;
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn inet<C: Clone>(client: tokio::net::TcpStream, terms: Terms, language: Arc<Language<C>>) {
    let mut client = client;
    let terms = Terms { hands_over: false, ..terms };
    log(converse(&mut client, terms, &language).await);
}

async fn unix<C: Clone>(mut client: tokio::net::UnixStream, terms: Terms, language: Arc<Language<C>>) {
    let ended = match converse(&mut client, terms, &language).await {
        Ok(Ending::WantsSockets) => hand_over(client, &language).await.map(|()| Ending::Over),
        ended => ended,
    };
    log(ended);
}

fn log(outcome: io::Result<Ending>) {
    if let Err(error) = outcome {
        debug!("runtime interface: {error}");
    }
}

/// Gives a client all that the process listens on.
async fn hand_over<C: Clone>(client: tokio::net::UnixStream, language: &Language<C>) -> io::Result<()> {
    let all = language.listening().await;
    let client = client.into_std()?;
    tokio::task::spawn_blocking(move || handover::give(&client, &all)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// How a dialog ended.
enum Ending {
    /// Nothing is left to say.
    Over,
    /// The client asks for what the process listens on.
    WantsSockets,
}

/// Holds one dialog.
async fn converse<C: Clone>(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    terms: Terms,
    language: &Language<C>,
) -> io::Result<Ending> {
    let (mut dialog, mut input) = (Dialog::new(terms.level, terms.patience), Input::default());
    let mut bytes = [0; 4096];
    loop {
        match input.take() {
            // Who may not have them hears nothing, as from haproxy.
            Taken::Sentence(sentence) if sentence.words == ["_getsocks"] => {
                return Ok(if terms.hands_over { Ending::WantsSockets } else { Ending::Over });
            }
            Taken::Sentence(sentence) if sentence.words == [handover::SEED_WORD] => {
                let seed = language.seed().filter(|_| terms.hands_over).map(|seed| handover::seed_message(&seed));
                within(dialog.patience, client.write_all(&seed.unwrap_or_default())).await?;
                return within(dialog.patience, client.shutdown()).await.map(|()| Ending::Over);
            }
            Taken::Sentence(sentence) => {
                let end = match dialog.answer(language, sentence).await {
                    Spoken::Whole(answer) => answer,
                    Spoken::Begun(feed, end) => match pass_on(client, feed, dialog.patience).await? {
                        Attention::Given => end,
                        Attention::Gone => return Ok(Ending::Over),
                    },
                };
                within(dialog.patience, client.write_all(end.as_bytes())).await?;
                if dialog.ended || (dialog.manner() == Manner::Brief && input.is_settled()) {
                    return within(dialog.patience, client.shutdown()).await.map(|()| Ending::Over);
                }
            }
            Taken::Part => within(dialog.patience, client.write_all(dialog.on_part().as_bytes())).await?,
            Taken::Nothing => match within(dialog.patience, client.read(&mut bytes)).await? {
                0 => return Ok(Ending::Over),
                count => input.push(&bytes[..count]),
            },
            Taken::TooLong => return Err(io::Error::new(io::ErrorKind::InvalidData, "a command is too long")),
        }
    }
}

/// Whether a client is still there after it was told what happens.
enum Attention {
    Given,
    Gone,
}

/// Tells a client what happens until it says anything, which is thrown away, or leaves.
async fn pass_on(client: &mut (impl AsyncRead + AsyncWrite + Unpin), mut feed: Feed, patience: Duration) -> io::Result<Attention> {
    let mut bytes = [0; 4096];
    loop {
        tokio::select! {
            piece = feed.recv() => match piece {
                Some(piece) => within(patience, client.write_all(piece.as_bytes())).await?,
                None => return Ok(Attention::Given),
            },
            read = client.read(&mut bytes) => return Ok(if read? == 0 { Attention::Gone } else { Attention::Given }),
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "a client was silent for too long")))
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

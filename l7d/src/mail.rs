//! Mails about servers: a queue and a task for each server of mail, one mail at a time and a connection for each.
//!
//! Who has something to tell hands it over and goes on. What waits is bounded: mails that find no room, and mails that are not taken, are
//! told in the log of the process and forgotten, as HAProxy forgets them.

mod dialog;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control::config::EmailAlert;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use tracing::warn;

/// The queues of all servers of mail that have had one lately.
#[derive(Debug, Default)]
pub(crate) struct Post {
    queues: HashMap<Place, mpsc::Sender<Mail>>,
}

/// Host and port of a server of mail.
type Place = (String, u16);

/// A mail that waits.
#[derive(Debug)]
struct Mail {
    alert: Arc<EmailAlert>,
    /// What is told, in one line.
    text: Arc<str>,
    date: SystemTime,
}

impl Post {
    /// Sends what is told to each of the servers.
    pub(crate) fn send(&mut self, alert: &EmailAlert, text: &str) {
        self.queues.retain(|_, queue| !queue.is_closed());
        let (alert, text, date) = (Arc::new(alert.clone()), Arc::from(text), SystemTime::now());
        for mailer in alert.mailers().list() {
            let place = (mailer.host().to_owned(), mailer.port());
            let mail = Mail { alert: Arc::clone(&alert), text: Arc::clone(&text), date };
            let queue = self.queues.entry(place.clone()).or_insert_with(|| begin(place.clone()));
            match queue.try_send(mail) {
                Ok(()) => {}
                Err(TrySendError::Full(mail)) => warn!("{}:{}: {MOST_WAITING} mails wait, one is lost: {}", place.0, place.1, mail.text),
                // Its task has just ended for want of mails.
                Err(TrySendError::Closed(mail)) => {
                    let queue = begin(place.clone());
                    let _ = queue.try_send(mail);
                    self.queues.insert(place, queue);
                }
            }
        }
    }
}

/// Begins a queue; its task ends when it has had nothing to do for some time.
fn begin(place: Place) -> mpsc::Sender<Mail> {
    let (sender, mails) = mpsc::channel(MOST_WAITING);
    tokio::spawn(carry(place, mails));
    sender
}

async fn carry(place: Place, mut mails: mpsc::Receiver<Mail>) {
    loop {
        let mail = match timeout(IDLE, mails.recv()).await {
            Ok(mail) => mail,
            Err(_) => {
                // Nothing comes in any more; what came until now is still there.
                mails.close();
                mails.recv().await
            }
        };
        let Some(mail) = mail else { return };
        let limit = mail.alert.mailers().timeout();
        let lost = match timeout(limit, dialog::deliver(&place, &mail)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not taken within {limit:?}"),
        };
        warn!("{}:{}: {lost}: a mail is lost: {}", place.0, place.1, mail.text);
    }
}

/// How many mails wait for a server of mail.
const MOST_WAITING: usize = 64;
/// How long a queue without mails is kept.
const IDLE: Duration = Duration::from_secs(60);

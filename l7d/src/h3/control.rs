//! The streams of one direction that a client opens (RFC 9114 section 6.2).

use quinn::{Connection, RecvStream};
use tokio::task::JoinSet;

use super::frame::{Event, Frames, Kind, SETTINGS, number, put_number};
use super::{
    CLOSED_CRITICAL_STREAM, FRAME_ERROR, FRAME_UNEXPECTED, Fault, MAX_HEAD, MISSING_SETTINGS, SETTINGS_ERROR, STREAM_CREATION_ERROR,
};

/// What our control stream begins with: how large a head may be, and that tunnels may be asked for (RFC 9220).
pub(super) fn greeting() -> Vec<u8> {
    let mut settings = Vec::new();
    for (name, value) in [(MAX_FIELD_SECTION_SIZE, MAX_HEAD as u64), (ENABLE_CONNECT_PROTOCOL, 1)] {
        put_number(name, &mut settings);
        put_number(value, &mut settings);
    }
    let mut greeting = vec![0];
    put_number(SETTINGS, &mut greeting);
    put_number(settings.len() as u64, &mut greeting);
    greeting.append(&mut settings);
    greeting
}

const MAX_FIELD_SECTION_SIZE: u64 = 6;
const ENABLE_CONNECT_PROTOCOL: u64 = 8;

/// Reads these streams until one of them is invalid, which ends the connection, or the connection ends.
pub(super) async fn listen(connection: &Connection) -> Fault {
    let mut streams = JoinSet::new();
    let mut seen = [false; 3];
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    streams.spawn_local(classify(stream));
                }
                Err(error) => return Fault::Io(error.into()),
            },
            Some(Ok(outcome)) = streams.join_next() => match outcome {
                Ok(None) => {}
                Ok(Some((role, frames))) => {
                    if std::mem::replace(&mut seen[role as usize], true) {
                        return Fault::Connection(STREAM_CREATION_ERROR, "second stream of a kind that may be there once");
                    }
                    streams.spawn_local(read(role, frames));
                }
                Err(fault) => return fault,
            },
        }
    }
}

/// What a stream is for.
#[derive(Debug, Clone, Copy)]
enum Role {
    Control,
    Encoder,
    Decoder,
}

type Outcome = Result<Option<(Role, Frames)>, Fault>;

async fn classify(stream: RecvStream) -> Outcome {
    let mut frames = Frames::new(stream);
    let role = match frames.stream_type().await {
        Ok(Some(0)) => Role::Control,
        Ok(Some(1)) => return Err(Fault::Connection(STREAM_CREATION_ERROR, "push from a client")),
        Ok(Some(2)) => Role::Encoder,
        Ok(Some(3)) => Role::Decoder,
        Ok(Some(_)) => {
            frames.stop(STREAM_CREATION_ERROR);
            return Ok(None);
        }
        Ok(None) | Err(_) => return Ok(None),
    };
    Ok(Some((role, frames)))
}

/// Reads one of the streams that must last as long as the connection.
async fn read(role: Role, mut frames: Frames) -> Outcome {
    match role {
        // Without a dynamic table there is nothing to say there.
        Role::Encoder | Role::Decoder => frames.ignore().await,
        Role::Control => control(&mut frames).await?,
    }
    Err(Fault::Connection(CLOSED_CRITICAL_STREAM, "stream that may not end has ended"))
}

async fn control(frames: &mut Frames) -> Result<(), Fault> {
    let mut has_settings = false;
    loop {
        match frames.next().await {
            Ok(Event::Frame(Kind::Settings, payload)) if !has_settings => {
                check(&payload)?;
                has_settings = true;
            }
            Ok(Event::End) | Err(Fault::Io(_)) => return Ok(()),
            Ok(_) if !has_settings => return Err(Fault::Connection(MISSING_SETTINGS, "control stream without settings")),
            // We push nothing, and a client that goes away opens no stream.
            Ok(Event::Frame(Kind::GoAway | Kind::MaxPushId | Kind::CancelPush, payload)) => {
                let mut rest = &payload[..];
                if number(&mut rest).is_none() || !rest.is_empty() {
                    return Err(Fault::Connection(FRAME_ERROR, "frame that is no number"));
                }
            }
            Ok(Event::Data(_) | Event::Frame(..)) => {
                return Err(Fault::Connection(FRAME_UNEXPECTED, "frame that control streams do not have"));
            }
            Err(Fault::TooLarge) => return Err(Fault::Connection(FRAME_UNEXPECTED, "head on a control stream")),
            Err(fault) => return Err(fault),
        }
    }
}

/// Checks settings, none of which change what we do.
fn check(mut payload: &[u8]) -> Result<(), Fault> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let (Some(name), Some(_)) = (number(&mut payload), number(&mut payload)) else {
            return Err(Fault::Connection(FRAME_ERROR, "settings that are cut short"));
        };
        if matches!(name, 2..=5) || seen.contains(&name) || seen.len() > MOST_SETTINGS {
            return Err(Fault::Connection(SETTINGS_ERROR, "setting of HTTP/2, or one that stands twice"));
        }
        seen.push(name);
    }
    Ok(())
}

/// More settings than anybody knows.
const MOST_SETTINGS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        assert!(check(&[]).is_ok());
        assert!(check(&[6, 0x40, 0x40, 0x21, 0]).is_ok());
        for payload in [&[6][..], &[2, 0], &[6, 1, 6, 1], &[6, 0x40]] {
            assert!(check(payload).is_err(), "{payload:?}");
        }
    }
}

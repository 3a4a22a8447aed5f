//! Messages that come back as they were sent, in bare TCP and in WebSocket frames.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::websocket;
use super::http1::{STEP, read_head};
use super::meter::Meter;
use super::stream::Client;

/// Sends messages one after the other, each when the last has come back.
pub(super) async fn messages(client: &Client, meter: &Meter, size: usize) -> Result<()> {
    let mut stream = client.connect().await?;
    let mut input = vec![0; size];
    for number in 0.. {
        let message = client.pattern.slice(number * STEP, size);
        let asked = Instant::now();
        stream.write_all(message).await.context("send a message")?;
        stream.read_exact(&mut input).await.context("read a message")?;
        ensure!(input == message, "message {number} came back changed");
        meter.add_bytes(size);
        meter.add_answer(asked);
    }
    Ok(())
}

/// Sends frames one after the other, each when the last has come back.
pub(super) async fn frames(client: &Client, meter: &Meter, size: usize) -> Result<()> {
    let mut stream = client.connect().await?;
    stream.write_all(websocket::REQUEST.as_bytes()).await?;
    let mut head = Vec::new();
    let length = read_head(&mut stream, &mut head).await?;
    let text = String::from_utf8_lossy(&head);
    ensure!(text.starts_with("HTTP/1.1 101 ") && text.contains(websocket::PROOF) && length == head.len(), "no upgrade: {text}");
    let (mut output, mut expected) = (Vec::new(), Vec::new());
    for number in 0.. {
        let payload = client.pattern.slice(number * STEP, size);
        output.clear();
        websocket::write_masked(&mut output, payload);
        expected.clear();
        websocket::write_header(&mut expected, size, 0);
        expected.extend_from_slice(payload);
        let asked = Instant::now();
        stream.write_all(&output).await.context("send a frame")?;
        let mut input = vec![0; expected.len()];
        stream.read_exact(&mut input).await.context("read a frame")?;
        ensure!(input == expected, "frame {number} came back changed");
        meter.add_bytes(size);
        meter.add_answer(asked);
    }
    Ok(())
}

//! HTTP/2 requests on many streams of one connection.

use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;

use super::super::certificate::NAME;
use super::http1::{SPREAD, STEP};
use super::meter::Meter;
use super::stream::Client;

/// Opens a connection and asks on all of its streams again and again.
pub(super) async fn run(client: &Rc<Client>, meter: &Rc<Meter>, streams: usize, size: u64) -> Result<()> {
    let stream = client.connect().await?;
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.context("HTTP/2 preface")?;
    for number in 0..streams {
        let (client, counter, sender) = (Rc::clone(client), Rc::clone(meter), sender.clone());
        meter.start(async move { ask(&client, &counter, sender, (number as u64 * SPREAD, size)).await });
    }
    connection.await.context("HTTP/2 connection")
}

async fn ask(client: &Client, meter: &Meter, mut sender: SendRequest<Bytes>, (first, size): (u64, u64)) -> Result<()> {
    let (mut offset, scheme) = (first, client.scheme());
    loop {
        let asked = Instant::now();
        sender = sender.ready().await.context("wait for a stream")?;
        let request = Request::get(format!("{scheme}://{NAME}/{size}/{offset}")).header("user-agent", "bench").header("accept", "*/*");
        let (response, _) = sender.send_request(request.body(())?, true).context("send a request")?;
        let response = response.await.context("read an answer")?;
        ensure!(response.status() == 200, "answered {}", response.status());
        let mut body = response.into_body();
        let mut received = 0;
        while let Some(part) = body.data().await {
            let part = part.context("read a body")?;
            ensure!(client.pattern.matches(offset + received, &part), "a body of {size} bytes differs behind byte {received}");
            received += part.len() as u64;
            meter.add_bytes(part.len());
            body.flow_control().release_capacity(part.len())?;
        }
        ensure!(received == size, "a body of {received} bytes instead of {size}");
        meter.add_answer(asked);
        offset += STEP;
    }
}

/// Bytes that may be on their way.
const WINDOW: u32 = 1 << 20;

//! The clients: a process of its own that makes one kind of traffic, checks every answer and says what it cost the proxy.
//!
//! As many connections as the case has, each with its next request as soon as the last is answered, so that a proxy is never asked for more than it can
//! do and its CPU time for each answer can be compared however fast the clients are. [`paced`] alone sends at a rate, for the time that answers take.

mod echo;
mod http1;
mod http2;
mod idle;
mod meter;
mod paced;
mod stream;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use tokio::runtime::LocalRuntime;
use tokio::time::{sleep, timeout};

use self::meter::Meter;
use self::stream::Client;
use super::case::{Case, Face, Traffic, WARM_UP};
use super::measure::Sample;
use super::proc;

/// What the clients are told.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Job {
    /// Name of the case.
    #[arg(long)]
    pub(super) case: String,
    /// Where the proxy is.
    #[arg(long)]
    pub(super) target: SocketAddr,
    /// The proxy's process id.
    #[arg(long)]
    pub(super) process: u32,
    /// How long is measured, in milliseconds.
    #[arg(long)]
    pub(super) window: u64,
    /// Requests per second, where there is a rate.
    #[arg(long)]
    pub(super) rate: u32,
    /// The certificate that the proxy must have.
    #[arg(long)]
    pub(super) certificate: Option<PathBuf>,
}

impl Job {
    /// Returns the job as arguments.
    pub(super) fn arguments(&self) -> Vec<String> {
        let Self { case, target, process, window, rate, certificate } = self;
        let mut words = vec![
            format!("--case={case}"),
            format!("--target={target}"),
            format!("--process={process}"),
            format!("--window={window}"),
            format!("--rate={rate}"),
        ];
        words.extend(certificate.iter().map(|file| format!("--certificate={}", file.display())));
        words
    }
}

/// What stands before the figures in the last line.
pub(super) const RESULT: &str = "result";
/// What stands before the reason why there are none.
pub(super) const FAULT: &str = "fault";

/// Does the job and writes what came out.
///
/// # Errors
/// Fails if nobody reads it.
pub(super) fn run(case: &Case, job: &Job) -> Result<()> {
    let runtime = LocalRuntime::new().context("no runtime")?;
    let line = match runtime.block_on(measure(case, job)) {
        Ok(sample) => format!("{RESULT} {}", sample.to_line()),
        Err(error) => format!("{FAULT} {error:#}"),
    };
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}

async fn measure(case: &Case, job: &Job) -> Result<Sample> {
    let client = Rc::new(Client::new(job.target, job.certificate.as_deref().filter(|_| case.face == Face::Https), case.traffic)?);
    if let Traffic::Idle { connections } = case.traffic {
        return timeout(PATIENCE, idle::measure(&client, connections, job.process)).await.context("connections take too long")?;
    }
    let meter = Rc::new(Meter::default());
    let window = Duration::from_millis(job.window);
    let running = async {
        start(&client, &meter, case.traffic, job.rate).await?;
        sleep(WARM_UP).await;
        let before = proc::cpu_time(job.process)?;
        meter.begin();
        for _ in 0..MOST_WINDOWS {
            sleep(window).await;
            // The kernel counts in ticks, and the machine may have been busy with something else.
            if proc::cpu_time(job.process)? > before && meter.has_heard() {
                break;
            }
        }
        let sample = meter.end();
        let cpu = proc::cpu_time(job.process)? - before;
        Ok::<Sample, Error>(Sample { cpu, ..sample })
    };
    let sample = tokio::select! {
        sample = running => sample?,
        fault = meter.failed() => return Err(fault),
    };
    judge(&sample, case.traffic, job.rate)?;
    Ok(sample)
}

/// Starts what the clients do; returns when everything is open that must be.
async fn start(client: &Rc<Client>, meter: &Rc<Meter>, traffic: Traffic, rate: u32) -> Result<()> {
    if let Traffic::Paced { open, active, size } = traffic {
        let opened = paced::start(client, meter, paced::Plan { open, active, size, rate });
        return timeout(PATIENCE, opened).await.context("connections take too long")?;
    }
    for number in 0..traffic.connections() as u64 {
        let (client, counter) = (Rc::clone(client), Rc::clone(meter));
        meter.start(async move {
            match traffic {
                Traffic::KeepAlive { size, .. } => http1::keep_alive(&client, &counter, number, size).await,
                Traffic::Fresh { size, .. } => http1::fresh(&client, &counter, number, size).await,
                Traffic::Streams { streams, size, .. } => http2::run(&client, &counter, streams, size).await,
                Traffic::Messages { size, .. } => echo::messages(&client, &counter, size).await,
                Traffic::Frames { size, .. } => echo::frames(&client, &counter, size).await,
                Traffic::Paced { .. } | Traffic::Idle { .. } => Ok(()),
            }
        });
    }
    Ok(())
}

/// Refuses a run that says nothing.
fn judge(sample: &Sample, traffic: Traffic, rate: u32) -> Result<()> {
    ensure!(sample.bytes > 0, "nothing was answered in {:?}", sample.wall);
    ensure!(!sample.cpu.is_zero(), "the proxy used no CPU time; measure longer (--seconds)");
    if matches!(traffic, Traffic::Paced { .. }) {
        let (got, wanted) = (sample.rate(), f64::from(rate));
        ensure!(got > 0.95 * wanted, "{got:.0} of {wanted:.0} requests a second were answered; try a lower --rate");
    }
    Ok(())
}

/// How many times as long a run may take in which nothing happens at first.
pub(super) const MOST_WINDOWS: u32 = 30;
/// Longest wait until all connections are open.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_not_kept_is_a_fault() {
        let sample =
            |requests| Sample { requests, bytes: 1, cpu: Duration::from_millis(10), wall: Duration::from_secs(1), ..Sample::default() };
        let paced = Traffic::Paced { open: 1, active: 1, size: 1 };
        assert!(judge(&sample(990), paced, 1000).is_ok());
        assert!(judge(&sample(900), paced, 1000).unwrap_err().to_string().contains("900 of 1000"));
        assert!(judge(&sample(900), Traffic::KeepAlive { connections: 1, size: 1 }, 1000).is_ok());
        assert!(judge(&Sample { cpu: Duration::ZERO, ..sample(1) }, paced, 1).is_err());
    }
}

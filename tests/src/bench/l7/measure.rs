//! One run and what is read from it.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a run of one proxy under one kind of traffic took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Responses or messages, all of them right.
    pub(super) requests: u64,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    /// CPU time of the proxy.
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    /// Half of the responses took no longer.
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    /// Bytes of resident memory that all connections together took.
    pub(super) memory: u64,
    /// Connections that took it.
    pub(super) connections: u64,
}

/// What is compared; less is always better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// CPU time of a request.
    Request,
    /// CPU time of a gibibyte.
    Gibibyte,
    /// The time that one in a hundred responses exceeds.
    Tail,
    /// Memory of a connection.
    Connection,
}

impl Measure {
    /// Returns the figure, in [`Self::unit`].
    pub(super) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::Request => micros(sample.cpu) / sample.requests.max(1) as f64,
            Self::Gibibyte => micros(sample.cpu) / 1000.0 / (sample.bytes.max(1) as f64 / GIB),
            Self::Tail => micros(sample.p99),
            Self::Connection => sample.memory as f64 / 1024.0 / sample.connections.max(1) as f64,
        }
    }

    /// Returns what the figure counts.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Request => "CPU µs/request",
            Self::Gibibyte => "CPU ms/GiB",
            Self::Tail => "p99 µs",
            Self::Connection => "kB/connection",
        }
    }
}

impl Sample {
    /// Returns everything as one line, for [`Self::parse`] in another process.
    pub(super) fn to_line(self) -> String {
        let nanos = |time: Duration| time.as_nanos();
        format!(
            "requests={} bytes={} cpu={} wall={} p50={} p99={} memory={} connections={}",
            self.requests,
            self.bytes,
            nanos(self.cpu),
            nanos(self.wall),
            nanos(self.p50),
            nanos(self.p99),
            self.memory,
            self.connections
        )
    }

    /// Reads what [`Self::to_line`] wrote.
    ///
    /// # Errors
    /// Names the figure that is missing or no number.
    pub(super) fn parse(line: &str) -> Result<Self> {
        let figures: HashMap<&str, &str> = line.split_whitespace().filter_map(|word| word.split_once('=')).collect();
        let figure = |name: &str| -> Result<u64> {
            figures.get(name).and_then(|text| text.parse().ok()).with_context(|| format!("no number `{name}` in `{line}`"))
        };
        let time = |name: &str| figure(name).map(Duration::from_nanos);
        Ok(Self {
            requests: figure("requests")?,
            bytes: figure("bytes")?,
            cpu: time("cpu")?,
            wall: time("wall")?,
            p50: time("p50")?,
            p99: time("p99")?,
            memory: figure("memory")?,
            connections: figure("connections")?,
        })
    }

    /// Returns responses per second.
    pub(super) fn rate(&self) -> f64 {
        self.requests as f64 / self.wall.as_secs_f64()
    }

    /// Returns the share of one CPU that the proxy used.
    pub(super) fn load(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Returns the value below which this share of all lies, by the nearest rank; sorts as far as it must.
pub(super) fn percentile(values: &mut [u32], share: f64) -> Option<u32> {
    let rank = (values.len() as f64 * share).ceil() as usize;
    let index = rank.clamp(1, values.len().max(1)) - 1;
    (!values.is_empty()).then(|| *values.select_nth_unstable(index).1)
}

/// Bytes of a gibibyte.
pub(super) const GIB: f64 = (1_u64 << 30) as f64;

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Sample = Sample {
        requests: 1000,
        bytes: 1 << 30,
        cpu: Duration::from_millis(16),
        wall: Duration::from_millis(20),
        p50: Duration::from_micros(70),
        p99: Duration::from_micros(300),
        memory: 20_480,
        connections: 10,
    };

    #[test]
    fn a_sample_survives_the_way_between_processes() {
        assert_eq!(Sample::parse(&SAMPLE.to_line()).unwrap(), SAMPLE);
        let error = Sample::parse("requests=1 bytes=x").unwrap_err();
        assert!(error.to_string().contains("`bytes`"), "{error}");
    }

    #[test]
    fn figures_are_per_request_gibibyte_and_connection() {
        let figures = [Measure::Request, Measure::Gibibyte, Measure::Tail, Measure::Connection].map(|measure| measure.of(&SAMPLE));
        assert_eq!(figures, [16.0, 16.0, 300.0, 2.0]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut values: Vec<u32> = (1..=200).rev().collect();
        assert_eq!(percentile(&mut values, 0.5), Some(100));
        assert_eq!(percentile(&mut values, 0.99), Some(198));
        assert_eq!(percentile(&mut [7], 0.99), Some(7));
        assert_eq!(percentile(&mut [], 0.5), None);
    }
}

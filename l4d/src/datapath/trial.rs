//! Trials: what the program does with one frame, asked of the kernel without a wire (`BPF_PROG_TEST_RUN`).
//!
//! It is the program that runs on the interfaces, on the same maps: a trial begins flows, renews them and counts, exactly as the frame would have done
//! had it arrived. Only the frame itself goes nowhere.

use std::{fmt, time::Duration};

use aya::{
    programs::{TestRun, TestRunOptions, Xdp},
    sys::SyscallError,
};

use super::Error;

/// The least the kernel accepts: an Ethernet header.
const SHORTEST: usize = 14;
/// The most a program can add in front of a frame.
const HEADROOM: usize = 256;

/// What the program said about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It failed; never seen of a program that is right.
    Aborted,
    /// The frame ends here.
    Dropped,
    /// The frame goes on to the host's own network stack.
    Passed,
    /// The frame leaves by the interface it arrived on.
    Transmitted,
    /// The frame leaves by another interface.
    Redirected,
}

impl Verdict {
    /// Reads what the program returned; the kernel drops whatever it does not know.
    pub(crate) const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Dropped,
            2 => Self::Passed,
            3 => Self::Transmitted,
            4 => Self::Redirected,
            _ => Self::Aborted,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aborted => "aborted",
            Self::Dropped => "dropped",
            Self::Passed => "passed",
            Self::Transmitted => "transmitted",
            Self::Redirected => "redirected",
        })
    }
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The program's verdict.
    pub verdict: Verdict,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
    /// How long the program ran.
    pub duration: Duration,
}

/// A loaded program that frames can be tried on.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    program: &'a Xdp,
}

impl<'a> Trial<'a> {
    /// Tries frames on a program.
    pub(super) const fn new(program: &'a Xdp) -> Self {
        Self { program }
    }

    /// Runs the program once on a frame as if it had just arrived on an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// An interface that is not there, and frames the kernel does not take: shorter than an Ethernet header or larger than a page holds.
    pub fn run(&self, interface: u32, frame: &[u8]) -> Result<Outcome, Error> {
        let failed = |reason: String| Error::Trial { length: frame.len(), interface, reason };
        if frame.len() < SHORTEST {
            return Err(failed(format!("a frame has at least {SHORTEST} bytes")));
        }
        let length = u32::try_from(frame.len()).map_err(|error| failed(error.to_string()))?;
        let context = context(length, interface);
        let mut out = vec![0; frame.len() + HEADROOM];
        let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ctx_in: Some(&context), ..TestRunOptions::new() };
        let result = self.program.test_run(options).map_err(|error| failed(cause(&error)))?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { verdict: Verdict::from_code(result.return_value), frame: out, duration: result.duration })
    }
}

/// Returns the program's context as the kernel's `struct xdp_md`: data, end of data, metadata, arriving interface, its queue, leaving interface.
fn context(length: u32, interface: u32) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (field, value) in bytes.chunks_exact_mut(4).zip([0, length, 0, interface, 0, 0]) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// Returns what the kernel said, without the name of the call around it.
fn cause(error: &aya::programs::ProgramError) -> String {
    if let aya::programs::ProgramError::SyscallError(SyscallError { io_error, .. }) = error {
        return io_error.to_string();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_those_of_the_kernel() {
        let verdicts = [Verdict::Aborted, Verdict::Dropped, Verdict::Passed, Verdict::Transmitted, Verdict::Redirected, Verdict::Aborted];
        assert_eq!([0, 1, 2, 3, 4, 5].map(Verdict::from_code), verdicts);
    }

    #[test]
    fn the_context_says_where_a_frame_arrived() {
        let bytes = context(60, 7);
        let fields: Vec<u32> = bytes.chunks_exact(4).map(|field| u32::from_ne_bytes(field.try_into().unwrap())).collect();
        assert_eq!(fields, [0, 60, 0, 7, 0, 0]);
    }
}

//! What traffic the generator makes: written by `tests::bench`, which includes this very file, and read by the program.

/// One kind of traffic.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    /// The frame that all others are made from, with correct checksums for the addresses and ports it has.
    pub(crate) template: [u64; FRAME_WORDS],
    /// The interface that sends the frames.
    pub(crate) interface: u32,
    /// How many flows take turns.
    pub(crate) flows: u32,
    /// 0: a flow's number is spread over source address and port; 1: it is that of a [`Reply`].
    pub(crate) replies: u64,
}

/// Words of a frame.
pub(crate) const FRAME_WORDS: usize = 8;
/// How many replies there is room for.
pub(crate) const REPLIES: u32 = 1 << 20;

/// Where a server's reply goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Reply {
    /// The destination address as it lies in a header.
    pub(crate) destination: u32,
    /// The destination port as it lies in a header.
    pub(crate) port: u16,
    /// What is added to the template's source address.
    pub(crate) server: u16,
}

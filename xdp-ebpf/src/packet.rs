//! Bounds-checked access to the packet; the only pointers into it.

use crate::{answer::Segment, maps, notes::Notes, relay::Quoting};
use aya_ebpf::{
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use xdp_common::{
    lane::Lane,
    wire::{Ethernet, Icmp, Ipv4, Ipv6, Tagged, Tcp, Udp},
};

/// The frame under way.
pub(crate) struct Packet<'a> {
    context: &'a XdpContext,
    notes: Notes,
}

/// The head of a frame, up to and including a transport header.
#[repr(C)]
pub(crate) struct Frame<Network, Transport> {
    pub(crate) ethernet: Ethernet,
    pub(crate) network: Network,
    pub(crate) transport: Transport,
}

/// An ICMP message and the first words of what it carries.
#[repr(C)]
pub(crate) struct Message<const WORDS: usize> {
    pub(crate) icmp: Icmp,
    pub(crate) payload: [[u8; 4]; WORDS],
}

/// What the head of a packet can be viewed as.
///
/// # Safety
/// Alignment 1, no padding, and any bytes are a valid value.
pub(crate) unsafe trait Head {}

// SAFETY: all of these are made of bytes alone; `wire` asserts the layouts.
unsafe impl Head for Ethernet {}
// SAFETY: as above.
unsafe impl Head for Tcp {}
// SAFETY: as above.
unsafe impl Head for [u8; 4] {}
// SAFETY: as above.
unsafe impl Head for Tagged {}
// SAFETY: as above.
unsafe impl Head for Ipv4 {}
// SAFETY: as above.
unsafe impl Head for Ipv6 {}
// SAFETY: as above; `repr(C)` puts no padding between parts of alignment 1.
unsafe impl Head for Frame<Ipv4, Tcp> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv4, Udp> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv6, Tcp> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv6, Udp> {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Head for Frame<Ipv4, Message<WORDS>> {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Head for Frame<Ipv6, Message<WORDS>> {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Head for Frame<Ipv4, Segment<WORDS>> {}
// SAFETY: as above.
unsafe impl<const WORDS: usize> Head for Frame<Ipv6, Segment<WORDS>> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv4, Icmp> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv6, Icmp> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv4, Quoting<Ipv4>> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv6, Quoting<Ipv6>> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv4, ()> {}
// SAFETY: as above.
unsafe impl Head for Frame<Ipv6, ()> {}

impl<'a> Packet<'a> {
    #[inline(always)]
    pub(crate) const fn new(context: &'a XdpContext, notes: Notes) -> Self {
        Self { context, notes }
    }

    /// Goes on with a packet of which another program may have noted something.
    #[inline(always)]
    pub(crate) fn under_way(context: &'a XdpContext) -> Self {
        Self::new(context, maps::settings().map_or(Notes::NONE, Notes::of_stage))
    }

    /// Returns what is noted of it.
    #[inline(always)]
    pub(crate) const fn notes(&self) -> Notes {
        self.notes
    }

    /// Returns where the packet came in.
    #[inline(always)]
    pub(crate) fn lane(&self) -> Lane {
        self.notes.lane(self.interface())
    }

    /// Returns the device by which the host sees the packet.
    #[inline(always)]
    pub(crate) fn device(&self) -> u32 {
        self.notes.device(self.interface())
    }

    /// Returns the interface whose program sees the packet.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        self.context.ingress_ifindex() as u32
    }

    /// Returns the program's context, for helpers.
    #[inline(always)]
    pub(crate) const fn context(&self) -> &XdpContext {
        self.context
    }

    /// Returns how many bytes the frame has.
    #[inline(always)]
    pub(crate) fn length(&self) -> u64 {
        // Kept in 64 bits: the verifier refuses a packet pointer that was narrowed to 32.
        self.context.data_end() as u64 - self.context.data() as u64
    }

    /// Views the first bytes of the frame, if there are enough.
    #[inline(always)]
    pub(crate) fn head<T: Head>(&self) -> Option<&T> {
        let start = self.start::<T>()?;
        // SAFETY: `start` checked that the frame holds a whole `T`; `Head` allows any bytes; nobody writes while `self` is borrowed.
        Some(unsafe { &*start })
    }

    /// Views the first bytes of the frame for writing, if there are enough.
    #[inline(always)]
    pub(crate) fn head_mut<T: Head>(&mut self) -> Option<&mut T> {
        let start = self.start::<T>()?;
        // SAFETY: as in `head`; `self` is borrowed alone.
        Some(unsafe { &mut *start })
    }

    /// Views the frame from some byte on, if there is enough of it; the verifier wants to know a bound of the number.
    #[inline(always)]
    pub(crate) fn at<T: Head>(&self, byte: u64) -> Option<&T> {
        let start = self.start_at::<T>(byte)?;
        // SAFETY: as in `head`.
        Some(unsafe { &*start })
    }

    /// Does as [`at`](Self::at) for writing.
    #[inline(always)]
    pub(crate) fn at_mut<T: Head>(&mut self, byte: u64) -> Option<&mut T> {
        let start = self.start_at::<T>(byte)?;
        // SAFETY: as in `head`; `self` is borrowed alone.
        Some(unsafe { &mut *start })
    }

    /// Puts so many bytes before the frame; they hold whatever lay there.
    #[inline(always)]
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: u16) -> bool {
        // SAFETY: the context is the program's own; `self` is borrowed alone, so no view of the frame outlives the call.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, -i32::from(bytes)) == 0 }
    }

    /// Takes so many bytes off the front.
    #[inline(always)]
    #[must_use]
    pub(crate) fn shrink(&mut self, bytes: u16) -> bool {
        // SAFETY: as in `grow`.
        unsafe { bpf_xdp_adjust_head(self.context.ctx, i32::from(bytes)) == 0 }
    }

    /// Makes the frame so many bytes long; what is cut off is lost, and what is added holds anything.
    #[inline(always)]
    #[must_use]
    pub(crate) fn resize(&mut self, bytes: u64) -> bool {
        let excess = self.length().wrapping_sub(bytes);
        // SAFETY: as in `grow`.
        unsafe { bpf_xdp_adjust_tail(self.context.ctx, -(excess as i32)) == 0 }
    }

    #[inline(always)]
    fn start<T>(&self) -> Option<*mut T> {
        let (start, end) = (self.context.data(), self.context.data_end());
        (start + size_of::<T>() <= end).then_some(start as *mut T)
    }

    #[inline(always)]
    fn start_at<T>(&self, byte: u64) -> Option<*mut T> {
        let (start, end) = (self.context.data() + byte as usize, self.context.data_end());
        (start + size_of::<T>() <= end).then_some(start as *mut T)
    }
}

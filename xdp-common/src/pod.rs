//! `Pod` for every value of a map, beside what makes it one: `repr(C)`, no padding, any bits valid.

use crate::{
    addr::Addr,
    nat::{Entry, PoolSlot},
    server::{Counters, Hop, Server},
    service::{Bucket, RangeService},
    settings::{Link, Settings},
    watch::Watch,
};

macro_rules! pod {
    ($($type:ty: $size:literal),* $(,)?) => {
        $(
            const _: () = assert!(size_of::<$type>() == $size);
            // SAFETY: the fields fill the asserted size without padding, and each is an integer or an array of integers.
            unsafe impl aya::Pod for $type {}
        )*
    };
}

pod! {
    Addr: 16,
    Bucket: 64,
    Counters: 24,
    crate::decap::Settings: 8,
    Entry: 32,
    Hop: 16,
    Link: 16,
    PoolSlot: 24,
    RangeService: 40,
    Server: 64,
    Settings: 64,
    Watch: 152,
}

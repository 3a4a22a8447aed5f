//! `traceparent`, as W3C Trace Context has it: who a request belongs to, and what its server is told.

use crate::message::head::RequestHead;

/// What a client says its request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Parent {
    trace: u128,
    span: u64,
    is_sampled: bool,
}

impl Parent {
    /// Reads the field of a request; of several none counts.
    pub(super) fn of(head: &RequestHead) -> Option<Self> {
        let mut all = head.headers.all("traceparent");
        all.next().filter(|_| all.next().is_none()).and_then(Self::parse)
    }

    /// Returns the span that the client's request is.
    pub(super) fn span(self) -> u64 {
        self.span
    }

    /// Reads a value; nothing where it is not valid, as if there were none.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = str::from_utf8(value).ok()?.trim();
        let (version, rest) = text.split_at_checked(2)?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = rest.strip_prefix('-')?.split('-');
        let (trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?);
        // Later versions may say more; version ff never comes, and version 00 says no more.
        let is_known = is_hex(version) && version != "ff" && (version != "00" || parts.next().is_none());
        if !is_known || (trace.len(), span.len(), flags.len()) != (32, 16, 2) || ![trace, span, flags].into_iter().all(is_hex) {
            return None;
        }
        let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        (trace != 0 && span != 0).then_some(Self { trace, span, is_sampled })
    }
}

/// The trace that a span is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    id: u128,
    /// None where the trace begins with the span.
    parent: Option<u64>,
}

impl Trace {
    /// Returns the trace of a request that gets a span: as its client says, or by chance where that says nothing.
    pub(super) fn of(parent: Option<Parent>, chance: impl FnOnce() -> bool) -> Option<Self> {
        match parent {
            Some(parent) => parent.is_sampled.then_some(Self { id: parent.trace, parent: Some(parent.span) }),
            None => chance().then(|| Self { id: fastrand::u128(1..), parent: None }),
        }
    }

    /// Returns its number, for all spans that are part of it.
    pub(super) fn id(self) -> u128 {
        self.id
    }

    /// Returns what the span belongs to.
    pub(super) fn parent(self) -> Option<u64> {
        self.parent
    }

    /// Returns what a server is told whose part is under this span.
    pub(super) fn header(self, span: u64) -> String {
        format!("00-{:032x}-{span:016x}-01", self.id)
    }
}

/// Returns what a server is told about a request that nobody follows.
pub(super) fn unsampled() -> String {
    format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parents_are_read_as_w3c_says() {
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = Parent::parse(whole.as_bytes()).unwrap();
        assert_eq!(parent, Parent { trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, span: 0x00f0_67aa_0ba9_02b7, is_sampled: true });
        assert!(!Parent::parse(whole.replace("-01", "-00").as_bytes()).unwrap().is_sampled);
        assert!(Parent::parse(whole.replacen("00-", "cc-", 1).as_bytes()).is_some(), "a later version");
        assert!(Parent::parse(format!("{}-what", whole.replacen("00-", "cc-", 1)).as_bytes()).is_some(), "which says more");
        for wrong in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Parent::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_parent_is_too_strange(value in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Parent::parse(&value);
        }

        #[test]
        fn what_a_server_is_told_can_be_read(id in 1_u128.., span in 1_u64..) {
            let told = Trace { id, parent: None }.header(span);
            prop_assert_eq!(Parent::parse(told.as_bytes()), Some(Parent { trace: id, span, is_sampled: true }));
        }
    }
}

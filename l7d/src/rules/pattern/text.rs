//! Sets of texts: whole, as prefixes, as suffixes, and between delimiters.

use std::borrow::Cow;
use std::collections::HashSet;

/// Whether upper and lower case letters are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::rules) enum Case {
    /// They are not.
    Kept,
    /// They are.
    Ignored,
}

impl Case {
    /// Returns the form in which texts are compared.
    pub(in crate::rules) fn fold(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Self::Ignored if text.iter().any(u8::is_ascii_uppercase) => Cow::Owned(text.to_ascii_lowercase()),
            Self::Kept | Self::Ignored => Cow::Borrowed(text),
        }
    }

    fn same(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Self::Kept => a == b,
            Self::Ignored => a.eq_ignore_ascii_case(b),
        }
    }
}

/// A set of whole texts.
#[derive(Debug)]
pub(in crate::rules) struct Exact {
    case: Case,
    members: Members,
}

#[derive(Debug)]
enum Members {
    /// So few that looking at each costs less than hashing.
    Few(Box<[Box<[u8]>]>),
    Many(HashSet<Box<[u8]>>),
}

impl Exact {
    /// Makes the set of these texts.
    pub(in crate::rules) fn new(texts: impl Iterator<Item = Vec<u8>>, case: Case) -> Self {
        let folded: HashSet<Box<[u8]>> = texts.map(|text| case.fold(&text).into()).collect();
        let members = if folded.len() <= FEW { Members::Few(folded.into_iter().collect()) } else { Members::Many(folded) };
        Self { case, members }
    }

    /// Tells whether the text is one of the set.
    pub(in crate::rules) fn contains(&self, text: &[u8]) -> bool {
        match &self.members {
            Members::Few(members) => members.iter().any(|member| self.case.same(member, text)),
            Members::Many(members) => members.contains(self.case.fold(text).as_ref()),
        }
    }
}

const FEW: usize = 6;

/// A set of prefixes, or of suffixes written backwards.
#[derive(Debug)]
pub(in crate::rules) struct Prefixes {
    case: Case,
    /// Invariant: sorted, and none is a prefix of another, so that only the last one not after a text can be its prefix.
    members: Vec<Box<[u8]>>,
}

impl Prefixes {
    /// Makes the set of these prefixes.
    pub(in crate::rules) fn new(texts: impl Iterator<Item = Vec<u8>>, case: Case) -> Self {
        let mut all: Vec<Box<[u8]>> = texts.map(|text| case.fold(&text).into()).collect();
        all.sort_unstable();
        let mut members: Vec<Box<[u8]>> = Vec::with_capacity(all.len());
        for text in all {
            if members.last().is_none_or(|before| !text.starts_with(before)) {
                members.push(text);
            }
        }
        Self { case, members }
    }

    /// Makes the set of these suffixes.
    pub(in crate::rules) fn backwards(texts: impl Iterator<Item = Vec<u8>>, case: Case) -> Self {
        let reversed = texts.map(|mut text| {
            text.reverse();
            text
        });
        Self::new(reversed, case)
    }

    /// Tells whether the text begins with a member.
    pub(in crate::rules) fn any_begins(&self, text: &[u8]) -> bool {
        if let [only] = self.members.as_slice() {
            return text.get(..only.len()).is_some_and(|start| self.case.same(only, start));
        }
        let text = self.case.fold(text);
        let after = self.members.partition_point(|member| **member <= *text);
        after > 0 && text.starts_with(&self.members[after - 1])
    }

    /// Tells whether the text ends with a member written backwards.
    pub(in crate::rules) fn any_ends(&self, text: &[u8]) -> bool {
        let text = self.case.fold(text);
        let backwards = || text.iter().rev();
        let after = self.members.partition_point(|member| member.iter().cmp(backwards()).is_le());
        after > 0 && {
            let member = &self.members[after - 1];
            member.len() <= text.len() && member.iter().zip(backwards()).all(|(a, b)| a == b)
        }
    }
}

/// A set of texts looked for between delimiters.
#[derive(Debug)]
pub(in crate::rules) struct Delimited {
    delimiters: &'static [u8],
    set: Exact,
    /// The most delimiters inside a member.
    deepest: usize,
}

impl Delimited {
    /// Makes the set of these parts of paths.
    pub(in crate::rules) fn directories(texts: impl Iterator<Item = Vec<u8>>, case: Case) -> Self {
        Self::new(texts, case, b"/?")
    }

    /// Makes the set of these parts of domains.
    pub(in crate::rules) fn domains(texts: impl Iterator<Item = Vec<u8>>, case: Case) -> Self {
        Self::new(texts, case, b"/?.:")
    }

    fn new(texts: impl Iterator<Item = Vec<u8>>, case: Case, delimiters: &'static [u8]) -> Self {
        let is_delimiter = |byte: &u8| delimiters.contains(byte);
        let mut deepest = 0;
        let mut members = Vec::new();
        for text in texts {
            let start = text.iter().position(|byte| !is_delimiter(byte)).unwrap_or(text.len());
            let end = text.iter().rposition(|byte| !is_delimiter(byte)).map_or(start, |last| last + 1);
            let member = &text[start..end];
            // Between delimiters there is always something.
            if !member.is_empty() {
                deepest = deepest.max(member.iter().filter(|byte| is_delimiter(byte)).count());
                members.push(member.to_owned());
            }
        }
        Self { delimiters, set: Exact::new(members.into_iter(), case), deepest }
    }

    /// Tells whether a member stands somewhere in the text between delimiters.
    pub(in crate::rules) fn any_in(&self, text: &[u8]) -> bool {
        let is_delimiter = |at: usize| text.get(at).is_none_or(|byte| self.delimiters.contains(byte));
        let starts = (0..text.len()).filter(|at| !is_delimiter(*at) && (*at == 0 || is_delimiter(*at - 1)));
        starts.into_iter().any(|start| {
            let ends = (start + 1..=text.len()).filter(|at| is_delimiter(*at));
            ends.take(self.deepest + 1).any(|end| self.set.contains(&text[start..end]))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(list: &[String]) -> impl Iterator<Item = Vec<u8>> {
        list.iter().map(|text| text.clone().into_bytes())
    }

    #[test]
    fn examples_of_the_manual_hold() {
        let domains = |pattern: &str| Delimited::domains([pattern.as_bytes().to_vec()].into_iter(), Case::Kept);
        let url = b"http://www1.dc-eu.example.com:80/blah";
        for part in ["http", "www1", ".www1", "dc-eu", "example", "com", "80", "dc-eu.example", "blah", ":www1:", "example.com:80"] {
            assert!(domains(part).any_in(url), "{part}");
        }
        for part in ["eu", "dc", "", "."] {
            assert!(!domains(part).any_in(url), "{part}");
        }
        let directories = |pattern: &str| Delimited::directories([pattern.as_bytes().to_vec()].into_iter(), Case::Kept);
        let path = b"/images/png/logo/32x32.png";
        for part in ["/images", "/images/png", "images/png", "/png/logo", "logo/32x32.png", "32x32.png"] {
            assert!(directories(part).any_in(path), "{part}");
        }
        assert!(!directories("32x32").any_in(path) && !directories("images/logo").any_in(path));
    }

    #[test]
    fn a_hundred_thousand_members_are_found_at_once() {
        let many: Vec<String> = (0..100_000).map(|number| format!("/tenant/{number:06}/")).collect();
        let prefixes = Prefixes::new(texts(&many), Case::Ignored);
        let suffixes = Prefixes::backwards(texts(&many), Case::Ignored);
        let exact = Exact::new(texts(&many), Case::Ignored);
        for _ in 0..10_000 {
            assert!(prefixes.any_begins(b"/Tenant/099999/x") && !prefixes.any_begins(b"/tenant/100000/x"));
            assert!(suffixes.any_ends(b"x/TENANT/000001/") && !suffixes.any_ends(b"/tenant/000001"));
            assert!(exact.contains(b"/TENANT/050000/") && !exact.contains(b"/tenant/050000"));
        }
    }

    proptest! {
        #[test]
        fn sets_agree_with_looking_at_every_member(members in prop::collection::vec("[abAB/.]{0,4}", 0..12), text in "[abAB/.]{0,8}") {
            for case in [Case::Kept, Case::Ignored] {
                let fold = |text: &str| if case == Case::Ignored { text.to_ascii_lowercase() } else { text.to_owned() };
                let (folded, text_folded) = (members.iter().map(|member| fold(member)).collect::<Vec<_>>(), fold(&text));
                let bytes = text.as_bytes();
                prop_assert_eq!(Exact::new(texts(&members), case).contains(bytes), folded.contains(&text_folded));
                prop_assert_eq!(Prefixes::new(texts(&members), case).any_begins(bytes), folded.iter().any(|m| text_folded.starts_with(m)));
                prop_assert_eq!(Prefixes::backwards(texts(&members), case).any_ends(bytes), folded.iter().any(|m| text_folded.ends_with(m)));
                let stands = |member: &String| {
                    let member = member.trim_matches('/');
                    !member.is_empty() && format!("/{text_folded}/").contains(&format!("/{member}/"))
                };
                prop_assert_eq!(Delimited::directories(texts(&members), case).any_in(bytes), folded.iter().any(stands));
            }
        }
    }
}

//! Guesses which known word a misspelt one was meant to be.

/// Returns the candidate nearest to a word, if one is near enough to be meant.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    // A number is no misspelling of another one.
    if word.len() > LONGEST || !word.iter().any(|letter| letter.is_alphabetic()) {
        return None;
    }
    let allowed = (word.len() / 3).clamp(1, 3).min(word.len() - 1);
    let near = |candidate: &'c str| {
        let cut_short = word.len() >= SHORTEST_CUT && candidate.chars().take(word.len()).eq(word.iter().copied());
        let distance = distance(&word, candidate)?;
        let distance = if cut_short { distance.min(1) } else { distance };
        (distance <= allowed).then_some((distance, candidate))
    };
    candidates.into_iter().filter_map(near).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// Returns a hint that names the candidate meant, if there is one, and what else is known.
pub fn hint(word: &str, candidates: &[&str]) -> String {
    match nearest(word, candidates.iter().copied()) {
        Some(meant) if candidates.len() > SHOWN + 2 => format!("did you mean `{meant}`? known: {}, …", candidates[..SHOWN].join(", ")),
        Some(meant) => format!("did you mean `{meant}`? known: {}", candidates.join(", ")),
        None => format!("known: {}", candidates.join(", ")),
    }
}

/// Words longer than this are no misspelling of ours, and comparing them would take long.
const LONGEST: usize = 64;
/// So many letters are enough to know what they begin.
const SHORTEST_CUT: usize = 3;
/// How many known words a hint lists beside a suggestion.
const SHOWN: usize = 6;

/// Counts the insertions, deletions, replacements and swaps of neighbours between two words.
fn distance(word: &[char], candidate: &str) -> Option<usize> {
    let candidate: Vec<char> = candidate.chars().flat_map(char::to_lowercase).take(LONGEST + 1).collect();
    if candidate.len() > LONGEST {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=candidate.len()).collect();
    for (i, letter) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in candidate.iter().enumerate() {
            let replaced = above[j] + usize::from(letter != other);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == candidate[j - 1] && word[i - 1] == *other {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_of_each_kind_is_understood() {
        for (slip, word) in
            [("missing letter", "leastcon"), ("extra letter", "leastconnn"), ("swap", "laestconn"), ("case", "LeastConn"), ("cut", "least")]
        {
            assert_eq!(nearest(word, ["roundrobin", "leastconn"]), Some("leastconn"), "{slip}");
        }
    }

    #[test]
    fn a_different_word_is_no_misspelling() {
        assert_eq!(nearest("fastest", ["roundrobin", "leastconn"]), None);
        assert_eq!(nearest("x", ["a"]), None);
        assert_eq!(nearest("1.1", ["1.2"]), None);
        assert_eq!(nearest("", ["a"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), ["xx"]), None);
    }

    #[test]
    fn the_nearest_wins_and_the_first_of_equals() {
        assert_eq!(nearest("web3", ["web1", "web2"]), Some("web1"));
        assert_eq!(nearest("web2", ["web1", "web2"]), Some("web2"));
    }
}

//! Hashes of passwords as `crypt(3)` makes them: `$1$` (MD5), `$5$` and `$6$` (SHA-crypt).

use aws_lc_rs::constant_time;
use md5::{Digest, Md5};
use sha_crypt::{PasswordVerifier, ShaCrypt};

/// A hash with its salt.
#[derive(Debug)]
pub(super) enum Hash {
    Md5 { salt: Box<[u8]>, digits: Box<[u8]> },
    Sha(Box<str>),
}

impl Hash {
    /// Reads a hash; none for one of a known kind that no password can have.
    ///
    /// # Errors
    /// Names a kind that is not known here.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut parts = text.split('$');
        let (first, kind) = (parts.next().unwrap_or_default(), parts.next());
        let length = match (first, kind) {
            ("", Some("1")) => 22,
            ("", Some("5")) => 43,
            ("", Some("6")) => 86,
            ("", Some("2a" | "2b" | "2x" | "2y")) => return Err("passwords hashed with bcrypt are not supported".to_owned()),
            ("", Some("y" | "gy" | "7")) => return Err("passwords hashed with scrypt or yescrypt are not supported".to_owned()),
            ("", Some(other)) => return Err(format!("passwords hashed as ${other}$ are not supported")),
            _ => return Err("passwords hashed with DES are not supported: they are guessed within hours".to_owned()),
        };
        let mut rest: Vec<&str> = parts.collect();
        if kind != Some("1")
            && let Some(rounds) = rest.first().and_then(|part| part.strip_prefix("rounds="))
        {
            let rounds = rounds.parse().ok().filter(|rounds| (1000..=MOST_ROUNDS).contains(rounds));
            rounds.ok_or_else(|| format!("a hash takes 1000 to {MOST_ROUNDS} rounds"))?;
            rest.remove(0);
        }
        let [salt, digits] = rest.as_slice() else { return Ok(None) };
        let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/');
        if digits.len() != length || !digits.bytes().all(is_digit) || salt.is_empty() {
            return Ok(None);
        }
        Ok(Some(match kind {
            Some("1") => Self::Md5 { salt: salt.as_bytes()[..salt.len().min(8)].into(), digits: digits.as_bytes().into() },
            _ => Self::Sha(text.into()),
        }))
    }

    /// Tells whether it is that of a password, which takes a while.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        // The time it takes grows with the length, which is for strangers to choose.
        if password.len() > LONGEST {
            return false;
        }
        match self {
            Self::Md5 { salt, digits } => constant_time::verify_slices_are_equal(&md5_crypt(password, salt), digits).is_ok(),
            Self::Sha(text) => ShaCrypt::default().verify_password(password, &**text).is_ok(),
        }
    }
}

/// Computes the hash of `$1$`.
fn md5_crypt(password: &[u8], salt: &[u8]) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| -> [u8; 16] {
        let mut md5 = Md5::new();
        parts.iter().for_each(|part| md5.update(part));
        md5.finalize().into()
    };
    let inner = hash(&[password, salt, password]);
    let mut text = [password, b"$1$", salt].concat();
    text.extend(inner.iter().cycle().take(password.len()));
    let mut length = password.len();
    while length > 0 {
        text.push(if length & 1 == 1 { 0 } else { password[0] });
        length >>= 1;
    }
    let mut state = hash(&[&text]);
    for round in 0..1000_u16 {
        let (first, last): (&[u8], &[u8]) = if round % 2 == 1 { (password, &state) } else { (&state, password) };
        let salt = if round % 3 != 0 { salt } else { b"" };
        let middle = if round % 7 != 0 { password } else { b"" };
        state = hash(&[first, salt, middle, last]);
    }
    let mut out = Vec::with_capacity(22);
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        put(&mut out, u32::from_be_bytes([0, state[a], state[b], state[c]]), 4);
    }
    put(&mut out, state[11].into(), 2);
    out
}

/// Appends digits of 6 bits each, the lowest first.
fn put(out: &mut Vec<u8>, value: u32, count: u32) {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    out.extend((0..count).map(|place| DIGITS[(value >> (6 * place) & 63) as usize]));
}

/// As long as passwords may be for `crypt(3)` of Linux.
const LONGEST: usize = 511;
/// More would take several seconds for every password.
const MOST_ROUNDS: u32 = 5_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_openssl() {
        let cases = [
            ("$1$abcdefgh$G//4keteveJp0qb8z2DxG/", "password"),
            ("$1$12345678$o2n/JiO/h5VviOInWJ4OQ/", "password"),
            ("$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1", "secret"),
            ("$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", "secret"),
        ];
        for (hash, password) in cases {
            let hash = Hash::parse(hash).unwrap().unwrap();
            assert!(hash.is_of(password.as_bytes()), "{hash:?}");
            assert!(!hash.is_of(b"Password"));
            assert!(!hash.is_of(b""));
        }
    }

    #[test]
    fn nobody_makes_it_compute_for_long() {
        let long = vec![b'a'; 600];
        let digits = md5_crypt(&long, b"saltsalt").into();
        assert!(!Hash::Md5 { salt: b"saltsalt".as_slice().into(), digits }.is_of(&long));
        let digits = md5_crypt(&long[..LONGEST], b"saltsalt").into();
        assert!(Hash::Md5 { salt: b"saltsalt".as_slice().into(), digits }.is_of(&long[..LONGEST]));
    }

    #[test]
    fn other_kinds_are_named() {
        for (text, says) in [("xxj31ZMTZzkVA", "DES"), ("$2y$05$abc", "bcrypt"), ("$y$j9T$a$b", "yescrypt"), ("$9$a$b", "$9$")] {
            assert!(Hash::parse(text).unwrap_err().contains(says), "{text}");
        }
        assert!(Hash::parse("$5$rounds=100$a$b").unwrap_err().contains("rounds"));
        for text in ["$6$salt", "$6$salt$short", "$1$salt$", "$6$k6y3o.eP$JlKBx(...)7cV91"] {
            assert!(Hash::parse(text).unwrap().is_none(), "{text}");
        }
    }
}

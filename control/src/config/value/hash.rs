//! How hashes find servers.

use super::Mistake;
use super::word::{HASH_FUNCTION, HASH_METHOD};
use crate::config::model::{HashFunction, HashMethod, HashType};

/// Reads a method, a function and a modifier, such as `consistent djb2 avalanche`; only the method must be there.
pub(in crate::config) fn hash_type(text: &str) -> Result<HashType, Mistake> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let (method, rest) = match words.as_slice() {
        [] => return Err(Mistake::new("nothing is written here").hint("for example consistent")),
        [method, rest @ ..] => (HASH_METHOD.read(method).map_err(|mistake| mistake.at(text, method))?, rest),
    };
    match *rest {
        // What HAProxy does where no function is named.
        [] => Ok(HashType { method, function: HashFunction::Sdbm, avalanche: method == HashMethod::Consistent }),
        [function, ref modifiers @ ..] => {
            let function = HASH_FUNCTION.read(function).map_err(|mistake| mistake.at(text, function))?;
            Ok(HashType { method, function, avalanche: avalanche(text, modifiers)? })
        }
    }
}

fn avalanche(text: &str, modifiers: &[&str]) -> Result<bool, Mistake> {
    match *modifiers {
        [] => Ok(false),
        ["avalanche"] => Ok(true),
        ["avalanche", other, ..] | [other, ..] => Err(Mistake::new(format!("`{other}` is not a modifier of hashes"))
            .at(text, other)
            .hint("only avalanche may follow the function, once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_with_function_and_modifier() {
        use {HashFunction as F, HashMethod as M};
        for (text, method, function, avalanche) in [
            ("map-based", M::MapBased, F::Sdbm, false),
            ("consistent", M::Consistent, F::Sdbm, true),
            ("consistent sdbm", M::Consistent, F::Sdbm, false),
            ("map-based djb2", M::MapBased, F::Djb2, false),
            ("map-based wt6 avalanche", M::MapBased, F::Wt6, true),
            (" consistent  crc32 ", M::Consistent, F::Crc32, false),
            ("consistent none avalanche", M::Consistent, F::None, true),
        ] {
            assert_eq!(hash_type(text), Ok(HashType { method, function, avalanche }), "{text}");
        }
        assert_eq!(hash_type("map-based"), Ok(HashType::default()));
    }

    #[test]
    fn what_is_no_hash_type_is_refused() {
        for text in ["", "djb2", "consistant", "consistent avalanche", "consistent md5", "map-based sdbm mix", "map-based sdbm avalanche x"]
        {
            assert!(hash_type(text).is_err(), "{text}");
        }
    }
}

//! Fingerprints: the first eight bytes of SHA-256 over a definition's canonical text. Spelling, order of keys, comments
//! and the file that it is in do not count; whatever changes what it does, does.

use sha2::{Digest, Sha256};

use super::tree::Node;

/// Hashes a definition and what it takes in from elsewhere (the text of its function file, its secrets' marks).
pub fn of(node: &Node, extra: &[&[u8]]) -> u64 {
    let mut text = String::new();
    node.canonical(&mut text);
    let mut hash = Sha256::new();
    hash.update(text.as_bytes());
    for part in extra {
        // The length keeps parts apart: ("ab", "c") is not ("a", "bc").
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    first_bytes(&hash.finalize())
}

/// The hash of a whole file.
pub fn of_text(text: &str) -> u64 {
    of_bytes(text.as_bytes())
}

/// The hash of a whole file that is no text.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    first_bytes(&Sha256::digest(bytes))
}

fn first_bytes(hash: &[u8]) -> u64 {
    hash.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Problems;
    use crate::config::tree;

    fn print(text: &str) -> u64 {
        of(&tree::parse(text, 0, &mut Problems::default()), &[])
    }

    #[test]
    fn spelling_does_not_count_and_values_do() {
        let one = print("name = 'a'\n[limits]\nbody = 10 # comment\n");
        assert_eq!(one, print("limits = { body = 1_0 }\nname = \"\\u0061\""));
        assert_ne!(one, print("name = 'a'\nlimits = { body = 11 }"));
        assert_ne!(print("a = ['x', 'y']"), print("a = ['y', 'x']"), "the order of an array counts");
        assert_ne!(print("a = '1'"), print("a = 1"));
    }

    #[test]
    fn a_fingerprint_is_forever() {
        // Stored as the version in traces and dead letters.
        assert_eq!(of_text(""), 0xe3b0_c442_98fc_1c14);
    }
}

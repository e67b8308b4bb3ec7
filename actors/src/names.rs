//! What to say when a name is unknown: what is near, and what exists.

/// At most so many names are listed.
const LISTED: usize = 20;

/// `did you mean …? there are …`, or `there is none`.
pub fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    if known.is_empty() {
        return "there is none".to_owned();
    }
    let best = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(name, k), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 4);
    let more = known.len().saturating_sub(LISTED);
    let mut listed = known.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if more > 0 {
        listed.push_str(&format!(" and {more} more"));
    }
    match best {
        Some((_, k)) => format!("did you mean `{k}`? There are: {listed}"),
        None => format!("there are: {listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_near_and_what_exists() {
        assert_eq!(near("a", [].into_iter()), "there is none");
        assert_eq!(near("oders", ["orders", "pay"].into_iter()), "did you mean `orders`? There are: orders, pay");
        assert_eq!(near("xyz", ["orders", "pay"].into_iter()), "there are: orders, pay");
    }
}

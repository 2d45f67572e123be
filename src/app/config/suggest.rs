//! The nearest known word to a mistyped one.

/// The candidate that `word` was probably meant to be; none where nothing is near.
///
/// Near is one edit (insert, drop, replace or swap of neighbours) for every three letters, at least one; the order of the
/// words in a key does not count, so `max_head` finds `head_max`. Costs O(candidates * 64 * 64) at most.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters: Vec<char> = word.chars().take(LONGEST + 1).map(|c| c.to_ascii_lowercase()).collect();
    if letters.len() > LONGEST {
        return None;
    }
    let reordered = in_order(&letters);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let chars: Vec<char> = candidate.chars().collect();
        let distance = edits(&letters, &chars).min(edits(&reordered, &in_order(&chars)));
        let allowed = (letters.len().max(chars.len()) / 3).max(1);
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// The words of a key, sorted.
fn in_order(letters: &[char]) -> Vec<char> {
    let mut words: Vec<&[char]> = letters.split(|c| matches!(c, '_' | '-')).collect();
    words.sort_unstable();
    words.join(&'_')
}

/// Edits from one word to the other: the optimal string alignment distance.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

/// A word longer than this is nobody's slip of a known key.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word() {
        let words = ["http", "limits", "log", "shutdown_timeout", "head_max", "headers_max"];
        let table: &[(&str, Option<&str>)] = &[
            ("htp", Some("http")),
            ("htpt", Some("http")),
            ("HTTP", Some("http")),
            ("limit", Some("limits")),
            ("lgo", Some("log")),
            ("shutdown-timeout", Some("shutdown_timeout")),
            ("timeout_shutdown", Some("shutdown_timeout")),
            ("max_head", Some("head_max")),
            ("max_headers", Some("headers_max")),
            ("heads_max", Some("head_max")),
            ("mqtt", None),
            ("", None),
            ("é", None),
            ("something_else", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, words), *expected, "{word:?}");
        }
        assert_eq!(nearest(&"h".repeat(100_000), words), None);
    }
}

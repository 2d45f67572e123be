//! Glob matching with captures, for paths and topics.

/// The most captures that are kept.
const CAPTURES_MAX: usize = 20;

/// Wildcards up to which, and bits of memory up to which, a match allocates nothing.
const INLINE_WILDCARDS: usize = 16;
const INLINE_WORDS: usize = 32;

/// What the wildcards of a pattern stood for, in their order: one text for each of `?`, `*` and `#`. From the
/// twenty-first on they match but are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Captures<'t> {
    texts: [&'t str; CAPTURES_MAX],
    len: usize,
}

impl<'t> Captures<'t> {
    /// What the wildcard of this number, from 0, stood for.
    pub fn get(&self, at: usize) -> Option<&'t str> {
        self.as_slice().get(at).copied()
    }

    /// All of them.
    pub fn as_slice(&self) -> &[&'t str] {
        &self.texts[..self.len]
    }

    fn push(&mut self, text: &'t str) {
        if let Some(slot) = self.texts.get_mut(self.len) {
            *slot = text;
            self.len += 1;
        }
    }
}

/// Matches the whole text: `?` is any one character, `*` any text without `/`, `#` any text; everything else is itself,
/// and nothing is escaped. Each wildcard takes as little as it can.
///
/// Takes time in proportion to the lengths multiplied, whatever the pattern. Allocates only for long texts under many
/// wildcards.
///
/// ```
/// use vansire::http::glob;
///
/// assert_eq!(glob("/users/*/files/#", "/users/ann/files/a/b").unwrap().as_slice(), ["ann", "a/b"]);
/// assert!(glob("/users/*", "/users/ann/files").is_none());
/// ```
pub fn glob<'t>(pattern: &str, text: &'t str) -> Option<Captures<'t>> {
    let wildcards = pattern.bytes().filter(is_wildcard).count();
    let (mut inline_spans, mut heap_spans);
    let spans = if wildcards <= INLINE_WILDCARDS {
        inline_spans = [Span::default(); INLINE_WILDCARDS];
        &mut inline_spans[..wildcards]
    } else {
        heap_spans = vec![Span::default(); wildcards];
        &mut heap_spans[..]
    };
    let words = (wildcards * (text.len() + 1)).div_ceil(64);
    let (mut inline_tried, mut heap_tried);
    let tried = if words <= INLINE_WORDS {
        inline_tried = [0; INLINE_WORDS];
        &mut inline_tried[..words]
    } else {
        heap_tried = vec![0; words];
        &mut heap_tried[..]
    };
    find(pattern, text, spans, &mut Tried { bits: tried, row_len: text.len() + 1 })?;
    Some(captures(pattern, text, spans))
}

/// The text that a wildcard stands for, and where the literal behind the wildcard begins in the pattern.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    start: usize,
    end: usize,
    literal: usize,
}

/// For each wildcard the ends that were tried. Whoever comes to one again knows that it failed, and that all longer ones
/// failed too: so every end is tried once, and backtracking cannot explode.
struct Tried<'a> {
    bits: &'a mut [u64],
    row_len: usize,
}

impl Tried<'_> {
    /// Marks the end; false where it was marked before.
    fn insert(&mut self, wildcard: usize, end: usize) -> bool {
        let at = wildcard * self.row_len + end;
        let (word, bit) = (&mut self.bits[at / 64], 1 << (at % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

/// Sets the spans of all wildcards to their first match, each as short as possible.
fn find(pattern: &str, text: &str, spans: &mut [Span], tried: &mut Tried<'_>) -> Option<()> {
    let mut open = 0;
    let mut end = literal_end(pattern, text, 0, 0);
    loop {
        let is_new = match end {
            // A literal matched, and a wildcard follows it.
            Some((text_at, Some(wildcard_at))) => {
                spans[open] = Span { start: text_at, end: text_at, literal: wildcard_at + 1 };
                open += 1;
                tried.insert(open - 1, text_at)
            }
            Some((text_at, None)) if text_at == text.len() => return Some(()),
            _ => false,
        };
        if !is_new {
            lengthen(pattern, text, spans, &mut open, tried)?;
        }
        let last = spans.get(open.checked_sub(1)?)?;
        end = literal_end(pattern, text, last.literal, last.end);
    }
}

/// Lets the last wildcard that can take one more character take it, and forgets those behind it.
fn lengthen(pattern: &str, text: &str, spans: &mut [Span], open: &mut usize, tried: &mut Tried<'_>) -> Option<()> {
    loop {
        let at = open.checked_sub(1)?;
        let span = &mut spans[at];
        let is_any = pattern.as_bytes()[span.literal - 1] == b'#';
        if let Some(next) = text[span.end..].chars().next().filter(|&next| is_any || next != '/') {
            span.end += next.len_utf8();
            if tried.insert(at, span.end) {
                return Some(());
            }
        }
        *open = at;
    }
}

/// Matches the literal of the pattern up to its next wildcard: where it ends in the text, and where that wildcard stands.
fn literal_end(pattern: &str, text: &str, literal: usize, text_at: usize) -> Option<(usize, Option<usize>)> {
    let mut rest = text[text_at..].chars();
    for (at, expected) in pattern[literal..].char_indices() {
        match expected {
            '*' | '#' => return Some((text.len() - rest.as_str().len(), Some(literal + at))),
            '?' => drop(rest.next()?),
            _ if rest.next()? == expected => {}
            _ => return None,
        }
    }
    Some((text.len() - rest.as_str().len(), None))
}

fn captures<'t>(pattern: &str, text: &'t str, spans: &[Span]) -> Captures<'t> {
    let mut found = Captures { texts: [""; CAPTURES_MAX], len: 0 };
    let mut spans = spans.iter();
    let mut at = 0;
    for char in pattern.chars() {
        let len = match (char, spans.as_slice().first()) {
            ('*' | '#', Some(span)) => {
                found.push(&text[span.start..span.end]);
                at = span.end;
                spans.next();
                continue;
            }
            _ => text[at..].chars().next().map_or(0, char::len_utf8),
        };
        if char == '?' {
            found.push(&text[at..at + len]);
        }
        at += len;
    }
    found
}

fn is_wildcard(byte: &u8) -> bool {
    matches!(byte, b'*' | b'#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn k2_patterns_match_whole_texts_with_captures() {
        let table: &[(&str, &str, Option<&[&str]>)] = &[
            ("", "", Some(&[])),
            ("", "a", None),
            ("a", "", None),
            ("/", "/", Some(&[])),
            ("/abc", "/abc", Some(&[])),
            ("/abc", "/abcd", None),
            ("/abc", "/ab", None),
            ("?", "a", Some(&["a"])),
            ("?", "ü", Some(&["ü"])),
            ("?", "", None),
            ("?", "ab", None),
            ("/?", "//", Some(&["/"])),
            ("/?/?c", "/a/bc", Some(&["a", "b"])),
            ("*", "", Some(&[""])),
            ("*", "abc", Some(&["abc"])),
            ("*", "a/c", None),
            ("/*", "/abc", Some(&["abc"])),
            ("/*", "/", Some(&[""])),
            ("/*", "/ab/", None),
            ("/*/", "/ab/", Some(&["ab"])),
            ("/*/*", "/ab/", Some(&["ab", ""])),
            ("/x/*/*", "/x/2/foo", Some(&["2", "foo"])),
            ("/x/*/*", "/x/2/foo/x", None),
            ("/x/*/*/*", "/x/2/foo/x", Some(&["2", "foo", "x"])),
            ("*.*", "a.b.c", Some(&["a", "b.c"])),
            ("*.c", "a.b.c", Some(&["a.b"])),
            ("*.c", "/a.c", None),
            ("#.c", "/a/b.c", Some(&["/a/b"])),
            ("#", "", Some(&[""])),
            ("#", "/a/b", Some(&["/a/b"])),
            ("/#", "/", Some(&[""])),
            ("/api/#", "/api/a/b", Some(&["a/b"])),
            ("/api/#", "/api", None),
            ("#aa#bb#", "aabb", Some(&["", "", ""])),
            ("#aa#bb#", "caabxbbc", Some(&["c", "bx", "c"])),
            ("#aa#bb#", "aab", None),
            ("#/*/x", "/a/b/c/x", Some(&["/a/b", "c"])),
            ("#*x", "a/bx", Some(&["a/", "b"])),
            ("*?*z", "ab/cz", Some(&["ab", "/", "c"])),
            ("?*?", "abcd", Some(&["a", "bc", "d"])),
            ("##", "ab", Some(&["", "ab"])),
            ("ü*ä", "üöä", Some(&["ö"])),
            ("*ä", "aöä", Some(&["aö"])),
            ("a?b#c*d", "axb/y/czd", Some(&["x", "/y/", "z"])),
        ];
        for (pattern, text, expected) in table {
            let found = glob(pattern, text);
            assert_eq!(found.as_ref().map(Captures::as_slice), *expected, "{pattern:?} {text:?}");
        }
        assert_eq!(glob("/*/?", "/a/b").unwrap().get(1), Some("b"));
        assert_eq!(glob("/*/?", "/a/b").unwrap().get(2), None);
    }

    #[test]
    fn captures_are_bounded_and_wildcards_are_not() {
        let text = "ab".repeat(30);
        let found = glob(&"*b".repeat(30), &text).unwrap();
        assert_eq!(found.as_slice(), ["a"; CAPTURES_MAX]);
        assert!(glob(&"*b".repeat(31), &text).is_none());
    }

    /// Backtracking over every combination would take longer than the universe has.
    #[test]
    fn no_pattern_takes_exponential_time() {
        let text = "a".repeat(2000);
        for wildcard in ["#a", "*a", "#*a", "?#a"] {
            assert!(glob(&format!("{}b", wildcard.repeat(40)), &text).is_none());
            assert!(glob(&wildcard.repeat(40), &text).is_some());
        }
    }

    /// The definition, as slow as it reads.
    fn matches(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            (['#', rest @ ..], _) => matches(rest, text) || !text.is_empty() && matches(pattern, &text[1..]),
            (['*', rest @ ..], [next, after @ ..]) if *next != '/' => matches(rest, text) || matches(pattern, after),
            (['*', rest @ ..], _) => matches(rest, text),
            (['?', rest @ ..], [_, after @ ..]) => matches(rest, after),
            ([same, rest @ ..], [next, after @ ..]) => same == next && matches(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_the_definition_says(pattern in "[ab/ü?*#]{0,8}", text in "[ab/ü]{0,10}") {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            let found = glob(&pattern, &text);
            prop_assert_eq!(found.is_some(), matches(&chars(&pattern), &chars(&text)));
            if let Some(captures) = found {
                let mut next = captures.as_slice().iter();
                let filled: String = pattern.chars().map(|c| if "?*#".contains(c) { next.next().unwrap().to_string() } else { c.into() }).collect();
                prop_assert_eq!(filled, text);
            }
        }
    }
}

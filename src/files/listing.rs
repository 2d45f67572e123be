//! A folder as a page.

use std::fmt::Write;

use crate::proto::http::percent_encode;

use super::open::Found;

/// Entries of a folder that a page shows; one that has more says so.
pub(super) const ENTRIES_MAX: usize = 4096;

/// The page of a folder below the prefix: folders first, each sort by name. `found` may hold one more than is shown.
pub(super) fn page(prefix: &str, relative: &str, mut found: Vec<Found>) -> String {
    found.sort_unstable();
    let more = found.len() > ENTRIES_MAX;
    let slash = if relative.is_empty() { "" } else { "/" };
    let title = format!("{}/{}{slash}", Escaped(prefix), Escaped(relative));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body><h1>{title}</h1>\n<table>\n"
    );
    if !relative.is_empty() {
        page.push_str("<tr><td><a href=\"../\">../</a></td><td></td></tr>\n");
    }
    for Found { is_file, name, len } in found.into_iter().take(ENTRIES_MAX) {
        let slash = if is_file { "" } else { "/" };
        // `./` keeps a colon in a name from making a scheme of it (RFC 3986 §4.2).
        let _ = write!(page, "<tr><td><a href=\"./{}{slash}\">", percent_encode(&name));
        let _ = write!(page, "{}{slash}</a></td><td>", Escaped(&name));
        let _ = if is_file { write!(page, "{len}") } else { Ok(()) };
        page.push_str("</td></tr>\n");
    }
    page.push_str("</table>\n");
    if more {
        let _ = writeln!(page, "<p>Only {ENTRIES_MAX} entries are shown.</p>");
    }
    page.push_str("</body></html>\n");
    page
}

/// Text in a page, whatever characters it has.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f4_names_are_escaped_in_text_and_in_links() {
        let found = |is_file, name: &str| Found { is_file, name: name.into(), len: 7 };
        let page = page(
            "/<p>",
            "a&b",
            vec![found(true, "<script>alert('x')</script>"), found(false, "d\"e"), found(true, "javascript:x")],
        );
        assert!(page.contains("<h1>/&lt;p&gt;/a&amp;b/</h1>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</a></td><td>7<"), "{page}");
        assert!(page.contains("href=\"./%3Cscript%3Ealert%28%27x%27%29%3C%2Fscript%3E\""), "{page}");
        assert!(page.contains("<a href=\"./d%22e/\">d&quot;e/</a>"), "{page}");
        assert!(page.contains("href=\"./javascript%3Ax\""), "{page}");
        assert!(!page.contains("<script"), "{page}");
        assert!(page.find("d&quot;e").unwrap() < page.find("alert").unwrap(), "folders come first");
        assert!(page.contains("../"));
    }

    #[test]
    fn a_large_folder_is_cut_and_says_so() {
        let names: Vec<_> = (0..=ENTRIES_MAX).map(|i| Found { is_file: true, name: i.to_string(), len: 0 }).collect();
        assert!(page("", "", names).contains("Only 4096 entries"));
    }
}

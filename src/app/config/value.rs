//! Values as people write them: sizes, durations, counts, choices, lists.

use std::fmt::Write;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::Output;
use super::slot::{STDERR, STDOUT};

/// From the least to the most that is taken.
pub(super) type Allowed<T> = RangeInclusive<T>;

/// A value before it is checked.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a> {
    /// What was written.
    pub(super) value: Value<'a>,
    /// The folder that a relative path starts from: that of the file which names it, or the working directory.
    pub(super) base: &'a Path,
}

/// What was written, by where it was written.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    /// In a file: it has a type.
    Toml(&'a DeValue<'a>),
    /// In an environment variable, where a comma parts the items of a list.
    Text(&'a str),
    /// In a flag that may be repeated, or in one that may not (one item).
    Texts(&'a [String]),
}

/// Why a value cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The bytes of the file at fault, where they are fewer than the whole value.
    pub(super) at: Option<Range<usize>>,
    /// The field of an item that it is about; empty: the key itself.
    pub(super) below: &'static str,
    /// The problem, as a sentence that follows the name of the key.
    pub(super) what: String,
}

impl From<String> for Problem {
    fn from(what: String) -> Self {
        Self { at: None, below: "", what }
    }
}

impl<'a> Raw<'a> {
    /// A text, not empty.
    pub(super) fn text(&self) -> Result<&'a str, Problem> {
        let text = match self.value {
            Value::Toml(DeValue::String(text)) => text.as_ref(),
            Value::Toml(other) => return Err(expected("a string", other)),
            Value::Text(text) => text,
            Value::Texts([text]) => text.as_str(),
            Value::Texts(texts) => return Err(format!("expected one value, got {}", texts.len()).into()),
        };
        not_empty(text)?;
        Ok(text)
    }

    /// A list of texts, none empty, at least one; a single text is a list of one.
    pub(super) fn texts(&self, mut check: impl FnMut(&str) -> Result<(), String>) -> Result<Vec<String>, Problem> {
        let mut all: Vec<String> = Vec::new();
        let mut push = |text: &str| -> Result<(), Problem> {
            not_empty(text)?;
            check(text)?;
            all.push(text.into());
            Ok(())
        };
        match self.value {
            Value::Toml(DeValue::String(text)) => push(text)?,
            Value::Toml(DeValue::Array(items)) => {
                for item in items.iter() {
                    let result = match item.get_ref() {
                        DeValue::String(text) => push(text),
                        other => Err(expected("a string", other)),
                    };
                    result.map_err(|problem| Problem { at: Some(item.span()), ..problem })?;
                }
            }
            Value::Toml(other) => return Err(expected("a string or a list of strings", other)),
            Value::Text(text) => text.split(',').try_for_each(|item| push(item.trim()))?,
            Value::Texts(texts) => texts.iter().try_for_each(|text| push(text))?,
        }
        if all.is_empty() { Err("the list is empty".to_string().into()) } else { Ok(all) }
    }

    /// A path, made absolute; a relative one starts at [`Raw::base`].
    pub(super) fn path(&self) -> Result<PathBuf, Problem> {
        let text = self.text()?;
        if text.contains('\0') {
            return Err("a path cannot hold a NUL".to_string().into());
        }
        let path = self.base.join(text);
        // What is printed has to mean the same wherever it is read back from.
        Ok(std::path::absolute(&path).unwrap_or(path))
    }

    /// A whole number.
    pub(super) fn count(&self, allowed: Allowed<u64>) -> Result<u64, Problem> {
        let number = match self.value {
            Value::Toml(DeValue::Integer(number)) => integer(number)?,
            Value::Toml(other) => return Err(expected("a whole number", other)),
            Value::Text(_) | Value::Texts(_) => {
                let text = self.text()?;
                text.trim().parse().map_err(|_| format!("expected a whole number, got {}", quoted(text)))?
            }
        };
        within(number, allowed, |n| n.to_string())
    }

    /// A size in bytes: an integer, or a text such as `16 KiB`.
    pub(super) fn size(&self, allowed: Allowed<u64>) -> Result<u64, Problem> {
        let number = match self.value {
            Value::Toml(DeValue::Integer(number)) => integer(number)?,
            Value::Toml(DeValue::String(text)) => parse_size(text)?,
            Value::Toml(other) => return Err(expected("a size (\"16 KiB\", or a number of bytes)", other)),
            Value::Text(_) | Value::Texts(_) => parse_size(self.text()?)?,
        };
        within(number, allowed, show_size)
    }

    /// A time: an integer of seconds, or a text such as `10s` or `1m 30s`.
    pub(super) fn duration(&self, allowed: Allowed<Duration>) -> Result<Duration, Problem> {
        let time = match self.value {
            Value::Toml(DeValue::Integer(number)) => Duration::from_secs(integer(number)?),
            Value::Toml(DeValue::String(text)) => parse_duration(text)?,
            Value::Toml(other) => return Err(expected("a time (\"10s\", or a number of seconds)", other)),
            Value::Text(_) | Value::Texts(_) => parse_duration(self.text()?)?,
        };
        within(time, allowed, show_duration)
    }

    /// One of a few words.
    pub(super) fn choice(&self, words: &[&'static str]) -> Result<&'static str, Problem> {
        let text = match self.value {
            Value::Toml(DeValue::String(_)) | Value::Text(_) | Value::Texts(_) => self.text()?,
            Value::Toml(other) => return Err(expected(&format!("one of the strings {}", words.join(", ")), other)),
        };
        let found = words.iter().find(|word| text.eq_ignore_ascii_case(word)).copied();
        found.ok_or_else(|| format!("{} is none of {}", quoted(text), words.join(", ")).into())
    }

    /// Yes or no.
    pub(super) fn switch(&self) -> Result<bool, Problem> {
        match self.value {
            Value::Toml(DeValue::Boolean(switch)) => Ok(*switch),
            Value::Toml(other) => Err(expected("true or false", other)),
            Value::Text(_) | Value::Texts(_) => Ok(self.choice(&["true", "false"])? == "true"),
        }
    }

    /// Permission bits: octal digits in a text, or an octal integer (`0o660`). A decimal one is a slip.
    pub(super) fn mode(&self) -> Result<u32, Problem> {
        let digits = match self.value {
            Value::Toml(DeValue::Integer(number)) if number.radix() == 8 => number.as_str(),
            Value::Toml(DeValue::String(text)) => text.as_ref(),
            Value::Toml(other) => return Err(expected("permission bits (\"0660\", or 0o660)", other)),
            Value::Text(_) | Value::Texts(_) => self.text()?,
        };
        // `from_str_radix` takes a sign.
        let is_octal = digits.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
        mode.ok_or_else(|| format!("{} is not permission bits from 0000 to 0777", quoted(digits)).into())
    }

    /// Names and texts.
    pub(super) fn pairs(
        &self,
        check: impl Fn(&str, &str) -> Result<(), String>,
    ) -> Result<Vec<(String, String)>, Vec<Problem>> {
        let table = match self.value {
            Value::Toml(DeValue::Table(table)) => table,
            Value::Toml(other) => return Err(vec![expected("a table of texts, such as { name = \"text\" }", other)]),
            Value::Text(_) | Value::Texts(_) => {
                return Err(vec!["it takes a table: write it in a file".to_string().into()]);
            }
        };
        let (mut pairs, mut problems) = (Vec::new(), Vec::new());
        for (name, value) in table.iter() {
            let result = match value.get_ref() {
                DeValue::String(text) => check(name.get_ref(), text).map(|()| text).map_err(Problem::from),
                other => Err(expected("a string", other)),
            };
            match result {
                Ok(text) => pairs.push((name.get_ref().to_string(), text.to_string())),
                Err(problem) => problems.push(Problem { at: Some(value.span()), ..problem }),
            }
        }
        if problems.is_empty() { Ok(pairs) } else { Err(problems) }
    }

    /// Where lines are written.
    pub(super) fn output(&self) -> Result<Output, Problem> {
        match self.text()? {
            STDOUT => Ok(Output::Stdout),
            STDERR => Ok(Output::Stderr),
            _ => self.path().map(Output::File),
        }
    }
}

/// A size as a person writes it.
pub(super) fn show_size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} B"),
    }
}

/// A time as a person writes it, in the largest unit that is exact; below a millisecond it is cut.
pub(super) fn show_duration(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0 => "0s".into(),
        _ if !ms.is_multiple_of(1000) => format!("{ms}ms"),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ => format!("{}s", ms / 1000),
    }
}

/// A text as a TOML basic string.
pub(super) fn show_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // TOML 1.0: \uXXXX names any scalar value; a control character is below U+00A0.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What was written, cut so that a message stays a line, with nothing that a terminal would act on.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut chars = text.chars();
    let mut shown = String::new();
    for c in chars.by_ref().take(SHOWN) {
        if matches!(c, '"' | '\'' | '\\') { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    if chars.next().is_some() { format!("`{shown}...`") } else { format!("`{shown}`") }
}

/// The type of a value, for messages.
pub(super) fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn expected(what: &str, got: &DeValue<'_>) -> Problem {
    format!("expected {what}, got {}", type_of(got)).into()
}

fn not_empty(text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() { Err("the text is empty".to_string().into()) } else { Ok(()) }
}

fn integer(number: &DeInteger<'_>) -> Result<u64, Problem> {
    let digits = number.as_str();
    if digits.starts_with('-') {
        return Err(format!("{} is negative", quoted(digits)).into());
    }
    u64::from_str_radix(digits, number.radix()).map_err(|_| format!("{} is too large", quoted(digits)).into())
}

fn within<T: PartialOrd>(value: T, allowed: Allowed<T>, show: impl Fn(T) -> String) -> Result<T, Problem> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    let (low, high) = allowed.into_inner();
    Err(format!("{} is not from {} to {}", show(value), show(low), show(high)).into())
}

fn parse_size(text: &str) -> Result<u64, Problem> {
    let (digits, unit) = number_and_unit(text.trim());
    let bytes: Option<u64> = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        "kb" => Some(1_000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    let (Ok(number), Some(unit)) = (digits.parse::<u64>(), bytes) else {
        return Err(format!(
            "{} is not a size: write a whole number and B, KiB, MiB, GiB (of 1024), kB, MB or GB (of 1000)",
            quoted(text)
        )
        .into());
    };
    number.checked_mul(unit).ok_or_else(|| format!("{} is too large", quoted(text)).into())
}

fn parse_duration(text: &str) -> Result<Duration, Problem> {
    let bad = || {
        Problem::from(format!(
            "{} is not a time: write whole numbers and ms, s, m, h or d, such as 10s or 1m 30s",
            quoted(text)
        ))
    };
    let mut rest = text.trim();
    // A bare number is seconds, as in a file without quotes.
    if let Ok(seconds) = rest.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (digits, tail) = number_and_unit(rest);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let part = number.checked_mul(ms).map(Duration::from_millis);
        total = part
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| Problem::from(format!("{} is too long", quoted(text))))?;
        rest = tail.trim_start();
    }
    Ok(total)
}

fn number_and_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    (digits, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Raw<'_> {
        Raw { value: Value::Text(value), base: Path::new("") }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let table: &[(&str, Option<u64>)] = &[
            ("16 KiB", Some(16384)),
            ("16KiB", Some(16384)),
            ("16kib", Some(16384)),
            (" 1 MiB ", Some(1 << 20)),
            ("2 GiB", Some(2 << 30)),
            ("16 kB", Some(16000)),
            ("1 MB", Some(1_000_000)),
            ("3 GB", Some(3_000_000_000)),
            ("512", Some(512)),
            ("512 B", Some(512)),
            ("0", Some(0)),
            ("", None),
            ("16 K", None),
            ("16 Kib/s", None),
            ("1.5 MiB", None),
            ("-1", None),
            ("KiB", None),
            ("99999999999999999999", None),
            ("18446744073709551615 GiB", None),
        ];
        for (input, expected) in table {
            assert_eq!(text(input).size(0..=u64::MAX).ok(), *expected, "{input:?}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let table: &[(&str, Option<u64>)] = &[
            ("10s", Some(10_000)),
            ("75 s", Some(75_000)),
            ("10", Some(10_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("2 min", Some(120_000)),
            ("1h30m", Some(5_400_000)),
            ("1m 30s", Some(90_000)),
            ("1d", Some(86_400_000)),
            ("0s", Some(0)),
            ("", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("10x", None),
            ("10s5", None),
            ("10sé", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
        ];
        for (input, expected) in table {
            let expected = expected.map(Duration::from_millis);
            let got = text(input).duration(Duration::ZERO..=Duration::MAX).ok();
            assert_eq!(got, expected, "{input:?}");
            assert_eq!(parse_duration(input).ok(), expected, "{input:?} in a file");
        }
    }

    #[test]
    fn permission_bits_are_octal() {
        let table: &[(&str, Option<u32>)] = &[
            ("0660", Some(0o660)),
            ("660", Some(0o660)),
            ("0", Some(0)),
            ("0777", Some(0o777)),
            ("1777", None),
            ("0o660", None),
            ("+660", None),
            ("689", None),
            ("rw", None),
        ];
        for (input, expected) in table {
            assert_eq!(text(input).mode().ok(), *expected, "{input:?}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back_the_same() {
        for bytes in [0, 1, 1000, 1024, 16384, 1 << 20, (1 << 20) + 1, 1 << 30, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        for ms in [0, 1, 999, 1000, 1500, 60_000, 75_000, 3_600_000, 86_400_000] {
            let time = Duration::from_millis(ms);
            assert_eq!(parse_duration(&show_duration(time)), Ok(time));
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let problem = text("5 MiB").size(256..=1 << 20).unwrap_err();
        assert_eq!(problem.what, "5 MiB is not from 256 B to 1 MiB");
        let problem = text("0").count(1..=10).unwrap_err();
        assert_eq!(problem.what, "0 is not from 1 to 10");
    }

    #[test]
    fn a_message_shows_no_control_character_and_stays_short() {
        assert_eq!(quoted("a\u{1b}[2J\nb"), r"`a\u{1b}[2J\nb`");
        assert!(quoted(&"x".repeat(5000)).len() < 80);
    }

    #[test]
    fn a_text_is_shown_as_toml_reads_it() {
        for text in ["plain", "with \"quotes\" and \\", "tab\tand\u{7f}\u{85}", "é"] {
            let document = format!("x = {}", show_text(text));
            let table: toml::Table = document.parse().expect(&document);
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }
}

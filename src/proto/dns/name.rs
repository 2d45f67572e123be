//! Domain names (RFC 1035 §3.1), in the form of the wire.

use std::fmt;
use std::hash::{Hash, Hasher};

/// A domain name: labels, each behind its length, and the root's zero.
///
/// Equal in any letter case (RFC 4343 §3); the case itself is kept.
///
/// ```
/// use vansire::dns::Name;
///
/// let name: Name = "Printer.lan".parse()?;
/// assert_eq!(name, "printer.LAN.".parse()?);
/// assert_eq!(name.to_string(), "Printer.lan");
/// # Ok::<(), vansire::dns::NameError>(())
/// ```
#[derive(Clone)]
pub struct Name {
    /// At most [`NAME_MAX`] bytes, the last of them zero.
    wire: Box<[u8]>,
}

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty, or has two dots in a row.
    LabelEmpty,
    /// A label has more than 63 bytes.
    LabelTooLong,
    /// It has more than 255 bytes on the wire.
    TooLong,
    /// It has characters outside of ASCII: write it in its A-label form (`xn--...`, RFC 5890).
    NotAscii,
    /// It has a character that no host name has (RFC 1123 §2.1: letters, digits and hyphens; underscores are tolerated).
    BadCharacter(char),
}

/// Bytes of a name on the wire (RFC 1035 §2.3.4).
pub(crate) const NAME_MAX: usize = 255;
/// Bytes of a label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;

impl Name {
    /// The root, which every name ends with.
    pub fn root() -> Self {
        Self { wire: [0].into() }
    }

    /// The name of these labels, which may have any bytes (RFC 2181 §11).
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(32);
        for label in labels {
            match label.len() {
                0 => return Err(NameError::LabelEmpty),
                1..=LABEL_MAX => {}
                _ => return Err(NameError::LabelTooLong),
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label);
            if wire.len() >= NAME_MAX {
                return Err(NameError::TooLong);
            }
        }
        wire.push(0);
        Ok(Self { wire: wire.into() })
    }

    /// The name of these bytes, which have no pointers.
    pub(super) fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut rest = wire;
        while let Some((len, tail)) = rest.split_first() {
            if *len == 0 {
                return (tail.is_empty() && wire.len() <= NAME_MAX).then(|| Self { wire: wire.into() });
            }
            rest = tail.get(usize::from(*len)..)?;
        }
        None
    }

    /// The name on the wire, without compression.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }

    /// Its labels, the root's left out.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.wire[..];
        std::iter::from_fn(move || {
            let (len, tail) = rest.split_first()?;
            let (label, tail) = tail.split_at_checked(usize::from(*len)).filter(|(label, _)| !label.is_empty())?;
            rest = tail;
            Some(label)
        })
    }

    /// This name below another one.
    pub fn below(&self, domain: &Name) -> Result<Self, NameError> {
        Self::from_labels(self.labels().chain(domain.labels()))
    }

    /// It is the domain, or a name below it.
    pub fn is_within(&self, domain: &Name) -> bool {
        let (mine, theirs) = (self.labels().count(), domain.labels().count());
        let skip = mine.saturating_sub(theirs);
        mine >= theirs && self.labels().skip(skip).zip(domain.labels()).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    fn folded(&self) -> impl Iterator<Item = u8> + '_ {
        // A length byte is no letter: it has six bits at most.
        self.wire.iter().map(u8::to_ascii_lowercase)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    /// Reads a host name; a dot at its end changes nothing.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if !text.is_ascii() {
            return Err(NameError::NotAscii);
        }
        let is_usual = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(c) = text.chars().find(|c| !is_usual(c)) {
            return Err(NameError::BadCharacter(c));
        }
        let text = text.strip_suffix('.').unwrap_or(text);
        Self::from_labels(text.split('.').map(str::as_bytes))
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire.eq_ignore_ascii_case(&other.wire)
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.folded().cmp(other.folded())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().for_each(|byte| state.write_u8(byte));
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wire.len() <= 1 {
            return f.write_str(".");
        }
        for (n, label) in self.labels().enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            for &byte in label {
                // RFC 1035 §5.1: what would be read otherwise is escaped.
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LabelEmpty => f.write_str("a label of the name is empty"),
            Self::LabelTooLong => f.write_str("a label of the name has more than 63 bytes"),
            Self::TooLong => f.write_str("the name has more than 255 bytes"),
            Self::NotAscii => {
                f.write_str("the name has characters outside of ASCII; write it in its A-label form (xn--...)")
            }
            Self::BadCharacter(c) => write!(f, "no host name has the character {c:?}"),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1035_section_2_3_4_names_have_their_bounds() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let table: [(&str, &str, Result<usize, NameError>); 14] = [
            ("one label", "lan", Ok(5)),
            ("two", "a.lan", Ok(7)),
            ("with the root's dot", "a.lan.", Ok(7)),
            ("longest label", &label, Ok(65)),
            ("label too long", &format!("{label}a"), Err(NameError::LabelTooLong)),
            ("longest name", &longest, Ok(255)),
            ("name too long", &format!("{longest}a"), Err(NameError::TooLong)),
            ("empty", "", Err(NameError::LabelEmpty)),
            ("root alone", ".", Err(NameError::LabelEmpty)),
            ("two dots", "a..b", Err(NameError::LabelEmpty)),
            ("dot first", ".a", Err(NameError::LabelEmpty)),
            ("RFC 5890, U-label", "bücher.example", Err(NameError::NotAscii)),
            ("A-label", "xn--bcher-kva.example", Ok(23)),
            ("a blank", "a b", Err(NameError::BadCharacter(' '))),
        ];
        for (name, text, expected) in table {
            assert_eq!(text.parse::<Name>().map(|name| name.as_wire().len()), expected, "{name}");
        }
        assert!(NameError::NotAscii.to_string().contains("A-label form (xn--"));
    }

    #[test]
    fn rfc_4343_case_does_not_tell_names_apart_and_is_kept() {
        let (a, b): (Name, Name) = ("WWW.Example".parse().unwrap(), "www.eXAMPLE".parse().unwrap());
        assert_eq!(a, b);
        assert_eq!(a.cmp(&b), std::cmp::Ordering::Equal);
        let set = std::collections::HashSet::from([a.clone()]);
        assert!(set.contains(&b));
        assert_eq!((a.to_string().as_str(), b.to_string().as_str()), ("WWW.Example", "www.eXAMPLE"));
        // Only letters fold: bit 5 alone makes no difference of case.
        let brackets = ["[", "{"].map(|label| Name::from_labels([label.as_bytes()]).unwrap());
        assert_ne!(brackets[0], brackets[1]);
    }

    #[test]
    fn labels_of_any_bytes_are_shown_without_harm() {
        let name = Name::from_labels([&b"My Printer.\x1b"[..], b"local"]).unwrap();
        assert_eq!(name.to_string(), "My\\032Printer\\.\\027.local");
        assert_eq!(name.labels().count(), 2);
        assert_eq!(Name::root().to_string(), ".");
    }

    #[test]
    fn a_name_is_within_its_domains() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        for (inner, domain, expected) in [
            ("a.local", "LOCAL", true),
            ("local", "local", true),
            ("notlocal", "local", false),
            ("local.lan", "local", false),
            ("a.b.c", "b.c", true),
            ("c", "b.c", false),
        ] {
            assert_eq!(name(inner).is_within(&name(domain)), expected, "{inner} in {domain}");
        }
        assert!(name("a").is_within(&Name::root()));
        assert_eq!(name("a").below(&name("b.c")).unwrap(), name("a.b.c"));
    }
}

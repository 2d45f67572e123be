//! A place that a value is put into: what it takes, how it is read, how it is shown.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::suggest::nearest;
use super::value::{Allowed, Problem, Raw, Value, expected, quoted, show_duration, show_size, show_text};
use super::{Anonymous, Api, Level, Output};
use crate::app::access;
use crate::broker::Overflow;

/// One thing that can be set in a `T`.
pub(super) struct Key<T> {
    /// Where it stands, as `table.table.key`; in an item of a list, its name.
    pub(super) path: &'static str,
    /// What it does, for a person who meets it for the first time.
    pub(super) help: &'static str,
    pub(super) slot: for<'a> fn(&'a mut T) -> Slot<'a>,
}

/// A field of the configuration, with the values that it takes.
pub(super) enum Slot<'a> {
    /// Bytes.
    Size(&'a mut dyn Number, Allowed<u64>),
    Count(&'a mut dyn Number, Allowed<u64>),
    /// One of a few numbers.
    OneOf(&'a mut u16, &'static [u16]),
    Time(&'a mut Duration, Allowed<Duration>),
    /// A time that may be left out.
    MaybeTime(&'a mut Option<Duration>, Allowed<Duration>),
    Switch(&'a mut bool),
    Word(&'a mut dyn Word),
    /// Not set while it is empty.
    Text(&'a mut String, Check),
    /// Not set while it is empty.
    Texts(&'a mut Vec<String>, Check),
    /// Not set while it is empty.
    Path(&'a mut PathBuf),
    /// Permission bits.
    Mode(&'a mut Option<u32>),
    Pairs(&'a mut Vec<(String, String)>, fn(&str, &str) -> Result<(), String>),
    Output(&'a mut Output),
    List(&'a mut dyn List),
}

/// Says why a text cannot be taken.
pub(super) type Check = fn(&str) -> Result<(), String>;

/// A whole number of any width; one that may be left out is none.
pub(super) trait Number {
    fn get(&self) -> Option<u64>;
    /// False where it has no room.
    fn put(&mut self, number: u64) -> bool;
}

/// One of a few words.
pub(super) trait Word {
    fn words(&self) -> Vec<&'static str>;
    fn get(&self) -> Option<&'static str>;
    fn put(&mut self, word: &str);
}

/// A list of tables.
pub(super) trait List {
    fn set(&mut self, raw: &Raw<'_>) -> Result<(), Vec<Problem>>;
    /// The fields of each item, as they are.
    fn items(&self) -> Vec<Vec<Field>>;
    /// The fields of an item that nobody has set yet.
    fn fields(&self) -> Vec<Field>;
    /// The field that a bare text stands for.
    fn short(&self) -> Option<&'static str>;
    /// The word that stands for the empty list.
    fn off(&self) -> Option<&'static str>;
}

/// A field of an item, for those who print it.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) takes: String,
    pub(super) value: Option<String>,
    pub(super) is_required: bool,
}

/// What a list holds.
pub(super) trait Item: Default + Clone + 'static {
    const FIELDS: &'static [Key<Self>];
    /// Names of fields that have to be set.
    const REQUIRED: &'static [&'static str];
    /// The field that a bare text stands for.
    const SHORT: Option<&'static str> = None;
    /// The word that stands for the empty list, where that says something other than nothing.
    const OFF: Option<&'static str> = None;

    /// Says what is wrong between its fields, and with which.
    fn check(&self) -> Result<(), (&'static str, String)> {
        Ok(())
    }
}

/// A type whose values have names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl Slot<'_> {
    pub(super) fn set(self, raw: &Raw<'_>) -> Result<(), Vec<Problem>> {
        let put = |number: u64, into: &mut dyn Number| match into.put(number) {
            true => Ok(()),
            false => Err(Problem::from(format!("{number} is too large for this machine"))),
        };
        let result = match self {
            Slot::OneOf(number, allowed) => {
                let (low, high) = (allowed.iter().min(), allowed.iter().max());
                let range = low.copied().unwrap_or(0).into()..=high.copied().unwrap_or(0).into();
                raw.count(range).and_then(|count| match allowed.iter().find(|one| u64::from(**one) == count) {
                    Some(one) => {
                        *number = *one;
                        Ok(())
                    }
                    None => Err(format!("{count} is none of {}", numbers(allowed)).into()),
                })
            }
            Slot::Size(number, allowed) => raw.size(allowed).and_then(|size| put(size, number)),
            Slot::Count(number, allowed) => raw.count(allowed).and_then(|count| put(count, number)),
            Slot::Time(time, allowed) => raw.duration(allowed).map(|value| *time = value),
            Slot::MaybeTime(time, allowed) => raw.duration(allowed).map(|value| *time = Some(value)),
            Slot::Switch(switch) => raw.switch().map(|value| *switch = value),
            Slot::Word(word) => raw.choice(&word.words()).map(|chosen| word.put(chosen)),
            Slot::Text(text, check) => raw.text().and_then(|value| {
                check(value)?;
                *text = value.into();
                Ok(())
            }),
            Slot::Texts(texts, check) => raw.texts(check).map(|value| *texts = value),
            Slot::Path(path) => raw.path().map(|value| *path = value),
            Slot::Mode(mode) => raw.mode().map(|value| *mode = Some(value)),
            Slot::Pairs(pairs, check) => return raw.pairs(check).map(|value| *pairs = value),
            Slot::Output(output) => raw.output().map(|value| *output = value),
            Slot::List(list) => return list.set(raw),
        };
        result.map_err(|problem| vec![problem])
    }

    /// The value as TOML; none where it is not set, and of a list.
    pub(super) fn show(self) -> Option<String> {
        match self {
            Slot::Size(number, _) => number.get().map(|size| show_text(&show_size(size))),
            Slot::Count(number, _) => number.get().map(|count| count.to_string()),
            Slot::OneOf(number, _) => Some(number.to_string()),
            Slot::Time(time, _) => Some(show_text(&show_duration(*time))),
            Slot::MaybeTime(time, _) => time.map(|time| show_text(&show_duration(time))),
            Slot::Switch(switch) => Some(switch.to_string()),
            Slot::Word(word) => word.get().map(show_text),
            Slot::Text(text, _) => (!text.is_empty()).then(|| show_text(text)),
            Slot::Texts(texts, _) if texts.is_empty() => None,
            Slot::Texts(texts, _) => {
                let shown: Vec<String> = texts.iter().map(|text| show_text(text)).collect();
                Some(format!("[{}]", shown.join(", ")))
            }
            Slot::Path(path) => (!path.as_os_str().is_empty()).then(|| show_text(&path.to_string_lossy())),
            Slot::Mode(mode) => mode.map(|mode| format!("\"0{mode:o}\"")),
            Slot::Pairs(pairs, _) if pairs.is_empty() => Some("{}".into()),
            Slot::Pairs(pairs, _) => {
                let shown: Vec<String> =
                    pairs.iter().map(|(name, value)| format!("{} = {}", show_text(name), show_text(value))).collect();
                Some(format!("{{ {} }}", shown.join(", ")))
            }
            Slot::Output(Output::Stdout) => Some(show_text(STDOUT)),
            Slot::Output(Output::Stderr) => Some(show_text(STDERR)),
            Slot::Output(Output::File(path)) => Some(show_text(&path.to_string_lossy())),
            Slot::List(_) => None,
        }
    }

    /// What may be written, in a few words.
    pub(super) fn takes(&self) -> String {
        match self {
            Slot::Size(_, range) => format!("size, {} to {}", show_size(*range.start()), show_size(*range.end())),
            Slot::Count(_, range) => format!("number, {} to {}", range.start(), range.end()),
            Slot::OneOf(_, allowed) => match allowed.split_last() {
                Some((last, rest)) => format!("{} or {last}", numbers(rest)),
                None => String::new(),
            },
            Slot::Time(_, range) | Slot::MaybeTime(_, range) => {
                format!("time, {} to {}", show_duration(*range.start()), show_duration(*range.end()))
            }
            Slot::Switch(_) => "true or false".into(),
            Slot::Word(word) => match word.words().split_last() {
                Some((last, rest)) => {
                    let rest: Vec<String> = rest.iter().map(|word| show_text(word)).collect();
                    format!("{} or {}", rest.join(", "), show_text(last))
                }
                None => String::new(),
            },
            Slot::Text(..) => "text".into(),
            Slot::Texts(..) => "text, or list of texts".into(),
            Slot::Path(_) => "path".into(),
            Slot::Mode(_) => "permission bits, like \"0660\"".into(),
            Slot::Pairs(..) => "table of texts".into(),
            Slot::Output(_) => "\"stdout\", \"stderr\" or a path".into(),
            Slot::List(_) => "list of tables".into(),
        }
    }
}

impl<T: Item> List for Vec<T> {
    fn set(&mut self, raw: &Raw<'_>) -> Result<(), Vec<Problem>> {
        let short = |text: &str, at: Option<Range<usize>>| {
            let Some(name) = T::SHORT else {
                return Err(vec![Problem::from("it takes tables: write it in a file".to_string())]);
            };
            let mut item = T::default();
            let raw = Raw { value: Value::Text(text), base: raw.base };
            let result =
                T::FIELDS.iter().filter(|key| key.path == name).try_for_each(|key| (key.slot)(&mut item).set(&raw));
            match result.and_then(|()| item.check().map_err(|(_, what)| vec![what.into()])) {
                Ok(()) => Ok(item),
                Err(problems) => Err(problems.into_iter().map(|p| Problem { at: at.clone(), ..p }).collect::<Vec<_>>()),
            }
        };
        let what = if T::SHORT.is_some() { "a string or a table" } else { "a table" };
        let (mut all, mut problems) = (Vec::new(), Vec::new());
        let mut push = |result: Result<T, Vec<Problem>>| match result {
            Ok(item) => all.push(item),
            Err(more) => problems.extend(more),
        };
        match raw.value {
            Value::Toml(DeValue::String(text)) if T::OFF.is_some_and(|off| off == &**text) => {}
            Value::Text(text) if T::OFF == Some(text.trim()) => {}
            Value::Texts([text]) if T::OFF == Some(text) => {}
            Value::Toml(DeValue::Array(items)) if items.len() > ITEMS_MAX => {
                push(Err(vec![format!("{} items, {ITEMS_MAX} at most", items.len()).into()]));
            }
            Value::Toml(DeValue::Array(items)) => {
                for item in items.iter() {
                    push(match item.get_ref() {
                        DeValue::Table(table) => read_item(table, item, raw),
                        DeValue::String(text) if T::SHORT.is_some() => short(text, Some(item.span())),
                        other => Err(vec![Problem { at: Some(item.span()), ..expected(what, other) }]),
                    });
                }
            }
            Value::Toml(DeValue::String(text)) if T::SHORT.is_some() => push(short(text, None)),
            Value::Toml(other) => push(Err(vec![expected("a list of tables, each begun by its name in [[ ]]", other)])),
            Value::Text(text) => text.split(',').for_each(|text| push(short(text.trim(), None))),
            Value::Texts(texts) => texts.iter().for_each(|text| push(short(text, None))),
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        *self = all;
        Ok(())
    }

    fn items(&self) -> Vec<Vec<Field>> {
        self.iter().map(|item| shown(item)).collect()
    }

    fn fields(&self) -> Vec<Field> {
        shown(&T::default())
    }

    fn short(&self) -> Option<&'static str> {
        T::SHORT
    }

    fn off(&self) -> Option<&'static str> {
        T::OFF
    }
}

fn read_item<T: Item>(table: &DeTable<'_>, item: &Spanned<DeValue<'_>>, raw: &Raw<'_>) -> Result<T, Vec<Problem>> {
    let (mut value, mut problems) = (T::default(), Vec::new());
    for (name, field) in table.iter() {
        let Some(key) = T::FIELDS.iter().find(|key| key.path == name.get_ref()) else {
            let names = T::FIELDS.iter().map(|key| key.path);
            let hint = match nearest(name.get_ref(), names.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
            };
            let what = format!("unknown key {}; {hint}", quoted(name.get_ref()));
            problems.push(Problem { at: Some(name.span()), ..what.into() });
            continue;
        };
        let result = (key.slot)(&mut value).set(&Raw { value: Value::Toml(field.get_ref()), base: raw.base });
        for problem in result.err().into_iter().flatten() {
            let at = problem.at.or_else(|| Some(field.span()));
            problems.push(Problem { at, below: key.path, ..problem });
        }
    }
    for name in T::REQUIRED.iter().filter(|name| !table.contains_key(**name)) {
        problems.push(Problem { at: Some(item.span()), ..format!("`{name}` is missing").into() });
    }
    if problems.is_empty()
        && let Err((name, what)) = value.check()
    {
        let at = table.get(name).map_or_else(|| item.span(), |field| field.span());
        problems.push(Problem { at: Some(at), below: name, ..what.into() });
    }
    if problems.is_empty() { Ok(value) } else { Err(problems) }
}

fn numbers(all: &[u16]) -> String {
    all.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

fn shown<T: Item>(item: &T) -> Vec<Field> {
    let mut item = item.clone();
    let field = |key: &Key<T>| Field {
        name: key.path,
        help: key.help,
        takes: (key.slot)(&mut item).takes(),
        value: (key.slot)(&mut item).show(),
        is_required: T::REQUIRED.contains(&key.path),
    };
    T::FIELDS.iter().map(field).collect()
}

impl Number for usize {
    fn get(&self) -> Option<u64> {
        Some(*self as u64)
    }

    fn put(&mut self, number: u64) -> bool {
        usize::try_from(number).map(|number| *self = number).is_ok()
    }
}

impl Number for u16 {
    fn get(&self) -> Option<u64> {
        Some((*self).into())
    }

    fn put(&mut self, number: u64) -> bool {
        u16::try_from(number).map(|number| *self = number).is_ok()
    }
}

impl Number for u32 {
    fn get(&self) -> Option<u64> {
        Some((*self).into())
    }

    fn put(&mut self, number: u64) -> bool {
        u32::try_from(number).map(|number| *self = number).is_ok()
    }
}

impl Number for Option<u32> {
    fn get(&self) -> Option<u64> {
        self.map(u64::from)
    }

    fn put(&mut self, number: u64) -> bool {
        u32::try_from(number).map(|number| *self = Some(number)).is_ok()
    }
}

impl<T: Choice> Word for T {
    fn words(&self) -> Vec<&'static str> {
        T::ALL.iter().map(|(word, _)| *word).collect()
    }

    fn get(&self) -> Option<&'static str> {
        T::ALL.iter().find(|(_, value)| value == self).map(|(word, _)| *word)
    }

    fn put(&mut self, word: &str) {
        if let Some((_, value)) = T::ALL.iter().find(|(known, _)| *known == word) {
            *self = *value;
        }
    }
}

/// A word that may be left out.
impl<T: Choice> Word for Option<T> {
    fn words(&self) -> Vec<&'static str> {
        T::ALL.iter().map(|(word, _)| *word).collect()
    }

    fn get(&self) -> Option<&'static str> {
        self.as_ref().and_then(Word::get)
    }

    fn put(&mut self, word: &str) {
        *self = T::ALL.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    }
}

impl Choice for Level {
    const ALL: &'static [(&'static str, Self)] = &Level::ALL;
}

impl Choice for access::Format {
    const ALL: &'static [(&'static str, Self)] = &access::Format::ALL;
}

impl Choice for Api {
    const ALL: &'static [(&'static str, Self)] =
        &[("off", Api::Off), ("local", Api::Local), ("all", Api::All), ("token", Api::Token)];
}

impl Choice for Anonymous {
    const ALL: &'static [(&'static str, Self)] =
        &[("off", Self::Never), ("local", Self::OnLoopback), ("all", Self::Always)];
}

impl Choice for Overflow {
    const ALL: &'static [(&'static str, Self)] =
        &[("drop_newest", Self::DropNewest), ("drop_oldest", Self::DropOldest), ("reject", Self::Reject)];
}

pub(super) const STDOUT: &str = "stdout";
pub(super) const STDERR: &str = "stderr";

/// Items of one list.
const ITEMS_MAX: usize = 256;

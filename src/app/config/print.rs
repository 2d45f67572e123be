//! The configuration as a file: what is in effect, and what there is to set.

use std::fmt::{self, Write};

use super::Config;
use super::keys::KEYS;
use super::loader::{Loaded, split};
use super::slot::{Field, Slot};

/// The whole configuration as a TOML file: every key with what it does, its value and who set it.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = self.config.clone();
        let mut table = "";
        for key in &KEYS {
            let (parent, leaf) = split(key.path);
            match (key.slot)(&mut config) {
                Slot::List(list) => {
                    let items = list.items();
                    if let (true, Some(off)) = (items.is_empty(), list.off()) {
                        // In its table, which is the one at hand: the keys before it are of the same.
                        let origin = self.shown_origin(key.path, 0);
                        writeln!(f, "# {}\n{leaf} = \"{off}\"  # {origin}", key.help)?;
                    } else if items.is_empty() {
                        writeln!(f, "\n# {}\n# [[{}]] is not set", key.help, key.path)?;
                    }
                    for (index, item) in items.iter().enumerate() {
                        let origin = self.shown_origin(key.path, index);
                        let help = if index == 0 { format!("# {}\n", key.help) } else { String::new() };
                        writeln!(f, "\n{help}[[{}]]  # {origin}", key.path)?;
                        for field in item {
                            if index == 0 {
                                writeln!(f, "# {}", field.help)?;
                            }
                            value(f, field.name, field.value.as_deref(), "")?;
                        }
                    }
                }
                slot => {
                    if parent != table {
                        writeln!(f, "\n[{parent}]")?;
                        table = parent;
                    }
                    writeln!(f, "# {}", key.help)?;
                    let origin = format!("  # {}", self.shown_origin(key.path, 0));
                    value(f, leaf, slot.show().as_deref(), &origin)?;
                }
            }
        }
        Ok(())
    }
}

fn value(f: &mut fmt::Formatter<'_>, name: &str, value: Option<&str>, origin: &str) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{name} = {value}{origin}"),
        None => writeln!(f, "# {name} is not set"),
    }
}

/// Every key with what it takes and its default, as Markdown: the part of `docs/config.md` that is made from the code.
pub fn reference() -> String {
    let mut out = String::new();
    let mut config = Config::default();
    let mut table = None;
    for key in &KEYS {
        let (parent, leaf) = split(key.path);
        let mut slot = (key.slot)(&mut config);
        // Writing to a String cannot fail.
        if let Slot::List(list) = &mut slot {
            let _ = write!(out, "\n### `[[{}]]`\n\n{}", key.path, key.help);
            if let Some(short) = list.short() {
                let _ = write!(out, " A text, or a list of texts, stands for tables with nothing but `{short}`.");
            }
            if let Some(off) = list.off() {
                let _ = write!(out, " `\"{off}\"` stands for none.");
            }
            for item in list.items() {
                let set = item.iter().filter(|field| field.is_required);
                let set: Vec<String> =
                    set.filter_map(|field| Some(format!("{} = {}", field.name, field.value.as_ref()?))).collect();
                let _ = write!(out, " Default: `{}`.", set.join(", "));
            }
            let _ = writeln!(out, "\n\n{HEAD}");
            for field in list.fields() {
                row(&mut out, &field);
            }
            table = None;
            continue;
        }
        if table != Some(parent) {
            let title = if parent.is_empty() { "At the top".into() } else { format!("`[{parent}]`") };
            let _ = writeln!(out, "\n### {title}\n\n{HEAD}");
            table = Some(parent);
        }
        let takes = slot.takes();
        row(&mut out, &Field { name: leaf, help: key.help, takes, value: slot.show(), is_required: false });
    }
    out
}

fn row(out: &mut String, field: &Field) {
    let default = match &field.value {
        _ if field.is_required => "required".into(),
        Some(value) => format!("`{value}`"),
        None => "not set".into(),
    };
    let cell = |text: &str| text.replace('|', "\\|").replace('*', "\\*").replace('_', "\\_").replace('<', "&lt;");
    let _ = writeln!(out, "| `{}` | {} | {default} | {} |", field.name, cell(&field.takes), cell(field.help));
}

const HEAD: &str = "| key | takes | default | |\n|---|---|---|---|";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- made from the code: BLESS=1 cargo test --features app --lib the_manual -->\n";
    const END: &str = "<!-- end -->\n";

    #[test]
    fn the_example_of_the_manual_is_a_configuration() {
        let manual = include_str!("../../../docs/config.md");
        let (_, rest) = manual.split_once("```toml\n").expect("an example");
        let (example, _) = rest.split_once("```").expect("its end");
        let mut loader = super::super::Loader::new();
        loader.file(Path::new("/etc/vansire/vansire.toml"), example.as_bytes());
        loader.finish().unwrap_or_else(|problems| panic!("{problems}"));
    }

    #[test]
    fn the_manual_has_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
        let manual = std::fs::read_to_string(&path).expect("docs/config.md");
        let (before, rest) = manual.split_once(BEGIN).expect("the begin of the reference");
        let (found, after) = rest.split_once(END).expect("the end of the reference");
        if found == reference() {
            return;
        }
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{}{END}{after}", reference())).expect("docs/config.md");
            return;
        }
        panic!(
            "docs/config.md is not what the code says: BLESS=1 cargo test --features app --lib the_manual\n{}",
            reference()
        );
    }
}

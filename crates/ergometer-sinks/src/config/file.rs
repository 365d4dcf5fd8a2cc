//! `ergometer.toml`, read with the lines that its values stand in.

use std::fs;
use std::ops::Range;
use std::path::Path;

use ergometer::{Error, Result};
use toml::de::{DeTable, DeValue};

use super::key::{KEYS, Key, Kind, nearest};

/// The keys of a file, their values as they would stand in the environment, and their lines.
pub(super) fn read(path: &Path) -> Result<Vec<(&'static Key, String, usize)>> {
    let text = fs::read_to_string(path).map_err(|cause| Error::file("read", path, cause))?;
    let place = |span: &Range<usize>| {
        let before = text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    };
    let at = |span: &Range<usize>, what: String| {
        Error::invalid(format!("`{}`:{}: {what}", path.display(), place(span)))
    };
    let tables = DeTable::parse(&text).map_err(|error| {
        // Its own text would repeat the line, and with it what may be a secret.
        at(&error.span().unwrap_or_default(), "this is no TOML".to_owned())
            .cure("write `[table]`, and below it `key = \"value\"`")
    })?;
    let mut read = Vec::new();
    for (table, entries) in tables.get_ref() {
        let name = table.get_ref().as_ref();
        let inner =
            |key: &'static Key| key.name.split_once('.').filter(|(known, _)| *known == name);
        if !KEYS.iter().any(|key| inner(key).is_some()) {
            let what = format!("there is no table `[{}]`", name.escape_debug());
            let known = KEYS.iter().filter_map(|key| key.name.split('.').next());
            return Err(nearest(
                at(&table.span(), what),
                name,
                known.collect::<std::collections::BTreeSet<_>>().into_iter(),
            ));
        }
        let Some(entries) = entries.get_ref().as_table() else {
            let what = format!("`{name}` is a value, and should be a table");
            return Err(
                at(&table.span(), what).cure(format!("write `[{name}]` on a line of its own"))
            );
        };
        for (word, value) in entries {
            let key = word.get_ref().as_ref();
            let known =
                KEYS.iter().find(|known| inner(known).is_some_and(|(_, known)| known == key));
            let Some(known) = known else {
                let what = format!("there is no `{}` in `[{name}]`", key.escape_debug());
                let all = KEYS.iter().filter(|key| key.kind != Kind::Secret).filter_map(inner);
                return Err(nearest(at(&word.span(), what), key, all.map(|(_, key)| key)));
            };
            let value = match (known.kind, value.get_ref()) {
                (Kind::Secret, _) => {
                    let what = format!("`{}` is a secret, and files are shared", known.name);
                    let cure =
                        format!("take it out, and set {} in the environment", known.variable);
                    return Err(at(&word.span(), what).cure(cure));
                }
                (Kind::Text | Kind::Address, DeValue::String(text)) => text.to_string(),
                (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => {
                    number.as_str().replace('_', "")
                }
                (Kind::Number, DeValue::Float(number)) => number.as_str().replace('_', ""),
                (kind, other) => {
                    let (wanted, example) = match kind {
                        Kind::Number => ("a number", format!("{key} = 1.2")),
                        _ => ("a string", format!("{key} = \"…\"")),
                    };
                    let what = format!(
                        "`{}` is of type {}, and should be {wanted}",
                        known.name,
                        other.type_str()
                    );
                    return Err(at(&value.span(), what).cure(format!("write `{example}`")));
                }
            };
            read.push((known, value, place(&word.span())));
        }
    }
    Ok(read)
}

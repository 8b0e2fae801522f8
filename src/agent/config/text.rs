//! Values of the configuration that are more than TOML: variables, sizes, durations; and suggestions for what is not.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Units of bytes and of milliseconds.
const BYTES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];
const MILLISECONDS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn in_units(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A number of bytes: `"64MiB"`, or a number.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(u64),
        Text(String),
    }
    match Form::deserialize(deserializer)? {
        Form::Number(bytes) => Ok(bytes),
        Form::Text(text) => in_units(&text, &BYTES)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not a number of bytes; want one like \"64MiB\""))),
    }
}

/// The same where it may be left out.
pub(super) fn some_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bytes(deserializer).map(Some)
}

/// A duration: `"30s"`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    in_units(&text, &MILLISECONDS)
        .map(Duration::from_millis)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is not a duration; want one like \"500ms\" or \"30s\"")))
}

/// Puts variables of the environment in the place of `${NAME}` in all values; `$${` stands for `${`.
pub(super) fn substitute(table: &mut toml::Table, variable: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    table.iter_mut().try_for_each(|(_, value)| substitute_in(value, variable))
}

fn substitute_in(value: &mut toml::Value, variable: &impl Fn(&str) -> Option<String>) -> Result<(), String> {
    match value {
        toml::Value::String(text) => *text = expanded(text, variable)?,
        toml::Value::Array(values) => values.iter_mut().try_for_each(|value| substitute_in(value, variable))?,
        toml::Value::Table(table) => substitute(table, variable)?,
        _ => {}
    }
    Ok(())
}

fn expanded(text: &str, variable: &impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..].find('}').ok_or_else(|| format!("{text:?}: a ${{ is not closed"))?;
        let name = &rest[at + 2..at + end];
        out.push_str(&rest[..at]);
        out.push_str(&variable(name).ok_or_else(|| format!("{text:?}: the variable {name} is not set"))?);
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Adds which of the expected names was meant, if one is near: the names stand in the message, between backquotes.
pub(super) fn with_suggestion(message: &str) -> String {
    let is_about_a_name = message.contains("unknown field") || message.contains("unknown variant");
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((given, expected)) = names.split_first().filter(|_| is_about_a_name) else { return message.to_owned() };
    let near = |name: &&&str| strsim::jaro_winkler(given, name);
    let best = expected.iter().max_by(|a, b| near(a).total_cmp(&near(b)));
    match best.filter(|name| near(name) > 0.8) {
        Some(name) => format!("{}\ndid you mean `{name}`?", message.trim_end()),
        None => message.to_owned(),
    }
}

//! Options: string maps with typed reading, and the lists that say which keys exist.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result, did_you_mean};

/// What the text of an option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionType {
    String,
    Boolean,
    Integer,
    Double,
    /// `10 s`, `5min`, `1 h`.
    Duration,
    /// `128mb`, `1 gb`.
    MemorySize,
    /// One of these words, in any case.
    Enum(&'static [&'static str]),
}

impl std::fmt::Display for OptionType {
    /// As documentation and DESCRIBE name it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::String => f.write_str("String"),
            Self::Boolean => f.write_str("Boolean"),
            Self::Integer => f.write_str("Integer"),
            Self::Double => f.write_str("Double"),
            Self::Duration => f.write_str("Duration"),
            Self::MemorySize => f.write_str("MemorySize"),
            Self::Enum(words) => f.write_str(&words.join(" | ")),
        }
    }
}

/// One option in a list: a key ending in `.*` stands for every key of that prefix, and `#` in a
/// key for any one name (`fields.#.kind`).
#[derive(Debug, Clone, Copy)]
pub struct OptionDef {
    pub key: &'static str,
    pub option_type: OptionType,
    pub default: Option<&'static str>,
    pub required: bool,
    pub doc: &'static str,
    /// A key that this covers and a value that it takes.
    example: Option<(&'static str, &'static str)>,
}

impl OptionDef {
    pub const fn new(key: &'static str, option_type: OptionType, doc: &'static str) -> Self {
        Self {
            key,
            option_type,
            default: None,
            required: false,
            doc,
            example: None,
        }
    }

    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// With a value for the documentation to show, where the type does not give one.
    pub const fn example(mut self, value: &'static str) -> Self {
        self.example = Some((self.key, value));
        self
    }

    /// The same for a definition that covers several keys.
    pub const fn example_of(mut self, key: &'static str, value: &'static str) -> Self {
        self.example = Some((key, value));
        self
    }

    /// A key and a value to show what the option takes, another one than the default where there
    /// is one; `None` when neither the definition nor its type gives one.
    pub fn shown(&self) -> Option<(&'static str, &'static str)> {
        let is_other = |value: &&'static str| {
            let default = self.default;
            default.is_none_or(|default| !default.eq_ignore_ascii_case(value))
        };
        let value = match self.option_type {
            _ if self.example.is_some() => return self.example,
            _ if self.key.contains(['*', '#']) => return None,
            OptionType::String => self.default?,
            OptionType::Boolean => ["true", "false"].into_iter().find(is_other)?,
            OptionType::Integer => "1",
            OptionType::Double => "0.5",
            OptionType::Duration => "10 s",
            OptionType::MemorySize => "1 mb",
            OptionType::Enum(words) => words.iter().copied().rev().find(is_other)?,
        };
        Some((self.key, value))
    }

    /// Whether this definition covers `key`.
    pub fn covers(&self, key: &str) -> bool {
        if let Some(prefix) = self.key.strip_suffix('*') {
            return key.starts_with(prefix) && key.len() > prefix.len();
        }
        match self.key.split_once('#') {
            Some((before, after)) => {
                key.len() > before.len() + after.len()
                    && key.starts_with(before)
                    && key.ends_with(after)
            }
            None => self.key == key,
        }
    }
}

/// Keys and values as a user wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.values.insert(key.into(), value.into());
    }

    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The options whose key begins with `prefix`, without it.
    pub fn with_prefix_removed(&self, prefix: &str) -> Options {
        let pairs = self.values.iter().filter_map(|(k, v)| {
            k.strip_prefix(prefix)
                .map(|rest| (rest.to_string(), v.clone()))
        });
        Options {
            values: pairs.collect(),
        }
    }

    /// The value of `option` or its default.
    pub fn text(&self, option: &OptionDef) -> Option<&str> {
        self.get(option.key).or(option.default)
    }

    pub fn boolean(&self, option: &OptionDef) -> Result<Option<bool>> {
        self.text(option)
            .map(|text| match text.trim().to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(invalid(option.key, text, "true or false")),
            })
            .transpose()
    }

    pub fn integer(&self, option: &OptionDef) -> Result<Option<i64>> {
        let parse = |t: &str| {
            t.trim()
                .parse()
                .map_err(|_| invalid(option.key, t, "a whole number"))
        };
        self.text(option).map(parse).transpose()
    }

    pub fn double(&self, option: &OptionDef) -> Result<Option<f64>> {
        let parse = |t: &str| {
            t.trim()
                .parse()
                .map_err(|_| invalid(option.key, t, "a number"))
        };
        self.text(option).map(parse).transpose()
    }

    pub fn duration(&self, option: &OptionDef) -> Result<Option<Duration>> {
        let parse = |t: &str| {
            parse_duration(t)
                .ok_or_else(|| invalid(option.key, t, "a duration such as '10 s' or '5 min'"))
        };
        self.text(option).map(parse).transpose()
    }

    /// Bytes.
    pub fn memory_size(&self, option: &OptionDef) -> Result<Option<u64>> {
        let parse = |t: &str| {
            parse_memory_size(t).ok_or_else(|| invalid(option.key, t, "a size such as '128mb'"))
        };
        self.text(option).map(parse).transpose()
    }

    /// Refuses keys that no list covers, required keys that are missing, and words outside an enum.
    ///
    /// # Errors
    /// A user error that names the key, the nearest known key, and what it belongs to.
    pub fn check(&self, owner: &str, lists: &[&[OptionDef]]) -> Result<()> {
        let known = || lists.iter().flat_map(|l| l.iter());
        for (key, value) in &self.values {
            let Some(def) = known().find(|d| d.covers(key)) else {
                let hint = did_you_mean(key, known().map(|d| d.key));
                return Err(Error::user(
                    "UNKNOWN_OPTION",
                    format!("unknown option '{key}' for {owner}{hint}"),
                ));
            };
            if let OptionType::Enum(words) = def.option_type
                && !words.iter().any(|w| w.eq_ignore_ascii_case(value))
            {
                return Err(invalid(key, value, &format!("one of {}", words.join(", "))));
            }
        }
        match known().find(|d| d.required && !self.values.contains_key(d.key)) {
            Some(def) => Err(Error::user(
                "MISSING_OPTION",
                format!("{owner} needs the option '{}' ({})", def.key, def.doc),
            )),
            None => Ok(()),
        }
    }
}

impl FromIterator<(String, String)> for Options {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(iter: T) -> Self {
        Self {
            values: iter.into_iter().collect(),
        }
    }
}

fn invalid(key: &str, value: &str, wanted: &str) -> Error {
    Error::user(
        "INVALID_OPTION",
        format!("option '{key}' is '{value}'; it takes {wanted}"),
    )
}

/// Splits `10 s` into number and unit.
fn number_and_unit(text: &str) -> Option<(u64, String)> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..split].parse().ok()?;
    Some((number, text[split..].trim().to_ascii_lowercase()))
}

/// A duration as Flink writes it; without a unit, milliseconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let nanos: u64 = match unit.as_str() {
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "micro" | "micros" | "microsecond" | "microseconds" => 1_000,
        "" | "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        _ => return None,
    };
    number.checked_mul(nanos).map(Duration::from_nanos)
}

/// A memory size as Flink writes it, in bytes; without a unit, bytes.
pub fn parse_memory_size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit.as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kibibytes" => 10,
        "m" | "mb" | "mebibytes" => 20,
        "g" | "gb" | "gibibytes" => 30,
        "t" | "tb" | "tebibytes" => 40,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_differ_from_defaults() {
        const WORDS: OptionType = OptionType::Enum(&["a", "b"]);
        let shown = |option_type, default| {
            let def = OptionDef::new("k", option_type, "").default(default);
            def.shown().map(|(_, value)| value)
        };
        assert_eq!(shown(OptionType::Boolean, "true"), Some("false"));
        assert_eq!(shown(WORDS, "B"), Some("a"));
        assert_eq!(shown(OptionType::Duration, "1 s"), Some("10 s"));
        let many = OptionDef::new("k.#.x", OptionType::Integer, "");
        assert_eq!(many.shown(), None);
        assert_eq!(many.example_of("k.a.x", "7").shown(), Some(("k.a.x", "7")));
    }

    const LIST: &[OptionDef] = &[
        OptionDef::new("path", OptionType::String, "folder or file").required(),
        OptionDef::new(
            "fields.#.kind",
            OptionType::Enum(&["random", "sequence"]),
            "kind",
        ),
        OptionDef::new("properties.*", OptionType::String, "passed on"),
    ];

    fn options(pairs: &[(&str, &str)]) -> Options {
        pairs
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn lists_cover_patterns() {
        let good = options(&[
            ("path", "x"),
            ("fields.a.kind", "RANDOM"),
            ("properties.a.b", "1"),
        ]);
        good.check("connector 'x'", &[LIST]).unwrap();
    }

    #[test]
    fn unknown_and_missing_keys_are_named() {
        let error = options(&[("pat", "x")])
            .check("connector 'x'", &[LIST])
            .unwrap_err();
        assert_eq!(
            error.message(),
            "unknown option 'pat' for connector 'x'; did you mean 'path'?"
        );
        let error = options(&[]).check("connector 'x'", &[LIST]).unwrap_err();
        assert_eq!(error.code(), "MISSING_OPTION");
    }

    #[test]
    fn durations_and_sizes_take_flinks_units() {
        assert_eq!(parse_duration("5 min"), Some(Duration::from_secs(300)));
        assert_eq!(parse_duration("200"), Some(Duration::from_millis(200)));
        assert_eq!(parse_memory_size("128MB"), Some(128 << 20));
        assert_eq!(parse_memory_size("x"), None);
    }
}

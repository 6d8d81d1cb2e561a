//! Options of tables as Flink wrote them before 1.11: `'connector.type' = 'filesystem'` and the
//! like. They are renamed when the table is created, so that nothing else has to know them; a
//! table with `'connector'` is left as it is.

use flott_core::options::Options;

/// Old keys and today's; without a new one the old one says nothing any more.
const KEYS: &[(&str, Option<&str>)] = &[
    ("connector.type", Some("connector")),
    ("connector.property-version", None),
    ("connector.version", None),
    ("update-mode", None),
    ("format.type", Some("format")),
    ("format.property-version", None),
    ("format.derive-schema", None),
    // filesystem
    ("connector.path", Some("path")),
    // kafka
    ("connector.topic", Some("topic")),
    ("connector.startup-mode", Some("scan.startup.mode")),
    (
        "connector.specific-offsets",
        Some("scan.startup.specific-offsets"),
    ),
    (
        "connector.startup-timestamp-millis",
        Some("scan.startup.timestamp-millis"),
    ),
    ("connector.sink-partitioner", Some("sink.partitioner")),
    // jdbc
    ("connector.url", Some("url")),
    ("connector.table", Some("table-name")),
    ("connector.driver", Some("driver")),
    ("connector.username", Some("username")),
    ("connector.password", Some("password")),
];

/// Gives old keys their new names.
pub(super) fn rename(options: &mut Options) {
    if options.get("connector").is_some() || options.get("connector.type").is_none() {
        return;
    }
    let format = options.get("format.type").unwrap_or_default().to_string();
    let old: Vec<(String, String)> = options
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    for (key, value) in old {
        if let Some(renamed) = renamed(&key, &format) {
            options.remove(&key);
            if let Some(new) = renamed {
                options.set(&new, &value);
            }
        }
    }
}

/// The new name of an old key, if it is one, and if it has one.
fn renamed(key: &str, format: &str) -> Option<Option<String>> {
    if let Some((_, new)) = KEYS.iter().find(|(old, _)| *old == key) {
        return Some(new.map(str::to_string));
    }
    if let Some(rest) = key.strip_prefix("connector.properties.") {
        return Some(Some(format!("properties.{rest}")));
    }
    // The options of a format stand under its own name now.
    let rest = key.strip_prefix("format.")?;
    Some(Some(format!("{format}.{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed_options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut options = Options::default();
        pairs.iter().for_each(|(k, v)| options.set(*k, *v));
        rename(&mut options);
        let pairs = options.iter();
        pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    #[test]
    fn old_keys_get_their_new_names() {
        let new = renamed_options(&[
            ("connector.type", "filesystem"),
            ("connector.path", "file:///a"),
            ("connector.property-version", "1"),
            ("format.type", "csv"),
            ("format.field-delimiter", ";"),
        ]);
        let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
        assert_eq!(
            new,
            [
                pair("connector", "filesystem"),
                pair("csv.field-delimiter", ";"),
                pair("format", "csv"),
                pair("path", "file:///a"),
            ]
        );
    }

    #[test]
    fn new_options_stay() {
        let pairs = [("connector", "x"), ("connector.path", "p")];
        assert_eq!(renamed_options(&pairs).len(), 2);
        assert_eq!(
            renamed_options(&pairs)[1],
            ("connector.path".into(), "p".into())
        );
    }
}

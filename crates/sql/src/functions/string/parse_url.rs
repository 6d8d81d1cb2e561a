//! `PARSE_URL`.

use arrow::array::ArrayRef;
use flott_core::Result;
use flott_core::types::LogicalType;

use super::parts;
use crate::functions::kernel::{Args, Text, columns};
use crate::functions::{BindContext, BoundFunction, FunctionDef, FunctionGroup};

pub static PARSE_URL: FunctionDef = FunctionDef {
    name: "PARSE_URL",
    aliases: &[],
    group: FunctionGroup::String,
    syntax: "PARSE_URL(url, part[, key])",
    doc: "A part of a URL: HOST, PATH, QUERY, REF, PROTOCOL, AUTHORITY, FILE or USERINFO; with QUERY \
          and a key the value of that parameter. NULL when there is none.",
    examples: &[
        (
            "PARSE_URL('http://facebook.com/path1/p.php?k1=v1&k2=v2#Ref1', 'HOST')",
            "facebook.com",
        ),
        (
            "PARSE_URL('http://facebook.com/path1/p.php?k1=v1&k2=v2#Ref1', 'QUERY', 'k1')",
            "v1",
        ),
    ],
    is_deterministic: true,
    bind,
};

/// What Java's URL class knows without further help; other protocols are no URLs.
const PROTOCOLS: [&str; 6] = ["http", "https", "file", "ftp", "jar", "mailto"];

fn bind(ctx: &BindContext<'_>) -> Result<BoundFunction> {
    let types = ctx.expect_text(2..=3)?;
    let kernel = columns("PARSE_URL", parse_urls);
    Ok(BoundFunction::new(
        types,
        LogicalType::STRING.nullable(),
        kernel,
    ))
}

fn parse_urls(args: &Args) -> Result<ArrayRef> {
    let part = args.column::<Text>(1)?;
    let key = (args.len() > 2)
        .then(|| args.column::<Text>(2))
        .transpose()?;
    parts::collect(args, 0, |row, url| {
        let Some(part) = part.get(row) else {
            return Ok(None);
        };
        Ok(match &key {
            None => Url::parse(url).and_then(|url| url.part(part)),
            Some(key) => match key.get(row) {
                Some(key) if part == "QUERY" => {
                    Url::parse(url).and_then(|url| parameter(url.query?, key))
                }
                _ => None,
            },
        })
    })
}

/// The parts of a URL, each a part of its text.
struct Url<'a> {
    protocol: &'a str,
    authority: Option<&'a str>,
    file: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    reference: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_matches(|c: char| c <= ' ');
        let (protocol, rest) = text.split_once(':')?;
        if !PROTOCOLS
            .iter()
            .any(|known| protocol.eq_ignore_ascii_case(known))
        {
            return None;
        }
        let (rest, reference) = match rest.split_once('#') {
            Some((rest, reference)) => (rest, Some(reference)),
            None => (rest, None),
        };
        let (authority, file) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find(['/', '?']).unwrap_or(rest.len());
                (Some(&rest[..end]), &rest[end..])
            }
            None => (None, rest),
        };
        if !authority.is_none_or(has_valid_port) {
            return None;
        }
        let (path, query) = match file.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (file, None),
        };
        Some(Self {
            protocol,
            authority,
            file,
            path,
            query,
            reference,
        })
    }

    fn part(&self, name: &str) -> Option<&'a str> {
        match name {
            "HOST" => Some(self.host()),
            "PATH" => Some(self.path),
            "QUERY" => self.query,
            "REF" => self.reference,
            "PROTOCOL" => Some(self.protocol),
            "FILE" => Some(self.file),
            "AUTHORITY" => self.authority,
            "USERINFO" => self.authority?.rsplit_once('@').map(|(user, _)| user),
            _ => None,
        }
    }

    fn host(&self) -> &'a str {
        let authority = self.authority.unwrap_or("");
        let host = authority
            .rsplit_once('@')
            .map_or(authority, |(_, host)| host);
        split_port(host).0
    }
}

/// A host and what stands after its colon; colons in brackets belong to the host.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let after_brackets = host.find(']').unwrap_or(0);
    match host[after_brackets..].find(':') {
        Some(colon) => {
            let colon = after_brackets + colon;
            (&host[..colon], Some(&host[colon + 1..]))
        }
        None => (host, None),
    }
}

fn has_valid_port(authority: &str) -> bool {
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    match split_port(host).1 {
        None | Some("") => true,
        Some(port) => port
            .parse::<u32>()
            .is_ok_and(|port| port <= i32::MAX as u32),
    }
}

/// The value of the first parameter of this name.
fn parameter<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{call_text, text};
    use super::*;

    const URL: &str = "https://ann:secret@example.com:8080/docs/a.html?name=x%20y&k=&z#down";

    fn part(url: &str, part: &str) -> Option<String> {
        call_text(&PARSE_URL, &[text(url), text(part)])
    }

    #[test]
    fn parts_are_found() {
        assert_eq!(part(URL, "HOST").as_deref(), Some("example.com"));
        assert_eq!(part(URL, "PATH").as_deref(), Some("/docs/a.html"));
        assert_eq!(part(URL, "QUERY").as_deref(), Some("name=x%20y&k=&z"));
        assert_eq!(part(URL, "REF").as_deref(), Some("down"));
        assert_eq!(part(URL, "PROTOCOL").as_deref(), Some("https"));
        assert_eq!(
            part(URL, "AUTHORITY").as_deref(),
            Some("ann:secret@example.com:8080")
        );
        assert_eq!(part(URL, "USERINFO").as_deref(), Some("ann:secret"));
        assert_eq!(
            part(URL, "FILE").as_deref(),
            Some("/docs/a.html?name=x%20y&k=&z")
        );
        assert_eq!(part("http://x.org", "QUERY"), None);
        assert_eq!(part("http://x.org", "PATH").as_deref(), Some(""));
        assert_eq!(part("http://[::1]:80/", "HOST").as_deref(), Some("[::1]"));
    }

    #[test]
    fn what_is_no_url_is_null() {
        assert_eq!(part("no url", "HOST"), None);
        assert_eq!(part("gopher://x", "HOST"), None);
        assert_eq!(part("http://x:port/", "HOST"), None);
        assert_eq!(part(URL, "host"), None);
    }

    #[test]
    fn parameters_are_found_by_key() {
        let value = |key| call_text(&PARSE_URL, &[text(URL), text("QUERY"), text(key)]);
        assert_eq!(value("name").as_deref(), Some("x%20y"));
        assert_eq!(value("k").as_deref(), Some(""));
        assert_eq!(value("z"), None);
        assert_eq!(
            call_text(&PARSE_URL, &[text(URL), text("PATH"), text("k")]),
            None
        );
    }
}

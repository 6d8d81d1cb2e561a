//! A schema registry for tests.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A registry that knows schemas by number, and counts what it is asked.
#[derive(Default)]
pub struct Known {
    pub schemas: Vec<String>,
    pub requests: Vec<String>,
    /// So many answers are failures that pass.
    pub num_failures: usize,
}

/// A registry that runs as long as the test.
pub struct TestRegistry {
    pub url: String,
    pub known: Arc<Mutex<Known>>,
}

impl TestRegistry {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://u:p@{}", listener.local_addr().unwrap());
        let known = Arc::new(Mutex::new(Known::default()));
        let shared = known.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let Some((head, body)) = read_request(&mut BufReader::new(&mut stream)) else {
                    continue;
                };
                let (status, answer) = answer(&mut shared.lock().unwrap(), head, &body);
                let text = format!(
                    "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
                    answer.len()
                );
                let _ = stream.write_all(text.as_bytes());
            }
        });
        Self { url, known }
    }

    /// How often it was asked.
    pub fn num_requests(&self) -> usize {
        self.known.lock().unwrap().requests.len()
    }

    /// Without user and password.
    pub fn address(&self) -> String {
        self.url.replace("u:p@", "")
    }

    /// Options that lead to it, and others.
    pub fn options(&self, more: &[(&str, &str)]) -> flott_core::options::Options {
        let url = [("url", self.url.as_str())];
        let more = more.iter().chain(&url);
        more.map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

fn answer(known: &mut Known, head: String, body: &str) -> (u16, String) {
    let request = head.lines().next().unwrap_or_default().to_string();
    known.requests.push(request.clone());
    if !(head.contains("Basic dTpw") || head.contains("Bearer secret")) {
        return (401, "{\"message\":\"who are you\"}".into());
    }
    if known.num_failures > 0 {
        known.num_failures -= 1;
        return (503, String::new());
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    if let Some(id) = path.strip_prefix("/schemas/ids/") {
        let place = id.parse::<usize>().unwrap_or(0).wrapping_sub(100);
        return match known.schemas.get(place) {
            Some(schema) => (200, serde_json::json!({ "schema": schema }).to_string()),
            None => (
                404,
                "{\"error_code\":40403,\"message\":\"Schema not found\"}".into(),
            ),
        };
    }
    let value: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    let schema = value["schema"].as_str().unwrap_or_default().to_string();
    let place = known
        .schemas
        .iter()
        .position(|s| *s == schema)
        .unwrap_or_else(|| {
            known.schemas.push(schema);
            known.schemas.len() - 1
        });
    (200, format!("{{\"id\":{}}}", 100 + place))
}

//! What the figures were measured on.

use serde_json::{Value, json};

/// Processor, memory, kernel and load; what the system does not say is null.
pub fn describe() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_string())
    };
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    json!({
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": crate::environment::available_parallelism(),
        "memory_bytes": memory_kib.map(|kib| kib * 1024),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "kernel": Some(read("/proc/sys/kernel/osrelease").trim()).filter(|k| !k.is_empty()),
        "load_average": load_average(),
    })
}

/// Over 1, 5 and 15 minutes.
fn load_average() -> Option<Vec<f64>> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let numbers = text.split(' ').take(3).map(|n| n.parse().ok());
    numbers.collect()
}
